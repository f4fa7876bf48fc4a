"""Whatever a power cut leaves of a disk, another node stages it, keeps what was durable and never formats twice.

One life of a volume is recorded (formatted at stage, written with fsync, grown while mounted, unstaged). From the
record every state is worked out that a cut at a chosen moment could have left, see `writelog`; each one is plugged into
a second machine, which has its own state folder and never saw the volume. The moments lie before and after each flush
and between them, and the unflushed writes are lost, kept, or kept in part, in turn. `VM_CRASH_STATES=40` looks at so
many moments in each of the three parts of a life instead of the few that fit into minutes.
"""

import itertools
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio

from tests.vm.conftest import Machines
from tests.vm.disks import create_image
from tests.vm.guest import Guest, GuestError, boot
from tests.vm.plugin import FORMATTED, NodePlugin, plugin
from tests.vm.volumes import (
    SIZE_BYTES,
    Volume,
    blank_disk,
    content,
    disk_of,
    fs_uuid,
    new_volume,
    plugged,
    read_file,
    write_file,
)
from tests.vm.writelog import Survival, WriteLog, cut_points, read_log, rebuild

pytestmark = pytest.mark.asyncio(loop_scope="session")

LARGE_BYTES = 2 * SIZE_BYTES
NEARLY = 0.8
STATES = {"ext4": 5, "xfs": 4, "btrfs": 3}
"""Moments in each of the three parts of a recorded life."""
CHECKS = {"ext4": ("e2fsck", "-f", "-n"), "xfs": ("xfs_repair", "-n"), "btrfs": ("btrfs", "check", "--readonly")}
"""The file system's own check, which changes nothing and fails if there is anything to repair."""


@dataclass(frozen=True, slots=True)
class Life:
    """A recorded life; the moments are numbers of entries."""

    volume: Volume
    log: WriteLog
    uuid: str
    text: str
    formatted_at: int
    """From here on the stage had succeeded."""
    durable_at: int
    """From here on the fsync had returned."""

    def moments(self) -> list[int]:
        """Give the cuts to look at, some in every part of the life."""
        count = int(os.environ.get("VM_CRASH_STATES") or STATES[self.volume.fs_type])
        ends = (self.formatted_at, self.durable_at, len(self.log.entries))
        parts = [replace(self.log, entries=self.log.entries[:end]) for end in ends]
        starts = (0, self.formatted_at, self.durable_at)
        return sorted(
            {cut for part, start in zip(parts, starts, strict=True) for cut in cut_points(part, count, start=start)}
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def first(guest: Guest) -> AsyncIterator[NodePlugin]:
    async with plugin(guest) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def second(machines: Machines) -> AsyncIterator[NodePlugin]:
    async with boot(machines("second")) as machine, plugin(machine) as running:
        yield running


async def record_life(node: NodePlugin, kind: str, folder: Path) -> Life:
    volume, text = new_volume(kind), content()
    disk = replace(blank_disk(volume, folder), log=folder / "log")
    larger = volume.resized(LARGE_BYTES)
    async with plugged(node.guest, disk):
        await node.bring_up(volume)
        async with node.guest.paused():
            formatted_at = len(read_log(folder / "log").entries)
        await write_file(node.guest, f"{volume.target_path}/file", text)
        async with node.guest.paused():
            durable_at = len(read_log(folder / "log").entries)
        await node.guest.resize(disk, LARGE_BYTES)
        await node.expand(larger)
        await node.take_down(larger)
    log = read_log(folder / "log")
    assert 0 < formatted_at < durable_at < len(log.entries)
    return Life(larger, log, fs_uuid(disk.path), text, formatted_at, durable_at)


@pytest.mark.parametrize(
    "kind", ["ext4", *(pytest.param(kind, marks=pytest.mark.thorough) for kind in ("xfs", "btrfs"))]
)
async def test_another_node_goes_on_from_any_cut(
    first: NodePlugin, second: NodePlugin, tmp_path: Path, kind: str
) -> None:
    life = await record_life(first, kind, tmp_path)
    small = create_image(tmp_path / "small.img", SIZE_BYTES)
    large = create_image(tmp_path / "large.img", LARGE_BYTES)
    for number, (cut, survival) in enumerate(zip(life.moments(), itertools.cycle(Survival), strict=False)):
        # The platform made the disk larger right after the data were durable.
        before = small if cut < life.durable_at else large
        image = rebuild(life.log, before, tmp_path / "cut.img", cut=cut, survival=survival, seed=number)
        where = f"{kind}, cut after {cut} of {len(life.log.entries)} entries, of the unflushed writes: {survival.value}"
        try:
            await goes_on(second, life, image, cut)
        except (AssertionError, GuestError, grpc.aio.AioRpcError) as error:
            error.add_note(where)
            raise


async def goes_on(node: NodePlugin, life: Life, image: Path, cut: int) -> None:
    """Stage the disk, look at what is on it, use it, and have its file system checked."""
    volume = life.volume.resized(SIZE_BYTES if cut < life.durable_at else LARGE_BYTES).allocated_as(image)
    formatted = await node.metric(FORMATTED)
    async with plugged(node.guest, disk_of(volume, image)):
        await node.stage(volume)
        times = await node.metric(FORMATTED) - formatted
        assert times <= (1 if cut < life.formatted_at else 0)
        if cut >= life.durable_at:
            assert await read_file(node.guest, f"{volume.staging_path}/file") == life.text
        assert await node.size_of(volume.staging_path) > NEARLY * volume.size_bytes
        await write_file(node.guest, f"{volume.staging_path}/later", "it can be written to")
        device = await node.device_at(volume.staging_path)
        await node.unstage(volume)
        # While xfs grows, its spare superblocks lag behind the first one; no mount minds, but the check does.
        if volume.fs_type != "xfs" or cut < life.durable_at:
            await node.guest.run(*CHECKS[volume.fs_type], device)
    if cut >= life.formatted_at:
        assert fs_uuid(image) == life.uuid
