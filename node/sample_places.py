"""Where a disk is read to find a file system whose first and last MiB were lost.

Spare superblocks lie at places that the formats fix, or that follow from the disk's size; and reads spread evenly over
the disk meet most other content. Pure: sizes in, places out. Sources: the kernel's documentation of the ext4 and btrfs
on-disk formats, mkfs.xfs(8).
"""

from collections.abc import Iterator

from node import btrfs_uuid, format_record
from node.model import MIB

SAMPLE_BYTES = 4096
SPREAD = 32
"""Places spread evenly over the disk."""

_EXT_GROUPS_BYTES = ((1024, 8192 * 1024), (0, 16384 * 2048), (0, 32768 * 4096))
"""Start of the first group and size of a group, for blocks of 1, 2 and 4 KiB."""
_EXT_SPARE_GROUPS = (1, 3, 5, 7, 9, 25, 27, 49)
"""The first ones with a spare superblock: 1 and powers of 3, 5 and 7."""
_XFS_GROUPS = 4
"""Allocation groups that mkfs.xfs makes on a single disk below 4 TiB; each begins with a superblock."""
_XFS_BLOCK_BYTES = 4096


def places(size_bytes: int) -> tuple[int, ...]:
    """Give the offsets, in order, between the first and the last MiB of a disk of this size."""
    found = {*_ext(), *btrfs_uuid.COPIES_AT, *_xfs(size_bytes), *_xfs(format_record.fs_bytes(size_bytes))}
    found |= {size_bytes * part // (SPREAD + 1) // SAMPLE_BYTES * SAMPLE_BYTES for part in range(1, SPREAD + 1)}
    return tuple(sorted(place for place in found if MIB <= place <= size_bytes - MIB - SAMPLE_BYTES))


def _ext() -> Iterator[int]:
    for start, group_bytes in _EXT_GROUPS_BYTES:
        for group in _EXT_SPARE_GROUPS:
            yield start + group * group_bytes


def _xfs(fs_bytes: int) -> Iterator[int]:
    group_blocks = -(-(fs_bytes // _XFS_BLOCK_BYTES) // _XFS_GROUPS)
    for group in range(1, _XFS_GROUPS):
        yield group * group_blocks * _XFS_BLOCK_BYTES
