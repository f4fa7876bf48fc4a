"""A btrfs gets another UUID, and keeps everything else, whenever the change is cut off."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import btrfs_uuid
from node.model import MIB
from tests.support import fake_disk_formats as formats
from tests.support.fake_disks import CrashError
from tests.support.fake_host import FakeHost

FIRST, SECOND = "11111111-2222-4333-8444-555555555555", "66666666-7777-4888-8999-aaaaaaaaaaaa"


def block_of(content: bytes = b"") -> bytes:
    made = formats.make("btrfs", 400 * MIB)[formats.BTRFS_AT]
    block = bytearray(made)
    block[0x300 : 0x300 + len(content)] = content
    block[:32] = btrfs_uuid.checksum(bytes(block))
    return bytes(block)


def test_the_checksum_is_crc32c() -> None:
    # The check value of the algorithm, which every description of it gives.
    table = btrfs_uuid._CRC_TABLE
    value = 0xFFFFFFFF
    for byte in b"123456789":
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    assert value ^ 0xFFFFFFFF == 0xE3069283


@given(st.binary(max_size=256))
def test_only_uuid_flag_and_checksum_change(content: bytes) -> None:
    before = block_of(content)
    after = btrfs_uuid.with_uuid(before, FIRST)
    kept = [range(0x30, 0xBC), range(0xC4, 0x23B), range(0x24B, 4096)]
    assert all(before[part.start : part.stop] == after[part.start : part.stop] for part in kept)
    assert after[0x23B:0x24B] == before[0x20:0x30]
    assert after[:32] == btrfs_uuid.checksum(after)
    again = btrfs_uuid.with_uuid(after, SECOND)
    # A clone of a clone: all other blocks still carry the very first UUID.
    assert again[0x23B:0x24B] == before[0x20:0x30]


@pytest.mark.parametrize(
    ("place", "layout", "value", "text"),
    [(0xC4, "<H", 1, "other than crc32c"), (0x38, "<Q", 1 << 36, "cut off"), (0x400, "<H", 7, "damaged")],
)
def test_what_must_not_be_changed_is_refused(place: int, layout: str, value: int, text: str) -> None:
    block = bytearray(block_of())
    struct.pack_into(layout, block, place, value)
    if text != "damaged":
        block[:32] = btrfs_uuid.checksum(bytes(block))
    with pytest.raises(ValueError, match=text):
        btrfs_uuid.with_uuid(bytes(block), FIRST)


@pytest.mark.parametrize("crash", ["write vda@67108864", "flush", "write vda@65536", ""])
def test_a_change_that_was_cut_off_is_finished_by_the_next(host: FakeHost, crash: str) -> None:
    disk = host.plug("s1")
    block = block_of()
    disk.write(btrfs_uuid.COPIES_AT[0], block)
    copy = bytearray(block)
    struct.pack_into("<Q", copy, 0x30, btrfs_uuid.COPIES_AT[1])
    copy[:32] = btrfs_uuid.checksum(bytes(copy))
    disk.write(btrfs_uuid.COPIES_AT[1], bytes(copy))
    disk.unflushed.clear()

    def change() -> None:
        fd = host.kernel.open_device(host.dev_root / disk.name, writable=True)
        try:
            btrfs_uuid.change(host.kernel, fd, FIRST)
        finally:
            host.kernel.close(fd)

    if crash:
        host.crash_before(crash)
        with pytest.raises(CrashError):
            change()
        host.power_cut()
        assert btrfs_uuid.with_uuid(disk.head[btrfs_uuid.COPIES_AT[0] :][:4096], FIRST)
        assert formats.uuid_of(disk.head) != FIRST
    change()
    for place in btrfs_uuid.COPIES_AT[:2]:
        found = disk.read(place, 4096)
        assert found[:32] == btrfs_uuid.checksum(found)
        assert found[0x20:0x30].hex() == FIRST.replace("-", "")
        assert int.from_bytes(found[0x30:0x38], "little") == place


def test_what_only_lies_where_a_copy_would_be_is_left_alone(host: FakeHost) -> None:
    disk = host.plug("s1")
    disk.write(btrfs_uuid.COPIES_AT[0], block_of())
    disk.write(btrfs_uuid.COPIES_AT[1], b"a user's file")
    fd = host.kernel.open_device(host.dev_root / disk.name, writable=True)
    btrfs_uuid.change(host.kernel, fd, FIRST)
    host.kernel.close(fd)
    assert disk.read(btrfs_uuid.COPIES_AT[1], 13) == b"a user's file"
