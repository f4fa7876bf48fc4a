"""A disk is chosen by the identity that the kernel reports, or not at all."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi.errors import CsiError, ErrorKind
from node import sysfs
from node.model import MIB, DeviceNumber, IdentitySource
from tests.support.fake_host import FakeHost


@pytest.mark.parametrize(
    ("transport", "source"),
    [
        ("virtio", IdentitySource.VIRTIO_SERIAL),
        ("nvme", IdentitySource.NVME_SERIAL),
        ("scsi", IdentitySource.SCSI_UNIT_SERIAL),
        ("loop", IdentitySource.LOOP_FILE),
    ],
)
async def test_each_transport_reports_its_serial(host: FakeHost, transport: str, source: IdentitySource) -> None:
    host.plug("other", transport=transport)
    disk = host.plug("wanted", transport=transport)
    found = await host.devices(loops=True).find("wanted", deadline=host.soon())
    assert (found.name, found.number, found.size_bytes) == (disk.name, disk.number, disk.size_bytes)
    assert source in {identity.source for identity in found.identities if identity.value == "wanted"}


async def test_loop_devices_do_not_count_unless_configured(host: FakeHost) -> None:
    host.plug("s1", transport="loop")
    assert host.devices().scan() == ()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("loop/backing_file", "/elsewhere/s1.img"),
        ("loop/backing_file", "{dir}/sub/s1.img"),
        ("loop/backing_file", "{dir}/s1.img (deleted)"),
        ("loop/backing_file", "{dir}/s1.raw"),
        ("loop/offset", "512"),
        ("loop/sizelimit", "1048576"),
    ],
)
async def test_only_a_whole_image_directly_in_the_folder_counts(host: FakeHost, file: str, text: str) -> None:
    disk = host.plug("s1", transport="loop")
    (host.sys_root / "block" / disk.name / file).write_text(text.format(dir=host.loop_disk_dir) + "\n")
    assert host.devices(loops=True).scan() == ()


async def test_a_disk_that_arrives_later_is_found_by_the_event(host: FakeHost) -> None:
    devices = host.devices()
    waiting = asyncio.ensure_future(devices.find("late", deadline=host.soon()))
    await asyncio.sleep(0)
    host.plug("late")
    assert (await waiting).name == "vda"
    assert len(host.observer.waits) == 1


async def test_a_disk_that_arrives_without_an_event_is_found_by_rescans(host: FakeHost) -> None:
    waiting = asyncio.ensure_future(host.devices().find("late", deadline=host.soon()))
    await asyncio.sleep(0)
    host.events.ring = lambda: None  # type: ignore[method-assign]
    host.plug("late")
    assert (await waiting).name == "vda"


async def test_a_missing_disk_is_a_retryable_error_that_names_wanted_and_seen(host: FakeHost) -> None:
    host.plug("seen-1")
    with pytest.raises(CsiError, match=r"'wanted'.*seen-1") as caught:
        await host.devices().find("wanted", deadline=host.soon(0.02))
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME


async def test_an_equal_prefix_is_another_disk(host: FakeHost) -> None:
    host.plug("0123456789abcdef0123")
    with pytest.raises(CsiError, match="no disk with serial"):
        await host.devices().find("0123456789abcdef01234567", deadline=host.soon(0.0))


async def test_two_disks_with_one_serial_are_refused_by_name(host: FakeHost) -> None:
    first, second = host.plug("twin"), host.plug("twin", transport="scsi")
    with pytest.raises(CsiError) as caught:
        await host.devices().find("twin", deadline=host.soon())
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert first.name in caught.value.message
    assert second.name in caught.value.message


async def test_a_link_in_place_of_the_node_is_not_followed(host: FakeHost) -> None:
    disk = host.plug("s1", node=False)
    victim = host.plug("victim")
    (host.dev_root / disk.name).symlink_to(host.dev_root / victim.name)
    with pytest.raises(CsiError, match="no block device") as caught:
        await host.devices().find("s1", deadline=host.soon(0.0))
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME


async def test_a_stale_node_is_waited_out_and_then_named(host: FakeHost) -> None:
    disk = host.plug("s1", node=False)
    host.make_node(disk.name, DeviceNumber(252, 160))
    devices = host.devices()
    with pytest.raises(CsiError, match=r"stale.*252:160"):
        await devices.find("s1", deadline=host.soon(0.0))
    waiting = asyncio.ensure_future(devices.find("s1", deadline=host.soon()))
    await asyncio.sleep(0)
    host.make_node(disk.name, disk.number)
    assert (await waiting).number == disk.number


async def test_a_disk_smaller_than_the_volume_is_refused_with_both_sizes(host: FakeHost) -> None:
    host.plug("s1", size_bytes=64 * MIB)
    with pytest.raises(CsiError, match=f"{64 * MIB}.*{65 * MIB}") as caught:
        await host.devices().find("s1", deadline=host.soon(), expected_size_bytes=65 * MIB)
    assert caught.value.kind is ErrorKind.PRECONDITION


async def test_a_loop_device_over_a_file_cut_off_is_not_used(host: FakeHost) -> None:
    disk = host.plug("s1", transport="loop")
    with disk.image.open("r+b") as file:
        file.truncate(MIB)
    with pytest.raises(CsiError, match="cut off"):
        await host.devices(loops=True).find("s1", deadline=host.soon(0.0))


async def test_verify_gives_the_grown_size(host: FakeHost) -> None:
    disk = host.plug("s1")
    devices = host.devices()
    found = await devices.find("s1", deadline=host.soon())
    host.grow_disk(disk, 1024 * MIB)
    assert (await devices.verify(found)).size_bytes == 1024 * MIB


async def test_verify_sees_a_disk_that_went(host: FakeHost) -> None:
    disk = host.plug("s1")
    devices = host.devices()
    found = await devices.find("s1", deadline=host.soon())
    host.unplug(disk)
    with pytest.raises(CsiError, match="is gone"):
        await devices.verify(found)


@pytest.mark.parametrize("serial", ["s1", "s2"])
async def test_verify_sees_another_disk_under_the_same_name(host: FakeHost, serial: str) -> None:
    # Even with the same serial: the sequence number tells that the disk went and came.
    disk = host.plug("s1")
    devices = host.devices()
    found = await devices.find("s1", deadline=host.soon())
    host.unplug(disk)
    host.plug(serial)
    with pytest.raises(CsiError, match="another disk now"):
        await devices.verify(found)


async def test_verify_sees_a_twin_that_came_later(host: FakeHost) -> None:
    host.plug("s1")
    devices = host.devices()
    found = await devices.find("s1", deadline=host.soon())
    host.plug("s1")
    with pytest.raises(CsiError, match="2 disks"):
        await devices.verify(found)


async def test_unreadable_sysfs_is_an_error_and_not_an_empty_host(host: FakeHost) -> None:
    devices = host.devices()
    (host.sys_root / "block").rmdir()
    with pytest.raises(CsiError, match="sysfs") as caught:
        await devices.find("s1", deadline=host.soon())
    assert caught.value.kind is ErrorKind.INTERNAL


def test_hidden_paths_and_half_gone_disks_do_not_count(host: FakeHost) -> None:
    hidden, going = host.plug("s1"), host.plug("s2")
    (host.sys_root / "block" / hidden.name / "hidden").write_text("1\n")
    (host.sys_root / "block" / going.name / "size").unlink()
    assert host.devices().scan() == ()


def test_devices_in_reserve_do_not_count_and_hardware_without_a_size_does(host: FakeHost) -> None:
    disk, spare = host.plug("s1"), host.sys_root / "block/loop9"
    (host.sys_root / "block" / disk.name / "size").write_text("0\n")
    (host.sys_root / "block" / disk.name / "device").mkdir(exist_ok=True)
    spare.mkdir()
    for name, text in (("size", "0\n"), ("dev", "7:9\n"), ("ro", "0\n")):
        (spare / name).write_text(text)
    assert [device.name for device in host.devices().scan()] == [disk.name]


def test_a_mount_point_whose_name_is_no_text_hides_no_user_of_a_disk(host: FakeHost) -> None:
    disk = host.plug("s1")
    devices = host.devices()
    table = host.proc_root / "self/mountinfo"
    other = b"90 1 0:77 / /srv/\xff\xfe rw - tmpfs tmpfs rw\n"
    table.write_bytes(table.read_bytes() + other)
    assert devices.in_use(devices.scan()[0]) == ""
    table.write_bytes(table.read_bytes() + other.replace(b"0:77", str(disk.number).encode()))
    used = devices.in_use(devices.scan()[0])
    assert used.startswith("mounted at /srv/")
    # What it says goes into an error, which travels as UTF-8.
    assert used.encode()


def test_users_of_a_disk_are_named(host: FakeHost, tmp_path: Path) -> None:
    disk = host.plug("s1")
    devices = host.devices()
    assert devices.in_use(devices.scan()[0]) == ""
    folder = host.sys_root / "block" / disk.name
    (host.proc_root / "swaps").write_text(f"Filename Type\n{host.dev_root / disk.name} partition\n")
    assert "swap" in devices.in_use(devices.scan()[0])
    (folder / "vda1").mkdir()
    (folder / "vda1/partition").write_text("1\n")
    assert "vda1" in devices.in_use(devices.scan()[0])
    (folder / "holders/dm-0").touch()
    assert "dm-0" in devices.in_use(devices.scan()[0])


@given(st.binary(max_size=300))
def test_a_scsi_page_is_read_whole_or_not_at_all(page: bytes) -> None:
    serial = sysfs.unit_serial(page)
    if serial:
        assert page[1] == 0x80
        assert serial.encode("ascii", "replace")[:1] in page[4:] or "\ufffd" in serial


def test_a_scsi_serial_is_stripped_of_padding_and_never_cut() -> None:
    assert sysfs.unit_serial(b"\0\x80\0\x06  ab  ") == "ab"
    assert sysfs.unit_serial(b"\0\x80\0\x06  ab") == ""
    assert sysfs.unit_serial(b"\0\x83\0\x02ab") == ""
