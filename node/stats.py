"""Figures of published volumes: bytes and inodes of file systems, size of block devices.

Only reading; whether a path is a published volume is the servicer's question.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from csi.errors import CsiError, ErrorKind
from node.looks import Looks
from node.model import DeviceNumber, Usage
from node.ports import Kernel

Figure = TypeVar("Figure")


class Figures:
    """Reads figures, at most one at a time of each disk."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._looks = Looks()

    async def file_system_usage(self, disk: DeviceNumber, path: Path, *, deadline: float) -> Usage:
        """Give the figures of the file system of this disk, mounted at `path`. Raises CsiError INTERNAL or TIMEOUT."""
        return await self._read(disk, lambda: self._kernel.usage(path), path, deadline)

    async def block_size_bytes(self, disk: DeviceNumber, path: Path, *, deadline: float) -> int:
        """Give the size of this disk, whose device node is at `path`. Raises CsiError INTERNAL or TIMEOUT."""

        def read() -> int:
            fd = self._kernel.open_device(path)
            try:
                return self._kernel.size_bytes(fd)
            finally:
                self._kernel.close(fd)

        return await self._read(disk, read, path, deadline)

    async def _read(self, disk: DeviceNumber, read: Callable[[], Figure], path: Path, deadline: float) -> Figure:
        try:
            return await self._looks.look(disk, read, deadline=deadline)
        except TimeoutError:
            raise CsiError(ErrorKind.TIMEOUT, f"{path}: the disk did not answer in time") from None
        except OSError as error:
            raise CsiError(ErrorKind.INTERNAL, f"{path}: figures cannot be read: {error.strerror}") from error
