"""Says what is wrong with a staged volume, and with this host's means to serve volumes.

CSI 1.13, NodeGetVolumeHealth and NodeGetStorageHealth: nothing found means healthy. It only reads. Not here: figures
(`stats`), repairing.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from csi.errors import CsiError, ErrorKind
from node.devices import Devices
from node.evidence import Evidence
from node.looks import Looks
from node.model import Device, FsType
from node.mounts import Mounts
from node.ports import Kernel
from node.state import Phase, StagedVolume, VolumeRecords

_LOG = logging.getLogger(__name__)

LOOK_LIMIT_S = 5.0
"""A disk that does not answer in this time is reported as not answering."""

TOOLS = {
    FsType.EXT3: ("mkfs.ext3", "e2fsck", "resize2fs"),
    FsType.EXT4: ("mkfs.ext4", "e2fsck", "resize2fs"),
    FsType.XFS: ("mkfs.xfs", "xfs_growfs"),
    FsType.BTRFS: ("mkfs.btrfs", "btrfs"),
}
"""Programs that a file system needs on this host."""
BASE_TOOLS = ("blkid", "mount", "umount", "blockdev")
"""Programs that every volume needs."""


class VolumeProblem(IntEnum):
    """CSI 1.13, VolumeHealthErrorType, with its numbers."""

    DEGRADED = 1
    INACCESSIBLE = 2
    DATA_LOSS = 3


class StorageProblem(IntEnum):
    """CSI 1.13, StorageHealthErrorType, with its numbers."""

    DEGRADED = 1
    UNREACHABLE = 2


@dataclass(frozen=True, slots=True)
class VolumeFinding:
    """One thing that is wrong with a volume; `reason` is a CamelCase word, unique within a status."""

    status: VolumeProblem
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class StorageFinding:
    """One thing that is wrong with this host's storage."""

    status: StorageProblem
    reason: str
    message: str


class VolumeHealth:
    """Looks at staged volumes."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        mounts: Mounts,
        evidence: Evidence,
        records: VolumeRecords,
        sys_root: Path,
    ) -> None:
        self._kernel = kernel
        self._mounts = mounts
        self._evidence = evidence
        self._records = records
        self._sys_root = sys_root
        self._looks = Looks()

    async def look(self, volume_id: str, *, published_at: str = "", deadline: float) -> tuple[VolumeFinding, ...]:
        """Give what is wrong with a volume; nothing means healthy. `published_at`: a path that is to be looked at too.

        Raises CsiError NOT_FOUND for a volume that is not staged here.
        """
        record = await self._records.get(volume_id)
        if record is None or record.phase is not Phase.STAGED:
            raise CsiError(ErrorKind.NOT_FOUND, f"volume {volume_id} is not staged on this host")
        until = min(deadline, asyncio.get_running_loop().time() + LOOK_LIMIT_S)
        disk = await self._evidence.disk(record)
        if disk is None:
            return (_inaccessible("DiskGone", f"{record.describe_disk()} is gone from this host"),)
        findings = [*await self._look_at_disk(record, disk, until)]
        if not record.block:
            findings += await self._look_at_mount(record, disk, until)
        if published_at and published_at not in await self._evidence.live_targets(record):
            findings.append(_inaccessible("NotPublished", f"the volume is not mounted at {published_at}"))
        # The pair of status and reason has to be unique; the first text says most.
        return tuple({(finding.status, finding.reason): finding for finding in reversed(findings)}.values())

    async def _look_at_disk(self, record: StagedVolume, disk: Device, until: float) -> tuple[VolumeFinding, ...]:
        try:
            answering = await self._looks.look(disk.number, lambda: self._kernel.probe(disk.path), deadline=until)
        except TimeoutError:
            return (_inaccessible("DiskNotAnswering", f"{disk.describe()} does not answer"),)
        except OSError as error:
            return (_inaccessible("DiskReadError", f"{disk.describe()} cannot be read: {error.strerror}"),)
        if answering != disk.number:
            return (_inaccessible("DiskReplaced", f"{disk.path} leads to {answering}, not to {disk.describe()}"),)
        if disk.read_only and not record.read_only and not record.write_protected:
            return (VolumeFinding(VolumeProblem.DEGRADED, "DiskReadOnly", f"{disk.describe()} became write-protected"),)
        return ()

    async def _look_at_mount(self, record: StagedVolume, disk: Device, until: float) -> list[VolumeFinding]:
        entry = await self._evidence.staging_mount(record)
        if entry is None:
            return [
                _inaccessible(
                    "NotMounted", f"{record.describe_disk()} is not mounted at {record.staging_path} any more"
                )
            ]
        findings = []
        path = Path(record.staging_path)
        try:
            damage = await self._looks.look(disk.number, lambda: self._mounts.damage(path), deadline=until)
        except TimeoutError:
            damage = "does not answer"
        if damage:
            findings.append(_inaccessible("MountDamaged", f"{record.staging_path}: {damage}"))
        if entry.read_only and not record.read_only:
            text = f"the kernel made the {record.fs_type} file system at {record.staging_path} read-only after an error"
            findings.append(VolumeFinding(VolumeProblem.DEGRADED, "FileSystemReadOnly", text))
        findings += await asyncio.to_thread(lambda: list(self._recorded_errors(record, disk)))
        return findings

    def _recorded_errors(self, record: StagedVolume, disk: Device) -> Iterator[VolumeFinding]:
        """Read the error counts that ext4 and btrfs keep."""
        ext_errors = _number(self._sys_root / "fs/ext4" / disk.name / "errors_count")
        if ext_errors:
            text = f"{record.fs_type} on {disk.path} has recorded {ext_errors} errors; run e2fsck on it"
            yield VolumeFinding(VolumeProblem.DEGRADED, "FileSystemErrors", text)
        for folder in (self._sys_root / "fs/btrfs").glob(f"*/devices/{disk.name}"):
            counts = _btrfs_counts(folder.parent.parent)
            if counts.get("corruption_errs"):
                text = f"btrfs on {disk.path} found {counts['corruption_errs']} blocks with wrong checksums"
                yield VolumeFinding(VolumeProblem.DATA_LOSS, "ChecksumErrors", text)
            failed = sum(counts.get(name, 0) for name in ("write_errs", "read_errs", "flush_errs", "generation_errs"))
            if failed:
                text = f"btrfs on {disk.path} counted {failed} failed reads and writes"
                yield VolumeFinding(VolumeProblem.DEGRADED, "DiskErrors", text)


class StorageHealth:
    """Looks at what this host needs to serve any volume."""

    def __init__(
        self,
        *,
        devices: Devices,
        records: VolumeRecords,
        hears_events: Callable[[], bool],
        find_program: Callable[[str], str | None] = shutil.which,
    ) -> None:
        """`hears_events`: whether kernel events arrive; `find_program`: as `shutil.which`."""
        self._devices = devices
        self._records = records
        self._hears_events = hears_events
        self._find_program = find_program

    async def look(self) -> tuple[StorageFinding, ...]:
        """Give what is wrong; nothing means healthy."""
        return tuple(await asyncio.to_thread(lambda: list(self._look())))

    def _look(self) -> Iterator[StorageFinding]:
        try:
            self._devices.scan()
        except OSError as error:
            yield StorageFinding(StorageProblem.UNREACHABLE, "DisksUnreadable", f"sysfs cannot be read: {error}")
        missing = sorted(tool for tool in all_tools() if self._find_program(tool) is None)
        if missing:
            text = f"programs are missing on this host: {', '.join(missing)}"
            yield StorageFinding(StorageProblem.DEGRADED, "ToolsMissing", text)
        if not self._hears_events():
            text = "kernel events of disks are not heard; disks are still found by looking again and again"
            yield StorageFinding(StorageProblem.DEGRADED, "NoKernelEvents", text)
        damaged = self._records.set_aside_files()
        if damaged:
            text = f"damaged records of staged volumes were set aside: {', '.join(damaged[:5])}"
            yield StorageFinding(StorageProblem.DEGRADED, "RecordsDamaged", text)


def all_tools() -> frozenset[str]:
    """Give every program that this driver may run."""
    return frozenset(BASE_TOOLS).union(*TOOLS.values())


def _inaccessible(reason: str, message: str) -> VolumeFinding:
    return VolumeFinding(VolumeProblem.INACCESSIBLE, reason, message)


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0  # not kept by this kernel or file system


def _btrfs_counts(folder: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for file in folder.glob("devinfo/*/error_stats"):
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(" ")
            counts[name] = counts.get(name, 0) + int(value)
    return counts
