"""Asks the kernel whether a disk is free to go, and puts everything on stable storage.

An exclusive opening fails while a mount of any namespace, a mapper or a tool holds the disk, so it sees more than this
process's mount table. The disk's advisory lock fails as long as work on it goes on, also between two of its tools. Not
here: unmounting (`unstage`).
"""

import asyncio
import errno
from pathlib import Path

from csi.errors import CsiError, ErrorKind
from node.model import Device
from node.ports import Kernel

RELEASE_POLL_S = 0.05
RELEASE_WAIT_S = 30.0
"""The kernel ends a file system in the background (lazy unmounts of dying containers); longer than this is a leak."""

HELD_PATIENCE_S = 0.3
"""udev locks a disk for a moment after it was written to."""

_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOENT})


class Release:
    """The last look at a disk before it may be detached."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    async def is_held(self, disk: Device) -> bool:
        """Whether something on this host still uses the disk; a disk that cannot be opened at all is not held."""
        loop = asyncio.get_running_loop()
        until = loop.time() + HELD_PATIENCE_S
        while await asyncio.to_thread(self._is_held, disk.path):
            if loop.time() + RELEASE_POLL_S > until:
                return True
            await asyncio.sleep(RELEASE_POLL_S)
        return False

    async def let_go(self, volume_id: str, disk: Device, *, exclusive: bool, deadline: float) -> None:
        """Put everything on stable storage and, if `exclusive`, wait until nothing on this host holds the disk.

        A disk that is gone is fine. Raises CsiError PRECONDITION when it stays held, INTERNAL when flushing fails.
        """
        loop = asyncio.get_running_loop()
        until = min(deadline, loop.time() + RELEASE_WAIT_S)
        while not await self._try(volume_id, disk, exclusive=exclusive):
            if loop.time() + RELEASE_POLL_S > until:
                raise CsiError(
                    ErrorKind.PRECONDITION,
                    f"volume {volume_id}: unmounted here, but the kernel still holds {disk.describe()}: another mount "
                    "namespace (a container of this host) has it mounted, or a file system tool still works on it. "
                    "End that container, or wait for the tool.",
                )
            await asyncio.sleep(RELEASE_POLL_S)

    async def _try(self, volume_id: str, disk: Device, *, exclusive: bool) -> bool:
        try:
            await asyncio.to_thread(self._flush, disk.path, exclusive=exclusive)
        except OSError as error:
            if error.errno in _GONE:
                return True
            if error.errno == errno.EBUSY:
                return False
            raise CsiError(
                ErrorKind.INTERNAL,
                f"volume {volume_id}: flushing {disk.describe()} failed: {error}. Data written last may be lost if it "
                "is detached now; look at the kernel's log.",
            ) from error
        return True

    def _flush(self, path: Path, *, exclusive: bool) -> None:
        descriptor = self._kernel.open_device(path, exclusive=exclusive)
        try:
            if exclusive and not self._kernel.try_lock(descriptor):
                raise BlockingIOError(errno.EBUSY, "the disk is locked")
            self._kernel.flush(descriptor)
        finally:
            self._kernel.close(descriptor)

    def _is_held(self, path: Path) -> bool:
        try:
            descriptor = self._kernel.open_device(path, exclusive=True)
        except OSError as error:
            return error.errno == errno.EBUSY
        try:
            return not self._kernel.try_lock(descriptor)
        finally:
            self._kernel.close(descriptor)
