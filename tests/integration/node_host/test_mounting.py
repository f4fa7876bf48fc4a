"""On real disks: mounts, binds and unmounts as the kernel's table tells them."""

import asyncio
import errno
import os
import sys

import pytest

from csi.errors import CsiError, ErrorKind
from node.model import MIB, Device, FsRequest
from node.stats import Figures
from node.uevents import KernelDiskEvents
from tests.support.loops import Loops, run

pytestmark = pytest.mark.root


async def ext4(loops: Loops, size_bytes: int = 64 * MIB) -> Device:
    loops.attach("s1", size_bytes=size_bytes)
    device = await loops.devices().find("s1", deadline=loops.soon())
    await loops.filesystems().ensure(device, FsRequest("s1"), deadline=loops.soon())
    return device


async def mount(loops: Loops, device: Device, *options: str) -> None:
    await loops.mount_table().mount(device.path, loops.target(), fs_type="ext4", options=options, deadline=loops.soon())


async def test_a_read_only_bind_refuses_writes_and_its_source_does_not(loops: Loops) -> None:
    await mount(loops, await ext4(loops))
    bound = loops.target("a b\tc")
    entry = await loops.mount_table().bind(loops.target(), bound, read_only=True, deadline=loops.soon())
    assert entry.mount_point == bound
    with pytest.raises(OSError, match="Read-only"):
        (bound / "file").write_text("x")
    (loops.target() / "file").write_text("x")
    assert loops.mount_table().at(bound) == entry


async def test_a_device_node_is_bound_on_a_file_and_taken_away(loops: Loops) -> None:
    device = await ext4(loops)
    file = loops.folder / "volume"
    file.touch()
    mounts = loops.mount_table()
    await mounts.bind(device.path, file, read_only=False, deadline=loops.soon())
    assert loops.kernel.node_number(file) == device.number
    assert await Figures(loops.kernel).block_size_bytes(device.number, file, deadline=loops.soon()) == 64 * MIB
    assert await mounts.unmount(file, deadline=loops.soon())
    assert loops.kernel.node_number(file) is None


async def test_a_busy_mount_stays_and_names_its_user(loops: Loops) -> None:
    await mount(loops, await ext4(loops))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-S",
        "-c",
        "print(flush=True); input()",
        cwd=loops.target(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        with pytest.raises(CsiError, match=f"process {process.pid}") as caught:
            await loops.mount_table().unmount(loops.target(), deadline=loops.soon())
        assert caught.value.kind is ErrorKind.PRECONDITION
        assert loops.mount_table().at(loops.target()) is not None
    finally:
        process.kill()
        await process.communicate()
    assert await loops.mount_table().unmount(loops.target(), deadline=loops.soon())


async def test_every_layer_is_unmounted_and_a_second_time_is_fine(loops: Loops) -> None:
    device = await ext4(loops)
    await mount(loops, device)
    mounts = loops.mount_table()
    await mounts.bind(loops.target(), loops.target(), read_only=False, deadline=loops.soon())
    assert len(mounts.entries_of(device.number)) == 2
    assert await mounts.unmount(loops.target(), deadline=loops.soon())
    assert not await mounts.unmount(loops.target(), deadline=loops.soon())
    assert mounts.entries_of(device.number) == ()


async def test_a_refused_mount_leaves_nothing(loops: Loops) -> None:
    device = await ext4(loops)
    mounts = loops.mount_table()
    with pytest.raises(CsiError, match="wrong fs type"):
        await mounts.mount(device.path, loops.target(), fs_type="xfs", options=(), deadline=loops.soon())
    with pytest.raises(CsiError):
        await mounts.mount(
            device.path, loops.target(), fs_type="ext4", options=("nosuchoption",), deadline=loops.soon()
        )
    assert mounts.at(loops.target()) is None


async def test_figures_of_a_mounted_volume(loops: Loops) -> None:
    device = await ext4(loops)
    await mount(loops, device)
    before = await Figures(loops.kernel).file_system_usage(device.number, loops.target(), deadline=loops.soon())
    (loops.target() / "file").write_bytes(os.urandom(MIB))
    run("sync", "-f", loops.target())
    after = await Figures(loops.kernel).file_system_usage(device.number, loops.target(), deadline=loops.soon())
    assert after.used_bytes - before.used_bytes >= MIB
    assert after.used_inodes == before.used_inodes + 1
    assert loops.mount_table().damage(loops.target()) == ""


async def test_a_disk_that_comes_rings_the_bell(loops: Loops) -> None:
    events = KernelDiskEvents()
    await events.start()
    try:
        with events.listen() as bell:
            loops.attach("s1", size_bytes=64 * MIB)
            async with asyncio.timeout(10):
                await bell.wait()
    finally:
        events.stop()


async def test_a_disk_that_died_under_a_mount_is_noticed_although_its_start_is_cached(loops: Loops) -> None:
    device = await ext4(loops, 1024 * MIB)
    target = loops.target()
    await loops.mount_table().mount(device.path, target, fs_type="ext4", options=(), deadline=loops.soon())
    os.truncate(loops.image("s1"), 0)
    fd = loops.kernel.open_device(device.path)
    try:
        # What the file system keeps in memory answers as if nothing had happened.
        assert any(loops.kernel.read(fd, 0, 4096))
    finally:
        loops.kernel.close(fd)
    with pytest.raises(OSError) as caught:  # noqa: PT011
        loops.kernel.probe(device.path)
    assert caught.value.errno == errno.EIO
    os.truncate(loops.image("s1"), device.size_bytes)
