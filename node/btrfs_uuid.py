"""Gives a btrfs another UUID by rewriting its superblocks, and nothing else.

What btrfstune does with `-M`, without its transaction: that commits a new generation, and the log of a copy taken while
its source was mounted (every fsync since the last commit) can then no longer be replayed, so that the copy does not
mount at all. Here the generation and the log stay as they are. Source: the kernel's documentation of the btrfs on-disk
format, section superblock. Which disk may be changed, and when, is decided in `filesystems`.
"""

import uuid as uuids

from node.ports import Kernel

SUPERBLOCK_BYTES = 4096
COPIES_AT = (64 * 1024, 64 * 1024**2, 256 * 1024**3)
"""The first is the one that a mount reads; the others exist where the disk is large enough."""

_MAGIC = slice(0x40, 0x48)
_FSID = slice(0x20, 0x30)
_BYTENR = slice(0x30, 0x38)
_FLAGS = slice(0x38, 0x40)
_INCOMPAT = slice(0xBC, 0xC4)
_CHECKSUM_TYPE = slice(0xC4, 0xC6)
_METADATA_UUID = slice(0x23B, 0x24B)
_CHECKSUM_BYTES = 32

_CRC32C = 0
_HAS_METADATA_UUID = 1 << 10
_CHANGING = (1 << 35) | (1 << 36)


def _table() -> tuple[int, ...]:
    entries = []
    for entry in range(256):
        value = entry
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


_CRC_TABLE = _table()


def change(kernel: Kernel, fd: int, uuid: str) -> None:
    """Change the UUID on an open, writable disk (blocking). Cut off anywhere, the next call does the rest.

    Raises ValueError saying what stands against it, OSError.
    """
    size = kernel.size_bytes(fd)
    blocks = {}
    for place in COPIES_AT:
        if place + SUPERBLOCK_BYTES > size:
            continue
        block = kernel.read(fd, place, SUPERBLOCK_BYTES)
        if place == COPIES_AT[0] or _is_copy(block, place):
            blocks[place] = with_uuid(block, uuid)
    # The first copy last: as long as it is the old one, this is a btrfs with the old UUID and nothing is half done.
    for place in sorted(blocks, reverse=True):
        kernel.write(fd, place, blocks[place])
        kernel.flush(fd)


def with_uuid(block: bytes, uuid: str) -> bytes:
    """Give the superblock with another UUID. Raises ValueError for one that must not be changed."""
    changed = bytearray(block)
    if int.from_bytes(block[_CHECKSUM_TYPE], "little") != _CRC32C:
        raise ValueError("its checksums are of a kind other than crc32c")
    if block[:_CHECKSUM_BYTES] != checksum(block):
        raise ValueError("its superblock is damaged")
    if int.from_bytes(block[_FLAGS], "little") & _CHANGING:
        raise ValueError("a change of its UUID by btrfstune was cut off; run btrfstune -m again by hand")
    incompat = int.from_bytes(block[_INCOMPAT], "little")
    if not incompat & _HAS_METADATA_UUID:
        # All other blocks keep the first UUID; the superblock says which that was.
        changed[_METADATA_UUID] = block[_FSID]
        changed[_INCOMPAT] = (incompat | _HAS_METADATA_UUID).to_bytes(8, "little")
    changed[_FSID] = uuids.UUID(uuid).bytes
    changed[:_CHECKSUM_BYTES] = checksum(bytes(changed))
    return bytes(changed)


def checksum(block: bytes) -> bytes:
    """Give the crc32c checksum field of a superblock."""
    value = 0xFFFFFFFF
    for byte in block[_CHECKSUM_BYTES:SUPERBLOCK_BYTES]:
        value = value >> 8 ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return (value ^ 0xFFFFFFFF).to_bytes(4, "little").ljust(_CHECKSUM_BYTES, b"\0")


def _is_copy(block: bytes, place: int) -> bool:
    at_home = int.from_bytes(block[_BYTENR], "little") == place
    return at_home and block[_MAGIC] == b"_BHRfS_M" and block[:_CHECKSUM_BYTES] == checksum(block)
