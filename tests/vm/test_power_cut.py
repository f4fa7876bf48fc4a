"""The power of a node fails while it formats, writes or grows; after its next boot the volume is as it should be.

The machine is killed at a scripted moment: QEMU freezes it when the guest sends its n-th write to the disk (fault
injection, no clock), or it is killed right after an fsync has returned. Then the disk is rebuilt as one with a volatile
write cache may have left it, see `writelog`; the disk with the node's own state keeps all that reached it. After that
the same node boots again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from pathlib import Path

import grpc.aio
import pytest

from tests.vm.conftest import Machines
from tests.vm.disks import Disk, copy_sparse, create_image, grow_image
from tests.vm.guest import MachineParts, boot
from tests.vm.plugin import FORMATTED, NodePlugin, plugin
from tests.vm.volumes import (
    SIZE_BYTES,
    Volume,
    content,
    disk_of,
    fs_type,
    fs_uuid,
    new_volume,
    plugged,
    read_file,
    write_file,
)
from tests.vm.writelog import Survival, read_log, rebuild

pytestmark = pytest.mark.asyncio(loop_scope="session")

LARGE_BYTES = 2 * SIZE_BYTES
NEARLY = 0.8
GROWTH_WRITE = {"ext4": 12, "xfs": 6}
"""A write after the mount and before the end of the growth."""


@dataclass(slots=True)
class CachedDisk:
    """A volume and its disk, which loses its write cache at each power cut."""

    volume: Volume
    folder: Path
    image: Path
    """What the disk held when the machine was switched on."""
    cuts: int = 0

    def switched_on(self, *, stop_at_write: int | None = None) -> Disk:
        """Describe the disk for the next boot, with a record of its own."""
        live = copy_sparse(self.image, self.folder / f"{self.cuts}.live")
        return replace(disk_of(self.volume, live), log=self._log, stop_at_write=stop_at_write)

    def lose_cache(self, survival: Survival) -> None:
        """Become what the power cut that just happened left."""
        log = read_log(self._log)
        after = self.folder / f"{self.cuts}.after"
        self.image = rebuild(log, self.image, after, cut=len(log.entries), survival=survival, seed=self.cuts)
        self.volume = self.volume.allocated_as(self.image)
        self.cuts += 1

    def grow(self, size_bytes: int) -> None:
        """Grow the volume on the platform while it is attached nowhere."""
        grow_image(self.image, size_bytes)
        self.volume = self.volume.resized(size_bytes)

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.cuts}.log"


def cached_disk(kind: str, folder: Path) -> CachedDisk:
    folder.mkdir()
    return CachedDisk(new_volume(kind), folder, create_image(folder / "blank.img", SIZE_BYTES))


@contextlib.asynccontextmanager
async def powered(parts: MachineParts) -> AsyncIterator[NodePlugin]:
    async with boot(parts) as machine, plugin(machine) as node:
        yield node


async def power_fails_during(node: NodePlugin, call: Awaitable[None]) -> None:
    """Cut the power when the disk freezes the machine, which has to be before the call has returned."""
    running = asyncio.ensure_future(call)
    frozen = asyncio.ensure_future(node.guest.frozen())
    done, _ = await asyncio.wait({running, frozen}, return_when=asyncio.FIRST_COMPLETED)
    if running in done:
        frozen.cancel()
        raise AssertionError(f"the call ended before the power did: {running.exception()}")
    await frozen
    await node.guest.cut_power()
    with pytest.raises(grpc.aio.AioRpcError):
        await running


async def settled(node: NodePlugin, disk: CachedDisk) -> None:
    """Everything works on: write, take down, bring up, read; and the power is not cut."""
    volume = disk.volume
    text = content()
    await write_file(node.guest, f"{volume.target_path}/settled", text)
    await node.take_down(volume)
    await node.bring_up(volume)
    assert await read_file(node.guest, f"{volume.target_path}/settled") == text
    await node.take_down(volume)


@pytest.mark.parametrize("kind", ["ext4", pytest.param("xfs", marks=pytest.mark.thorough)])
async def test_mkfs_cut_twice_is_finished_by_the_same_node(machines: Machines, tmp_path: Path, kind: str) -> None:
    disk = cached_disk(kind, tmp_path / "disk")
    parts = machines(f"format-{kind}")
    for write, survival in ((3, Survival.SOME), (6, Survival.NOTHING)):
        async with powered(parts) as node, plugged(node.guest, disk.switched_on(stop_at_write=write)):
            await power_fails_during(node, node.stage(disk.volume))
        disk.lose_cache(survival)
    async with powered(parts) as node:
        on = disk.switched_on()
        async with plugged(node.guest, on):
            await node.bring_up(disk.volume)
            assert await node.metric(FORMATTED) == 1
            identity = fs_uuid(on.path)
            await settled(node, disk)
            assert await node.metric(FORMATTED) == 1
    assert fs_type(on.path) == kind
    assert fs_uuid(on.path) == identity


async def test_fsynced_data_outlive_a_power_cut(machines: Machines, tmp_path: Path) -> None:
    held = [cached_disk(kind, tmp_path / kind) for kind in ("ext4", "xfs", "btrfs")]
    durable = {disk.volume.volume_id: content() for disk in held}
    parts = machines("writing")
    identities = {}
    async with powered(parts) as node, plugged(node.guest, *(on := [disk.switched_on() for disk in held])):
        for disk, live in zip(held, on, strict=True):
            await node.bring_up(disk.volume)
            identities[disk.volume.volume_id] = fs_uuid(live.path)
            target = disk.volume.target_path
            await write_file(node.guest, f"{target}/durable", durable[disk.volume.volume_id])
            await write_file(node.guest, f"{target}/in-flight", content(), durable=False)
        await node.guest.cut_power()
    for disk, survival in zip(held, (Survival.NOTHING, Survival.SOME, Survival.SOME), strict=True):
        disk.lose_cache(survival)
    async with powered(parts) as node, plugged(node.guest, *(on := [disk.switched_on() for disk in held])):
        for disk, live in zip(held, on, strict=True):
            await node.bring_up(disk.volume)
            kept = await read_file(node.guest, f"{disk.volume.target_path}/durable")
            assert kept == durable[disk.volume.volume_id], disk.volume.fs_type
            await settled(node, disk)
            assert fs_uuid(live.path) == identities[disk.volume.volume_id]
        assert await node.metric(FORMATTED) == 0


@pytest.mark.parametrize("kind", [pytest.param("ext4", marks=pytest.mark.thorough), "xfs"])
async def test_growth_cut_in_the_middle_is_finished_after_the_boot(
    machines: Machines, tmp_path: Path, kind: str
) -> None:
    disk = cached_disk(kind, tmp_path / "disk")
    parts, text = machines(f"growth-{kind}"), content()
    async with powered(parts) as node:
        on = disk.switched_on()
        async with plugged(node.guest, on):
            await node.bring_up(disk.volume)
            await write_file(node.guest, f"{disk.volume.target_path}/file", text)
            await node.take_down(disk.volume)
        identity = fs_uuid(on.path)
        disk.lose_cache(Survival.ALL)
        disk.grow(LARGE_BYTES)
        # The stage grows the file system once it is mounted.
        async with plugged(node.guest, disk.switched_on(stop_at_write=GROWTH_WRITE[kind])):
            await power_fails_during(node, node.stage(disk.volume))
    disk.lose_cache(Survival.SOME)
    async with powered(parts) as node:
        on = disk.switched_on()
        async with plugged(node.guest, on):
            await node.bring_up(disk.volume)
            assert await read_file(node.guest, f"{disk.volume.target_path}/file") == text
            assert await node.total_bytes(disk.volume) > NEARLY * LARGE_BYTES
            await settled(node, disk)
            assert await node.metric(FORMATTED) == 0
    assert fs_uuid(on.path) == identity
