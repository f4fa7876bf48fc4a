"""Staging: the right disk, mounted once, provably."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.model import MIB
from node.state import Phase
from tests.support.node_plugin import SERIAL, SIZE, VOLUME, Mode, Plugin, until


async def test_a_blank_disk_is_formatted_mounted_and_recorded(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    assert plugin.mounted(plugin.staging()) == [str(plugin.host.dev_root / disk.name)]
    record = await plugin.records.get(VOLUME)
    assert record is not None
    assert record.phase is Phase.STAGED
    assert (record.device, record.serial, record.fs_type) == (disk.number, SERIAL, "ext4")
    assert len(plugin.host.commands("mkfs")) == 1


@pytest.mark.parametrize("fs_type", ["ext3", "ext4", "xfs", "btrfs"])
async def test_data_file_systems_survive_unstage_and_stage(plugin: Plugin, fs_type: str) -> None:
    plugin.plug()
    for _ in range(3):
        await plugin.stage(fs_type=fs_type)
        await plugin.unstage()
    made = [line for line in plugin.host.commands("mkfs") if "-V" not in line]
    assert len(made) == 1
    assert plugin.leaks() == []
    assert await plugin.records.all() == ()


async def test_staging_twice_is_a_no_op(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    before = list(plugin.host.points)
    await plugin.stage()
    assert plugin.host.points == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fs_type": "xfs"}, "file system"),
        ({"flags": ["noatime"]}, "mount flags"),
        ({"mode": Mode.SINGLE_NODE_SINGLE_WRITER}, "access mode"),
        ({"block": True}, "access type"),
        ({"serial": "other"}, "serial"),
    ],
)
async def test_staging_again_in_another_way_is_refused_and_changes_nothing(plugin: Plugin, change, words) -> None:
    plugin.plug()
    await plugin.stage()
    before = list(plugin.host.points)
    with pytest.raises(CsiError, match=words) as caught:
        await plugin.stage(**change)
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS
    assert plugin.host.points == before


async def test_another_staging_path_is_refused_while_the_first_stands(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    with pytest.raises(CsiError) as caught:
        await plugin.stage(staging=plugin.staging("elsewhere"))
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS


async def test_a_disk_that_never_comes_is_named_with_those_seen(plugin: Plugin) -> None:
    plugin.plug("another-serial")
    with pytest.raises(CsiError, match="another-serial") as caught:
        await plugin.stage()
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME
    assert await plugin.records.all() == ()


async def test_a_disk_that_arrives_late_is_found(plugin: Plugin) -> None:
    plugin.parts.staging._device_wait_s = 5.0
    task = asyncio.create_task(plugin.stage())
    await until(lambda: plugin.host.events._bells)
    plugin.plug()
    await task
    assert plugin.mounted(plugin.staging())


async def test_two_disks_with_one_serial_are_refused(plugin: Plugin) -> None:
    plugin.plug()
    plugin.host.plug(SERIAL, size_bytes=SIZE, transport="scsi")
    with pytest.raises(CsiError) as caught:
        await plugin.stage()
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert plugin.host.commands() == []


async def test_a_disk_smaller_than_the_volume_is_refused(plugin: Plugin) -> None:
    plugin.plug(size_bytes=SIZE - MIB)
    with pytest.raises(CsiError, match="smaller"):
        await plugin.stage()
    assert plugin.host.commands("mkfs") == []


async def test_a_foreign_mount_at_the_staging_path_is_left_alone(plugin: Plugin) -> None:
    plugin.plug()
    other = plugin.plug("other")
    await plugin.stage(volume_id="other", serial="other")
    await plugin.records.remove("other")
    with pytest.raises(CsiError, match=str(other.name)) as caught:
        await plugin.stage()
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert plugin.mounted(plugin.staging()) == [str(plugin.host.dev_root / other.name)]


async def test_a_disk_mounted_by_somebody_else_is_refused(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage(staging=plugin.staging("elsewhere"))
    await plugin.records.remove(VOLUME)
    with pytest.raises(CsiError, match="already mounted at") as caught:
        await plugin.stage()
    assert caught.value.kind is ErrorKind.PRECONDITION


async def test_a_mount_whose_record_was_lost_is_taken_over(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.records.remove(VOLUME)
    before = plugin.host.commands()
    await plugin.stage()
    assert plugin.host.commands() == before
    assert await plugin.records.get(VOLUME) is not None


@pytest.mark.parametrize("change", [{"fs_type": "xfs"}, {"mode": Mode.SINGLE_NODE_READER_ONLY}])
async def test_a_mount_whose_record_was_lost_is_not_taken_over_in_another_way(plugin: Plugin, change) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.records.remove(VOLUME)
    with pytest.raises(CsiError) as caught:
        await plugin.stage(**change)
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS


async def test_a_lost_staging_mount_is_restored_without_touching_the_file_system(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    plugin.host.drop_mount(plugin.host.top_mount(Path(plugin.staging())))
    before = len(plugin.host.commands("e2fsck"))
    await plugin.stage()
    assert plugin.mounted(plugin.staging())
    assert plugin.mounted(plugin.target())
    assert len(plugin.host.commands("e2fsck")) == before
    record = await plugin.records.get(VOLUME)
    assert [p.target_path for p in record.publications] == [plugin.target()]


async def test_a_second_call_for_a_busy_volume_is_refused_at_once(plugin: Plugin) -> None:
    plugin.plug()
    gate = plugin.host.runner.gate("mount")
    first = asyncio.create_task(plugin.stage())
    await gate.started.wait()
    with pytest.raises(CsiError) as caught:
        await plugin.stage()
    assert caught.value.kind is ErrorKind.BUSY
    gate.go_on.set()
    await first
    await plugin.stage()


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
@pytest.mark.parametrize("sys_resource", [True, False])
async def test_a_larger_disk_is_grown_at_stage(tmp_path: Path, fs_type: str, sys_resource: bool) -> None:
    plugin = Plugin(tmp_path)
    plugin.host.sys_resource = sys_resource
    await plugin.start()
    disk = plugin.plug()
    await plugin.stage(fs_type=fs_type)
    await plugin.unstage()
    plugin.host.grow_disk(disk, 4 * SIZE)
    await plugin.stage(fs_type=fs_type)
    usage = plugin.host.kernel.usage(Path(plugin.staging()))
    assert usage.total_bytes > 3 * SIZE


@pytest.mark.parametrize(
    "change", [{"mode": Mode.SINGLE_NODE_READER_ONLY}, {"mode": Mode.MULTI_NODE_READER_ONLY}, {"flags": ["ro"]}]
)
async def test_read_only_modes_mount_read_only_and_never_check_or_grow(plugin: Plugin, change) -> None:
    disk = plugin.plug()
    await plugin.stage()
    await plugin.unstage()
    plugin.host.grow_disk(disk, 2 * SIZE)
    before = plugin.host.commands("e2fsck"), plugin.host.commands("resize2fs")
    await plugin.stage(**change)
    assert plugin.host.top_mount(Path(plugin.staging())).read_only
    assert (plugin.host.commands("e2fsck"), plugin.host.commands("resize2fs")) == before


async def test_a_blank_disk_is_never_formatted_for_reading(plugin: Plugin) -> None:
    plugin.plug()
    with pytest.raises(CsiError) as caught:
        await plugin.stage(mode=Mode.SINGLE_NODE_READER_ONLY)
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert plugin.host.commands("mkfs") == []


async def test_a_write_protected_disk_is_staged_read_only(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    await plugin.unstage()
    image = disk.image
    plugin.host.unplug(disk)
    plugin.plug(image=image, read_only=True)
    await plugin.stage()
    assert plugin.host.top_mount(Path(plugin.staging())).read_only
    with pytest.raises(CsiError, match="read-only") as caught:
        await plugin.publish()
    assert caught.value.kind is ErrorKind.PRECONDITION
    await plugin.publish(readonly=True)


@pytest.mark.parametrize("change", [{"source": "snapshot:1"}, {"source": "volume:1"}, {"allocated_bytes": 4096}])
async def test_a_blank_disk_with_a_past_is_an_alarm_and_not_formatted(plugin: Plugin, change) -> None:
    plugin.plug()
    with pytest.raises(CsiError) as caught:
        await plugin.stage(**change)
    assert caught.value.kind is ErrorKind.DATA_LOSS
    assert plugin.host.commands("mkfs") == []


async def test_mount_flags_and_the_selinux_context_are_passed_on(plugin: Plugin) -> None:
    plugin.plug()
    context = 'context="system_u:object_r:container_file_t:s0:c1,c2"'
    await plugin.stage(flags=["noatime", context])
    mount = next(line for line in plugin.host.commands("mount") if "-t ext4" in line)
    assert f"noatime,{context}" in mount


async def test_xfs_is_mounted_so_that_clones_do_not_collide(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage(fs_type="xfs")
    assert any("nouuid" in line for line in plugin.host.commands("mount"))


async def test_a_disk_that_was_pulled_and_came_back_is_staged_anew(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    plugin.host.unplug(disk)
    plugin.plug("first free name", transport="virtio")
    plugin.plug(image=disk.image)
    await plugin.stage()
    back = next(d for d in plugin.host.disks.values() if d.serial == SERIAL)
    assert plugin.mounted(plugin.staging()) == [str(plugin.host.dev_root / back.name)]
    await plugin.unstage()
    assert plugin.leaks() == []


async def test_a_staging_path_that_is_a_link_is_refused(plugin: Plugin, tmp_path: Path) -> None:
    plugin.plug()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(CsiError, match="symbolic link"):
        await plugin.stage(staging=str(link))
    assert await plugin.records.all() == ()


async def test_files_of_the_host_are_not_hidden_by_a_staging_mount(plugin: Plugin, tmp_path: Path, caplog) -> None:
    plugin.plug()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "data").touch()
    with pytest.raises(CsiError, match="holds files") as caught:
        await plugin.stage(staging=str(folder))
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert plugin.mounted(str(folder)) == []
    # Below the kubelet's folder it would keep a pod from starting for files that nobody can see any more.
    (Path(plugin.staging()) / "data").touch()
    caplog.set_level(logging.WARNING)
    await plugin.stage()
    assert "holds files" in caplog.text


async def test_dead_mounts_of_pods_are_named_as_what_they_are(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    await plugin.publish()
    plugin.host.unplug(disk)
    plugin.plug(image=disk.image)
    with pytest.raises(CsiError, match=r"pod-1.*these mounts are dead. End the pods") as caught:
        await plugin.stage()
    assert caught.value.kind is ErrorKind.PRECONDITION
    await plugin.unpublish()
    await plugin.stage()


async def test_the_capability_is_read_outside_of_the_event_loop(plugin: Plugin, monkeypatch) -> None:
    seen = []

    def has_sys_resource() -> bool:
        seen.append(threading.current_thread() is threading.main_thread())
        return True

    monkeypatch.setattr(plugin.host.kernel, "has_sys_resource", has_sys_resource)
    plugin.plug()
    await plugin.stage()
    await plugin.unstage()
    # A file system that was there before is what may have to grow.
    await plugin.stage()
    assert seen
    assert not any(seen)
