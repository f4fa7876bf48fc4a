"""Disks that come and go while the node runs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.vm.disks import Bus
from tests.vm.guest import Guest
from tests.vm.inside.event_only import LOOKED
from tests.vm.plugin import PROGRAM, NodePlugin, plugin
from tests.vm.volumes import blank_disk, content, disk_of, new_volume, plugged, read_file, write_file

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(guest: Guest) -> AsyncIterator[NodePlugin]:
    """Give a plugin that does not rescan: what it finds late, it heard of from the kernel."""
    async with plugin(guest, launcher=["/opt/code/inside/event_only.py"]) as running:
        yield running


@pytest.mark.parametrize("bus", list(Bus))
async def test_a_stage_that_waits_is_woken_by_the_kernels_event(node: NodePlugin, tmp_path: Path, bus: Bus) -> None:
    volume = new_volume()
    disk = blank_disk(volume, tmp_path, bus)
    said = len(await node.guest.lines(PROGRAM))
    waiting = asyncio.create_task(node.stage(volume))
    _, look = await node.guest.line(PROGRAM, LOOKED, start=said)
    assert volume.serial not in look
    async with plugged(node.guest, disk):
        await waiting
        await node.publish(volume)
        await write_file(node.guest, f"{volume.target_path}/file", "arrived late")
        await node.take_down(volume)


@pytest.mark.parametrize("bus", list(Bus))
async def test_after_unstage_the_guest_lets_the_disk_go_and_it_may_come_back(
    node: NodePlugin, tmp_path: Path, bus: Bus
) -> None:
    volume, text = new_volume(), content()
    disk = blank_disk(volume, tmp_path, bus)
    await node.guest.plug(disk)
    await node.bring_up(volume)
    await write_file(node.guest, f"{volume.target_path}/file", text)
    await node.take_down(volume)
    # Returns when QEMU reports that the guest has released the device.
    await node.guest.unplug(disk)
    again = disk_of(volume, disk.path, Bus.VIRTIO)
    async with plugged(node.guest, again):
        await node.bring_up(volume)
        assert await read_file(node.guest, f"{volume.target_path}/file") == text
        await node.take_down(volume)
