"""Whole lives of volumes on real devices, across two node plugins."""

import os
import signal
import stat
import struct
from pathlib import Path

import grpc
import pytest

from node.model import MIB
from tests.integration.node.conftest import NodeProcess
from tests.support.loops import Loops, run
from tests.support.node_plugin import Mode

pytestmark = pytest.mark.root
Code = grpc.StatusCode


async def refused(call, code: grpc.StatusCode, words: str = "") -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code, caught.value.details()
    assert words in (caught.value.details() or "")


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
async def test_data_survives_the_move_to_another_node(loops: Loops, first, second, fs_type: str) -> None:
    device = loops.attach("vol-1")
    await first.stage("vol-1", fs_type=fs_type)
    target = await first.publish("vol-1", fs_type=fs_type)
    (target / "file").write_text("kept")
    await first.unpublish("vol-1")
    await first.unstage("vol-1")
    assert first.mounts() == []
    assert first.records() == []
    loops.detach(device)
    loops.attach("vol-1")
    await second.stage("vol-1", fs_type=fs_type)
    target = await second.publish("vol-1", fs_type=fs_type)
    assert (target / "file").read_text() == "kept"
    assert await second.health("vol-1") == []
    await second.unpublish("vol-1")
    await second.unstage("vol-1")
    assert second.mounts() == []


async def test_calls_repeated_ten_times_change_nothing(loops: Loops, first: NodeProcess) -> None:
    loops.attach("vol-1")
    for _ in range(10):
        await first.stage("vol-1")
    for _ in range(10):
        await first.publish("vol-1")
    assert len(first.mounts()) == 2
    for _ in range(3):
        await first.unpublish("vol-1")
    for _ in range(3):
        await first.unstage("vol-1")
    assert first.mounts() == []


async def test_a_restart_between_all_steps_changes_nothing(loops: Loops, first: NodeProcess) -> None:
    loops.attach("vol-1")
    await first.stage("vol-1")
    await first.restart()
    await first.stage("vol-1")
    target = await first.publish("vol-1")
    (target / "file").write_text("kept")
    await first.restart()
    await first.publish("vol-1")
    assert (target / "file").read_text() == "kept"
    assert len(first.mounts()) == 2
    await first.restart(signal.SIGTERM)
    assert len(first.mounts()) == 2
    await first.unpublish("vol-1")
    await first.restart()
    await first.unstage("vol-1")
    assert first.mounts() == []
    assert first.staging("vol-1").is_dir()


async def test_raw_block_is_the_disk_itself_and_never_formatted(loops: Loops, first: NodeProcess) -> None:
    device = loops.attach("raw", size_bytes=64 * MIB)
    await first.stage("raw", block=True)
    target = await first.publish("raw", block=True)
    assert stat.S_ISBLK(target.lstat().st_mode)
    assert target.lstat().st_rdev == device.lstat().st_rdev
    with target.open("r+b") as disk:
        disk.write(b"raw data")
        disk.flush()
        os.fsync(disk.fileno())
    await first.unpublish("raw")
    assert not target.exists()
    await first.unstage("raw")
    assert loops.image("raw").read_bytes()[:8] == b"raw data"
    await refused(first.stage("raw"), Code.FAILED_PRECONDITION)
    assert loops.image("raw").read_bytes()[:8] == b"raw data"


async def test_read_only_raw_block_refuses_writes_until_it_is_taken_away(loops: Loops, first: NodeProcess) -> None:
    device = loops.attach("raw", size_bytes=64 * MIB)
    await first.stage("raw", block=True)
    target = await first.publish("raw", block=True, readonly=True)
    with pytest.raises(PermissionError), target.open("r+b", buffering=0) as disk:
        disk.write(b"x" * 4096)
    await first.unpublish("raw")
    assert run("blockdev", "--getro", device).stdout.strip() == "0"
    await first.unstage("raw")


async def test_a_read_only_publication_refuses_writes_beside_a_writable_one(loops: Loops, first: NodeProcess) -> None:
    loops.attach("vol-1")
    mode = Mode.SINGLE_NODE_MULTI_WRITER
    await first.stage("vol-1", mode=mode)
    writable = await first.publish("vol-1", "writer", mode=mode)
    reader = await first.publish("vol-1", "reader", mode=mode, readonly=True)
    (writable / "file").write_text("seen")
    assert (reader / "file").read_text() == "seen"
    with pytest.raises(OSError, match="Read-only"):
        (reader / "other").touch()
    await refused(first.unstage("vol-1"), Code.FAILED_PRECONDITION, "still published")
    for pod in ("writer", "reader"):
        await first.unpublish("vol-1", pod)
    await first.unstage("vol-1")


async def test_a_single_writer_gets_one_path(loops: Loops, first: NodeProcess) -> None:
    loops.attach("vol-1")
    mode = Mode.SINGLE_NODE_SINGLE_WRITER
    await first.stage("vol-1", mode=mode)
    await first.publish("vol-1", mode=mode)
    await refused(first.publish("vol-1", "other", mode=mode), Code.FAILED_PRECONDITION, "single writer")


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
async def test_a_clone_is_mounted_beside_its_source(loops: Loops, first: NodeProcess, fs_type: str) -> None:
    loops.attach("source")
    await first.stage("source", fs_type=fs_type)
    target = await first.publish("source", fs_type=fs_type)
    (target / "file").write_text("of the source")
    run("sync", "-f", target)
    run("cp", "--sparse=always", loops.image("source"), loops.image("clone"))
    os.truncate(loops.image("clone"), 1024 * MIB)
    loops.attach("clone")
    await first.stage("clone", fs_type=fs_type, source="volume:source")
    copy = await first.publish("clone", fs_type=fs_type)
    assert (copy / "file").read_text() == "of the source"
    (copy / "file").write_text("of the clone")
    assert (target / "file").read_text() == "of the source"
    # The clone is larger than its source, and so is its file system.
    assert os.statvfs(copy).f_blocks * os.statvfs(copy).f_frsize > 800 * MIB
    assert os.statvfs(target).f_blocks * os.statvfs(target).f_frsize < 600 * MIB


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
async def test_a_volume_grows_in_use_or_says_when_it_will(loops: Loops, first: NodeProcess, fs_type: str) -> None:
    device = loops.attach("vol-1")
    await first.stage("vol-1", fs_type=fs_type)
    target = await first.publish("vol-1", fs_type=fs_type)
    (target / "file").write_text("kept")
    loops.grow(device, "vol-1", 1024 * MIB)
    if fs_type == "ext4" and not loops.kernel.has_sys_resource():
        await refused(first.expand("vol-1", 1024 * MIB), Code.FAILED_PRECONDITION, "staged next")
        await first.unpublish("vol-1")
        await first.unstage("vol-1")
        await first.stage("vol-1", fs_type=fs_type)
        await first.publish("vol-1", fs_type=fs_type)
    assert await first.expand("vol-1", 1024 * MIB) == 1024 * MIB
    assert os.statvfs(target).f_blocks * os.statvfs(target).f_frsize > 800 * MIB
    assert (target / "file").read_text() == "kept"
    await refused(first.expand("vol-1", 4096 * MIB), Code.INTERNAL, "still shows")


def put_partitions(image: Path) -> None:
    entry = struct.pack("<B3sB3sII", 0, b"\0\x02\0", 0x83, b"\xff\xff\xff", 2048, 100_000)
    with image.open("r+b") as file:
        file.seek(446)
        file.write(entry + bytes(48) + b"\x55\xaa")


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (lambda image: image.write_bytes(b"precious" + bytes(64 * MIB)), Code.FAILED_PRECONDITION),
        (lambda image: run("mkfs.xfs", "-q", "-f", image), Code.ALREADY_EXISTS),
        (put_partitions, Code.FAILED_PRECONDITION),
        (lambda image: run("mkswap", image), Code.FAILED_PRECONDITION),
    ],
    ids=["data", "other file system", "partition table", "swap"],
)
async def test_foreign_content_is_refused_and_left_as_it_is(loops: Loops, first: NodeProcess, prepare, code) -> None:
    image = loops.image("foreign")
    image.touch()
    os.truncate(image, 320 * MIB)
    prepare(image)
    os.truncate(image, 320 * MIB)
    before = run("sha256sum", image).stdout
    loops.attach("foreign")
    await refused(first.stage("foreign", fs_type="ext4"), code)
    assert run("sha256sum", image).stdout == before
    assert first.mounts() == []
    assert first.records() == []


async def test_two_disks_with_one_serial_are_refused(loops: Loops, first: NodeProcess) -> None:
    loops.attach("twin")
    loops.attach("twin")
    await refused(first.stage("twin"), Code.FAILED_PRECONDITION, "2 disks")


async def test_a_disk_that_is_not_there_is_named(loops: Loops, first: NodeProcess) -> None:
    loops.attach("present")
    await refused(first.stage("absent"), Code.UNAVAILABLE, "present")


async def test_a_disk_cut_off_at_its_end_is_not_used(loops: Loops, first: NodeProcess) -> None:
    loops.attach("cut")
    os.truncate(loops.image("cut"), 64 * MIB)
    await refused(first.stage("cut"), Code.UNAVAILABLE)
    assert not any(loops.image("cut").read_bytes()[:MIB])


async def test_an_unmounted_staging_folder_is_never_published(loops: Loops, first: NodeProcess) -> None:
    loops.attach("vol-1")
    await first.stage("vol-1")
    run("umount", first.staging("vol-1"))
    await refused(first.publish("vol-1"), Code.FAILED_PRECONDITION, "not mounted at its staging path")
    assert not first.target("vol-1").exists()
    await first.stage("vol-1")
    await first.publish("vol-1")


async def test_a_mount_in_another_namespace_keeps_the_disk(loops: Loops, first: NodeProcess) -> None:
    loops.attach("vol-1")
    await first.stage("vol-1")
    hold = run("sh", "-c", "unshare --mount --propagation private sleep 300 >/dev/null 2>&1 & echo $!").stdout.strip()
    try:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await first.unstage("vol-1", timeout=3.0)
        assert caught.value.code() is Code.FAILED_PRECONDITION
        assert "namespace" in caught.value.details()
    finally:
        run("kill", hold)
    await first.unstage("vol-1")
    assert first.records() == []


async def test_the_selinux_word_and_flags_reach_the_kernel(loops: Loops, first: NodeProcess) -> None:
    loops.attach("vol-1")
    await first.stage("vol-1", flags=["noatime", "nosuid"])
    await first.publish("vol-1", readonly=True)
    assert all("noatime" in line and "nosuid" in line for line in first.mounts())
