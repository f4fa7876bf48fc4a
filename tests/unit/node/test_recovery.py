"""A restarted process believes the kernel, not its records."""
# ruff: noqa: ASYNC240 - a few files of a temporary folder

from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.recovery import Recovered
from node.targets import make_target
from tests.support.node_plugin import SERIAL, VOLUME, CrashError, Plugin


async def test_a_restart_keeps_what_is_mounted_and_goes_on_with_it(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    before = plugin.host.commands()
    found = await plugin.start()
    assert found.kept == (VOLUME,)
    await plugin.stage()
    await plugin.publish()
    assert plugin.host.commands() == before
    await plugin.unpublish()
    await plugin.unstage()
    assert plugin.leaks() == []


async def test_a_stage_that_was_cut_off_after_the_mount_is_undone(plugin: Plugin) -> None:
    plugin.plug()
    plugin.host.crash_before("record staged")
    with pytest.raises(CrashError):
        await plugin.stage()
    assert plugin.leaks() == [plugin.staging()]
    found = await plugin.start()
    assert found.undone == (VOLUME,)
    assert plugin.leaks() == []
    assert await plugin.records.all() == ()


async def test_records_of_another_boot_count_for_nothing_and_the_volume_stages_again(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    plugin.reboot()
    found = await plugin.start()
    assert found == Recovered()
    assert await plugin.records.all() == ()
    await plugin.stage()
    assert len([line for line in plugin.host.commands("mkfs") if "-V" not in line]) == 1


@pytest.mark.parametrize("gone", [True, False])
async def test_a_volume_that_somebody_unmounted_is_kept_as_long_as_its_disk_is_there(
    plugin: Plugin, gone: bool
) -> None:
    disk = plugin.plug()
    await plugin.stage()
    plugin.host.drop_mount(plugin.host.top_mount(Path(plugin.staging())))
    if gone:
        plugin.host.unplug(disk)
    found = await plugin.start()
    assert (found.dropped if gone else found.kept) == (VOLUME,)
    await plugin.unstage()
    assert await plugin.records.all() == ()


@pytest.mark.parametrize("cut_off", [True, False])
async def test_a_disk_that_only_another_namespace_mounts_is_not_unstaged_after_a_restart(
    plugin: Plugin, monkeypatch, cut_off: bool
) -> None:
    monkeypatch.setattr("node.release.RELEASE_WAIT_S", 0.01)
    disk = plugin.plug()
    if cut_off:
        plugin.host.crash_before("record staged")
        with pytest.raises(CrashError):
            await plugin.stage()
    else:
        await plugin.stage()
        plugin.host.drop_mount(plugin.host.top_mount(Path(plugin.staging())))
    holder = plugin.host.sys_root / "block" / disk.name / "holders/dm-0"
    holder.touch()
    await plugin.start()
    with pytest.raises(CsiError, match="namespace") as caught:
        await plugin.unstage()
    assert caught.value.kind is ErrorKind.PRECONDITION
    holder.unlink()
    await plugin.unstage()
    assert await plugin.records.all() == ()


async def test_a_volume_that_pods_still_use_is_kept_without_its_staging_mount(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    plugin.host.drop_mount(plugin.host.top_mount(Path(plugin.staging())))
    assert (await plugin.start()).kept == (VOLUME,)


async def test_publications_that_vanished_are_forgotten(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    await plugin.publish(target=plugin.target("pod-2"))
    plugin.host.drop_mount(plugin.host.top_mount(Path(plugin.target())))
    Path(plugin.target()).rmdir()
    await plugin.start()
    record = await plugin.records.get(VOLUME)
    assert [p.target_path for p in record.publications] == [plugin.target("pod-2")]


@pytest.mark.parametrize("block", [True, False])
async def test_a_target_made_right_before_a_kill_is_taken_away_wherever_it_is(
    plugin: Plugin, tmp_path: Path, block: bool
) -> None:
    target = tmp_path.resolve() / "elsewhere"
    disk = plugin.plug()
    await plugin.stage(block=block)
    plugin.host.crash_before("run mount")
    with pytest.raises(CrashError):
        await plugin.publish(block=block, target=str(target))
    # Other than a killed process, a simulated one still ran its clean-up.
    make_target(target, block=block)
    plugin.host.unplug(disk)
    await plugin.start()
    await plugin.unpublish(target=str(target))
    assert not target.exists()
    await plugin.unstage()
    assert await plugin.records.all() == ()


@pytest.mark.parametrize("gone", [True, False])
async def test_a_raw_volume_is_kept_as_long_as_its_disk_is_there(plugin: Plugin, gone: bool) -> None:
    disk = plugin.plug()
    await plugin.stage(block=True)
    if gone:
        plugin.host.unplug(disk)
        plugin.plug(image=disk.image)  # the same numbers and serial, but another attachment
    found = await plugin.start()
    assert (found.dropped if gone else found.kept) == (VOLUME,)


async def test_mounts_without_a_record_are_told_and_left(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.records.remove(VOLUME)
    found = await plugin.start()
    assert found.unrecorded == (plugin.staging(),)
    assert plugin.mounted(plugin.staging())


async def test_one_volume_that_cannot_be_settled_does_not_stop_the_others(plugin: Plugin) -> None:
    plugin.plug()
    plugin.plug("second")
    await plugin.stage()
    await plugin.stage(volume_id="second", serial="second", staging=plugin.staging("second"))
    staging = Path(plugin.staging())
    staging.rmdir()
    staging.symlink_to("/")
    found = await plugin.start()
    assert found.unclear == (VOLUME,)
    assert found.kept == ("second",)


async def test_a_damaged_record_stops_nothing(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    plugin.records._path(VOLUME).write_text("{")
    found = await plugin.start()
    assert found.kept == ()
    assert found.unrecorded == (plugin.staging(),)
    await plugin.stage()
    assert (await plugin.records.get(VOLUME)).serial == SERIAL
