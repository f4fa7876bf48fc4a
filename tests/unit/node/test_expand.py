"""Growing: only what is ours at that path, only after the kernel shows the size, and again without harm."""

import asyncio
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from csi.validate import SizeRange
from tests.support.node_plugin import SIZE, VOLUME, Mode, Plugin, until


async def expand(plugin: Plugin, path: str, required: int = 0, limit: int = 0, volume: str = VOLUME) -> int:
    size = SizeRange(required_bytes=required, limit_bytes=limit)
    return await plugin.parts.expansion.expand(volume, path, size, deadline=plugin.host.soon())


def fs_size(plugin: Plugin) -> int:
    return plugin.host.kernel.usage(Path(plugin.staging())).total_bytes


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
async def test_the_file_system_grows_to_the_disk_once(plugin: Plugin, fs_type: str) -> None:
    disk = plugin.plug()
    await plugin.stage(fs_type=fs_type)
    await plugin.publish(fs_type=fs_type)
    plugin.host.grow_disk(disk, 2 * SIZE)
    assert await expand(plugin, plugin.target(), 2 * SIZE) == 2 * SIZE
    assert fs_size(plugin) > SIZE * 3 // 2
    before = plugin.host.commands()
    assert await expand(plugin, plugin.staging(), 2 * SIZE) == 2 * SIZE
    assert plugin.host.commands() == before


async def test_a_disk_that_is_large_enough_needs_nothing(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    before = plugin.host.commands()
    assert await expand(plugin, plugin.staging(), SIZE) == SIZE
    assert plugin.host.commands() == before


async def test_without_a_size_it_grows_to_what_there_is(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    plugin.host.grow_disk(disk, 2 * SIZE)
    assert await expand(plugin, plugin.staging()) == 2 * SIZE


async def test_raw_block_reports_the_disks_size(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage(block=True)
    await plugin.publish(block=True)
    plugin.host.grow_disk(disk, 2 * SIZE)
    assert await expand(plugin, plugin.target(), 2 * SIZE) == 2 * SIZE
    assert await expand(plugin, plugin.staging(), 2 * SIZE) == 2 * SIZE
    assert not any("resize" in line for line in plugin.host.commands())


async def test_a_size_that_arrives_late_is_waited_for(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    plugin.parts.expansion._device_wait_s = 5.0
    task = asyncio.create_task(expand(plugin, plugin.staging(), 2 * SIZE))
    await until(lambda: plugin.host.events._bells)
    plugin.host.grow_disk(disk, 2 * SIZE)
    plugin.host.events.ring()
    assert await task == 2 * SIZE


async def test_a_scsi_disk_is_asked_for_its_size(plugin: Plugin) -> None:
    disk = plugin.plug(transport="scsi")
    await plugin.stage()
    rescan = plugin.host.sys_root / "block" / disk.name / "device/rescan"
    rescan.touch()
    with pytest.raises(CsiError):
        await expand(plugin, plugin.staging(), 2 * SIZE)
    assert rescan.read_text() == "1"


async def test_a_size_that_never_comes_is_an_error_to_repeat_not_a_final_one(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    with pytest.raises(CsiError, match="still shows") as caught:
        await expand(plugin, plugin.staging(), 2 * SIZE)
    assert caught.value.kind is ErrorKind.INTERNAL


async def test_a_disk_beyond_the_limit_is_out_of_range(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    with pytest.raises(CsiError) as caught:
        await expand(plugin, plugin.staging(), limit=SIZE - 1)
    assert caught.value.kind is ErrorKind.OUT_OF_RANGE


async def test_a_mounted_ext4_that_the_kernel_refuses_to_grow_says_when_it_will(tmp_path: Path) -> None:
    plugin = Plugin(tmp_path)
    plugin.host.sys_resource = False
    await plugin.start()
    disk = plugin.plug()
    await plugin.stage()
    plugin.host.grow_disk(disk, 2 * SIZE)
    with pytest.raises(CsiError, match="staged next") as caught:
        await expand(plugin, plugin.staging(), 2 * SIZE)
    assert caught.value.kind is ErrorKind.PRECONDITION
    await plugin.unstage()
    await plugin.stage()
    assert await expand(plugin, plugin.staging(), 2 * SIZE) == 2 * SIZE


@pytest.mark.parametrize("path", ["some/path", "/", "/nowhere", ""])
async def test_a_path_where_the_volume_is_not_is_not_found(plugin: Plugin, path: str) -> None:
    plugin.plug()
    await plugin.stage()
    with pytest.raises(CsiError) as caught:
        await expand(plugin, path)
    assert caught.value.kind is ErrorKind.NOT_FOUND
    with pytest.raises(CsiError) as caught:
        await expand(plugin, plugin.staging(), volume="unknown")
    assert caught.value.kind is ErrorKind.NOT_FOUND


async def test_a_publication_whose_mount_vanished_is_not_found(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    plugin.host.drop_mount(plugin.host.top_mount(Path(plugin.target())))
    with pytest.raises(CsiError) as caught:
        await expand(plugin, plugin.target())
    assert caught.value.kind is ErrorKind.NOT_FOUND


async def test_a_lost_staging_mount_asks_for_a_new_stage(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    plugin.host.drop_mount(plugin.host.top_mount(Path(plugin.staging())))
    with pytest.raises(CsiError, match="NodeStageVolume") as caught:
        await expand(plugin, plugin.target())
    assert caught.value.kind is ErrorKind.PRECONDITION


async def test_a_read_only_volume_is_not_grown(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    await plugin.unstage()
    await plugin.stage(mode=Mode.SINGLE_NODE_READER_ONLY)
    plugin.host.grow_disk(disk, 2 * SIZE)
    assert await expand(plugin, plugin.staging()) == 2 * SIZE
    assert fs_size(plugin) <= SIZE


async def test_a_disk_that_went_away_is_an_error(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    plugin.host.unplug(disk)
    with pytest.raises(CsiError, match="gone"):
        await expand(plugin, plugin.staging(), 2 * SIZE)
