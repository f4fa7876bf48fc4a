"""An existing file system is used, checked or refused, and never overwritten."""

import pytest

from csi.errors import CsiError, ErrorKind
from node import filesystems
from node.filesystems import mount_options
from node.model import MIB, Device, FsRequest, FsType
from tests.support import fake_disk_formats as formats
from tests.support.fake_disks import FakeDisk
from tests.support.fake_host import FakeHost


def put(disk: FakeDisk, fs_type: str, size_bytes: int = 400 * MIB) -> FakeDisk:
    for place, data in formats.make(fs_type, size_bytes).items():
        disk.write(place, data)
    disk.unflushed.clear()
    return disk


async def found(host: FakeHost, disk: FakeDisk) -> Device:
    return await host.devices().find(disk.serial, deadline=host.soon())


async def ensure(host: FakeHost, disk: FakeDisk, **request):
    return await host.filesystems().ensure(
        await found(host, disk), FsRequest(disk.serial, **request), deadline=host.soon()
    )


@pytest.mark.parametrize(("has", "asked"), [("xfs", "ext4"), ("ext4", "xfs"), ("ext3", "ext4"), ("btrfs", "ext4")])
async def test_another_file_system_is_an_error_that_names_both(host: FakeHost, has: str, asked: str) -> None:
    disk = put(host.plug("s1"), has)
    with pytest.raises(CsiError, match=rf"{has}.*{asked}") as caught:
        await ensure(host, disk, fs_type=asked)
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS
    assert formats.fs_type_of(disk.head) == has


@pytest.mark.parametrize(("damage", "repaired"), [("", False), ("repairable", True)])
async def test_ext_is_checked_before_it_is_used(host: FakeHost, damage: str, *, repaired: bool) -> None:
    disk = put(host.plug("s1"), "ext4")
    disk.damage = damage
    state = await ensure(host, disk)
    assert (state.formatted, state.repaired) == (False, repaired)
    assert host.observer.repairs == ({"ext4": 1} if repaired else {})


async def test_damage_beyond_safe_repair_is_refused_with_the_tools_words(host: FakeHost) -> None:
    disk = put(host.plug("s1"), "ext4")
    disk.damage = "fatal"
    with pytest.raises(CsiError, match="RUN fsck MANUALLY") as caught:
        await ensure(host, disk)
    assert caught.value.kind is ErrorKind.DATA_LOSS


@pytest.mark.parametrize("exit_code", [8, 16, 128, -9])
async def test_a_check_that_could_not_run_is_no_verdict(host: FakeHost, exit_code: int) -> None:
    disk = put(host.plug("s1"), "ext4")
    host.runner.fail_next("e2fsck", exit_code, "no memory")
    with pytest.raises(CsiError, match="no memory") as caught:
        await ensure(host, disk)
    assert caught.value.kind is ErrorKind.INTERNAL


@pytest.mark.parametrize("fs_type", ["xfs", "btrfs"])
async def test_only_ext_has_a_check_before_the_mount(host: FakeHost, fs_type: str) -> None:
    await ensure(host, put(host.plug("s1"), fs_type), fs_type=fs_type)
    assert host.commands() == [command for command in host.commands() if command.startswith("blkid")]


async def test_nothing_is_checked_for_a_read_only_use(host: FakeHost) -> None:
    disk = put(host.plug("s1"), "ext4")
    disk.damage = "fatal"
    assert not (await ensure(host, disk, read_only=True)).formatted
    assert host.commands("e2fsck") == []


async def test_a_mounted_disk_is_refused(host: FakeHost, target) -> None:
    disk = put(host.plug("s1"), "ext4")
    await host.mount_table().mount(host.dev_root / disk.name, target, fs_type="ext4", options=(), deadline=host.soon())
    with pytest.raises(CsiError, match=f"mounted at {target}") as caught:
        await ensure(host, disk)
    assert caught.value.kind is ErrorKind.PRECONDITION


async def test_a_btrfs_clone_gets_its_own_uuid_once(host: FakeHost) -> None:
    disk = put(host.plug("clone"), "btrfs")
    before = formats.uuid_of(disk.head)
    state = await ensure(host, disk, fs_type="btrfs", has_source=True)
    assert state.uuid == formats.uuid_of(disk.head) == filesystems.clone_uuid("clone") != before
    assert (await ensure(host, disk, fs_type="btrfs", has_source=True)).uuid == state.uuid
    assert sum(point.startswith("write") for point in host.points) == 1


async def test_a_clone_of_a_clone_gets_another_uuid(host: FakeHost) -> None:
    first = put(host.plug("first"), "btrfs")
    await ensure(host, first, fs_type="btrfs", has_source=True)
    second = host.plug("second")
    second.write(0, first.head)
    state = await ensure(host, second, fs_type="btrfs", has_source=True)
    assert state.uuid != formats.uuid_of(first.head)


async def test_a_btrfs_clone_that_keeps_its_uuid_is_not_handed_out(host: FakeHost) -> None:
    disk = put(host.plug("clone"), "btrfs")
    disk.write(formats.BTRFS_AT, b"damage")
    with pytest.raises(CsiError, match="superblock is damaged") as caught:
        await ensure(host, disk, fs_type="btrfs", has_source=True)
    assert caught.value.kind is ErrorKind.PRECONDITION


async def test_a_btrfs_whose_twin_is_mounted_is_refused(host: FakeHost, target) -> None:
    original = put(host.plug("original"), "btrfs")
    clone = host.plug("clone")
    clone.write(0, original.head)
    await host.mount_table().mount(
        host.dev_root / original.name, target, fs_type="btrfs", options=(), deadline=host.soon()
    )
    with pytest.raises(CsiError, match=f"mounted from {original.name}") as caught:
        await ensure(host, clone, fs_type="btrfs", has_source=True, read_only=True)
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert (await ensure(host, clone, fs_type="btrfs", has_source=True)).uuid == filesystems.clone_uuid("clone")


async def test_one_disk_of_a_btrfs_over_several_is_refused(host: FakeHost) -> None:
    disk = put(host.plug("s1"), "btrfs")
    disk.write(formats.BTRFS_AT + 136, b"\x02")
    with pytest.raises(CsiError, match="one of 2 disks"):
        await ensure(host, disk, fs_type="btrfs")


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
@pytest.mark.parametrize(("gap_mib", "grows"), [(0, False), (4, False), (16, False), (17, True), (600, True)])
async def test_a_file_system_grows_only_by_more_than_the_tail(
    host: FakeHost, target, fs_type: str, gap_mib: int, *, grows: bool
) -> None:
    disk = put(host.plug("s1", size_bytes=(400 + gap_mib) * MIB), fs_type)
    device = await found(host, disk)
    await host.mount_table().mount(device.path, target, fs_type=fs_type, options=(), deadline=host.soon())
    file_systems = host.filesystems()
    result = await file_systems.grow(device, FsType(fs_type), mount_path=target, deadline=host.soon())
    assert (result.grown, result.device_size_bytes) == (grows, disk.size_bytes)
    assert result.fs_size_bytes == (disk.size_bytes if grows else 400 * MIB)
    again = await file_systems.grow(device, FsType(fs_type), mount_path=target, deadline=host.soon())
    assert not again.grown


async def test_ext_grows_unmounted_after_a_whole_check(host: FakeHost) -> None:
    disk = put(host.plug("s1", size_bytes=800 * MIB), "ext4")
    result = await host.filesystems().grow(await found(host, disk), FsType.EXT4, mount_path=None, deadline=host.soon())
    assert result.fs_size_bytes == 800 * MIB
    assert [command.split(" ")[:2] for command in host.commands()] == [
        ["e2fsck", "-f"],
        ["resize2fs", str(host.dev_root / disk.name)],
    ]


async def test_without_the_capability_a_mounted_ext_is_left_for_the_next_stage(host: FakeHost, target) -> None:
    host.sys_resource = False
    disk = put(host.plug("s1", size_bytes=800 * MIB), "ext4")
    device = await found(host, disk)
    await host.mount_table().mount(device.path, target, fs_type="ext4", options=(), deadline=host.soon())
    file_systems = host.filesystems()
    assert not file_systems.can_grow_mounted(FsType.EXT4)
    assert file_systems.can_grow_mounted(FsType.XFS)
    with pytest.raises(CsiError, match="CAP_SYS_RESOURCE") as caught:
        await file_systems.grow(device, FsType.EXT4, mount_path=target, deadline=host.soon())
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert formats.size_of(disk.head) == 400 * MIB


async def test_a_damaged_ext_is_not_grown(host: FakeHost) -> None:
    disk = put(host.plug("s1", size_bytes=800 * MIB), "ext4")
    disk.damage = "fatal"
    with pytest.raises(CsiError, match="not grown") as caught:
        await host.filesystems().grow(await found(host, disk), FsType.EXT4, mount_path=None, deadline=host.soon())
    assert caught.value.kind is ErrorKind.DATA_LOSS
    assert host.commands("resize2fs") == []


@pytest.mark.parametrize("fs_type", [FsType.XFS, FsType.BTRFS])
async def test_xfs_and_btrfs_do_not_grow_unmounted(host: FakeHost, fs_type: FsType) -> None:
    disk = put(host.plug("s1", size_bytes=800 * MIB), fs_type.value)
    with pytest.raises(CsiError, match="while it is mounted"):
        await host.filesystems().grow(await found(host, disk), fs_type, mount_path=None, deadline=host.soon())


async def test_a_failing_tool_is_reported_with_its_words(host: FakeHost, target) -> None:
    disk = put(host.plug("s1", size_bytes=800 * MIB), "xfs")
    device = await found(host, disk)
    await host.mount_table().mount(device.path, target, fs_type="xfs", options=(), deadline=host.soon())
    host.runner.fail_next("xfs_growfs", 1, "No space left on device")
    with pytest.raises(CsiError, match="No space left"):
        await host.filesystems().grow(device, FsType.XFS, mount_path=target, deadline=host.soon())


async def test_a_disk_without_a_superblock_is_not_grown(host: FakeHost) -> None:
    disk = host.plug("s1")
    with pytest.raises(CsiError, match="no superblock"):
        await host.filesystems().grow(await found(host, disk), FsType.EXT4, mount_path=None, deadline=host.soon())


@pytest.mark.parametrize(
    ("fs_type", "read_only", "device_read_only", "flags", "expected"),
    [
        (FsType.EXT4, False, False, ("noatime",), ("noatime",)),
        (FsType.EXT4, True, False, (), ("ro",)),
        (FsType.EXT4, True, True, ("ro",), ("ro", "noload")),
        (FsType.XFS, False, False, ("nouuid",), ("nouuid",)),
        (FsType.XFS, True, True, (), ("ro", "nouuid", "norecovery")),
        (FsType.BTRFS, True, True, (), ("ro", "rescue=nologreplay")),
    ],
)
def test_mount_options_per_file_system(
    fs_type: FsType, flags: tuple[str, ...], expected: tuple[str, ...], *, read_only: bool, device_read_only: bool
) -> None:
    options = mount_options(fs_type, read_only=read_only, device_read_only=device_read_only, flags=flags)
    assert options == expected
