"""The simulated host answers as this machine does: the same cases on both.

Each case runs a tool or a system call as the node does and states what is seen. A case that passes on one side alone
means that unit tests prove something that is not so.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from csi.errors import CsiError
from node.devices import Devices
from node.model import MIB, Device
from node.mounts import Mounts
from node.ports import Kernel, Runner
from node.probe import Probe
from tests.support.fake_host import FakeHost
from tests.support.loops import Loops, missing_for_loops

pytestmark = pytest.mark.root

SIZE = 512 * MIB


@dataclass
class Side:
    kernel: Kernel
    runner: Runner
    devices: Devices
    mounts: Mounts
    host: FakeHost | Loops

    async def disk(self, serial: str = "s1", *, size_bytes: int = SIZE) -> Device:
        if isinstance(self.host, FakeHost):
            self.host.plug(serial, transport="loop", size_bytes=size_bytes)
        else:
            self.host.attach(serial, size_bytes=size_bytes)
        return await self.devices.find(serial, deadline=self.host.soon())

    def target(self, name: str = "target") -> Path:
        folder = self.host.root / name if isinstance(self.host, FakeHost) else self.host.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    async def run(self, *argv: str | Path) -> int:
        words = [str(word) for word in argv]
        return (await self.runner.run(words, deadline=self.host.soon())).exit_code

    def write(self, device: Device, place: int, data: bytes) -> None:
        fd = self.kernel.open_device(device.path, writable=True)
        try:
            self.kernel.write(fd, place, data)
            self.kernel.flush(fd)
        finally:
            self.kernel.close(fd)


@pytest.fixture(params=["simulated", "real"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    if request.param == "simulated":
        host = FakeHost(tmp_path, sys_resource=False)
        yield Side(host.kernel, host.runner, host.devices(loops=True), host.mount_table(), host)
        return
    missing = missing_for_loops()
    if missing:
        pytest.skip(missing)
    loops = Loops(tmp_path)
    try:
        yield Side(loops.kernel, loops.runner, loops.devices(), loops.mount_table(), loops)
    finally:
        loops.clean()


MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-K"),
    "btrfs": ("mkfs.btrfs", "-q", "-f", "-K"),
}


async def test_blkid_answers_2_for_blank_and_for_what_is_not_there(side: Side) -> None:
    device = await side.disk()
    assert await side.run("blkid", "-p", "-o", "export", "--", device.path) == 2
    assert await side.run("blkid", "-p", "-o", "export", "--", f"{device.path}-missing") == 2


@pytest.mark.parametrize("fs_type", list(MKFS))
async def test_blkid_and_superblock_tell_what_mkfs_made(side: Side, fs_type: str) -> None:
    device = await side.disk()
    assert await side.run(*MKFS[fs_type], device.path) == 0
    answer = await side.runner.run(("blkid", "-p", "-o", "export", "--", str(device.path)), deadline=side.host.soon())
    assert answer.exit_code == 0
    assert f"\nTYPE={fs_type}\n" in answer.stdout
    block = await Probe(side.kernel, side.runner).superblock(device, deadline=side.host.soon())
    assert block is not None
    assert (block.size_bytes, block.was_mounted) == (SIZE, False)
    assert f"UUID={block.uuid}\n" in answer.stdout


@pytest.mark.parametrize(("fs_type", "size_mib"), [("xfs", 200), ("btrfs", 64)])
async def test_mkfs_refuses_a_disk_that_is_too_small(side: Side, fs_type: str, size_mib: int) -> None:
    device = await side.disk(size_bytes=size_mib * MIB)
    assert await side.run(*MKFS[fs_type], device.path) == 1


@pytest.mark.parametrize("fs_type", ["xfs", "btrfs"])
async def test_mkfs_without_force_refuses_an_existing_file_system(side: Side, fs_type: str) -> None:
    device = await side.disk()
    assert await side.run(*MKFS["ext4"], device.path) == 0
    assert await side.run(f"mkfs.{fs_type}", "-q", device.path) == 1
    assert await side.run(*MKFS[fs_type], device.path) == 0


@pytest.mark.parametrize("fs_type", list(MKFS))
async def test_mkfs_and_exclusive_opening_refuse_a_mounted_disk(side: Side, fs_type: str) -> None:
    device = await side.disk()
    await side.run(*MKFS[fs_type], device.path)
    await side.mounts.mount(device.path, side.target(), fs_type=fs_type, options=(), deadline=side.host.soon())
    assert await side.run(*MKFS[fs_type], device.path) == 1
    with pytest.raises(OSError) as caught:  # noqa: PT011
        side.kernel.open_device(device.path, exclusive=True)
    assert caught.value.errno == errno.EBUSY
    side.kernel.close(side.kernel.open_device(device.path))


async def test_two_signatures_are_ambivalent_or_at_least_not_blank(side: Side) -> None:
    device = await side.disk()
    await side.run(*MKFS["btrfs"], device.path)
    ext = await side.disk("s2")
    await side.run(*MKFS["ext4"], ext.path)
    fd = side.kernel.open_device(ext.path)
    block = side.kernel.read(fd, 1024, 1024)
    side.kernel.close(fd)
    side.write(device, 1024, block)
    assert await side.run("blkid", "-p", "-o", "export", "--", device.path) == 8


async def test_e2fsck_and_resize2fs_keep_their_exit_codes(side: Side) -> None:
    device = await side.disk()
    assert await side.run("e2fsck", "-p", "--", device.path) == 8
    assert await side.run("mkfs.ext4", "-q", "-F", "--", device.path, "200000k") == 0
    target = side.target()
    await side.mounts.mount(device.path, target, fs_type="ext4", options=(), deadline=side.host.soon())
    await side.mounts.unmount(target, deadline=side.host.soon())
    assert await side.run("e2fsck", "-p", "--", device.path) == 0
    assert await side.run("e2fsck", "-f", "-p", "--", device.path) == 0
    assert await side.run("resize2fs", device.path) == 0
    block = await Probe(side.kernel, side.runner).superblock(device, deadline=side.host.soon())
    assert block is not None
    assert (block.size_bytes, block.was_mounted) == (SIZE, True)


async def test_growing_tools_refuse_what_is_not_mounted(side: Side) -> None:
    assert await side.run("xfs_growfs", "-d", side.target()) == 1
    assert await side.run("btrfs", "filesystem", "resize", "max", side.target()) == 1


async def test_mount_and_umount_answer_32_when_refused(side: Side) -> None:
    device = await side.disk()
    target = side.target()
    assert await side.run("mount", "-n", "-t", "ext4", "--", device.path, target) == 32
    await side.run(*MKFS["ext4"], device.path)
    assert await side.run("mount", "-n", "-t", "xfs", "--", device.path, target) == 32
    assert await side.run("mount", "-n", "-t", "ext4", "--", device.path, target / "missing") == 32
    assert await side.run("mount", "-n", "-o", "remount,bind,ro", "--", target) == 32
    assert await side.run("umount", "-n", "--", target) == 32
    assert await side.run("mount", "-n", "-t", "ext4", "--", device.path, target) == 0
    assert await side.run("mount", "-n", "-t", "ext4", "--", device.path, target) == 32
    assert await side.run("umount", "-n", "--", target) == 0


@pytest.mark.parametrize("fs_type", list(MKFS))
async def test_a_mount_is_listed_alike(side: Side, fs_type: str) -> None:
    device = await side.disk()
    await side.run(*MKFS[fs_type], device.path)
    target, bound = side.target(), side.target("bound")
    soon = side.host.soon
    entry = await side.mounts.mount(device.path, target, fs_type=fs_type, options=("noatime",), deadline=soon())
    assert (entry.fs_type, entry.source, entry.root) == (fs_type, str(device.path), "/")
    assert (entry.device.major == 0) is (fs_type == "btrfs")
    assert side.mounts.backed_by(entry) == device.number
    copy = await side.mounts.bind(target, bound, read_only=True, deadline=soon())
    assert (copy.device, copy.source, copy.read_only) == (entry.device, entry.source, True)
    assert {e.mount_point for e in side.mounts.entries_of(device.number)} == {target, bound}
    usage = side.kernel.usage(bound)
    assert 0 < usage.total_bytes <= SIZE
    assert (usage.total_inodes == 0) is (fs_type == "btrfs")
    assert side.kernel.path_device(target) == entry.device or fs_type == "btrfs"
    with pytest.raises(CsiError):
        await side.mounts.bind(device.path, bound, read_only=False, deadline=soon())


async def test_a_nested_mount_keeps_the_outer_one_busy(side: Side) -> None:
    device = await side.disk()
    await side.run(*MKFS["ext4"], device.path)
    target = side.target()
    soon = side.host.soon
    await side.mounts.mount(device.path, target, fs_type="ext4", options=(), deadline=soon())
    inner = target / "inner"
    inner.mkdir(exist_ok=True)
    await side.mounts.bind(target, inner, read_only=False, deadline=soon())
    assert await side.run("umount", "-n", "--", target) == 32
    assert await side.mounts.unmount(inner, deadline=soon())
    assert await side.mounts.unmount(target, deadline=soon())


async def test_the_lock_of_a_disk_is_refused_twice(side: Side) -> None:
    device = await side.disk()
    first, second = side.kernel.open_device(device.path), side.kernel.open_device(device.path)
    try:
        assert side.kernel.try_lock(first)
        assert not side.kernel.try_lock(second)
        assert side.kernel.size_bytes(first) == SIZE
        assert side.kernel.device_number(first) == device.number == side.kernel.node_number(device.path)
        with pytest.raises(OSError) as caught:  # noqa: PT011
            side.kernel.write(first, 0, b"x")
        assert caught.value.errno == errno.EBADF
        with pytest.raises(OSError) as caught:  # noqa: PT011
            side.kernel.read(first, SIZE - 1, 2)
        assert caught.value.errno == errno.EIO
    finally:
        side.kernel.close(first)
        side.kernel.close(second)


async def test_a_probe_names_the_disk_that_answered_also_while_it_is_mounted(side: Side) -> None:
    device = await side.disk()
    assert await side.run(*MKFS["ext4"], device.path) == 0
    await side.mounts.mount(device.path, side.target(), fs_type="ext4", options=(), deadline=side.host.soon())
    assert side.kernel.probe(device.path) == device.number
