"""The back end where this machine is every instance: volumes are loop devices here.

A loop device is ours only when its backing file is a direct child of the disks folder; no other is ever touched.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from threading import Lock

from devcloud import loop
from devcloud.disks import IMAGE_SUFFIX
from devcloud.errors import BackendError, DiskBusyError
from devcloud.machines import Disk, PresentDisk

_FIFREEZE = 0xC0045877
_FITHAW = 0xC0045878


class HostMachines:
    """Presents images of one folder as loop devices; needs root and the loop driver."""

    def __init__(self, disks_dir: Path) -> None:
        self._dir = disks_dir.resolve()
        self._numbers: dict[str, int] = {}
        # Two threads asking for a free loop number would get the same one.
        self._taking = Lock()

    async def present(self, disk: Disk) -> str:
        """Attach a loop device, or keep the one that is there when its mode fits."""
        return await asyncio.to_thread(self._present, disk)

    async def withdraw(self, serial: str) -> None:
        """Detach the loop device."""
        await asyncio.to_thread(self._withdraw, serial)

    async def grow(self, serial: str) -> None:
        """Let the loop device take the new size of its image."""
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

    async def thaw_all(self) -> None:
        """Let go of file systems that a killed devcloud left frozen."""
        for serial in await self.disks():
            await asyncio.to_thread(_thaw, self._mount_points(serial))

    def _present(self, disk: Disk) -> str:
        found = self._find(disk.serial)
        if found is not None and found.read_only == disk.read_only:
            return str(found.device)
        if found is not None:
            self._withdraw(disk.serial)
        try:
            with self._taking:
                number = loop.attach(disk.image.resolve(), read_only=disk.read_only)
        except OSError as error:
            raise BackendError(f"cannot present disk {disk.serial} as a loop device: {error.strerror}") from error
        self._numbers[disk.serial] = number
        return str(loop.device_of(number))

    def _withdraw(self, serial: str) -> None:
        found = self._find(serial)
        if found is None:
            return
        try:
            loop.detach(found.number)
        except loop.InUseError as error:
            raise DiskBusyError(serial, self._describe_use(found)) from error
        except OSError as error:
            raise BackendError(f"cannot detach {found.device}: {error.strerror}") from error
        # Another process may have opened the device between our clearing and our closing it.
        if self._find(serial) is not None:
            raise DiskBusyError(serial, self._describe_use(found))
        self._numbers.pop(serial, None)

    def _grow(self, serial: str) -> None:
        found = self._find(serial)
        if found is None:
            return
        try:
            loop.set_capacity(found.number)
        except OSError as error:
            raise BackendError(f"cannot grow {found.device}: {error.strerror}") from error

    def _writes(self, serial: str) -> int | None:
        found = self._find(serial)
        return 0 if found is None else loop.count_writes(found.number)

    def _flush(self, serial: str) -> None:
        found = self._find(serial)
        if found is None:
            return
        for point in self._mount_points(serial)[:1]:
            _sync_file_system(point)
        device = os.open(found.device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(device)
        finally:
            os.close(device)

    def _find(self, serial: str) -> loop.Loop | None:
        """Give the loop device of a serial as the kernel has it now."""
        number = self._numbers.get(serial)
        if number is None:
            return None
        found = loop.read_loop(number)
        return found if found is not None and self._serial(found) == serial else None

    def _scan(self) -> dict[str, PresentDisk]:
        ours = {self._serial(found): found for found in loop.attached_loops() if self._serial(found)}
        self._numbers = {serial: found.number for serial, found in ours.items()}
        return {serial: PresentDisk(serial, str(found.device), found.read_only) for serial, found in ours.items()}

    def _serial(self, found: loop.Loop) -> str:
        """Give the serial of a loop device; empty when it is not ours."""
        if found.backing_file.parent != self._dir or found.backing_file.suffix != IMAGE_SUFFIX:
            return ""
        return found.backing_file.stem

    def _describe_use(self, found: loop.Loop) -> str:
        mounts = loop.mount_points(found.number, Path("/proc/self/mountinfo").read_text())
        held_by = loop.holders(found.number)
        seen = [f"mounted on {point}" for point in mounts] + [f"held by {name}" for name in held_by]
        return f"{found.device} is " + (", ".join(seen) or "open in a process or mounted in another mount namespace")

    def _mount_points(self, serial: str) -> list[str]:
        found = self._find(serial)
        if found is None:
            return []
        return loop.mount_points(found.number, Path("/proc/self/mountinfo").read_text())

    @contextlib.asynccontextmanager
    async def _frozen(self, serials: Sequence[str]) -> AsyncIterator[None]:
        # One mount point per disk: a file system is frozen once, wherever it is mounted.
        points = [points[0] for serial in serials if (points := self._mount_points(serial))]
        try:
            await asyncio.to_thread(_freeze, points)
            yield
        finally:
            await asyncio.shield(asyncio.to_thread(_thaw, points))


def _freeze(points: Iterable[str]) -> None:
    for point in points:
        try:
            _ioctl_on(point, _FIFREEZE)
        except OSError as error:
            raise BackendError(f"cannot freeze the file system on {point}: {error.strerror}") from error


def _thaw(points: Iterable[str]) -> None:
    for point in points:
        # Not frozen is the state that is wanted.
        with contextlib.suppress(OSError):
            _ioctl_on(point, _FITHAW)


def _sync_file_system(point: str) -> None:
    folder = os.open(point, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # syncfs(2) has no wrapper in the standard library; sync(2) would wait for every disk of this machine.
        ctypes.CDLL(None, use_errno=True).syncfs(folder)
    finally:
        os.close(folder)


def _ioctl_on(point: str, request: int) -> None:
    folder = os.open(point, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(folder, request, 0)
    finally:
        os.close(folder)
