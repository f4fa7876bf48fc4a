"""Unstages a volume: unmounts it from the whole host and lets go of its disk, so that it may be detached.

The steps of CSI 1.13 NodeUnstageVolume. The staging folder itself belongs to the caller and stays. Not here: staging
(`stage`), targets of pods (`publish`).
"""

import asyncio
import errno
import logging
from pathlib import Path

from csi.errors import CsiError, ErrorKind
from csi.locks import KeyLocks
from node.evidence import Evidence
from node.model import Device
from node.mounts import Mounts
from node.ports import Kernel
from node.protection import WriteProtection
from node.stage import path_key, volume_key
from node.state import StagedVolume, VolumeRecords

_LOG = logging.getLogger(__name__)

RELEASE_POLL_S = 0.05
RELEASE_WAIT_S = 30.0
"""The kernel ends a file system in the background (lazy unmounts of dying containers); longer than this is a leak."""


class Unstaging:
    """Unstages volumes."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        mounts: Mounts,
        evidence: Evidence,
        records: VolumeRecords,
        locks: KeyLocks,
        protection: WriteProtection,
        root: Path = Path("/"),
    ) -> None:
        """`root`: the folder whose file system is never unmounted."""
        self._kernel = kernel
        self._mounts = mounts
        self._evidence = evidence
        self._records = records
        self._locks = locks
        self._protection = protection
        self._root = root

    async def unstage(self, volume_id: str, staging_path: str, *, deadline: float) -> None:
        """Unmount the volume from its staging path and wait until the kernel has let go of the disk. Idempotent.

        An unknown volume is fine. Raises CsiError: BUSY; PRECONDITION while it is still published or mounted elsewhere
        on this host, or when something else is mounted at the path.
        """
        with self._locks.hold(volume_key(volume_id), path_key(staging_path)):
            record = await self._records.get(volume_id)
            if record is None:
                await self._unmount_unrecorded(volume_id, staging_path, deadline=deadline)
                return
            if not await self._is_at(record, staging_path):
                _LOG.warning("volume %s is staged at %s, not at %s", volume_id, record.staging_path, staging_path)
                return
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
                await self._let_go(record, disk, deadline=deadline)
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

    async def _unmount_unrecorded(self, volume_id: str, staging_path: str, *, deadline: float) -> None:
        """Clean a path whose record was lost: the caller says that it is this volume's staging path."""
        entry = await self._evidence.mount_at(staging_path)
        if entry is None:
            return
        await refuse_unrecorded(entry.mount_point, volume_id, self._kernel, self._mounts, self._root)
        _LOG.warning("volume %s: no record, unmounting %s from %s", volume_id, entry.source, staging_path)
        await self._mounts.unmount(Path(staging_path), deadline=deadline)

    async def _let_go(self, record: StagedVolume, disk: Device, *, deadline: float) -> None:
        """Put everything on stable storage and wait until no file system anywhere holds the disk.

        Opening the disk exclusively asks the kernel itself, and so sees mounts of other namespaces too.
        """
        loop = asyncio.get_running_loop()
        until = min(deadline, loop.time() + RELEASE_WAIT_S)
        while True:
            try:
                await asyncio.to_thread(self._flush, disk.path, exclusive=not record.block)
            except OSError as error:
                if error.errno in {errno.ENODEV, errno.ENXIO, errno.ENOENT}:
                    return
                if error.errno != errno.EBUSY:
                    raise CsiError(
                        ErrorKind.INTERNAL,
                        f"volume {record.volume_id}: flushing {disk.describe()} failed: {error}. Data written last may "
                        "be lost if it is detached now; look at the kernel's log.",
                    ) from error
            else:
                return
            if loop.time() + RELEASE_POLL_S > until:
                raise CsiError(
                    ErrorKind.PRECONDITION,
                    f"volume {record.volume_id}: unmounted here, but the kernel still holds {disk.describe()}; another "
                    "mount namespace (a container of this host) has it mounted. End that container.",
                )
            await asyncio.sleep(RELEASE_POLL_S)

    def _flush(self, path: Path, *, exclusive: bool) -> None:
        descriptor = self._kernel.open_device(path, exclusive=exclusive)
        try:
            self._kernel.flush(descriptor)
        finally:
            self._kernel.close(descriptor)


async def refuse_unrecorded(mount_point: Path, volume_id: str, kernel: Kernel, mounts: Mounts, root: Path) -> None:
    """Refuse to unmount what cannot be a volume: something without a disk of its own, or the host's own file system.

    Raises CsiError PRECONDITION. For paths that a caller calls a volume's, while no record says so.
    """
    entry = await asyncio.to_thread(mounts.at, mount_point)
    if entry is None:
        return
    number = await asyncio.to_thread(mounts.backed_by, entry)
    is_node = await asyncio.to_thread(kernel.node_number, mount_point) is not None
    root_entry = await asyncio.to_thread(mounts.at, root)
    if (number is None and not is_node) or (
        root_entry is not None and root_entry.device == entry.device and not is_node
    ):
        raise CsiError(
            ErrorKind.PRECONDITION,
            f"{mount_point} is a mount of {entry.source} ({entry.fs_type}), which is no volume of this driver; it was "
            f"left alone. Volume {volume_id} is not known on this host.",
        )
