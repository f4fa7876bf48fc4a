"""The back end where this machine is every instance: volumes are loop devices here."""

from pathlib import Path

from devcloud import mounts
from devcloud.loop_disks import FreeNumbers, LoopDisks, OnLoopDisks
from devcloud.machines import Disk, RowsOnly


class HostMachines(OnLoopDisks, RowsOnly):
    """Presents images of one folder as loop devices of this machine; needs root and the loop driver."""

    def __init__(self, disks_dir: Path) -> None:
        self._disks = LoopDisks(disks_dir, FreeNumbers(), lambda: (mounts.HERE,))

    async def present(self, disk: Disk) -> str:
        """Attach a loop device, or keep the one that is there when its mode fits."""
        return str((await self._disks.attach(disk)).device)

    async def withdraw(self, serial: str) -> None:
        """Detach the loop device."""
        await self._disks.withdraw(serial)
