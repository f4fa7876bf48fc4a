"""Raw block: the disk's own node reaches the pod, nothing is formatted, read-only means that the kernel refuses."""
# ruff: noqa: ASYNC240 - a few files of a temporary folder

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.targets import make_target
from tests.support.node_plugin import VOLUME, Mode, Plugin


@pytest.fixture
async def staged(plugin: Plugin) -> Plugin:
    plugin.plug()
    await plugin.stage(block=True)
    return plugin


def node_at(plugin: Plugin, path: str):
    return plugin.host.kernel.node_number(Path(path))


def disk_of(plugin: Plugin):
    return next(iter(plugin.host.disks.values()))


async def test_a_raw_volume_is_staged_without_touching_the_disk(staged: Plugin) -> None:
    assert staged.host.commands() == []
    assert staged.leaks() == []
    assert (await staged.records.get(VOLUME)).block


async def test_the_disks_node_is_bound_on_a_private_file_and_taken_away(staged: Plugin) -> None:
    for _ in range(2):
        await staged.publish(block=True)
    assert node_at(staged, staged.target()) == disk_of(staged).number
    assert len(staged.mounted(staged.target())) == 1
    assert Path(staged.target()).stat().st_mode & 0o777 == 0o600
    await staged.unpublish()
    assert not Path(staged.target()).exists()
    await staged.unstage()
    assert await staged.records.all() == ()


async def test_a_node_that_leads_to_another_disk_is_unmounted_again(staged: Plugin) -> None:
    other = staged.plug("other")
    staged.host.make_node(disk_of(staged).name, other.number)
    with pytest.raises(CsiError, match="was bound") as caught:
        await staged.publish(block=True)
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert staged.leaks() == []
    assert not Path(staged.target()).exists()


async def test_a_disk_that_was_replaced_is_not_published(staged: Plugin) -> None:
    disk = disk_of(staged)
    staged.host.unplug(disk)
    staged.plug("other")
    with pytest.raises(CsiError, match="gone"):
        await staged.publish(block=True)


async def test_a_disk_with_the_same_numbers_and_serial_but_a_new_sequence_is_another_one(staged: Plugin) -> None:
    disk = disk_of(staged)
    staged.host.unplug(disk)
    back = staged.plug(image=disk.image)
    assert back.number == disk.number
    with pytest.raises(CsiError, match="gone"):
        await staged.publish(block=True)
    await staged.stage(block=True)
    await staged.publish(block=True)


async def test_read_only_write_protects_the_disk_until_the_last_reader_is_gone(staged: Plugin) -> None:
    disk = disk_of(staged)
    await staged.publish(block=True, readonly=True)
    await staged.publish(block=True, readonly=True, target=staged.target("pod-2"))
    assert disk.read_only
    await staged.unpublish()
    assert disk.read_only
    await staged.unpublish(target=staged.target("pod-2"))
    assert not disk.read_only
    await staged.publish(block=True)


async def test_one_raw_volume_is_not_writable_and_read_only_at_once(staged: Plugin) -> None:
    await staged.publish(block=True)
    with pytest.raises(CsiError, match="writable at") as caught:
        await staged.publish(block=True, readonly=True, target=staged.target("pod-2"))
    assert caught.value.kind is ErrorKind.PRECONDITION
    await staged.unpublish()
    await staged.publish(block=True, readonly=True, target=staged.target("pod-2"))
    with pytest.raises(CsiError, match="published read-only at") as caught:
        await staged.publish(block=True)
    assert caught.value.kind is ErrorKind.PRECONDITION


async def test_a_failed_read_only_publish_leaves_the_disk_writable(staged: Plugin) -> None:
    staged.host.runner.fail_next("mount", 32, "no")
    with pytest.raises(CsiError):
        await staged.publish(block=True, readonly=True)
    assert not disk_of(staged).read_only
    assert not (await staged.records.get(VOLUME)).write_protected


async def test_a_refused_write_protection_publishes_nothing(staged: Plugin) -> None:
    staged.host.runner.fail_next("blockdev", 1, "Inappropriate ioctl for device")
    with pytest.raises(CsiError, match="Inappropriate ioctl"):
        await staged.publish(block=True, readonly=True)
    assert staged.leaks() == []
    await staged.publish(block=True)


async def test_unstage_takes_a_leftover_write_protection_back(staged: Plugin) -> None:
    await staged.publish(block=True, readonly=True)
    staged.host.drop_mount(staged.host.top_mount(Path(staged.target())))
    await staged.unstage()
    assert not disk_of(staged).read_only


async def test_a_raw_volume_mounted_by_somebody_is_not_staged(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage(staging=plugin.staging("elsewhere"))
    await plugin.records.remove(VOLUME)
    with pytest.raises(CsiError, match="already mounted"):
        await plugin.stage(block=True)


async def test_a_single_writer_raw_volume_is_published_at_one_path_only(plugin: Plugin) -> None:
    mode = Mode.SINGLE_NODE_SINGLE_WRITER
    plugin.plug()
    await plugin.stage(block=True, mode=mode)
    await plugin.publish(block=True, mode=mode)
    with pytest.raises(CsiError) as caught:
        await plugin.publish(block=True, mode=mode, target=plugin.target("pod-2"))
    assert caught.value.kind is ErrorKind.PRECONDITION


async def test_a_folder_in_the_place_of_the_target_file_is_left_alone(staged: Plugin) -> None:
    Path(staged.target()).mkdir()
    with pytest.raises(CsiError, match="no file"):
        await staged.publish(block=True)


async def test_a_raw_target_whose_record_was_lost_is_taken_over(staged: Plugin) -> None:
    await staged.publish(block=True)
    record = await staged.records.get(VOLUME)
    await staged.records.put(replace(record, publications=()))
    await staged.publish(block=True)
    assert len(staged.mounted(staged.target())) == 1
    await staged.unpublish()
    assert staged.leaks() == []


async def test_a_target_file_with_content_is_not_hidden(staged: Plugin) -> None:
    Path(staged.target()).write_text("precious")
    with pytest.raises(CsiError, match="is not empty") as caught:
        await staged.publish(block=True)
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert Path(staged.target()).read_text() == "precious"
    Path(staged.target()).write_text("")
    await staged.publish(block=True)


def test_a_device_node_of_the_host_is_no_target(tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "disk"
    target.touch()
    monkeypatch.setattr(Path, "lstat", lambda _: os.stat_result((stat.S_IFBLK | 0o600, *(0,) * 9)))
    with pytest.raises(CsiError, match="no file"):
        make_target(target, block=True)
