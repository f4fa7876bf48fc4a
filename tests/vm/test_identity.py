"""A disk is chosen by what the kernel reports for it, and touched only when it is proved to be the volume's own."""

import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from tests.vm.conftest import Machines
from tests.vm.disks import Bus, Disk, create_image, digest
from tests.vm.guest import Guest, boot
from tests.vm.plugin import FORMATTED, NodePlugin, plugin
from tests.vm.volumes import (
    SIZE_BYTES,
    Volume,
    arrived,
    blank_disk,
    content,
    disk_names,
    disk_of,
    fs_type,
    new_volume,
    plugged,
    read_file,
    write_file,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(guest: Guest) -> AsyncIterator[NodePlugin]:
    async with plugin(guest) as running:
        yield running


async def live_and_come_back(node: NodePlugin, volume: Volume) -> None:
    """Stage, publish, write, take down, and find the data after staging again."""
    text = content()
    await node.bring_up(volume)
    await write_file(node.guest, f"{volume.target_path}/file", text)
    assert await read_file(node.guest, f"{volume.staging_path}/file") == text
    await node.take_down(volume)
    await node.bring_up(volume)
    assert await read_file(node.guest, f"{volume.target_path}/file") == text
    await node.take_down(volume)


async def refused(node: NodePlugin, volume: Volume) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.stage(volume)
    return caught.value


@pytest.mark.parametrize("bus", list(Bus))
@pytest.mark.parametrize("kind", ["ext4", pytest.param("xfs", marks=pytest.mark.thorough)])
async def test_volume_is_found_by_the_serial_of_its_bus(node: NodePlugin, tmp_path: Path, bus: Bus, kind: str) -> None:
    volume = new_volume(kind)
    disk = blank_disk(volume, tmp_path, bus)
    other = blank_disk(new_volume(), tmp_path, bus)
    untouched = digest(other.path)
    async with plugged(node.guest, other, disk):
        await live_and_come_back(node, volume)
    assert fs_type(disk.path) == kind
    assert digest(other.path) == untouched


@pytest.mark.thorough
async def test_order_of_disks_does_not_matter(machines: Machines, tmp_path: Path) -> None:
    before, after = new_volume(), new_volume()
    first, last = blank_disk(before, tmp_path), blank_disk(after, tmp_path)
    async with boot(machines("ordered"), plugged=[first], late=[last]) as machine, plugin(machine) as node:
        root = (await machine.run("findmnt", "-n", "-o", "SOURCE", "/")).output.strip()
        assert root != "/dev/vda", "the machine was to name another disk first"
        await live_and_come_back(node, after)
        await live_and_come_back(node, before)
    assert fs_type(first.path) == fs_type(last.path) == "ext4"


@pytest.mark.parametrize("buses", [(Bus.VIRTIO, Bus.VIRTIO), (Bus.VIRTIO, Bus.SCSI), (Bus.NVME, Bus.SCSI)])
async def test_two_disks_with_one_serial_are_both_left_alone(
    node: NodePlugin, tmp_path: Path, buses: tuple[Bus, Bus]
) -> None:
    volume = new_volume()
    twins = [
        disk_of(volume, create_image(tmp_path / f"{number}.img", SIZE_BYTES), bus) for number, bus in enumerate(buses)
    ]
    before = [digest(disk.path) for disk in twins]
    known = await disk_names(node.guest)
    async with plugged(node.guest, *twins):
        await arrived(node.guest, known, len(twins))
        error = await refused(node, volume)
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert volume.serial in (error.details() or "")
        assert [digest(disk.path) for disk in twins] == before
    # One that is left alone is unambiguous again.
    async with plugged(node.guest, twins[0]):
        await live_and_come_back(node, volume)
    assert fs_type(twins[0].path) == "ext4"
    assert digest(twins[1].path) == before[1]


def put(disk: Disk, offset_bytes: int, data: bytes) -> None:
    with disk.path.open("r+b") as file:
        file.seek(offset_bytes)
        file.write(data)


PARTITIONED = bytes(446) + struct.pack("<8B2I", 0, 0, 2, 0, 0x83, 0, 0, 0, 2048, 4096) + bytes(48) + b"\x55\xaa"
FOREIGN = {
    "data at the start": (0, b"somebody's data"),
    "data in the first MiB": (700_000, b"somebody's data"),
    "data at the end": (SIZE_BYTES - 4096, b"somebody's data"),
    "encrypted": (0, b"LUKS\xba\xbe\x00\x02".ljust(4096, b"\0")),
    "partition table": (0, PARTITIONED),
}


@pytest.mark.parametrize("what", list(FOREIGN))
async def test_foreign_content_is_not_formatted(node: NodePlugin, tmp_path: Path, what: str) -> None:
    volume = new_volume()
    disk = blank_disk(volume, tmp_path)
    put(disk, *FOREIGN[what])
    before = digest(disk.path)
    formatted = await node.metric(FORMATTED)
    async with plugged(node.guest, disk):
        error = await refused(node, volume)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert digest(disk.path) == before
    assert await node.metric(FORMATTED) == formatted


async def test_a_file_system_of_another_type_is_an_error(node: NodePlugin, tmp_path: Path) -> None:
    volume = new_volume("ext4")
    disk = blank_disk(volume, tmp_path)
    async with plugged(node.guest, disk):
        await live_and_come_back(node, volume)
        before = digest(disk.path)
        error = await refused(node, replace(volume, fs_type="xfs"))
    assert error.code() in {grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION}
    assert "ext4" in (error.details() or "")
    assert digest(disk.path) == before


@pytest.mark.parametrize("known", [{"allocated_bytes": 4 << 20}, {"source": "snapshot:1"}], ids=["written", "restored"])
async def test_blank_although_it_should_hold_data_is_an_alarm(
    node: NodePlugin, tmp_path: Path, known: dict[str, object]
) -> None:
    volume = replace(new_volume(), **known)  # type: ignore[arg-type]
    disk = blank_disk(volume, tmp_path)
    before = digest(disk.path)
    async with plugged(node.guest, disk):
        error = await refused(node, volume)
    assert error.code() is grpc.StatusCode.DATA_LOSS
    assert digest(disk.path) == before
