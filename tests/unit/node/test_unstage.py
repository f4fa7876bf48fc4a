"""Unstaging: nothing of the volume stays mounted, the disk is let go of, and nothing foreign is touched."""
# ruff: noqa: ASYNC240 - a few files of a temporary folder

import asyncio
import errno
from dataclasses import replace
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.model import DeviceNumber, MountEntry
from tests.support.node_plugin import VOLUME, Plugin, until


async def test_unstage_unmounts_flushes_and_forgets_but_leaves_the_callers_folder(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    await plugin.unstage()
    assert plugin.leaks() == []
    assert await plugin.records.all() == ()
    assert Path(plugin.staging()).is_dir()
    assert plugin.host.points[-2:] == [f"flush {disk.name}", "forget"]


async def test_unstage_is_idempotent_and_an_unknown_volume_is_fine(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.unstage("never-seen")
    await plugin.stage()
    await plugin.unstage()
    await plugin.unstage()


async def test_a_published_volume_is_not_unstaged_and_stays_as_it_is(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    with pytest.raises(CsiError, match="pod-1") as caught:
        await plugin.unstage()
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert plugin.mounted(plugin.staging())
    assert plugin.mounted(plugin.target())


async def test_a_publication_whose_mount_vanished_does_not_hold_up_unstaging(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    plugin.host.drop_mount(plugin.host.top_mount(Path(plugin.target())))
    await plugin.unstage()
    assert await plugin.records.all() == ()


async def test_a_mount_elsewhere_stops_unstaging_before_the_disk_is_given_up(plugin: Plugin, tmp_path: Path) -> None:
    plugin.plug()
    await plugin.stage()
    entry = plugin.host.top_mount(Path(plugin.staging()))
    elsewhere = replace(entry, mount_id=plugin.host.take("mount"), mount_point=tmp_path / "elsewhere")
    plugin.host.add_mount(elsewhere)
    with pytest.raises(CsiError, match="elsewhere") as caught:
        await plugin.unstage()
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert await plugin.records.get(VOLUME) is not None
    plugin.host.drop_mount(elsewhere)
    await plugin.unstage()
    assert await plugin.records.all() == ()


async def test_a_foreign_mount_over_the_staging_path_is_left_alone(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    foreign = MountEntry(99, 1, DeviceNumber(0, 77), "/", Path(plugin.staging()), ("rw",), "tmpfs", "tmpfs", ("rw",))
    plugin.host.add_mount(foreign)
    with pytest.raises(CsiError, match="tmpfs"):
        await plugin.unstage()
    assert plugin.host.top_mount(Path(plugin.staging())) == foreign


async def test_a_busy_mount_is_an_error_that_leaves_the_record(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    plugin.host.busy.add(Path(plugin.staging()))
    with pytest.raises(CsiError, match="busy") as caught:
        await plugin.unstage()
    assert caught.value.kind is ErrorKind.PRECONDITION
    plugin.host.busy.clear()
    await plugin.unstage()
    assert plugin.leaks() == []


async def test_a_disk_that_another_namespace_still_mounts_is_not_given_up(plugin: Plugin, monkeypatch) -> None:
    disk = plugin.plug()
    await plugin.stage()
    monkeypatch.setattr("node.release.RELEASE_WAIT_S", 0.01)
    holder = plugin.host.sys_root / "block" / disk.name / "holders/dm-0"
    holder.touch()
    with pytest.raises(CsiError, match="namespace") as caught:
        await plugin.unstage()
    assert caught.value.kind is ErrorKind.PRECONDITION
    holder.unlink()
    await plugin.unstage()


async def test_unstage_waits_until_the_kernel_let_go(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    holder = plugin.host.sys_root / "block" / disk.name / "holders/dm-0"
    holder.touch()
    task = asyncio.create_task(plugin.unstage())
    await until(lambda: plugin.host.points[-1] == f"open {disk.name} rx")
    holder.unlink()
    await task
    assert await plugin.records.all() == ()


async def test_a_flush_that_fails_is_told_once_and_then_let_go(plugin: Plugin, monkeypatch) -> None:
    plugin.plug()
    await plugin.stage()

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(plugin.host.kernel, "flush", fail)
        with pytest.raises(CsiError, match="Data written last may be lost") as caught:
            await plugin.unstage()
    assert caught.value.kind is ErrorKind.INTERNAL
    await plugin.unstage()


async def test_a_disk_that_vanished_does_not_hold_up_unstaging(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    plugin.host.unplug(disk)
    await plugin.unstage()
    assert plugin.leaks() == []


@pytest.mark.parametrize("way", [{}, {"block": True}], ids=["mount", "block"])
async def test_unstage_at_another_path_is_no_success_that_would_let_the_disk_be_detached(plugin: Plugin, way) -> None:
    plugin.plug()
    await plugin.stage(**way)
    await plugin.publish(**way)
    before = plugin.leaks()
    for path in (plugin.staging("elsewhere"), plugin.target()):
        with pytest.raises(CsiError, match=f"is staged at {plugin.staging()}, not at") as caught:
            await plugin.unstage(staging=path)
        assert caught.value.kind is ErrorKind.PRECONDITION
    assert plugin.leaks() == before
    assert await plugin.records.get(VOLUME) is not None


async def test_a_mount_without_a_record_is_unmounted_because_the_caller_names_it(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.records.remove(VOLUME)
    await plugin.unstage()
    assert plugin.leaks() == []


async def test_a_disk_whose_record_was_lost_is_not_given_up_while_a_pod_has_it(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    await plugin.records.remove(VOLUME)
    with pytest.raises(CsiError, match="pod-1") as caught:
        await plugin.unstage()
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert plugin.mounted(plugin.staging())
    await plugin.unpublish()
    await plugin.unstage()
    assert plugin.leaks() == []


async def test_a_disk_whose_record_was_lost_is_flushed_and_asked_for_again_and_again(
    plugin: Plugin, monkeypatch
) -> None:
    disk = plugin.plug()
    await plugin.stage()
    await plugin.records.remove(VOLUME)
    monkeypatch.setattr("node.release.RELEASE_WAIT_S", 0.01)
    holder = plugin.host.sys_root / "block" / disk.name / "holders/dm-0"
    holder.touch()
    for _ in range(2):
        with pytest.raises(CsiError, match="namespace") as caught:
            await plugin.unstage()
        assert caught.value.kind is ErrorKind.PRECONDITION
    holder.unlink()
    await plugin.unstage()
    assert plugin.host.points[-2:] == [f"flush {disk.name}", "forget"]


async def test_a_lost_record_of_a_disk_that_is_gone_does_not_hold_up_unstaging(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    await plugin.records.remove(VOLUME)
    plugin.host.unplug(disk)
    await plugin.unstage()
    assert plugin.leaks() == []
    assert await plugin.records.all() == ()


async def test_the_hosts_own_file_system_is_never_unmounted(plugin: Plugin) -> None:
    root = plugin.host.top_mount(Path("/"))
    bind = replace(root, mount_id=90, mount_point=Path(plugin.staging()))
    plugin.host.add_mount(bind)
    plugin.parts.unstaging._territory._root = Path("/")
    with pytest.raises(CsiError, match="no volume of this driver"):
        await plugin.unstage()
    assert plugin.host.top_mount(Path(plugin.staging())) == bind


async def test_a_mount_without_a_disk_is_never_unmounted(plugin: Plugin) -> None:
    tmpfs = MountEntry(91, 1, DeviceNumber(0, 50), "/", Path(plugin.staging()), ("rw",), "tmpfs", "tmpfs", ("rw",))
    plugin.host.add_mount(tmpfs)
    with pytest.raises(CsiError, match="no volume of this driver"):
        await plugin.unstage()


async def test_a_staging_path_reached_through_a_link_is_the_same_path(plugin: Plugin, tmp_path: Path) -> None:
    plugin.plug()
    alias = tmp_path / "alias"
    alias.symlink_to(Path(plugin.staging()).parent)
    await plugin.stage(staging=str(alias / "globalmount"))
    await plugin.unstage()
    assert plugin.leaks() == []
    assert await plugin.records.all() == ()


async def test_a_disk_is_not_given_up_between_two_tools_that_work_on_it(plugin: Plugin, monkeypatch) -> None:
    monkeypatch.setattr("node.release.RELEASE_WAIT_S", 0.01)
    disk = plugin.plug()
    await plugin.stage()
    lock = plugin.host.kernel.open_device(plugin.host.dev_root / disk.name)
    assert plugin.host.kernel.try_lock(lock)
    with pytest.raises(CsiError, match="still works on it"):
        await plugin.unstage()
    plugin.host.kernel.close(lock)
    await plugin.unstage()
    assert await plugin.records.all() == ()
