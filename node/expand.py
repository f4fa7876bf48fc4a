"""Grows a staged volume's file system after its disk became larger.

The steps of CSI 1.13 NodeExpandVolume. Not here: growing the disk itself (the controller), the tools (`filesystems`).
"""

import asyncio
import logging
from pathlib import Path

from csi.errors import CsiError, ErrorKind
from csi.locks import KeyLocks
from csi.validate import SizeRange
from node.evidence import Evidence
from node.filesystems import FileSystems, parse_fs_type
from node.model import Device
from node.ports import DiskEvents
from node.stage import volume_key
from node.state import Phase, StagedVolume, VolumeRecords

_LOG = logging.getLogger(__name__)

LOOK_S = 0.05
"""The size is looked at this often even when no kernel event tells of a change."""


class Expansion:
    """Grows volumes of this host."""

    def __init__(
        self,
        *,
        filesystems: FileSystems,
        evidence: Evidence,
        records: VolumeRecords,
        locks: KeyLocks,
        events: DiskEvents,
        sys_root: Path,
        device_wait_s: float,
    ) -> None:
        self._filesystems = filesystems
        self._evidence = evidence
        self._records = records
        self._locks = locks
        self._events = events
        self._sys_root = sys_root
        self._device_wait_s = device_wait_s

    async def expand(self, volume_id: str, volume_path: str, size: SizeRange, *, deadline: float) -> int:
        """Grow the volume at one of its paths to its disk, and give the disk's size in bytes. Idempotent.

        Raises CsiError: BUSY; NOT_FOUND when the volume is not at that path; OUT_OF_RANGE when the disk is larger than
        the limit; INTERNAL when the kernel does not show the wanted size in time (ask again); PRECONDITION when
        this file system cannot grow while it is in use.
        """
        with self._locks.hold(volume_key(volume_id)):
            record = await find_at(volume_id, volume_path, self._records, self._evidence)
            disk = await self._grown_disk(record, size.required_bytes, deadline=deadline)
            if size.limit_bytes and disk.size_bytes > size.limit_bytes:
                raise CsiError(
                    ErrorKind.OUT_OF_RANGE,
                    f"volume {volume_id}: {disk.describe()} is larger than the limit of {size.limit_bytes} bytes; a "
                    "volume cannot shrink.",
                )
            if not record.block:
                await self._grow(record, disk, deadline=deadline)
            return disk.size_bytes

    async def _grown_disk(self, record: StagedVolume, required_bytes: int, *, deadline: float) -> Device:
        """Wait until the kernel shows the disk with the wanted size."""
        loop = asyncio.get_running_loop()
        until = min(deadline, loop.time() + self._device_wait_s)
        with self._events.listen() as changed:
            asked = False
            while True:
                changed.clear()
                disk = await self._evidence.disk(record)
                if disk is None:
                    raise CsiError(
                        ErrorKind.INTERNAL,
                        f"volume {record.volume_id}: {record.describe_disk()} is gone from this host.",
                    )
                if disk.size_bytes >= required_bytes:
                    return disk
                if not asked:
                    # virtio, NVMe and loop disks announce a new size; a SCSI disk has to be asked for it.
                    await asyncio.to_thread(_rescan, self._sys_root, disk.name)
                    asked = True
                if loop.time() >= until:
                    raise CsiError(
                        ErrorKind.INTERNAL,
                        f"volume {record.volume_id}: {required_bytes} bytes are wanted, but the kernel still shows "
                        f"{disk.describe()}. The platform has not grown the disk, or the host was not told.",
                    )
                await _wait(changed, min(LOOK_S, until - loop.time()))

    async def _grow(self, record: StagedVolume, disk: Device, *, deadline: float) -> None:
        entry = await self._evidence.staging_mount(record)
        if entry is None:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {record.volume_id}: {record.describe_disk()} is not mounted at its staging path "
                f"{record.staging_path}; NodeStageVolume has to run again, and grows it.",
            )
        if record.read_only:
            # Nobody can grow what nobody may write; the next writable stage does it.
            _LOG.info("volume %s is staged read-only; its file system stays as it is", record.volume_id)
            return
        # Raises a PRECONDITION of its own where the kernel refuses to grow it mounted; the next stage grows it then.
        await self._filesystems.grow(
            disk, parse_fs_type(record.fs_type), mount_path=Path(record.staging_path), deadline=deadline
        )


async def find_at(volume_id: str, volume_path: str, records: VolumeRecords, evidence: Evidence) -> StagedVolume:
    """Give the volume's record if the path is its staging path or one where it is published now.

    Raises CsiError NOT_FOUND otherwise; the path may be any text.
    """
    record = await records.get(volume_id)
    if record is None or record.phase is not Phase.STAGED:
        raise CsiError(ErrorKind.NOT_FOUND, f"volume {volume_id} is not staged on this host")
    if volume_path == record.staging_path and (record.block or await evidence.staging_mount(record) is not None):
        return record
    if volume_path in await evidence.live_targets(record):
        return record
    raise CsiError(
        ErrorKind.NOT_FOUND,
        f"volume {volume_id} is not at {volume_path[:200]!r}; it is staged at {record.staging_path} and published at "
        f"{', '.join(p.target_path for p in record.publications) or 'no path'}",
    )


def _rescan(sys_root: Path, name: str) -> None:
    request = sys_root / "block" / name / "device" / "rescan"
    try:
        if request.exists():
            request.write_text("1")
    except OSError as error:
        _LOG.warning("the kernel refuses to look at disk %s again: %s", name, error)


async def _wait(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await changed.wait()
    except TimeoutError:
        return
