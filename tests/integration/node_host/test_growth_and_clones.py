"""On real disks: growing mounted and unmounted, damage, and clones beside their sources."""

import asyncio
import os
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node import filesystems
from node.commands import HostRunner
from node.filesystems import mount_options
from node.model import MIB, Device, FsRequest, FsType, MountEntry
from tests.support.loops import Loops, run

pytestmark = pytest.mark.root

SMALL, LARGE = 512 * MIB, 1024 * MIB


async def made(loops: Loops, fs_type: FsType, serial: str = "s1") -> Device:
    loops.attach(serial, size_bytes=SMALL)
    return await ensured(loops, fs_type, serial)


async def ensured(loops: Loops, fs_type: FsType, serial: str, **request) -> Device:
    devices = loops.devices()
    device = await devices.find(serial, deadline=loops.soon())
    wanted = FsRequest(serial, fs_type.value, **request)
    await loops.filesystems(devices).ensure(device, wanted, deadline=loops.soon())
    return device


async def mounted(loops: Loops, device: Device, fs_type: FsType, target: Path) -> MountEntry:
    options = mount_options(fs_type, read_only=False, device_read_only=device.read_only, flags=())
    return await loops.mount_table().mount(
        device.path, target, fs_type=fs_type.value, options=options, deadline=loops.soon()
    )


def total(path: Path) -> int:
    figures = os.statvfs(path)
    return figures.f_blocks * figures.f_frsize


@pytest.mark.parametrize("fs_type", [FsType.EXT4, FsType.XFS, FsType.BTRFS])
async def test_a_mounted_file_system_grows_with_its_disk_and_keeps_its_files(loops: Loops, fs_type: FsType) -> None:
    file_systems = loops.filesystems()
    if not file_systems.can_grow_mounted(fs_type):
        pytest.skip("this machine's processes lack CAP_SYS_RESOURCE, so the kernel refuses to grow a mounted ext4")
    device = await made(loops, fs_type)
    target = loops.target()
    await mounted(loops, device, fs_type, target)
    (target / "file").write_text("kept")
    before = total(target)
    loops.grow(device.path, "s1", LARGE)
    result = await file_systems.grow(device, fs_type, mount_path=target, deadline=loops.soon())
    assert (result.grown, result.device_size_bytes) == (True, LARGE)
    assert total(target) >= before + (LARGE - SMALL) * 9 // 10
    assert (target / "file").read_text() == "kept"
    await loops.mount_table().unmount(target, deadline=loops.soon())
    await mounted(loops, device, fs_type, target)
    again = await file_systems.grow(device, fs_type, mount_path=target, deadline=loops.soon())
    assert (again.grown, (target / "file").read_text()) == (False, "kept")


async def test_without_the_capability_the_kernel_refuses_and_so_do_we_before_it(loops: Loops) -> None:
    file_systems = loops.filesystems()
    if file_systems.can_grow_mounted(FsType.EXT4):
        pytest.skip("this machine's processes have CAP_SYS_RESOURCE")
    device = await made(loops, FsType.EXT4)
    await mounted(loops, device, FsType.EXT4, loops.target())
    loops.grow(device.path, "s1", LARGE)
    with pytest.raises(CsiError, match="CAP_SYS_RESOURCE"):
        await file_systems.grow(device, FsType.EXT4, mount_path=loops.target(), deadline=loops.soon())
    refused = run("resize2fs", device.path, check=False)
    assert "Permission denied" in refused.stderr


async def test_ext4_grows_unmounted(loops: Loops) -> None:
    device = await made(loops, FsType.EXT4)
    target = loops.target()
    await mounted(loops, device, FsType.EXT4, target)
    (target / "file").write_text("kept")
    await loops.mount_table().unmount(target, deadline=loops.soon())
    loops.grow(device.path, "s1", LARGE)
    file_systems = loops.filesystems()
    result = await file_systems.grow(device, FsType.EXT4, mount_path=None, deadline=loops.soon())
    assert (result.grown, result.fs_size_bytes) == (True, LARGE)
    again = await file_systems.grow(device, FsType.EXT4, mount_path=None, deadline=loops.soon())
    assert not again.grown
    await mounted(loops, device, FsType.EXT4, target)
    assert (target / "file").read_text() == "kept"


@pytest.mark.parametrize("fs_type", [FsType.EXT4, FsType.XFS, FsType.BTRFS])
async def test_a_fresh_file_system_does_not_grow_into_its_own_tail(loops: Loops, fs_type: FsType) -> None:
    device = await made(loops, fs_type)
    await mounted(loops, device, fs_type, loops.target())
    result = await loops.filesystems().grow(device, fs_type, mount_path=loops.target(), deadline=loops.soon())
    assert not result.grown


async def test_a_dirty_ext4_is_repaired_and_a_broken_one_refused(loops: Loops) -> None:
    device = await made(loops, FsType.EXT4)
    run("debugfs", "-w", "-R", "set_super_value state 2", device.path)
    run("debugfs", "-w", "-R", "set_super_value free_inodes_count 1", device.path)
    devices = loops.devices()
    state = await loops.filesystems(devices).ensure(device, FsRequest("s1"), deadline=loops.soon())
    assert (state.formatted, state.repaired) == (False, True)
    run("debugfs", "-w", "-R", "set_super_value state 2", device.path)
    run("debugfs", "-w", "-R", "clri <2>", device.path)
    with pytest.raises(CsiError, match="e2fsck ended with 4"):
        await loops.filesystems(devices).ensure(device, FsRequest("s1"), deadline=loops.soon())


async def copy_of_mounted(loops: Loops, fs_type: FsType) -> tuple[Device, Device, MountEntry]:
    """A source that is mounted with a file, and a copy taken while it is, as a snapshot of the platform is."""
    source = await made(loops, fs_type, "source")
    entry = await mounted(loops, source, fs_type, loops.target("source"))
    file = loops.target("source") / "file"
    file.write_text("of the source")
    fd = os.open(file, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    run("cp", "--sparse=always", loops.image("source"), loops.image("clone"))
    loops.attach("clone")
    return source, await ensured(loops, fs_type, "clone", has_source=True), entry


@pytest.mark.parametrize("fs_type", [FsType.EXT4, FsType.XFS, FsType.BTRFS])
async def test_a_clone_beside_its_mounted_source_shows_its_own_data(loops: Loops, fs_type: FsType) -> None:
    source, clone, source_entry = await copy_of_mounted(loops, fs_type)
    entry = await mounted(loops, clone, fs_type, loops.target("clone"))
    mounts = loops.mount_table()
    assert mounts.backed_by(entry) == clone.number
    assert mounts.backed_by(source_entry) == source.number
    of_source, of_clone = loops.target("source") / "file", loops.target("clone") / "file"
    assert of_clone.read_text() == "of the source"
    of_clone.write_text("of the clone")
    assert of_source.read_text() == "of the source"
    run("sync")
    for target in (loops.target("source"), loops.target("clone")):
        await mounts.unmount(target, deadline=loops.soon())
    if fs_type is FsType.BTRFS:
        run("btrfs", "check", clone.path)
        run("btrfs", "check", source.path)
    await mounted(loops, await ensured(loops, fs_type, "clone", has_source=True), fs_type, loops.target("clone"))
    await mounted(loops, await ensured(loops, fs_type, "source"), fs_type, loops.target("source"))
    assert (of_source.read_text(), of_clone.read_text()) == ("of the source", "of the clone")


async def test_only_nouuid_lets_an_xfs_clone_beside_its_source(loops: Loops) -> None:
    source, clone, _ = await copy_of_mounted(loops, FsType.XFS)
    await loops.mount_table().unmount(loops.target("source"), deadline=loops.soon())
    run("mount", "-t", "xfs", source.path, loops.target("source"))
    refused = run("mount", "-t", "xfs", clone.path, loops.target("clone"), check=False)
    assert refused.returncode == 32
    await mounted(loops, clone, FsType.XFS, loops.target("clone"))


@pytest.mark.parametrize("source_attached_first", [True, False])
async def test_a_btrfs_clone_gets_its_uuid_on_its_own_disk_only(loops: Loops, *, source_attached_first: bool) -> None:
    source = await made(loops, FsType.BTRFS, "source")
    run("cp", "--sparse=always", loops.image("source"), loops.image("clone"))
    if not source_attached_first:
        loops.detach(source.path)
    loops.attach("clone")
    if not source_attached_first:
        loops.attach("source")
    before = loops.image("source").read_bytes()
    clone = await ensured(loops, FsType.BTRFS, "clone", has_source=True)
    uuid = run("blkid", "-p", "-o", "value", "-s", "UUID", clone.path).stdout.strip()
    assert uuid == filesystems.clone_uuid("clone")
    run("sync")
    assert loops.image("source").read_bytes() == before


async def test_a_disk_that_refuses_writes_mounts_without_replaying_its_journal(loops: Loops) -> None:
    for fs_type in (FsType.EXT4, FsType.XFS, FsType.BTRFS):
        serial = f"ro-{fs_type.value}"
        device = await made(loops, fs_type, serial)
        target = loops.target(serial)
        await mounted(loops, device, fs_type, target)
        (target / "file").write_text("x")
        run("sync", "-f", target)
        run("cp", "--sparse=always", loops.image(serial), loops.image(f"{serial}-copy"))
        await loops.mount_table().unmount(target, deadline=loops.soon())
        loops.attach(f"{serial}-copy", read_only=True)
        loops.detach(device.path)
        copy = await ensured(loops, fs_type, f"{serial}-copy", has_source=True, read_only=True)
        assert copy.read_only
        entry = await mounted(loops, copy, fs_type, target)
        assert entry.read_only
        await loops.mount_table().unmount(target, deadline=loops.soon())


async def test_a_growth_whose_call_ended_goes_on_with_the_disk_locked(loops: Loops) -> None:
    device = await made(loops, FsType.EXT4)
    loops.grow(device.path, "s1", LARGE)
    script, fifo = loops.folder / "resize2fs", loops.folder / "fifo"
    os.mkfifo(fifo)
    real = run("sh", "-c", "command -v resize2fs").stdout.strip()
    script.write_text(f'#!/bin/sh\necho began >{fifo}\nread word <{fifo}\nexec {real} "$@"\n')
    script.chmod(0o755)
    loops.runner = HostRunner(search_path=f"{loops.folder}:/usr/sbin:/usr/bin:/sbin:/bin")
    growing = asyncio.ensure_future(
        loops.filesystems().grow(device, FsType.EXT4, mount_path=None, deadline=loops.soon())
    )
    await asyncio.to_thread(fifo.read_text)
    growing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await growing
    # A process started anew, which knows nothing of the growth.
    with pytest.raises(CsiError, match="used by something else") as caught:
        await ensured(loops, FsType.EXT4, "s1")
    assert caught.value.kind is ErrorKind.BUSY
    await asyncio.to_thread(fifo.write_text, "go on\n")
    await loops.runner.drain()
    result = await loops.filesystems().grow(device, FsType.EXT4, mount_path=None, deadline=loops.soon())
    assert (result.grown, result.fs_size_bytes) == (False, LARGE)
    run("e2fsck", "-fn", device.path)
