"""Stages a volume: finds its disk, makes sure of its file system, mounts it once for the whole host.

The steps of CSI 1.13 NodeStageVolume in their order, and their undoing when one fails. Not here: the checks of request
fields (`requests`), what may be formatted (`filesystems`), unstaging (`unstage`).
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from csi.errors import CsiError, ErrorKind
from csi.locks import KeyLocks
from csi.volume_context import PublishContext, VolumeContext
from node.devices import Devices
from node.evidence import Evidence
from node.filesystems import FileSystems, mount_options, parse_fs_type
from node.model import Device, FsRequest, FsType, MountEntry
from node.mounts import Mounts
from node.release import Release
from node.shield import give_up
from node.state import Phase, StagedVolume, VolumeRecords
from node.targets import check_staging_folder
from node.territory import Territory, real_path

_LOG = logging.getLogger(__name__)

UNDO_LIMIT_S = 9.0
"""Below the time that the server gives cancelled calls to clean up."""


def volume_key(volume_id: str) -> str:
    """Name the lock of a volume."""
    return f"volume {volume_id}"


def path_key(path: str) -> str:
    """Name the lock of a staging or target path."""
    return f"path {path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRequest:
    """A checked NodeStageVolume request."""

    volume_id: str
    staging_path: str
    block: bool
    fs_type: str
    """Empty for raw block."""
    mount_flags: tuple[str, ...]
    access_mode: str
    read_only: bool
    volume: VolumeContext
    publish: PublishContext


class Staging:
    """Stages volumes. One call per volume and path at a time; a second one is refused as busy."""

    def __init__(
        self,
        *,
        devices: Devices,
        filesystems: FileSystems,
        mounts: Mounts,
        evidence: Evidence,
        records: VolumeRecords,
        locks: KeyLocks,
        release: Release,
        territory: Territory,
        device_wait_s: float,
    ) -> None:
        self._devices = devices
        self._filesystems = filesystems
        self._mounts = mounts
        self._evidence = evidence
        self._records = records
        self._locks = locks
        self._release = release
        self._territory = territory
        self._device_wait_s = device_wait_s

    async def stage(self, request: StageRequest, *, deadline: float) -> None:
        """Make the volume ready at its staging path; for raw block find and record the disk only. Idempotent.

        Raises CsiError: BUSY; ALREADY_EXISTS when it is staged in another way; what `Devices.find` and
        `FileSystems.ensure` raise; PRECONDITION when the path or the disk is taken by something else. A call that
        fails or is cancelled leaves nothing mounted; where even that fails, UNKNOWN_OUTCOME.
        """
        with self._locks.hold(volume_key(request.volume_id), path_key(request.staging_path)):
            previous = await self._leftover(request)
            if previous is not None and await self._stands(previous):
                _check_same(previous, request)
                return
            until = min(deadline, asyncio.get_running_loop().time() + self._device_wait_s)
            disk = await self._devices.find(
                request.publish.serial, deadline=until, expected_size_bytes=request.publish.size_bytes
            )
            record = self._new_record(request, disk, previous)
            if request.block:
                # Nothing is mounted for raw block: the record alone says which disk publish may bind.
                await self._check_free(record, disk, previous)
                await self._records.put(replace(record, phase=Phase.STAGED))
                return
            if await self._adopt(record, disk):
                return
            await self._check_free(record, disk, previous)
            await self._check_folder(record)
            await self._mount(request, record, disk, deadline=deadline)

    async def _leftover(self, request: StageRequest) -> StagedVolume | None:
        """Give what is recorded of an earlier stage that may still count; undo one that was cut off."""
        record = await self._records.get(request.volume_id)
        if record is None:
            return None
        if record.phase is Phase.STAGING:
            try:
                await take_down(record, self._evidence, self._mounts, self._records, self._release)
            except CsiError as error:
                raise CsiError(ErrorKind.UNKNOWN_OUTCOME, f"an earlier stage is still to be undone: {error}") from error
            record = await self._records.get(request.volume_id)
        return record

    async def _stands(self, record: StagedVolume) -> bool:
        if await self._evidence.disk(record) is None:
            # The disk was pulled: its mount is dead, and a disk that came back is a new one for the kernel.
            if await self._evidence.staging_mount(record) is not None:
                await self._mounts.unmount(Path(record.staging_path), deadline=_soon())
            return False
        return record.block or await self._evidence.staging_mount(record) is not None

    def _new_record(self, request: StageRequest, disk: Device, previous: StagedVolume | None) -> StagedVolume:
        kept = previous.publications if previous is not None and previous.is_on(disk) else ()
        return StagedVolume(
            volume_id=request.volume_id,
            serial=request.publish.serial,
            phase=Phase.STAGING,
            device_name=disk.name,
            device=disk.number,
            sequence=disk.sequence,
            block=request.block,
            fs_type=request.fs_type,
            staging_path=request.staging_path,
            mount_flags=request.mount_flags,
            access_mode=request.access_mode,
            read_only=request.read_only or disk.read_only,
            publications=kept,
        )

    async def _check_free(self, record: StagedVolume, disk: Device, previous: StagedVolume | None) -> None:
        """Refuse a disk whose file system is mounted where this stage did not put it."""
        ours = {record.staging_path, *await self._evidence.live_targets(record)}
        points = await asyncio.to_thread(lambda: {real_path(path) for path in ours})
        foreign = [e.mount_point for e in await self._evidence.mounts_of(record) if e.mount_point not in points]
        if not foreign:
            return
        earlier = previous.publications if previous is not None else ()
        pods = await asyncio.to_thread(lambda: {real_path(publication.target_path) for publication in earlier})
        if pods.issuperset(foreign):
            advice = (
                "since before the disk was taken away and came back; these mounts are dead. End the pods that have them"
            )
        else:
            advice = "which is no stage of this volume. Unmount it there"
        raise CsiError(
            ErrorKind.PRECONDITION,
            f"volume {record.volume_id}: {disk.describe()} is already mounted at {', '.join(map(str, foreign[:5]))}, "
            f"{advice}.",
        )

    async def _check_folder(self, record: StagedVolume) -> None:
        own = await self._territory.covers(record.staging_path)
        await asyncio.to_thread(lambda: check_staging_folder(Path(record.staging_path), may_hide=own))

    async def _adopt(self, record: StagedVolume, disk: Device) -> bool:
        """Take over a mount of this very disk at the staging path that no record tells of (its folder was lost)."""
        entry = await self._evidence.mount_at(record.staging_path)
        if entry is None:
            return False
        if await asyncio.to_thread(self._mounts.backed_by, entry) != disk.number:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {record.volume_id}: {entry.source} ({entry.fs_type}) is mounted at the staging path "
                f"{record.staging_path}, not {disk.describe()}. Unmount it.",
            )
        if entry.fs_type != record.fs_type or entry.read_only != record.read_only:
            raise CsiError(
                ErrorKind.ALREADY_EXISTS,
                f"volume {record.volume_id} is mounted at {record.staging_path} as {entry.fs_type}, "
                f"{'read-only' if entry.read_only else 'writable'}; asked for is {record.fs_type}, "
                f"{'read-only' if record.read_only else 'writable'}. Unstage it first.",
            )
        await self._devices.verify(disk)
        _LOG.warning("volume %s: took over the mount of %s at %s", record.volume_id, disk.path, record.staging_path)
        await self._records.put(replace(record, phase=Phase.STAGED))
        return True

    async def _mount(self, request: StageRequest, record: StagedVolume, disk: Device, *, deadline: float) -> None:
        # Only the staging mount was lost; pods still use the file system, so it must be neither checked nor grown as if
        # it were unmounted.
        in_use = bool(await self._evidence.mounts_of(record))
        # The mark goes first: a process that dies between mark and mount leaves a mark without a mount, which is
        # harmless; the other order would leave a mount that nobody knows to undo. It also lets an unstage that comes
        # after a stage of unknown outcome ask the kernel whether a tool still works on the disk.
        await self._records.put(record)
        entry: MountEntry | None = None
        try:
            if in_use:
                fs_type, grow_mounted = parse_fs_type(request.fs_type), False
            else:
                fs_type, grow_mounted = await self._prepare(request, record, disk, deadline=deadline)
            options = mount_options(
                fs_type, read_only=record.read_only, device_read_only=disk.read_only, flags=request.mount_flags
            )
            staging = Path(record.staging_path)
            entry = await self._mounts.mount(
                disk.path, staging, fs_type=fs_type.value, options=options, deadline=deadline
            )
            await self._prove(record, disk, entry)
            if grow_mounted:
                await self._filesystems.grow(disk, fs_type, mount_path=staging, deadline=deadline)
            # Last, because only from here on may publish trust the staging path.
            await self._records.put(replace(record, phase=Phase.STAGED))
        except BaseException as error:
            await give_up(
                self._undo(record, entry), after=error, what=f"volume {record.volume_id}", limit_s=UNDO_LIMIT_S
            )
            raise

    async def _prepare(
        self, request: StageRequest, record: StagedVolume, disk: Device, *, deadline: float
    ) -> tuple[FsType, bool]:
        """Make sure of the file system and give its type, and whether it is to be grown once it is mounted."""
        state = await self._filesystems.ensure(
            disk,
            FsRequest(
                serial=record.serial,
                fs_type=request.fs_type,
                mkfs_options=request.volume.mkfs_options,
                read_only=record.read_only,
                has_source=bool(request.volume.source),
                allocated_bytes=request.publish.allocated_bytes,
            ),
            deadline=deadline,
        )
        if record.read_only or state.formatted:
            return state.fs_type, False
        if await asyncio.to_thread(self._filesystems.can_grow_mounted, state.fs_type):
            return state.fs_type, True
        # A restored or cloned volume may be larger than its file system, and where the kernel refuses to grow it
        # mounted this is the only moment at which nobody uses it.
        await self._filesystems.grow(disk, state.fs_type, mount_path=None, deadline=deadline)
        return state.fs_type, False

    async def _prove(self, record: StagedVolume, disk: Device, entry: MountEntry) -> None:
        """Make sure that what was mounted is that disk: the device path may have changed hands in between."""
        number = await asyncio.to_thread(self._mounts.backed_by, entry)
        if number != disk.number:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {record.volume_id}: mounting {disk.path} gave a file system on {number}, not on "
                f"{disk.number}. It was unmounted again.",
            )
        # The mount holds the disk now, so its numbers cannot pass to another one any more.
        await self._devices.verify(disk)
        if entry.read_only != record.read_only:
            raise CsiError(
                ErrorKind.INTERNAL,
                f"volume {record.volume_id}: {disk.path} was mounted {'read-only' if entry.read_only else 'writable'}, "
                f"asked for was {'read-only' if record.read_only else 'writable'}; look at the kernel's log.",
            )

    async def _undo(self, record: StagedVolume, mounted: MountEntry | None) -> None:
        if mounted is not None:
            # Also when it turned out to be another disk: this call put it there.
            await self._mounts.unmount(mounted.mount_point, deadline=_soon())
        left = await self._evidence.mount_at(record.staging_path)
        if left is not None and await self._evidence.staging_mount(record) is None:
            # Nothing was there before this call, and what is there now cannot be told to be its work.
            raise CsiError(ErrorKind.PRECONDITION, f"{left.source} is still mounted at {record.staging_path}.")
        # Should it fail, the mark stays, so the next stage, unstage or start of this program tries again.
        await take_down(record, self._evidence, self._mounts, self._records, self._release)


async def take_down(
    record: StagedVolume, evidence: Evidence, mounts: Mounts, records: VolumeRecords, release: Release
) -> None:
    """Undo a stage that did not come to its end: unmount what it mounted, then drop its mark.

    A volume that pods still use (only its staging mount was being restored) keeps its record, and a disk that the
    kernel still holds (a tool that works on it, another mount namespace) keeps its mark.
    """
    if await evidence.staging_mount(record) is not None:
        await mounts.unmount(Path(record.staging_path), deadline=_soon())
    # Last: while something may still be mounted, the mark must say so.
    if record.publications:
        await records.put(replace(record, phase=Phase.STAGED))
        return
    disk = await evidence.disk(record)
    if disk is not None and await release.is_held(disk):
        _LOG.warning("volume %s: %s is still in use after its stage was undone", record.volume_id, disk.path)
        return
    await records.remove(record.volume_id)


def _soon() -> float:
    return asyncio.get_running_loop().time() + UNDO_LIMIT_S / 2


def _check_same(record: StagedVolume, request: StageRequest) -> None:
    asked = {
        "staging path": (record.staging_path, request.staging_path),
        "serial": (record.serial, request.publish.serial),
        "access type": ("block" if record.block else "mount", "block" if request.block else "mount"),
        "file system": (record.fs_type, request.fs_type),
        "mount flags": (" ".join(record.mount_flags), " ".join(request.mount_flags)),
        "access mode": (record.access_mode, request.access_mode),
    }
    different = [f"{name} is {old!r}, asked for is {new!r}" for name, (old, new) in asked.items() if old != new]
    if different:
        raise CsiError(
            ErrorKind.ALREADY_EXISTS,
            f"volume {record.volume_id} is staged at {record.staging_path} in another way: {'; '.join(different)}. "
            "Unstage it first.",
        )
