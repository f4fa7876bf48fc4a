"""What the kernel says about a staged volume: its disk, its staging mount, its published targets.

The one place where a record is compared with sysfs and the mount table. It reads and reports; deciding is left to
`stage`, `unstage`, `publish`, `expand`, `health` and `recovery`.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from csi.errors import CsiError, ErrorKind
from node.devices import Devices
from node.model import Device, MountEntry
from node.mounts import Mounts
from node.ports import Kernel
from node.state import StagedVolume

Answer = TypeVar("Answer")
P = ParamSpec("P")


class Evidence:
    """Answers questions about records from the kernel's tables, without side effects.

    Raises CsiError INTERNAL when the tables cannot be read.
    """

    def __init__(self, kernel: Kernel, devices: Devices, mounts: Mounts) -> None:
        self._kernel = kernel
        self._devices = devices
        self._mounts = mounts

    async def disk(self, record: StagedVolume) -> Device | None:
        """Give the present state of the very disk that was staged; None when it is gone or another took its numbers."""
        disk = await _answer(self._devices.numbered, record.device)
        return disk if disk is not None and record.is_on(disk) else None

    async def mount_at(self, path: str) -> MountEntry | None:
        """Give the topmost mount at a path. Raises CsiError PRECONDITION when the path is a symbolic link."""
        return await _answer(self._mounts.at, Path(path))

    async def staging_mount(self, record: StagedVolume) -> MountEntry | None:
        """Give the staging mount if it is on top of the staging path and of the recorded disk."""
        return await _answer(self._mount_of, record, record.staging_path)

    async def holds(self, record: StagedVolume, target_path: str) -> bool:
        """Whether the recorded disk (its file system, or for raw block its node) is mounted at a target path."""
        return await _answer(self._is_live, record, target_path)

    async def live_targets(self, record: StagedVolume) -> tuple[str, ...]:
        """Give the published paths at which the volume really is mounted now."""
        return await _answer(self._live_targets, record)

    async def mounts_of(self, record: StagedVolume) -> tuple[MountEntry, ...]:
        """Give every mount of the recorded disk's file system in this namespace."""
        return await _answer(self._mounts.entries_of, record.device)

    async def disk_under(self, entry: MountEntry) -> tuple[Device | None, tuple[MountEntry, ...]]:
        """Give the disk below a mount that no record tells of, and that disk's mounts at other paths."""
        return await _answer(self._disk_under, entry)

    def _disk_under(self, entry: MountEntry) -> tuple[Device | None, tuple[MountEntry, ...]]:
        number = self._mounts.backed_by(entry)
        if number is None:
            return None, ()
        others = tuple(other for other in self._mounts.entries_of(number) if other.mount_point != entry.mount_point)
        return self._devices.numbered(number), others

    def _mount_of(self, record: StagedVolume, path: str) -> MountEntry | None:
        entry = self._mounts.at(Path(path))
        if entry is None or self._mounts.backed_by(entry) != record.device:
            return None
        return entry

    def _is_live(self, record: StagedVolume, target_path: str) -> bool:
        if not record.block:
            return self._mount_of(record, target_path) is not None
        # The mount entry of a bound device node names the file system of the device folder; the node itself tells.
        target = Path(target_path)
        return self._mounts.at(target) is not None and self._kernel.node_number(target) == record.device

    def _live_targets(self, record: StagedVolume) -> tuple[str, ...]:
        live = []
        for publication in record.publications:
            try:
                if self._is_live(record, publication.target_path):
                    live.append(publication.target_path)
            except CsiError:
                continue  # the path became a link: whatever is behind it is not what was published
        return tuple(live)


async def _answer(look: Callable[P, Answer], *args: P.args, **kwargs: P.kwargs) -> Answer:
    """Look in a thread. Raises CsiError INTERNAL when the kernel's tables cannot be read."""
    try:
        return await asyncio.to_thread(look, *args, **kwargs)
    except OSError as error:
        raise CsiError(
            ErrorKind.INTERNAL,
            f"what the kernel says of disks and mounts cannot be read ({error}); nothing is concluded from that, ask "
            "again",
        ) from error
