"""Superblocks and signatures as bytes: written by the simulated mkfs, read by the simulated blkid and mount.

Only as much of each format as the tools and the kernel look at.
"""

import struct
import uuid as uuids

from node import btrfs_uuid
from node.model import MIB

XFS_MIN = 300 * MIB
BTRFS_MIN = 109 * MIB
BTRFS_AT = 65536


def make(fs_type: str, size_bytes: int) -> dict[int, bytes]:
    """Give what mkfs writes, by offset, backup copy at the end of the file system included."""
    identity = uuids.uuid4().bytes
    if fs_type == "xfs":
        block = bytearray(512)
        block[:4] = b"XFSB"
        struct.pack_into(">IQ", block, 4, 4096, size_bytes // 4096)
        block[32:48] = identity
        return {0: bytes(block).ljust(4096, b"\0"), size_bytes - 4096: b"\xf5" * 4096}
    if fs_type == "btrfs":
        block = bytearray(4096)
        block[32:48] = identity
        block[64:72] = b"_BHRfS_M"
        struct.pack_into("<Q", block, 72, 6)
        struct.pack_into("<Q", block, 112, size_bytes)
        struct.pack_into("<Q", block, 136, 1)
        struct.pack_into("<Q", block, 48, BTRFS_AT)
        block[:32] = btrfs_uuid.checksum(bytes(block))
        return {0: bytes(BTRFS_AT), BTRFS_AT: bytes(block), size_bytes - 4096: b"\xf5" * 4096}
    block = bytearray(1024)
    struct.pack_into("<I", block, 0x4, size_bytes // 4096 & 0xFFFFFFFF)
    struct.pack_into("<I", block, 0x18, 2)
    struct.pack_into("<HH", block, 0x38, 0xEF53, 1)
    struct.pack_into("<I", block, 0x5C, 0 if fs_type == "ext2" else 0x4)
    struct.pack_into("<I", block, 0x60, 0x2 | (0xC0 if fs_type == "ext4" else 0))
    block[0x68:0x78] = identity
    struct.pack_into("<I", block, 0x150, size_bytes // 4096 >> 32)
    return {1024: bytes(block), 4096: b"\xf5" * 4096, size_bytes - 4096: b"\xf5" * 4096}


def kinds(head: bytes) -> list[dict[str, str]]:
    """Give blkid's tags of every signature in the head of a disk."""
    found = []
    if head[:4] == b"XFSB":
        found.append({"TYPE": "xfs", "USAGE": "filesystem", "UUID": uuid_of(head)})
    if head[BTRFS_AT + 64 : BTRFS_AT + 72] == b"_BHRfS_M":
        found.append({"TYPE": "btrfs", "USAGE": "filesystem", "UUID": uuid_of(head)})
    if head[1024 + 0x38 : 1024 + 0x3A] == b"\x53\xef":
        found.append({"TYPE": _ext_kind(head), "USAGE": "filesystem", "UUID": uuid_of(head)})
    if head[4086:4096] == b"SWAPSPACE2":
        found.append({"TYPE": "swap", "USAGE": "other"})
    if head[:6] == b"LUKS\xba\xbe":
        found.append({"TYPE": "crypto_LUKS", "USAGE": "crypto"})
    if head[512:520] == b"LABELONE":
        found.append({"TYPE": "LVM2_member", "USAGE": "raid"})
    if head[512:520] == b"EFI PART":
        found.append({"PTTYPE": "gpt"})
    elif head[510:512] == b"\x55\xaa":
        found.append({"PTTYPE": "dos"})
    return found


def fs_type_of(head: bytes) -> str:
    tags = kinds(head)
    return tags[0].get("TYPE", "") if tags else ""


def uuid_of(head: bytes) -> str:
    if head[:4] == b"XFSB":
        return str(uuids.UUID(bytes=head[32:48]))
    if head[BTRFS_AT + 64 : BTRFS_AT + 72] == b"_BHRfS_M":
        return str(uuids.UUID(bytes=head[BTRFS_AT + 32 : BTRFS_AT + 48]))
    return str(uuids.UUID(bytes=head[1024 + 0x68 : 1024 + 0x78]))


def size_of(head: bytes) -> int:
    kind = fs_type_of(head)
    if kind == "xfs":
        block, blocks = struct.unpack_from(">IQ", head, 4)
        return int(block * blocks)
    if kind == "btrfs":
        return int(struct.unpack_from("<Q", head, BTRFS_AT + 112)[0])
    low = struct.unpack_from("<I", head, 1024 + 4)[0]
    high = struct.unpack_from("<I", head, 1024 + 0x150)[0] if kind == "ext4" else 0
    return int(high << 32 | low) * 4096


def resized(head: bytes, size_bytes: int) -> bytes:
    """Give the head with the superblock's size changed."""
    changed = bytearray(head)
    kind = fs_type_of(head)
    if kind == "xfs":
        struct.pack_into(">Q", changed, 8, size_bytes // 4096)
    elif kind == "btrfs":
        struct.pack_into("<Q", changed, BTRFS_AT + 112, size_bytes)
        _sum_up(changed)
    else:
        struct.pack_into("<I", changed, 1024 + 4, size_bytes // 4096 & 0xFFFFFFFF)
        struct.pack_into("<I", changed, 1024 + 0x150, size_bytes // 4096 >> 32)
    return bytes(changed)


def mounted_once(head: bytes) -> bytes:
    """Give the head as a mount for writing, and its end, leave it."""
    changed = bytearray(head)
    kind = fs_type_of(head)
    if kind == "xfs":
        struct.pack_into(">Q", changed, 240, 0x100000002)
    elif kind == "btrfs":
        (generation,) = struct.unpack_from("<Q", changed, BTRFS_AT + 72)
        struct.pack_into("<Q", changed, BTRFS_AT + 72, generation + 1)
        _sum_up(changed)
    else:
        (count,) = struct.unpack_from("<H", changed, 1024 + 0x34)
        struct.pack_into("<I", changed, 1024 + 0x2C, 1_700_000_000)
        struct.pack_into("<H", changed, 1024 + 0x34, count + 1)
    return bytes(changed)


def _sum_up(head: bytearray) -> None:
    block = bytes(head[BTRFS_AT : BTRFS_AT + btrfs_uuid.SUPERBLOCK_BYTES])
    head[BTRFS_AT : BTRFS_AT + 32] = btrfs_uuid.checksum(block)


def _ext_kind(head: bytes) -> str:
    if struct.unpack_from("<I", head, 1024 + 0x60)[0] & 0x40:
        return "ext4"
    return "ext3" if struct.unpack_from("<I", head, 1024 + 0x5C)[0] & 0x4 else "ext2"
