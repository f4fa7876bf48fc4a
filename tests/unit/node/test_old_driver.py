"""Volumes of the Go driver go on working on the node, and what it left mounted is cleared (docs/upgrade.md)."""
# ruff: noqa: ASYNC240 - a few files of a temporary folder

from dataclasses import replace
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from csi.pb import csi_pb2 as pb
from tests.support import fake_disk_formats as formats
from tests.support.fake_disks import FakeDisk
from tests.support.node_plugin import SERIAL, SIZE, VOLUME, Plugin
from tests.support.old_driver import ATTACHMENT_METADATA, persistent_volume, stage_request

METADATA = {"csi.thecloud.io/serial": SERIAL, "csi.thecloud.io/size-bytes": str(SIZE)}


def plug_with_its_file_system(plugin: Plugin) -> FakeDisk:
    """Plug a disk as the old driver left it: `mkfs -t ext4` with the tool's defaults, and nothing of ours."""
    disk = plugin.plug()
    for place, data in formats.make("ext4", SIZE).items():
        disk.write(place, data)
    disk.unflushed.clear()
    return disk


def request(plugin: Plugin, metadata: dict[str, str], **fields: str) -> pb.NodeStageVolumeRequest:
    made = stage_request(persistent_volume(VOLUME, **fields), metadata, str(plugin.settings.kubelet_dir))
    Path(made.staging_target_path).mkdir(parents=True)
    return made


async def test_its_file_system_is_mounted_and_never_made_anew(plugin: Plugin) -> None:
    disk = plug_with_its_file_system(plugin)
    before = formats.uuid_of(disk.head)
    made = request(plugin, METADATA)
    await plugin.stage(made)
    assert plugin.mounted(made.staging_target_path) == [str(plugin.host.dev_root / disk.name)]
    assert plugin.host.commands("mkfs") == []
    assert formats.uuid_of(disk.head) == before


async def test_an_attachment_of_the_old_driver_is_refused_because_its_device_is_a_guess(plugin: Plugin) -> None:
    plug_with_its_file_system(plugin)
    with pytest.raises(CsiError, match="attached anew") as caught:
        await plugin.stage(request(plugin, ATTACHMENT_METADATA))
    assert caught.value.kind is ErrorKind.INVALID
    assert plugin.leaks() == []


async def test_what_it_made_ext4_of_is_not_taken_for_the_file_system_of_the_class(plugin: Plugin) -> None:
    """It made ext4 whatever the class said, so its PersistentVolume may name another one."""
    disk = plug_with_its_file_system(plugin)
    with pytest.raises(CsiError, match=r"ext4.*xfs") as caught:
        await plugin.stage(request(plugin, METADATA, fs_type="xfs"))
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS
    assert plugin.host.commands("mkfs") == []
    assert formats.fs_type_of(disk.head) == "ext4"


async def test_pods_that_it_served_can_end(plugin: Plugin) -> None:
    """Its staging mount went away with its container; what it had bound into pods is there still, without a record."""
    plug_with_its_file_system(plugin)
    made = request(plugin, METADATA)
    await plugin.stage(made)
    await plugin.publish(staging=made.staging_target_path)
    staged = plugin.host.top_mount(Path(made.staging_target_path))
    assert staged is not None
    plugin.host.drop_mount(staged)
    await plugin.records.remove(VOLUME)
    await plugin.unpublish()
    await plugin.unstage(staging=made.staging_target_path)
    assert plugin.leaks() == []
    assert not Path(plugin.target()).exists()


async def test_what_it_stacked_on_a_target_comes_off_at_once(plugin: Plugin) -> None:
    """It bound a target anew at every call."""
    plug_with_its_file_system(plugin)
    made = request(plugin, METADATA)
    await plugin.stage(made)
    await plugin.publish(staging=made.staging_target_path)
    top = plugin.host.top_mount(Path(plugin.target()))
    assert top is not None
    plugin.host.add_mount(replace(top, mount_id=plugin.host.take("mount"), parent_id=top.mount_id))
    await plugin.records.remove(VOLUME)
    await plugin.unpublish()
    assert plugin.mounted(plugin.target()) == []
