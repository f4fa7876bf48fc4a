"""Says how many volumes this host can take (CSI 1.13, NodeGetInfo max_volumes_per_node).

Not here: what the platform allows per instance; the controller learns that from the platform's answer to an attach.
"""

import asyncio
import logging
from pathlib import Path

from node.devices import Devices
from node.model import Device, DeviceNumber, IdentitySource
from node.ports import Kernel
from node.state import StagedVolume, VolumeRecords

_LOG = logging.getLogger(__name__)

LEAST = 1
"""In CSI 0 means "no limit", the opposite of a full host. A full host says 1, and the attach that is one too many is
refused by the platform."""
_SLOT_NAMES = ("vd", "sd", "nvme", "xvd")
"""Kernel names of disks that take a place on the instance's bus. Loop disks do when they are the platform's own."""


class VolumeLimit:
    """The number of volumes that may be attached to this host, recomputed at every question."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        devices: Devices,
        records: VolumeRecords,
        maximum: int,
        reserved: int,
        system_paths: tuple[Path, ...],
        sys_root: Path = Path("/sys"),
    ) -> None:
        """Take the figures.

        `maximum`: places of an instance beside its root disk; `reserved`: places kept for others;
        `system_paths`: paths on the disks of the host itself, which have places of their own.
        """
        self._kernel = kernel
        self._devices = devices
        self._records = records
        self._maximum = maximum
        self._reserved = reserved
        self._system_paths = system_paths
        self._sys_root = sys_root

    async def current(self) -> int:
        """Give the limit: the maximum minus what is reserved and minus disks that others use, at least 1."""
        records = await self._records.all()
        foreign = await asyncio.to_thread(self._foreign, records)
        limit = self._maximum - self._reserved - len(foreign)
        if limit < LEAST:
            _LOG.warning("no place is left for volumes: disks of others: %s", ", ".join(foreign) or "none")
        return max(limit, LEAST)

    def _foreign(self, records: tuple[StagedVolume, ...]) -> list[str]:
        system = self._system_disks()
        try:
            return [
                disk.name
                for disk in self._devices.scan()
                if _takes_place(disk)
                and disk.name not in system
                and not any(record.is_on(disk) for record in records)
                and not self._may_be_ours(disk)
            ]
        except OSError as error:
            _LOG.warning("disks and their mounts cannot be listed, so those of others are not counted: %s", error)
            return []

    def _may_be_ours(self, disk: Device) -> bool:
        # A volume between attach and stage has a serial and no user. The scheduler counts it already; counting it as
        # foreign too would make the limit jump at every attach.
        return bool(disk.identities) and not self._devices.in_use(disk)

    def _system_disks(self) -> set[str]:
        names: set[str] = set()
        for path in self._system_paths:
            try:
                names |= _disks_under(self._sys_root, self._kernel.path_device(path))
            except OSError as error:
                _LOG.debug("the disk of %s cannot be told: %s", path, error)
        return names


def _takes_place(disk: Device) -> bool:
    # Where this host shares its kernel with others, sysfs shows theirs as well, which have no node here.
    if not disk.path.exists():
        return False
    loop_of_platform = any(one.source is IdentitySource.LOOP_FILE for one in disk.identities)
    return disk.name.startswith(_SLOT_NAMES) or loop_of_platform


def _disks_under(sys_root: Path, number: DeviceNumber) -> set[str]:
    """Give the whole disks below a block device: a partition's disk, a mapper's members."""
    folder = (sys_root / "dev/block" / str(number)).resolve()
    if not folder.is_dir():
        return set()  # no block device: tmpfs, overlay, network
    if (folder / "partition").exists():
        folder = folder.parent
    slaves = list((folder / "slaves").iterdir()) if (folder / "slaves").is_dir() else []
    if not slaves:
        return {folder.name}
    names: set[str] = set()
    for slave in slaves:
        names |= _disks_under(sys_root, DeviceNumber.parse((slave / "dev").read_text()))
    return names
