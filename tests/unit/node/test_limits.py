"""How many volumes a host takes: live, never "no limit" by accident, volumes in transit not counted twice."""

from pathlib import Path

import pytest

from node.model import DeviceNumber, MountEntry
from tests.support.node_plugin import Plugin


async def limit(plugin: Plugin) -> int:
    return await plugin.parts.limit.current()


@pytest.fixture
async def small(tmp_path: Path) -> Plugin:
    plugin = Plugin(tmp_path, max_volumes=5, reserved_volumes=1)
    await plugin.start()
    return plugin


def mount_foreign(plugin: Plugin, number: DeviceNumber, name: str) -> None:
    source = str(plugin.host.dev_root / name)
    point = plugin.host.root / name
    plugin.host.add_mount(MountEntry(70, 1, number, "/", point, ("rw",), "ext4", source, ("rw",)))


async def test_the_maximum_minus_what_is_reserved(small: Plugin) -> None:
    assert await limit(small) == 4


async def test_volumes_of_ours_and_volumes_in_transit_do_not_lower_it(small: Plugin) -> None:
    small.plug()
    assert await limit(small) == 4
    await small.stage()
    assert await limit(small) == 4


async def test_disks_that_others_use_lower_it(small: Plugin) -> None:
    foreign = small.plug("foreign")
    mount_foreign(small, foreign.number, foreign.name)
    assert await limit(small) == 3
    small.plug("", transport="scsi")
    assert await limit(small) == 2


async def test_disks_without_a_node_are_not_of_this_host(small: Plugin) -> None:
    small.plug("", transport="scsi", node=False)
    assert await limit(small) == 4


async def test_disks_that_the_host_mounts_lower_it_though_this_container_does_not_see_it(tmp_path: Path) -> None:
    plugin = Plugin(tmp_path, max_volumes=5, host_proc=tmp_path / "host-proc")
    await plugin.start()
    foreign = plugin.plug("foreign")
    table = tmp_path / "host-proc/1/mountinfo"
    table.parent.mkdir(parents=True)
    table.write_text("")
    assert await limit(plugin) == 5
    table.write_text(f"31 1 {foreign.number} / /srv rw - ext4 /dev/elsewhere rw\n")
    assert await limit(plugin) == 4
    table.unlink()
    assert await limit(plugin) == 5


@pytest.mark.parametrize(("of_platform", "expected"), [(True, 3), (False, 4)])
async def test_loop_disks_take_a_place_when_they_are_the_platforms(
    small: Plugin, tmp_path: Path, of_platform: bool, expected: int
) -> None:
    loop = small.plug("image", transport="loop", image=None if of_platform else tmp_path / "other.img")
    mount_foreign(small, loop.number, loop.name)
    assert await limit(small) == expected


async def test_a_full_host_says_one_because_zero_means_no_limit(small: Plugin) -> None:
    for number in range(7):
        small.plug("", transport="scsi" if number % 2 else "virtio")
    assert await limit(small) == 1


@pytest.mark.parametrize("mapped", [False, True])
async def test_the_disk_below_the_system_is_not_counted(small: Plugin, mapped: bool) -> None:
    system = small.plug("system")
    block = small.host.sys_root / "block" / system.name
    partition = block / f"{system.name}1"
    partition.mkdir()
    (partition / "partition").write_text("1\n")
    (partition / "dev").write_text("252:1\n")
    numbers = small.host.sys_root / "dev/block"
    (numbers / "252:1").symlink_to(partition)
    number = DeviceNumber(252, 1)
    if mapped:
        number = DeviceNumber(253, 0)
        mapper = small.host.sys_root / "block/dm-0"
        (mapper / "slaves").mkdir(parents=True)
        (mapper / "slaves" / partition.name).symlink_to(partition)
        (numbers / "253:0").symlink_to(mapper)
    assert await limit(small) == 3
    root = small.host.top_mount(Path("/"))
    small.host.replace_mount(root, device=number)
    assert await limit(small) == 4


async def test_unreadable_disks_leave_the_configured_figure(small: Plugin) -> None:
    (small.host.sys_root / "block").rename(small.host.sys_root / "away")
    assert await limit(small) == 4
