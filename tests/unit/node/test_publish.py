"""Publishing: only the staged volume itself reaches a pod, as asked for, once per path."""
# ruff: noqa: ASYNC240 - a few files of a temporary folder

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from tests.support.node_plugin import VOLUME, Mode, Plugin


@pytest.fixture
async def staged(plugin: Plugin) -> Plugin:
    plugin.plug()
    await plugin.stage()
    return plugin


def top(plugin: Plugin, path: str):
    return plugin.host.top_mount(Path(path))


async def test_a_staged_volume_is_bound_and_taken_away_with_its_folder(staged: Plugin) -> None:
    await staged.publish()
    assert top(staged, staged.target()).device == top(staged, staged.staging()).device
    assert Path(staged.target()).stat().st_mode & 0o777 == 0o750
    await staged.unpublish()
    assert staged.mounted(staged.target()) == []
    assert not Path(staged.target()).exists()
    assert (await staged.records.get(VOLUME)).publications == ()


@pytest.mark.parametrize("fs_type", ["xfs", "btrfs"])
async def test_other_file_systems_are_bound_too(plugin: Plugin, fs_type: str) -> None:
    plugin.plug()
    await plugin.stage(fs_type=fs_type)
    await plugin.publish(fs_type=fs_type)
    await plugin.publish(fs_type=fs_type)
    assert len(plugin.mounted(plugin.target())) == 1
    await plugin.unpublish()
    await plugin.unstage()
    assert plugin.leaks() == []


async def test_publishing_ten_times_binds_once(staged: Plugin) -> None:
    for _ in range(10):
        await staged.publish()
    assert len(staged.mounted(staged.target())) == 1


async def test_publishing_without_staging_is_refused(plugin: Plugin) -> None:
    plugin.plug()
    with pytest.raises(CsiError, match="not staged") as caught:
        await plugin.publish()
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert not Path(plugin.target()).exists()


async def test_an_empty_staging_folder_of_the_hosts_disk_is_never_bound(staged: Plugin) -> None:
    staged.host.drop_mount(top(staged, staged.staging()))
    with pytest.raises(CsiError, match="not mounted at its staging path") as caught:
        await staged.publish()
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert staged.mounted(staged.target()) == []


async def test_another_disk_at_the_staging_path_is_never_bound(staged: Plugin) -> None:
    staged.plug("other")
    await staged.stage(volume_id="other", serial="other", staging=staged.staging("other"))
    entry = top(staged, staged.staging("other"))
    staged.host.add_mount(replace(entry, mount_id=200, mount_point=Path(staged.staging())))
    with pytest.raises(CsiError, match="not mounted at its staging path"):
        await staged.publish()


async def test_a_volume_whose_disk_is_gone_is_not_published(staged: Plugin) -> None:
    staged.host.unplug(next(iter(staged.host.disks.values())))
    with pytest.raises(CsiError, match="gone") as caught:
        await staged.publish()
    assert caught.value.kind is ErrorKind.PRECONDITION


@pytest.mark.parametrize(
    ("change", "words"),
    [({"block": True}, "access type"), ({"fs_type": "xfs"}, "file system"), ({"staging": "x"}, "staging path")],
)
async def test_what_does_not_fit_the_stage_is_refused(staged: Plugin, change, words) -> None:
    if "staging" in change:
        change = {"staging": staged.staging("elsewhere")}
    with pytest.raises(CsiError, match=words) as caught:
        await staged.publish(**change)
    assert caught.value.kind is ErrorKind.PRECONDITION


async def test_readonly_is_honoured_and_verified(staged: Plugin) -> None:
    await staged.publish(readonly=True)
    assert top(staged, staged.target()).read_only
    assert not top(staged, staged.staging()).read_only


async def test_a_read_only_flag_that_did_not_take_is_an_error_and_undone(staged: Plugin, monkeypatch) -> None:
    monkeypatch.setattr(staged.host.runner, "_remount", lambda *_: (0, "", ""))
    with pytest.raises(CsiError):
        await staged.publish(readonly=True)
    assert staged.mounted(staged.target()) == []
    assert not Path(staged.target()).exists()


async def test_the_same_target_in_another_way_is_refused(staged: Plugin) -> None:
    await staged.publish()
    with pytest.raises(CsiError, match="another way") as caught:
        await staged.publish(readonly=True)
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS
    with pytest.raises(CsiError) as caught:
        await staged.publish(mode=Mode.SINGLE_NODE_MULTI_WRITER)
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS


@pytest.mark.parametrize("mode", [Mode.SINGLE_NODE_WRITER, Mode.SINGLE_NODE_MULTI_WRITER])
async def test_several_pods_of_one_node_share_a_volume(plugin: Plugin, mode) -> None:
    plugin.plug()
    await plugin.stage(mode=mode)
    await plugin.publish(mode=mode)
    await plugin.publish(mode=mode, target=plugin.target("pod-2"))
    assert plugin.mounted(plugin.target("pod-2"))


async def test_a_single_writer_volume_is_published_at_one_path_only(plugin: Plugin) -> None:
    mode = Mode.SINGLE_NODE_SINGLE_WRITER
    plugin.plug()
    await plugin.stage(mode=mode)
    await plugin.publish(mode=mode)
    await plugin.publish(mode=mode)
    with pytest.raises(CsiError, match="single writer") as caught:
        await plugin.publish(mode=mode, target=plugin.target("pod-2"))
    assert caught.value.kind is ErrorKind.PRECONDITION
    await plugin.unpublish()
    await plugin.publish(mode=mode, target=plugin.target("pod-2"))


async def test_a_single_writer_whose_mount_vanished_does_not_block_the_next(plugin: Plugin) -> None:
    mode = Mode.SINGLE_NODE_SINGLE_WRITER
    plugin.plug()
    await plugin.stage(mode=mode)
    await plugin.publish(mode=mode)
    plugin.host.drop_mount(top(plugin, plugin.target()))
    await plugin.publish(mode=mode, target=plugin.target("pod-2"))


async def test_a_target_that_is_a_link_is_neither_published_nor_removed(staged: Plugin, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    Path(staged.target()).symlink_to(precious)
    with pytest.raises(CsiError, match="symbolic link") as caught:
        await staged.publish()
    assert caught.value.kind is ErrorKind.PRECONDITION
    with pytest.raises(CsiError, match="symbolic link"):
        await staged.unpublish()
    assert Path(staged.target()).is_symlink()


async def test_a_target_reached_through_a_linked_parent_works(staged: Plugin, tmp_path: Path) -> None:
    real, alias = tmp_path / "real", tmp_path / "alias"
    real.mkdir()
    alias.symlink_to(real)
    target = str(alias / "mount")
    await staged.publish(target=target)
    await staged.publish(target=target)
    assert len(staged.mounted(str(real / "mount"))) == 1
    await staged.unpublish(target=target)
    assert not (real / "mount").exists()


async def test_a_target_without_a_parent_folder_is_refused(staged: Plugin, tmp_path: Path) -> None:
    with pytest.raises(CsiError, match="parent") as caught:
        await staged.publish(target=str(tmp_path / "no/such/mount"))
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert (await staged.records.get(VOLUME)).publications == ()


async def test_a_file_in_the_place_of_the_target_folder_is_left_alone(staged: Plugin) -> None:
    Path(staged.target()).write_text("data")
    with pytest.raises(CsiError, match="no folder"):
        await staged.publish()
    with pytest.raises(CsiError, match="left alone"):
        await staged.unpublish()
    assert Path(staged.target()).read_text() == "data"


async def test_a_target_folder_with_files_is_not_emptied(staged: Plugin) -> None:
    Path(staged.target()).mkdir()
    (Path(staged.target()) / "data").touch()
    with pytest.raises(CsiError, match="holds files") as caught:
        await staged.unpublish()
    assert caught.value.kind is ErrorKind.PRECONDITION


async def test_a_failed_bind_leaves_nothing(staged: Plugin) -> None:
    staged.host.runner.fail_next("mount", 32, "no memory", midway=True)
    with pytest.raises(CsiError, match="no memory"):
        await staged.publish()
    assert staged.mounted(staged.target()) == []
    assert not Path(staged.target()).exists()
    assert (await staged.records.get(VOLUME)).publications == ()


async def test_cancel_during_bind_leaves_nothing(staged: Plugin) -> None:
    gate = staged.host.runner.gate("mount")
    task = asyncio.create_task(staged.publish())
    await gate.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert staged.mounted(staged.target()) == []
    assert not Path(staged.target()).exists()
    assert (await staged.records.get(VOLUME)).publications == ()
    assert len(staged.assembly.locks) == 0


async def test_something_else_bound_in_the_last_moment_is_unmounted_again(staged: Plugin) -> None:
    staged.plug("other")
    await staged.stage(volume_id="other", serial="other", staging=staged.staging("other"))
    gate = staged.host.runner.gate("mount")
    task = asyncio.create_task(staged.publish())
    await gate.started.wait()
    other = top(staged, staged.staging("other"))
    staged.host.add_mount(replace(other, mount_id=300, mount_point=Path(staged.staging())))
    gate.go_on.set()
    with pytest.raises(CsiError, match="was bound"):
        await task
    assert staged.mounted(staged.target()) == []


async def test_a_foreign_mount_at_the_target_is_left_alone(staged: Plugin) -> None:
    staged.plug("other")
    await staged.stage(volume_id="other", serial="other", staging=staged.staging("other"))
    await staged.publish(volume_id="other", staging=staged.staging("other"))
    with pytest.raises(CsiError, match="is mounted there") as caught:
        await staged.publish()
    assert caught.value.kind is ErrorKind.PRECONDITION
    with pytest.raises(CsiError, match="belongs to volume other") as caught:
        await staged.unpublish()
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert staged.mounted(staged.target())


async def test_a_target_whose_record_was_lost_is_taken_over_or_refused_by_what_it_shows(staged: Plugin) -> None:
    await staged.publish(readonly=True)
    record = await staged.records.get(VOLUME)
    await staged.records.put(replace(record, publications=()))
    with pytest.raises(CsiError) as caught:
        await staged.publish()
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS
    await staged.publish(readonly=True)
    assert len((await staged.records.get(VOLUME)).publications) == 1
    assert len(staged.mounted(staged.target())) == 1


async def test_a_file_system_that_turned_read_only_keeps_its_publications(staged: Plugin) -> None:
    await staged.publish()
    for path in (staged.staging(), staged.target()):
        staged.host.replace_mount(top(staged, path), super_options=("ro",))
    await staged.publish()
    assert staged.mounted(staged.target())


async def test_unpublish_of_an_unknown_volume_or_path_is_fine(plugin: Plugin) -> None:
    await plugin.unpublish("never-seen")
    await plugin.unpublish(target=plugin.target("nowhere") + "/a/b")


async def test_unpublish_without_a_record_still_unmounts(staged: Plugin) -> None:
    await staged.publish()
    await staged.records.remove(VOLUME)
    await staged.unpublish()
    assert staged.mounted(staged.target()) == []
    assert not Path(staged.target()).exists()


async def test_a_busy_target_is_an_error_that_keeps_the_record(staged: Plugin) -> None:
    await staged.publish()
    staged.host.busy.add(Path(staged.target()))
    with pytest.raises(CsiError, match="busy"):
        await staged.unpublish()
    assert len((await staged.records.get(VOLUME)).publications) == 1


async def test_stacked_mounts_at_a_target_are_all_taken_away(staged: Plugin) -> None:
    await staged.publish()
    entry = top(staged, staged.target())
    for number in range(3):
        staged.host.add_mount(replace(entry, mount_id=400 + number, parent_id=entry.mount_id + number))
    await staged.unpublish()
    assert staged.mounted(staged.target()) == []


async def test_a_dead_mount_is_unpublished(staged: Plugin) -> None:
    await staged.publish()
    staged.host.unplug(next(iter(staged.host.disks.values())))
    await staged.unpublish()
    await staged.unstage()
    assert staged.leaks() == []


async def test_the_bind_keeps_the_restrictions_of_the_stage(plugin: Plugin, monkeypatch) -> None:
    plugin.plug()
    await plugin.stage()
    entry = top(plugin, plugin.staging())
    plugin.host.replace_mount(entry, options=("rw", "nosuid", "nodev"))
    await plugin.publish(readonly=True)
    assert {"nosuid", "nodev"} <= set(top(plugin, plugin.target()).options)
    await plugin.unpublish()

    def forgetful(target: Path, options: list[str]):
        plugin.host.replace_mount(plugin.host.top_mount(target), options=("ro",))
        return 0, "", ""

    monkeypatch.setattr(plugin.host.runner, "_remount", forgetful)
    with pytest.raises(CsiError, match="nodev, nosuid"):
        await plugin.publish(readonly=True)
    assert plugin.mounted(plugin.target()) == []


async def test_a_publish_whose_undo_fails_does_not_claim_that_nothing_is_mounted(staged: Plugin, monkeypatch) -> None:
    monkeypatch.setattr(staged.host.runner, "_remount", lambda *_: (0, "", ""))
    staged.host.busy.add(Path(staged.target()))
    with pytest.raises(CsiError, match=r"writable. Undoing it failed too: .*busy") as caught:
        await staged.publish(readonly=True)
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME
    with pytest.raises(CsiError, match=r"earlier publish is still to be undone: .*busy") as caught:
        await staged.publish(readonly=True)
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME
    staged.host.busy.clear()
    await staged.unpublish()
    assert not Path(staged.target()).exists()


async def test_a_target_folder_with_files_is_not_hidden(staged: Plugin, tmp_path: Path) -> None:
    for target in (tmp_path / "etc", Path(staged.target())):
        target.mkdir()
        (target / "passwd").touch()
        with pytest.raises(CsiError, match="is not empty") as caught:
            await staged.publish(target=str(target))
        assert caught.value.kind is ErrorKind.PRECONDITION
        assert staged.mounted(str(target)) == []
        assert (target / "passwd").exists()
    assert (await staged.records.get(VOLUME)).publications == ()


async def test_an_empty_target_folder_is_used(staged: Plugin) -> None:
    Path(staged.target()).mkdir()
    await staged.publish()
    assert staged.mounted(staged.target())
