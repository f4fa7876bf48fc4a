"""Blank is what is proved blank; everything else has another name or is an error."""

import errno
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csi.errors import CsiError, ErrorKind
from node import probe, sample_places, superblock
from node.format_record import FormatRecord, offset
from node.model import MIB, Blank, Content, FileSystem, Foreign, InterruptedFormat, PartitionTable
from tests.support import fake_disk_formats as formats
from tests.support.fake_disks import FakeDisk
from tests.support.fake_host import FakeHost


async def look(host: FakeHost, disk: FakeDisk) -> Content:
    device = next(device for device in host.devices().scan() if device.name == disk.name)
    return await probe.Probe(host.kernel, host.runner).content(device, serial=disk.serial, deadline=host.soon())


async def test_zeros_at_both_ends_and_no_signature_are_blank(host: FakeHost) -> None:
    assert await look(host, host.plug("s1")) == Blank()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 2 * MIB - 1), value=st.integers(1, 255))
async def test_any_byte_in_the_first_or_last_mib_is_not_blank(host: FakeHost, place: int, value: int) -> None:
    disk = next(iter(host.disks.values()), None) or host.plug("s1", size_bytes=16 * MIB)
    at = place if place < MIB else disk.size_bytes - 2 * MIB + place
    disk.write(at, bytes([value]))
    try:
        assert not isinstance(await look(host, disk), Blank)
    finally:
        disk.write(at, b"\0")


@pytest.mark.parametrize("end", ["head", "tail", "all"])
async def test_a_read_error_is_never_blank_although_blkid_says_nothing_found(host: FakeHost, end: str) -> None:
    disk = host.plug("s1")
    places = {"head": range(4096), "tail": range(disk.size_bytes - 512, disk.size_bytes), "all": range(disk.size_bytes)}
    disk.unreadable_ranges.append(places[end])
    with pytest.raises(CsiError, match=r"cannot be read.*Nothing is concluded") as caught:
        await look(host, disk)
    assert caught.value.kind is ErrorKind.INTERNAL


@pytest.mark.parametrize("exit_code", [1, 4, 127, -9])
async def test_blkid_failing_is_an_error_and_not_an_answer(host: FakeHost, exit_code: int) -> None:
    disk = host.plug("s1")
    host.runner.fail_next("blkid", exit_code, "out of memory")
    with pytest.raises(CsiError, match="out of memory") as caught:
        await look(host, disk)
    assert caught.value.kind is ErrorKind.INTERNAL


async def test_blkid_missing_is_an_error(host: FakeHost) -> None:
    disk = host.plug("s1")
    host.missing.add("blkid")
    with pytest.raises(CsiError, match="blkid is not installed"):
        await look(host, disk)


async def test_several_signatures_at_once_are_foreign(host: FakeHost) -> None:
    disk = host.plug("s1")
    for place, data in (formats.make("xfs", 400 * MIB) | formats.make("ext4", 400 * MIB)).items():
        disk.write(place, data)
    assert await look(host, disk) == Foreign("signatures of several kinds at once")


@pytest.mark.parametrize("fs_type", ["ext3", "ext4", "xfs", "btrfs"])
async def test_our_file_systems_are_named_with_their_uuid(host: FakeHost, fs_type: str) -> None:
    disk = host.plug("s1")
    for place, data in formats.make(fs_type, 400 * MIB).items():
        disk.write(place, data)
    assert await look(host, disk) == FileSystem(fs_type, formats.uuid_of(disk.head), "")
    block = superblock.read(disk.head)
    assert block is not None
    assert (block.size_bytes, block.uuid, block.was_mounted) == (400 * MIB, formats.uuid_of(disk.head), False)


@pytest.mark.parametrize(
    ("place", "data", "expected"),
    [
        (0, b"LUKS\xba\xbe\0\x01", Foreign("crypto_LUKS (crypto)")),
        (4086, b"SWAPSPACE2", Foreign("swap (other)")),
        (512, b"LABELONE", Foreign("LVM2_member (raid)")),
        (512, b"EFI PART", PartitionTable("gpt")),
        (510, b"\x55\xaa", PartitionTable("dos")),
    ],
)
async def test_what_is_not_ours_is_named(host: FakeHost, place: int, data: bytes, expected: Content) -> None:
    disk = host.plug("s1")
    disk.write(place, data)
    assert await look(host, disk) == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, Foreign("an unknown signature")),
        ({"TYPE": "zfs_member", "USAGE": "raid"}, Foreign("zfs_member (raid)")),
        ({"TYPE": "ext4", "PTTYPE": "dos"}, PartitionTable("dos beside ext4")),
        ({"TYPE": "ext2", "UUID": "u", "LABEL": "l"}, FileSystem("ext2", "u", "l")),
    ],
)
def test_tags_without_a_known_file_system_are_never_blank(tags: dict[str, str], expected: Content) -> None:
    assert probe.classify(tags) == expected


@given(st.text())
def test_any_answer_of_blkid_is_some_content(text: str) -> None:
    assert not isinstance(probe.classify(probe.parse_export(text)), Blank)


async def test_our_own_record_is_an_interrupted_format_whatever_else_is_there(host: FakeHost) -> None:
    disk = host.plug("s1")
    disk.write(4096, b"half")
    disk.write(offset(disk.size_bytes), FormatRecord("s1", "ext4", disk.size_bytes).encode())
    assert await look(host, disk) == InterruptedFormat("ext4")


async def test_the_record_of_another_volume_is_foreign(host: FakeHost) -> None:
    disk = host.plug("clone")
    disk.write(offset(disk.size_bytes), FormatRecord("source", "ext4", disk.size_bytes).encode())
    assert isinstance(await look(host, disk), Foreign)


async def test_a_record_that_names_another_size_is_foreign(host: FakeHost) -> None:
    disk = host.plug("s1")
    disk.write(offset(disk.size_bytes), FormatRecord("s1", "ext4", disk.size_bytes - 512).encode())
    assert isinstance(await look(host, disk), Foreign)


@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
async def test_a_record_on_a_file_system_that_was_mounted_since_is_foreign(host: FakeHost, fs_type: str) -> None:
    disk = host.plug("s1")
    for place, data in formats.make(fs_type, 400 * MIB).items():
        disk.write(place, data)
    disk.write(0, formats.mounted_once(disk.head))
    disk.write(offset(disk.size_bytes), FormatRecord("s1", fs_type, disk.size_bytes).encode())
    found = await look(host, disk)
    assert isinstance(found, Foreign)
    assert "mounted since" in found.description


async def test_a_node_that_leads_elsewhere_is_noticed_on_the_open_descriptor(host: FakeHost) -> None:
    disk, other = host.plug("s1"), host.plug("s2")
    device = next(device for device in host.devices().scan() if device.name == disk.name)
    host.make_node(disk.name, other.number)
    with pytest.raises(CsiError, match="not to the disk meant"):
        await probe.Probe(host.kernel, host.runner).content(device, serial="s1", deadline=host.soon())


async def test_a_disk_too_small_to_have_two_ends_is_refused(host: FakeHost) -> None:
    with pytest.raises(CsiError, match="too small"):
        await look(host, host.plug("s1", size_bytes=MIB))


def test_the_simulated_disk_fails_as_a_real_one(host: FakeHost) -> None:
    disk = host.plug("s1")
    with pytest.raises(OSError) as caught:  # noqa: PT011
        disk.read(disk.size_bytes - 1, 2)
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(8193 * 1024, id="spare superblock of ext, 1 KiB blocks"),
        pytest.param(32 * MIB, id="of ext, 2 KiB blocks"),
        pytest.param(128 * MIB, id="of ext, 4 KiB blocks"),
        pytest.param(3 * 128 * MIB, id="of ext, third group"),
        pytest.param(64 * MIB, id="spare superblock of btrfs"),
        pytest.param(-(-508 * MIB // 4096 // 4) * 4096, id="second allocation group of our own xfs"),
    ],
)
async def test_what_a_file_system_leaves_when_its_first_mib_is_lost_is_foreign(host: FakeHost, place: int) -> None:
    disk = host.plug("s1")
    disk.write(place + 0x38, b"\x53\xef")
    found = await look(host, disk)
    assert isinstance(found, Foreign)
    assert f"at byte {place}" in found.description
    assert "cut off" in found.description


async def test_a_disk_that_cannot_be_read_between_its_ends_is_not_blank(host: FakeHost) -> None:
    disk = host.plug("s1")
    disk.unreadable_ranges.append(range(128 * MIB, 129 * MIB))
    with pytest.raises(CsiError, match="cannot be read"):
        await look(host, disk)


@given(st.integers(2 * MIB, 64 * 1024**4))
def test_places_are_few_and_lie_between_the_ends_of_any_disk(size_bytes: int) -> None:
    places = sample_places.places(size_bytes)
    assert len(places) <= 80
    assert all(MIB <= place <= size_bytes - MIB - sample_places.SAMPLE_BYTES for place in places)
    if size_bytes >= 64 * MIB:
        steps = [after - before for before, after in zip((0, *places), (*places, size_bytes), strict=True)]
        assert max(steps) <= size_bytes // sample_places.SPREAD


@pytest.mark.parametrize(
    ("compatible", "incompatible", "read_only", "kind"),
    [
        (0x38, 0x2, 0x3, "ext2"),
        (0x3C, 0x6, 0x7, "ext3"),
        (0x3C, 0x42, 0x3, "ext4"),
        (0x3C, 0x2, 0xB, "ext4"),
        (0x0, 0x42, 0x0, "ext4"),
        (0x0, 0x8, 0x0, "jbd"),
    ],
)
def test_an_ext_is_named_by_its_features(compatible: int, incompatible: int, read_only: int, kind: str) -> None:
    head = bytearray(superblock.HEAD_BYTES)
    struct.pack_into("<H", head, 1024 + 0x38, 0xEF53)
    struct.pack_into("<III", head, 1024 + 0x5C, compatible, incompatible, read_only)
    block = superblock.read(bytes(head))
    assert block is not None
    assert block.kind == kind
