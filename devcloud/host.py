"""The back end where this machine is every instance: volumes are loop devices here."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from devcloud import mounts
from devcloud.loop_disks import FreeNumbers, LoopDisks
from devcloud.machines import Disk, PresentDisk, RowsOnly


class HostMachines(RowsOnly):
    """Presents images of one folder as loop devices of this machine; needs root and the loop driver."""

    def __init__(self, disks_dir: Path) -> None:
        self._disks = LoopDisks(disks_dir, FreeNumbers(), lambda: (mounts.HERE,))

    async def present(self, disk: Disk) -> str:
        """Attach a loop device, or keep the one that is there when its mode fits."""
        return str((await self._disks.attach(disk)).device)

    async def withdraw(self, serial: str) -> None:
        """Detach the loop device."""
        await self._disks.withdraw(serial)

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
