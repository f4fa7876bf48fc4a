"""Unstages a volume: unmounts it from the whole host and lets go of its disk, so that it may be detached.

The steps of CSI 1.13 NodeUnstageVolume. The staging folder itself belongs to the caller and stays. Not here: staging
(`stage`), targets of pods (`publish`).
"""

import asyncio
import logging
from pathlib import Path

from csi.errors import CsiError, ErrorKind
from csi.locks import KeyLocks
from node.evidence import Evidence
from node.model import Device, MountEntry
from node.mounts import Mounts
from node.protection import WriteProtection
from node.release import Release
from node.stage import path_key, volume_key
from node.state import Phase, StagedVolume, VolumeRecords
from node.territory import Territory, check_claims

_LOG = logging.getLogger(__name__)


class Unstaging:
    """Unstages volumes."""

    def __init__(
        self,
        *,
        mounts: Mounts,
        evidence: Evidence,
        records: VolumeRecords,
        locks: KeyLocks,
        protection: WriteProtection,
        release: Release,
        territory: Territory,
    ) -> None:
        self._mounts = mounts
        self._evidence = evidence
        self._records = records
        self._locks = locks
        self._protection = protection
        self._release = release
        self._territory = territory

    async def unstage(self, volume_id: str, staging_path: str, *, deadline: float) -> None:
        """Unmount the volume from its staging path and wait until the kernel has let go of the disk. Idempotent.

        An unknown volume is fine where nothing is mounted. Raises CsiError: BUSY; PRECONDITION while it is still
        published, mounted elsewhere on this host or in use by the kernel, when it is staged at another path, and when
        something else is mounted at this one.
        """
        with self._locks.hold(volume_key(volume_id), path_key(staging_path)):
            record = await self._records.get(volume_id)
            if record is None:
                record = await self._unrecorded(volume_id, staging_path, deadline=deadline)
                if record is None:
                    return
            if not await self._is_at(record, staging_path):
                # "Done" would let the caller detach a disk that is mounted.
                raise CsiError(
                    ErrorKind.PRECONDITION,
                    f"volume {volume_id} is staged at {record.staging_path}, not at {staging_path}; it was left as it "
                    "is. Unstage it there.",
                )
            # Before anything is undone: a volume that a pod still uses has to stay as it is.
            await self._check_unpublished(record)
            if not record.block:
                if await self._mounted_at_staging(record):
                    await self._mounts.unmount(Path(staging_path), deadline=deadline)
                # Only now: the same mount seen through another folder of the host went away together with it.
                await self._check_gone(record)
            disk = await self._evidence.disk(record)
            if disk is not None:
                await self._protection.release(record, disk)
                await self._release.let_go(volume_id, disk, exclusive=not record.block, deadline=deadline)
            # Last: as long as the record is there, a repeated call does all of the above again.
            await self._records.remove(volume_id)

    async def _is_at(self, record: StagedVolume, staging_path: str) -> bool:
        return record.staging_path == staging_path or await asyncio.to_thread(
            lambda: Path(record.staging_path).resolve() == Path(staging_path).resolve()
        )

    async def _mounted_at_staging(self, record: StagedVolume) -> bool:
        entry = await self._evidence.mount_at(record.staging_path)
        if entry is None:
            return False
        if await self._evidence.staging_mount(record) is None:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {record.volume_id}: {entry.source} is mounted over its staging path {record.staging_path}, "
                f"not {record.describe_disk()}. Unmount it.",
            )
        return True

    async def _check_unpublished(self, record: StagedVolume) -> None:
        published = await self._evidence.live_targets(record)
        if published:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {record.volume_id} is still published at {', '.join(published[:5])}; unpublish it first.",
            )

    async def _check_gone(self, record: StagedVolume) -> None:
        left = await self._evidence.mounts_of(record)
        if left:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {record.volume_id}: {record.describe_disk()} is still mounted at "
                f"{', '.join(str(entry.mount_point) for entry in left[:5])}; unmount it there, or detaching would cut "
                "it off.",
            )

    async def _unrecorded(self, volume_id: str, staging_path: str, *, deadline: float) -> StagedVolume | None:
        """Make a record of a staging mount whose record was lost: the caller says whose it is.

        With it a repeated call asks the kernel again. None when nothing is left to do.
        """
        records = await self._records.all()
        await asyncio.to_thread(lambda: check_claims(staging_path, volume_id, records, staging=True))
        entry = await self._evidence.mount_at(staging_path)
        if entry is None:
            return None
        await self._territory.check_unmount(entry, volume_id)
        disk, others = await self._evidence.disk_under(entry)
        if others:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {volume_id}: its record was lost, and {entry.source} is still mounted at "
                f"{', '.join(str(other.mount_point) for other in others[:5])}; unpublish it there first.",
            )
        _LOG.warning("volume %s: no record, unmounting %s from %s", volume_id, entry.source, staging_path)
        if disk is None:
            await self._mounts.unmount(Path(staging_path), deadline=deadline)
            return None
        record = _record_of(volume_id, staging_path, entry, disk)
        await self._records.put(record)
        return record


def _record_of(volume_id: str, staging_path: str, entry: MountEntry, disk: Device) -> StagedVolume:
    return StagedVolume(
        volume_id=volume_id,
        serial=min(disk.serials, default=""),
        # As after a stage that was cut off: what is mounted is to be undone.
        phase=Phase.STAGING,
        device_name=disk.name,
        device=disk.number,
        sequence=disk.sequence,
        block=False,
        fs_type=entry.fs_type,
        staging_path=staging_path,
        mount_flags=(),
        access_mode="",
        read_only=entry.read_only,
    )
