"""Publishes a staged volume at the paths of pods, and takes it away again.

The steps of CSI 1.13 NodePublishVolume and NodeUnpublishVolume. What is bound is proved to be the recorded disk,
because an empty staging folder of the host's own disk would be bound just as readily. Not here: staging.
"""

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from csi.errors import CsiError, ErrorKind
from csi.locks import KeyLocks
from node.evidence import Evidence
from node.model import Device, MountEntry
from node.mounts import Mounts
from node.protection import WriteProtection
from node.shield import give_up, in_thread
from node.stage import UNDO_LIMIT_S, path_key, volume_key
from node.state import Phase, Publication, StagedVolume, VolumeRecords
from node.targets import make_target, remove_target
from node.territory import Territory, check_claims

_LOG = logging.getLogger(__name__)

_KEPT_OPTIONS = frozenset({"nosuid", "nodev", "noexec"})
_SINGLE_WRITER = "SINGLE_NODE_SINGLE_WRITER"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRequest:
    """A checked NodePublishVolume request."""

    volume_id: str
    staging_path: str
    target_path: str
    block: bool
    fs_type: str
    """Empty for raw block."""
    access_mode: str
    read_only: bool


class Publishing:
    """Binds staged volumes to target paths."""

    def __init__(
        self,
        *,
        mounts: Mounts,
        evidence: Evidence,
        records: VolumeRecords,
        locks: KeyLocks,
        protection: WriteProtection,
        territory: Territory,
    ) -> None:
        self._mounts = mounts
        self._evidence = evidence
        self._records = records
        self._locks = locks
        self._protection = protection
        self._territory = territory

    async def publish(self, request: PublishRequest, *, deadline: float) -> None:
        """Make the staged volume visible at the target path. Idempotent.

        Raises CsiError: BUSY; PRECONDITION when it is not staged (or what is staged is not its disk), when a single
        writer already has it at another path, or when the target is taken; ALREADY_EXISTS when it is published there in
        another way. A call that fails or is cancelled leaves nothing mounted; where even that fails, UNKNOWN_OUTCOME.
        """
        with self._locks.hold(volume_key(request.volume_id), path_key(request.target_path)):
            record = await self._staged(request)
            disk = await self._proved(record)
            if await self._is_published(record, request):
                return
            await self._check_single_writer(record, request)
            if request.block:
                record = await self._settle_protection(record, request, disk)
            await self._bind(record, request, disk, deadline=deadline)

    async def unpublish(self, volume_id: str, target_path: str, *, deadline: float) -> None:
        """Take the volume away from the target path and remove that. Idempotent; an unknown volume is fine.

        Raises CsiError: BUSY; PRECONDITION when it is in use, is a link, holds what this driver did not put there, or
        belongs to another volume. A path that cannot be ours and has nothing mounted is left alone.
        """
        with self._locks.hold(volume_key(volume_id), path_key(target_path)):
            record = await self._records.get(volume_id)
            recorded = record is not None and record.publication(target_path) is not None
            entry = await self._evidence.mount_at(target_path)
            ours = record is not None and entry is not None and await self._evidence.holds(record, target_path)
            await self._check_claims(volume_id, target_path, proved=ours or (recorded and entry is None))
            if entry is not None:
                if not ours:
                    await self._territory.check_unmount(entry, volume_id)
                await self._mounts.unmount(Path(target_path), deadline=deadline)
            if recorded or ours or await self._territory.covers(target_path):
                await in_thread(lambda: remove_target(Path(target_path)))
            elif await asyncio.to_thread(os.path.lexists, target_path):
                # CSI has the plugin remove what it made; anything else is the host's, however empty.
                _LOG.warning("volume %s: %s was not published by this driver and is left", volume_id, target_path)
            # Last: a repeated call needs the record to know what was there.
            if record is not None:
                await self._forget(record, target_path)

    async def _check_claims(self, volume_id: str, target_path: str, *, proved: bool) -> None:
        records = await self._records.all()
        await asyncio.to_thread(lambda: check_claims(target_path, volume_id, records, staging=False, proved=proved))

    async def _staged(self, request: PublishRequest) -> StagedVolume:
        record = await self._records.get(request.volume_id)
        if record is None or record.phase is not Phase.STAGED:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {request.volume_id} is not staged on this host; NodeStageVolume has to come first.",
            )
        asked = {
            "staging path": (record.staging_path, request.staging_path),
            "access type": ("block" if record.block else "mount", "block" if request.block else "mount"),
            "file system": (record.fs_type, request.fs_type),
        }
        different = [f"{name} is {old!r}, asked for is {new!r}" for name, (old, new) in asked.items() if old != new]
        if record.read_only and not request.read_only:
            different.append("it is staged read-only (by its access mode, mount flags or a write-protected disk)")
        if different:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {request.volume_id} is staged in a way that does not fit: {'; '.join(different)}.",
            )
        return record

    async def _proved(self, record: StagedVolume) -> Device:
        disk = await self._evidence.disk(record)
        if disk is None:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {record.volume_id}: {record.describe_disk()} is gone from this host. It has to be attached "
                "and staged again.",
            )
        if not record.block and await self._evidence.staging_mount(record) is None:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {record.volume_id}: {record.describe_disk()} is not mounted at its staging path "
                f"{record.staging_path} any more. NodeStageVolume has to run again.",
            )
        return disk

    async def _is_published(self, record: StagedVolume, request: PublishRequest) -> bool:
        entry = await self._evidence.mount_at(request.target_path)
        if entry is None:
            return False
        if not await self._evidence.holds(record, request.target_path):
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"target path {request.target_path}: {entry.source} ({entry.fs_type}) is mounted there, not volume "
                f"{record.volume_id}. Unmount it.",
            )
        known = record.publication(request.target_path)
        wanted = _publication(request)
        if known is None:
            # Mounted, but the record of it was lost: only what the mount itself shows can be compared.
            if not request.block and ("ro" in entry.options) != request.read_only:
                raise _published_otherwise(record, request, "writable" if request.read_only else "read-only")
            await self._records.put(record.with_publication(wanted))
            return True
        if known != wanted:
            shown = f"{'read-only' if known.read_only else 'writable'}, access mode {known.access_mode}"
            raise _published_otherwise(record, request, shown)
        # The record goes ahead of the mount, so a process may have died between the bind and its read-only flag. The
        # reverse, a writable publication on a file system that turned read-only, is damage: pods keep their mount.
        if not request.block and request.read_only and not entry.read_only:
            await self._unmount_cut_off(request.target_path)
            return False
        return True

    async def _unmount_cut_off(self, target_path: str) -> None:
        try:
            await self._mounts.unmount(Path(target_path), deadline=_soon())
        except CsiError as error:
            raise CsiError(ErrorKind.UNKNOWN_OUTCOME, f"an earlier publish is still to be undone: {error}") from error

    async def _check_single_writer(self, record: StagedVolume, request: PublishRequest) -> None:
        live = [path for path in await self._evidence.live_targets(record) if path != request.target_path]
        exclusive = [p.target_path for p in record.publications if p.access_mode == _SINGLE_WRITER]
        if live and (_SINGLE_WRITER in {request.access_mode, record.access_mode} or set(live) & set(exclusive)):
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {record.volume_id} is for a single writer and is already published at {live[0]}; unpublish it "
                "there first.",
            )

    async def _settle_protection(self, record: StagedVolume, request: PublishRequest, disk: Device) -> StagedVolume:
        """Make the kernel refuse or allow writes to a raw disk, as its publications ask."""
        live = await self._evidence.live_targets(record)
        for other in record.publications:
            if other.target_path not in live or other.target_path == request.target_path:
                continue
            if other.read_only != request.read_only:
                raise CsiError(
                    ErrorKind.PRECONDITION,
                    f"raw block volume {record.volume_id} is published "
                    f"{'read-only' if other.read_only else 'writable'} at {other.target_path}; it cannot be "
                    f"{'read-only' if request.read_only else 'writable'} elsewhere on this host at the same time.",
                )
        if request.read_only:
            return await self._protection.protect(record, disk)
        # A publish that was cut off may have left a protection that nobody uses.
        return await self._protection.release(record, disk)

    async def _bind(self, record: StagedVolume, request: PublishRequest, disk: Device, *, deadline: float) -> None:
        target = Path(request.target_path)
        # The record goes ahead of the mount: a mount that nobody remembers would block unstaging later, a
        # publication without a mount counts for nothing.
        published = record.with_publication(_publication(request))
        await self._records.put(published)
        made = False
        entry: MountEntry | None = None
        try:
            made = await in_thread(lambda: make_target(target, block=request.block))
            source = disk.path if request.block else Path(record.staging_path)
            entry = await self._mounts.bind(
                source, target, read_only=request.read_only and not request.block, deadline=deadline
            )
            await self._prove_bound(published, request, entry)
        except BaseException as error:
            undo = self._undo(published, target, made=made, bound=entry is not None)
            await give_up(undo, after=error, what=f"volume {record.volume_id}", limit_s=UNDO_LIMIT_S)
            raise

    async def _prove_bound(self, record: StagedVolume, request: PublishRequest, entry: MountEntry) -> None:
        if not await self._evidence.holds(record, request.target_path):
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {record.volume_id}: what was bound to {request.target_path} is {entry.source}, not "
                f"{record.describe_disk()}. It was unmounted again.",
            )
        if request.block:
            if await self._evidence.disk(record) is None:
                raise CsiError(
                    ErrorKind.PRECONDITION,
                    f"volume {record.volume_id}: {record.describe_disk()} went away while it was published.",
                )
            return
        staged = await self._evidence.staging_mount(record)
        lost = _KEPT_OPTIONS & set(staged.options if staged is not None else ()) - set(entry.options)
        if lost or (request.read_only and not entry.read_only):
            raise CsiError(
                ErrorKind.INTERNAL,
                f"volume {record.volume_id}: the mount at {request.target_path} lacks "
                f"{', '.join(sorted(lost)) or 'ro'}; it was unmounted again.",
            )

    async def _undo(self, record: StagedVolume, target: Path, *, made: bool, bound: bool) -> None:
        # Also when it turned out to be something else: this call put it there.
        if bound or await self._evidence.holds(record, str(target)):
            await self._mounts.unmount(target, deadline=_soon())
        left = await self._evidence.mount_at(str(target))
        if left is not None:
            # Nothing was there before this call, and what is there now cannot be told to be its work.
            raise CsiError(ErrorKind.PRECONDITION, f"{left.source} is still mounted at {target}.")
        if made:
            await in_thread(lambda: remove_target(target))
        await self._forget(record, str(target))

    async def _forget(self, record: StagedVolume, target_path: str) -> None:
        left = record.without_publication(target_path)
        if left.write_protected and not any(p.read_only for p in left.publications):
            disk = await self._evidence.disk(left)
            if disk is not None:
                left = await self._protection.release(left, disk)
        if left != record:
            await self._records.put(left)


def _publication(request: PublishRequest) -> Publication:
    return Publication(target_path=request.target_path, read_only=request.read_only, access_mode=request.access_mode)


def _published_otherwise(record: StagedVolume, request: PublishRequest, shown: str) -> CsiError:
    return CsiError(
        ErrorKind.ALREADY_EXISTS,
        f"volume {record.volume_id} is already published at {request.target_path} in another way ({shown}); asked "
        f"for is {'read-only' if request.read_only else 'writable'}, access mode {request.access_mode}. Unpublish it "
        "first.",
    )


def _soon() -> float:
    return asyncio.get_running_loop().time() + UNDO_LIMIT_S / 2
