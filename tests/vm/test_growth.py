"""A volume grows while a pod uses it; on the host itself the kernel may refuse this for ext4 (CAP_SYS_RESOURCE)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.vm.disks import Bus
from tests.vm.guest import Guest
from tests.vm.plugin import NodePlugin, plugin
from tests.vm.volumes import SIZE_BYTES, blank_disk, content, fs_uuid, new_volume, plugged, read_file, write_file

pytestmark = pytest.mark.asyncio(loop_scope="session")

LARGE_BYTES = 2 * SIZE_BYTES
NEARLY = 0.8
"""Share of the disk that a grown file system offers at least; the rest is its own administration."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(guest: Guest) -> AsyncIterator[NodePlugin]:
    async with plugin(guest) as running:
        yield running


@pytest.mark.parametrize("bus", [Bus.VIRTIO, Bus.SCSI])
@pytest.mark.parametrize(
    "kind", ["ext4", *(pytest.param(kind, marks=pytest.mark.thorough) for kind in ("xfs", "btrfs"))]
)
async def test_a_mounted_volume_grows_and_keeps_its_data(node: NodePlugin, tmp_path: Path, kind: str, bus: Bus) -> None:
    volume, text = new_volume(kind), content()
    disk = blank_disk(volume, tmp_path, bus)
    async with plugged(node.guest, disk):
        await node.bring_up(volume)
        await write_file(node.guest, f"{volume.target_path}/file", text)
        identity = fs_uuid(disk.path)
        assert await node.total_bytes(volume) <= SIZE_BYTES
        await node.guest.resize(disk, LARGE_BYTES)
        larger = volume.resized(LARGE_BYTES)
        await node.expand(larger)
        assert await node.total_bytes(larger) > NEARLY * LARGE_BYTES
        # Twice changes nothing more.
        await node.expand(larger)
        assert await read_file(node.guest, f"{volume.target_path}/file") == text
        await node.take_down(volume)
        await node.bring_up(larger)
        assert await read_file(node.guest, f"{volume.target_path}/file") == text
        await node.take_down(larger)
    assert fs_uuid(disk.path) == identity


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
async def test_a_disk_that_came_back_larger_is_grown_at_stage(node: NodePlugin, tmp_path: Path, kind: str) -> None:
    volume, text = new_volume(kind), content()
    disk = blank_disk(volume, tmp_path)
    async with plugged(node.guest, disk):
        await node.bring_up(volume)
        await write_file(node.guest, f"{volume.target_path}/file", text)
        await node.take_down(volume)
        await node.guest.resize(disk, LARGE_BYTES)
        larger = volume.resized(LARGE_BYTES)
        await node.bring_up(larger)
        assert await node.total_bytes(larger) > NEARLY * LARGE_BYTES
        assert await read_file(node.guest, f"{volume.target_path}/file") == text
        await node.take_down(larger)
