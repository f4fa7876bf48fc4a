"""Volumes as loop devices of this machine: the half of a back end that has to do with disks.

Belongs here: attaching, detaching, growing, flushing and freezing. Does not: which instance sees a device.
A loop device is ours only when its backing file is a direct child of the disks folder; no other is ever touched.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from threading import Lock
from typing import Protocol

from devcloud import loop, mounts
from devcloud.disks import IMAGE_SUFFIX
from devcloud.errors import BackendError, DiskBusyError
from devcloud.machines import Disk, PresentDisk
from devcloud.mounts import Mounted, MountView

_FIFREEZE = 0xC0045877
_FITHAW = 0xC0045878


class LoopNumbers(Protocol):
    """Decides which loop devices are taken; calls come one after the other."""

    def attach(self, image: Path, *, read_only: bool) -> int:
        """Give the image a loop device and return its number; raises OSError."""
        ...

    async def release(self, number: int) -> None:
        """Take back a device that has no backing file any more; raises OSError."""
        ...


class FreeNumbers:
    """Takes devices that the kernel calls free, and leaves them there for the next."""

    def attach(self, image: Path, *, read_only: bool) -> int:
        """Attach to a free device."""
        return loop.attach(image, read_only=read_only)

    async def release(self, number: int) -> None:
        """Leave it as it is."""


class LoopDisks:
    """Presents images of one folder as loop devices; needs root and the loop driver."""

    def __init__(self, folder: Path, numbers: LoopNumbers, views: Callable[[], Sequence[MountView]]) -> None:
        """Take the folder of the images; `views` gives the mount namespaces in which they may be mounted now."""
        self._folder = folder.resolve()
        self._loops = numbers
        self._views = views
        self._numbers: dict[str, int] = {}
        # Two threads asking for a free loop number would get the same one.
        self._taking = Lock()

    async def attach(self, disk: Disk) -> loop.Loop:
        """Attach a loop device, or keep the one that is there when its mode fits.

        Raises DiskBusyError when it has the other mode and is in use, BackendError.
        """
        found = await asyncio.to_thread(self._attach, disk)
        if found.read_only != disk.read_only:
            await self.withdraw(disk.serial)
            found = await asyncio.to_thread(self._attach, disk)
        return found

    async def withdraw(self, serial: str) -> None:
        """Detach the loop device and give its number back; raises DiskBusyError, BackendError."""
        number = await self.detach(serial)
        if number is not None:
            await self.release(number)

    async def detach(self, serial: str) -> int | None:
        """Detach the loop device and give its number, which is still taken; None: there was none.

        Raises DiskBusyError, BackendError.
        """
        return await asyncio.to_thread(self._detach, serial)

    async def release(self, number: int) -> None:
        """Give back the number of a device that was detached; raises BackendError."""
        try:
            await self._loops.release(number)
        except OSError as error:
            raise BackendError(f"cannot remove {loop.device_of(number)}: {error.strerror}") from error

    async def grow(self, serial: str) -> None:
        """Let the loop device take the new size of its image; raises BackendError."""
        await asyncio.to_thread(self._grow, serial)

    async def disks(self) -> Mapping[str, PresentDisk]:
        """Look at all loop devices of this machine and give ours."""
        return await asyncio.to_thread(self._scan)

    async def writes(self, serial: str) -> int | None:
        """Give the kernel's count of writes to the loop device."""
        return await asyncio.to_thread(self._writes, serial)

    async def flush(self, serials: Sequence[str]) -> None:
        """Sync the mounted file systems and the devices."""
        for serial in serials:
            await asyncio.to_thread(self._flush, serial)

    def frozen(self, serials: Sequence[str]) -> AbstractAsyncContextManager[None]:
        """Freeze the mounted file systems on these disks."""
        return self._frozen(serials)

    async def thaw(self) -> None:
        """Let go of file systems that a killed platform left frozen."""
        for serial in await self.disks():
            places = await asyncio.to_thread(self._mounts, serial)
            if places:
                await asyncio.to_thread(_thaw_at, places)

    def find(self, serial: str) -> loop.Loop | None:
        """Give the loop device of a serial as the kernel has it now."""
        number = self._numbers.get(serial)
        if number is None:
            return None
        found = loop.read_loop(number)
        return found if found is not None and self._serial(found) == serial else None

    def _attach(self, disk: Disk) -> loop.Loop:
        """Give the device that is there, in whatever mode, or a new one."""
        found = self.find(disk.serial)
        if found is not None:
            return found
        image = disk.image.resolve()
        try:
            with self._taking:
                number = self._loops.attach(image, read_only=disk.read_only)
        except OSError as error:
            raise BackendError(f"cannot present disk {disk.serial} as a loop device: {error.strerror}") from error
        self._numbers[disk.serial] = number
        return loop.Loop(number, image, disk.read_only)

    def _detach(self, serial: str) -> int | None:
        found = self.find(serial)
        if found is None:
            return None
        try:
            loop.detach(found.number)
        except loop.InUseError as error:
            raise DiskBusyError(serial, self._describe_use(found)) from error
        except OSError as error:
            raise BackendError(f"cannot detach {found.device}: {error.strerror}") from error
        # Another process may have opened the device between our clearing and our closing it.
        if self.find(serial) is not None:
            raise DiskBusyError(serial, self._describe_use(found))
        self._numbers.pop(serial, None)
        return found.number

    def _grow(self, serial: str) -> None:
        found = self.find(serial)
        if found is None:
            return
        try:
            loop.set_capacity(found.number)
        except OSError as error:
            raise BackendError(f"cannot grow {found.device}: {error.strerror}") from error

    def _writes(self, serial: str) -> int | None:
        found = self.find(serial)
        return 0 if found is None else loop.count_writes(found.number)

    def _flush(self, serial: str) -> None:
        found = self.find(serial)
        if found is None:
            return
        places = self._mounts(serial)
        if places:
            with contextlib.suppress(FileNotFoundError), mounts.opened(places) as folder:
                # syncfs(2) has no wrapper in the standard library; sync(2) would wait for every disk of this machine.
                ctypes.CDLL(None, use_errno=True).syncfs(folder)
        device = os.open(found.device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(device)
        finally:
            os.close(device)

    def _scan(self) -> dict[str, PresentDisk]:
        ours = {self._serial(found): found for found in loop.attached_loops() if self._serial(found)}
        self._numbers = {serial: found.number for serial, found in ours.items()}
        return {serial: PresentDisk(serial, str(found.device), found.read_only) for serial, found in ours.items()}

    def _serial(self, found: loop.Loop) -> str:
        """Give the serial of a loop device; empty when it is not ours."""
        if found.backing_file.parent != self._folder or found.backing_file.suffix != IMAGE_SUFFIX:
            return ""
        return found.backing_file.stem

    def _describe_use(self, found: loop.Loop) -> str:
        seen = [place.describe() for place in mounts.find(found.number, self._views())]
        seen += [f"held by {name}" for name in loop.holders(found.number)]
        return f"{found.device} is " + (", ".join(seen) or "open in a process or mounted in another mount namespace")

    def _mounts(self, serial: str) -> list[Mounted]:
        found = self.find(serial)
        return [] if found is None else mounts.find(found.number, self._views())

    @contextlib.asynccontextmanager
    async def _frozen(self, serials: Sequence[str]) -> AsyncIterator[None]:
        # The descriptors stay open until the thaw: a mount point that somebody unmounts meanwhile stays reachable.
        with contextlib.ExitStack() as stack:
            folders: list[int] = []
            try:
                for serial in serials:
                    await asyncio.to_thread(self._freeze, serial, folders, stack)
                yield
            finally:
                await asyncio.shield(asyncio.to_thread(_thaw, folders))

    def _freeze(self, serial: str, folders: list[int], stack: contextlib.ExitStack) -> None:
        """Freeze the file system on a disk, if one is mounted; it is frozen once, wherever it is mounted."""
        places = self._mounts(serial)
        if not places:
            return
        try:
            folder = stack.enter_context(mounts.opened(places))
            folders.append(folder)
            fcntl.ioctl(folder, _FIFREEZE, 0)
        except OSError as error:
            raise BackendError(
                f"cannot freeze the file system of disk {serial}, {places[0].describe()}: {error.strerror or error}"
            ) from error


class OnLoopDisks:
    """What a back end on loop devices answers of its disks, whoever sees them."""

    _disks: LoopDisks

    async def grow(self, serial: str) -> None:
        """Let the loop device take the new size of its image."""
        await self._disks.grow(serial)

    async def disks(self) -> Mapping[str, PresentDisk]:
        """Look at all loop devices of this machine and give ours."""
        return await self._disks.disks()

    async def writes(self, serial: str) -> int | None:
        """Give the kernel's count of writes to the loop device."""
        return await self._disks.writes(serial)

    async def flush(self, serials: Sequence[str]) -> None:
        """Sync the mounted file systems and the devices."""
        await self._disks.flush(serials)

    def frozen(self, serials: Sequence[str]) -> AbstractAsyncContextManager[None]:
        """Freeze the mounted file systems on these disks."""
        return self._disks.frozen(serials)

    async def thaw(self) -> None:
        """Let go of file systems that a killed platform left frozen."""
        await self._disks.thaw()


def _thaw(folders: Sequence[int]) -> None:
    for folder in folders:
        # Not frozen is the state that is wanted.
        with contextlib.suppress(OSError):
            fcntl.ioctl(folder, _FITHAW, 0)


def _thaw_at(places: Sequence[Mounted]) -> None:
    with contextlib.suppress(FileNotFoundError), mounts.opened(places) as folder:
        _thaw([folder])
