"""Says what of the host this driver may unmount and remove, so that no caller can have it clear a path of the host.

A record proves that a mount or a folder is ours. Where no record tells of it, only paths below the kubelet's folder are
cleared on the caller's word: nothing of the host's own lies there. Not here: unmounting and removing.
"""

import asyncio
import os
from pathlib import Path

from csi.errors import CsiError, ErrorKind
from node.model import MountEntry
from node.mounts import Mounts
from node.ports import Kernel
from node.state import StagedVolume


class Territory:
    """The kubelet's folder without this driver's own folders, and the mounts that can be volumes."""

    def __init__(
        self, *, kernel: Kernel, mounts: Mounts, kubelet_dir: Path, own_folders: tuple[Path, ...], root: Path
    ) -> None:
        """`own_folders`: records and sockets, which are no caller's to clear; `root`: its file system is no volume."""
        self._kernel = kernel
        self._mounts = mounts
        self._kubelet_dir = kubelet_dir
        self._own_folders = own_folders
        self._root = root

    async def covers(self, path: str) -> bool:
        """Whether a path lies below the kubelet's folder once the links of its parents are followed."""
        return await asyncio.to_thread(self._covers, path)

    async def check_unmount(self, entry: MountEntry, volume_id: str) -> None:
        """Refuse to unmount what no record tells of, unless it can be a volume that the kubelet asked for.

        Raises CsiError PRECONDITION for a path outside of the kubelet's folder, for something without a disk of its
        own, and for the host's own file system.
        """
        await asyncio.to_thread(self._check_unmount, entry, volume_id)

    def _covers(self, path: str) -> bool:
        real = real_path(path)
        folder = Path(os.path.realpath(self._kubelet_dir))
        own = (Path(os.path.realpath(kept)) for kept in self._own_folders)
        return folder in real.parents and not any(real.is_relative_to(kept) for kept in own)

    def _check_unmount(self, entry: MountEntry, volume_id: str) -> None:
        what = f"{entry.mount_point} is a mount of {entry.source} ({entry.fs_type})"
        if not self._covers(str(entry.mount_point)):
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"{what}, and no record tells that it is volume {volume_id}; it was left alone. Outside of "
                f"{self._kubelet_dir} only recorded mounts are taken away: unmount it by hand if it is the volume.",
            )
        is_node = self._kernel.node_number(entry.mount_point) is not None
        # In a container the root is the image's; there the kubelet's folder is what shows the host's file system.
        of_host = any(
            mount is not None and mount.device == entry.device
            for mount in (self._mounts.at(self._root), self._mounts.at(self._kubelet_dir))
        )
        if not is_node and (of_host or self._mounts.backed_by(entry) is None):
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"{what}, which is no volume of this driver; it was left alone. Volume {volume_id} is not known there.",
            )


def check_claims(
    path: str, volume_id: str, records: tuple[StagedVolume, ...], *, staging: bool, proved: bool = False
) -> None:
    """Refuse a path that a record names in another role or for another volume than the caller does (blocking).

    `staging`: the caller clears a staging path, otherwise a target path. `proved`: the volume's own disk is there, so
    that what a record of another volume claims is outdated. Raises CsiError PRECONDITION.
    """
    real = real_path(path)
    for record in records:
        own = record.volume_id == volume_id
        uses = [("staging path", record.staging_path, True)]
        uses += [("target path", publication.target_path, False) for publication in record.publications]
        for role, used, is_staging in uses:
            if real_path(used) != real or (is_staging == staging if own else proved):
                continue
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"{path} belongs to volume {record.volume_id} as its {role}; nothing was unmounted or removed in the "
                f"name of volume {volume_id}.",
            )


def real_path(path: str) -> Path:
    """Follow the links of the parents, as the kernel's mount table does, and not one in the last place (blocking)."""
    given = Path(path)
    return Path(os.path.realpath(given.parent)) / given.name
