"""Reads types, sizes and identities out of superblocks of ext, xfs and btrfs.

Read here and not asked of each tool, because one read answers in microseconds and means the same for all three. Pure:
bytes in, facts out. Sources: the kernel's documentation of the ext4 and btrfs on-disk formats, and xfs_db's of xfs.
"""

import struct
import uuid
from dataclasses import dataclass

HEAD_BYTES = 68 * 1024
"""From the start of the disk; enough for all superblocks read here."""

_EXT_AT = 1024
_EXT_MAGIC = 0xEF53
_EXT_64BIT = 0x80
_EXT_JOURNAL = 0x4
_EXT_IS_JOURNAL = 0x8
_EXT3_INCOMPATIBLE = 0x2 | 0x4 | 0x10
"""Directory entries with types, a journal to replay, meta block groups: what ext3 knows, too."""
_EXT3_READ_ONLY = 0x1 | 0x2 | 0x4
"""Sparse superblocks, large files, hashed folders."""
_XFS_MAGIC = b"XFSB"
_BTRFS_AT = 64 * 1024
_BTRFS_MAGIC = b"_BHRfS_M"
_BTRFS_MKFS_GENERATIONS = 16
"""mkfs ends below this generation (6 to 8 in practice); a mounted file system passes it within minutes."""


@dataclass(frozen=True, slots=True)
class Superblock:
    """What a superblock says about its file system."""

    kind: str
    """`ext2`, `ext3`, `ext4`, `jbd` (the journal of another ext), `xfs` or `btrfs`."""
    uuid: str
    size_bytes: int
    was_mounted: bool
    """It was surely mounted for writing at some time. False is no proof that it never was."""
    devices: int = 1
    """Disks that the file system spans (btrfs)."""


def read(head: bytes) -> Superblock | None:
    """Find the superblock in the first `HEAD_BYTES` of a disk; None when none of the three is there."""
    if len(head) < HEAD_BYTES:
        return None
    if head[:4] == _XFS_MAGIC:
        return _xfs(head)
    if head[_BTRFS_AT + 64 : _BTRFS_AT + 72] == _BTRFS_MAGIC:
        return _btrfs(head[_BTRFS_AT:])
    if _number(head, "<H", _EXT_AT + 0x38) == _EXT_MAGIC:
        return _ext(head[_EXT_AT:])
    return None


def _ext(block: bytes) -> Superblock:
    blocks = _number(block, "<I", 0x4)
    if _number(block, "<I", 0x60) & _EXT_64BIT:
        blocks |= _number(block, "<I", 0x150) << 32
    return Superblock(
        kind=_ext_kind(block),
        uuid=_uuid(block, 0x68),
        size_bytes=blocks * (1024 << min(_number(block, "<I", 0x18), 6)),
        was_mounted=_number(block, "<I", 0x2C) != 0 or _number(block, "<H", 0x34) != 0,
    )


def _ext_kind(block: bytes) -> str:
    """Tell by its features, as blkid and the kernel do."""
    incompatible, read_only = _number(block, "<I", 0x60), _number(block, "<I", 0x64)
    if incompatible & _EXT_IS_JOURNAL:
        return "jbd"
    if incompatible & ~_EXT3_INCOMPATIBLE or read_only & ~_EXT3_READ_ONLY:
        return "ext4"
    return "ext3" if _number(block, "<I", 0x5C) & _EXT_JOURNAL else "ext2"


def _xfs(block: bytes) -> Superblock:
    return Superblock(
        kind="xfs",
        uuid=_uuid(block, 32),
        size_bytes=_number(block, ">I", 4) * _number(block, ">Q", 8),
        # The log sequence number of the last superblock write; mkfs leaves 0 and the first unmount does not.
        was_mounted=_number(block, ">Q", 240) != 0,
    )


def _btrfs(block: bytes) -> Superblock:
    return Superblock(
        kind="btrfs",
        uuid=_uuid(block, 32),
        size_bytes=_number(block, "<Q", 112),
        was_mounted=_number(block, "<Q", 72) > _BTRFS_MKFS_GENERATIONS,
        devices=_number(block, "<Q", 136),
    )


def _number(data: bytes, layout: str, offset: int) -> int:
    (value,) = struct.unpack_from(layout, data, offset)
    return int(value)


def _uuid(data: bytes, offset: int) -> str:
    return str(uuid.UUID(bytes=data[offset : offset + 16]))
