"""Figures of published volumes: bytes and inodes of file systems, size of block devices.

Only reading; whether a path is a published volume is the servicer's question.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from csi.errors import CsiError, ErrorKind
from node.model import Usage
from node.ports import Kernel

Figure = TypeVar("Figure")


async def file_system_usage(kernel: Kernel, path: Path, *, deadline: float) -> Usage:
    """Give the figures of the file system mounted at `path`. Raises CsiError INTERNAL or TIMEOUT."""
    return await _bounded(lambda: kernel.usage(path), path, deadline)


async def block_size_bytes(kernel: Kernel, path: Path, *, deadline: float) -> int:
    """Give the size of the block device node at `path`. Raises CsiError INTERNAL or TIMEOUT."""

    def read() -> int:
        fd = kernel.open_device(path)
        try:
            return kernel.size_bytes(fd)
        finally:
            kernel.close(fd)

    return await _bounded(read, path, deadline)


async def _bounded(read: Callable[[], Figure], path: Path, deadline: float) -> Figure:
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.to_thread(read)
    except TimeoutError:
        raise CsiError(ErrorKind.TIMEOUT, f"{path}: the disk did not answer in time") from None
    except OSError as error:
        raise CsiError(ErrorKind.INTERNAL, f"{path}: figures cannot be read: {error.strerror}") from error
