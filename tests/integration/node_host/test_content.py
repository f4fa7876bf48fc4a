"""On real disks: only what is proved blank is formatted, and a format that was cut off is finished."""

import asyncio
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node import format_record, superblock
from node.commands import HostRunner
from node.devices import Devices
from node.filesystems import FileSystems, mount_options
from node.format_record import FormatRecord
from node.model import MIB, CommandResult, FsRequest, FsType
from tests.support.loops import Loops, run

pytestmark = pytest.mark.root

TYPES = ["ext3", "ext4", "xfs", "btrfs"]
GIB = 1024 * MIB


async def ensure(loops: Loops, serial: str = "s1", **request):
    devices = loops.devices()
    device = await devices.find(serial, deadline=loops.soon())
    return await loops.filesystems(devices).ensure(device, FsRequest(serial, **request), deadline=loops.soon())


def record_on(image: Path) -> FormatRecord | None:
    size = image.stat().st_size
    with image.open("rb") as file:
        file.seek(format_record.offset(size))
        return format_record.decode(file.read(format_record.RECORD_BYTES))


def write(device: Path, place: int, data: bytes) -> None:
    fd = os.open(device, os.O_WRONLY)
    try:
        os.pwrite(fd, data, place if place >= 0 else os.lseek(fd, 0, os.SEEK_END) + place)
        os.fsync(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("fs_type", TYPES)
async def test_a_blank_disk_is_formatted_once_and_mounts(loops: Loops, fs_type: str) -> None:
    device = loops.attach("s1")
    state = await ensure(loops, fs_type=fs_type, allocated_bytes=0)
    assert state.formatted
    assert record_on(loops.image("s1")) is None
    assert run("blkid", "-p", "-o", "value", "-s", "UUID", device).stdout.strip() == state.uuid
    mounts, target = loops.mount_table(), loops.target()
    options = mount_options(FsType(fs_type), read_only=False, device_read_only=False, flags=())
    entry = await mounts.mount(device, target, fs_type=fs_type, options=options, deadline=loops.soon())
    found = await loops.devices().find("s1", deadline=loops.soon())
    assert mounts.backed_by(entry) == found.number
    (target / "file").write_text("kept")
    assert await mounts.unmount(target, deadline=loops.soon())
    again = await ensure(loops, fs_type=fs_type, allocated_bytes=10 * MIB)
    assert (again.formatted, again.uuid) == (False, state.uuid)
    await mounts.mount(device, target, fs_type=fs_type, options=options, deadline=loops.soon())
    assert (target / "file").read_text() == "kept"


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
@pytest.mark.parametrize("size_bytes", [310 * MIB, 1000 * MIB + 512, 100 * GIB])
async def test_the_record_survives_a_whole_mkfs_of_every_size(loops: Loops, fs_type: str, size_bytes: int) -> None:
    loops.attach("s1", size_bytes=size_bytes)
    seen = []

    class Looking(HostRunner):
        async def run(self, argv: Sequence[str], *, deadline: float, pass_fds: Sequence[int] = ()) -> CommandResult:
            result = await super().run(argv, deadline=deadline, pass_fds=pass_fds)
            if argv[0].startswith("mkfs."):
                seen.append(record_on(loops.image("s1")))
            return result

    loops.runner = Looking()
    assert (await ensure(loops, fs_type=fs_type)).formatted
    assert seen == [FormatRecord("s1", fs_type, size_bytes // 512 * 512)]
    assert record_on(loops.image("s1")) is None


@pytest.mark.parametrize(("fs_type", "size_mib"), [("ext4", 64), ("btrfs", 132), ("xfs", 304)])
async def test_the_smallest_disk_promised_is_really_enough(loops: Loops, fs_type: str, size_mib: int) -> None:
    loops.attach("s1", size_bytes=size_mib * MIB)
    assert (await ensure(loops, fs_type=fs_type)).formatted


def luks_header() -> bytes:
    header = bytearray(4096)
    struct.pack_into(">6sH32s32s32s", header, 0, b"LUKS\xba\xbe", 1, b"aes", b"xts-plain64", b"sha256")
    header[168:204] = b"00000000-0000-4000-8000-000000000000"
    return bytes(header)


def make_swap(device: Path) -> None:
    run("mkswap", device)


def make_partitions(device: Path) -> None:
    entry = struct.pack("<B3sB3sII", 0, b"\0\x02\0", 0x83, b"\xff\xff\xff", 2048, 100_000)
    write(device, 446, entry + bytes(48) + b"\x55\xaa")


def make_backup_table_only(device: Path) -> None:
    write(device, -512, b"EFI PART" + bytes(504))


@pytest.mark.parametrize(
    "put",
    [
        lambda device: write(device, 300_000, b"someone's data"),
        lambda device: write(device, -700_000, b"someone's data"),
        lambda device: write(device, 0, luks_header()),
        make_swap,
        make_partitions,
        make_backup_table_only,
        lambda device: run("mkfs.ext4", "-q", "-O", "^has_journal,^extent", "-t", "ext2", device),
    ],
    ids=["data in the first MiB", "data in the last MiB", "LUKS", "swap", "partitions", "backup GPT", "ext2"],
)
async def test_a_disk_that_holds_anything_is_left_as_it_is(loops: Loops, put) -> None:
    device = loops.attach("s1", size_bytes=128 * MIB)
    put(device)
    run("sync")
    before = loops.image("s1").read_bytes()
    with pytest.raises(CsiError, match="left as it is") as caught:
        await ensure(loops)
    assert caught.value.kind in {ErrorKind.PRECONDITION, ErrorKind.ALREADY_EXISTS}
    run("sync")
    assert loops.image("s1").read_bytes() == before


@pytest.mark.parametrize("size_bytes", [600 * MIB, 10 * GIB])
@pytest.mark.parametrize(
    "mkfs",
    [("mkfs.ext4",), ("mkfs.ext4", "-b", "1024"), ("mkfs.ext4", "-b", "2048"), ("mkfs.xfs",), ("mkfs.btrfs",)],
    ids=["ext4", "ext4 of 1 KiB blocks", "ext4 of 2 KiB blocks", "xfs", "btrfs"],
)
async def test_a_file_system_that_lost_both_ends_is_not_taken_for_a_blank_disk(
    loops: Loops, mkfs: tuple[str, ...], size_bytes: int
) -> None:
    device = loops.attach("s1", size_bytes=size_bytes)
    run(*mkfs, "-q", device)
    write(device, 0, bytes(MIB))
    write(device, -MIB, bytes(MIB))
    assert run("blkid", "-p", device, check=False).returncode == 2 or mkfs[0] == "mkfs.btrfs"
    with pytest.raises(CsiError, match="left as it is"):
        await ensure(loops)


@pytest.mark.parametrize("options", [("-O", "journal_dev"), ("-t", "ext2"), ("-t", "ext3")])
async def test_an_option_that_makes_another_type_ends_before_the_record_goes(
    loops: Loops, options: tuple[str, ...]
) -> None:
    loops.attach("s1")
    with pytest.raises(CsiError, match=r"in place of ext4|mkfs\.ext4 ended with"):
        await ensure(loops, mkfs_options=options)
    assert record_on(loops.image("s1")) == FormatRecord("s1", "ext4", 512 * MIB)
    assert (await ensure(loops)).formatted


@pytest.mark.parametrize("left_bytes", [0, MIB, 100 * MIB])
async def test_a_disk_whose_file_was_cut_off_is_not_formatted(loops: Loops, left_bytes: int) -> None:
    loops.attach("s1", size_bytes=128 * MIB)
    devices = loops.devices()
    device = await devices.find("s1", deadline=loops.soon())
    os.truncate(loops.image("s1"), left_bytes)
    # By the scan of the disks, and, for a disk found before, by the proof itself.
    with pytest.raises(CsiError, match="cut off"):
        await devices.find("s1", deadline=loops.soon(0.1))
    with pytest.raises(CsiError) as caught:
        await loops.filesystems(devices).ensure(device, FsRequest("s1"), deadline=loops.soon())
    assert caught.value.kind in {ErrorKind.INTERNAL, ErrorKind.PRECONDITION}
    assert loops.image("s1").stat().st_size == left_bytes
    assert loops.image("s1").stat().st_blocks == 0


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
async def test_a_killed_mkfs_is_recognised_and_finished(loops: Loops, fs_type: str) -> None:
    device = loops.attach("s1", size_bytes=GIB)
    script = loops.folder / f"mkfs.{fs_type}"
    real = run("sh", "-c", f"command -v mkfs.{fs_type}").stdout.strip()
    # Works, then damages what it made and dies: more than any real kill leaves behind.
    script.write_text(
        f'#!/bin/sh\n{real} "$@" >/dev/null 2>&1\n'
        f"dd if=/dev/urandom of={device} bs=64k count=3 conv=notrunc,fsync 2>/dev/null\nkill -9 $$\n"
    )
    script.chmod(0o755)
    loops.runner = HostRunner(search_path=f"{loops.folder}:/usr/sbin:/usr/bin:/sbin:/bin")
    with pytest.raises(CsiError, match="ended with -9"):
        await ensure(loops, fs_type=fs_type)
    assert record_on(loops.image("s1")) == FormatRecord("s1", fs_type, GIB)
    loops.runner = HostRunner()
    # Another node may go on: all that counts is on the disk.
    loops.detach(device)
    device = loops.attach("s1")
    assert (await ensure(loops, fs_type=fs_type, allocated_bytes=5 * MIB)).formatted
    assert record_on(loops.image("s1")) is None
    checks = {"ext4": ("e2fsck", "-fn"), "xfs": ("xfs_repair", "-n"), "btrfs": ("btrfs", "check")}
    run(*checks[fs_type], device)


async def test_a_cancelled_format_ends_mkfs_and_frees_the_disk(loops: Loops) -> None:
    loops.attach("s1")
    script = loops.folder / "mkfs.ext4"
    fifo = loops.folder / "started"
    os.mkfifo(fifo)
    script.write_text(f"#!/bin/sh\necho $$ >{fifo}\nexec sleep 600\n")
    script.chmod(0o755)
    loops.runner = HostRunner(search_path=f"{loops.folder}:/usr/sbin:/usr/bin:/sbin:/bin")
    task = asyncio.ensure_future(ensure(loops))
    pid = int(await asyncio.to_thread(fifo.read_text))
    # While it runs, nobody else gets at the disk, not even a plugin started anew: mkfs holds the lock itself.
    second = Loops.__new__(Loops)
    second.__dict__.update(loops.__dict__)
    with pytest.raises(CsiError, match="used by something else"):
        await ensure(second)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    loops.runner = HostRunner()
    assert (await ensure(loops)).formatted


async def test_the_record_of_a_copied_disk_gives_no_right_to_format(loops: Loops) -> None:
    device = loops.attach("clone", size_bytes=128 * MIB)
    write(device, -format_record.RECORD_OFFSET_FROM_END, FormatRecord("source", "ext4", 128 * MIB).encode())
    with pytest.raises(CsiError, match="another volume, serial source"):
        await ensure(loops, "clone")


@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
async def test_a_file_system_mounted_by_hand_despite_the_record_is_kept(loops: Loops, fs_type: str) -> None:
    device = loops.attach("s1")
    run(f"mkfs.{fs_type}", "-q", device)
    target = loops.target()
    run("mount", device, target)
    (target / "file").write_text("by hand")
    run("umount", target)
    write(device, -format_record.RECORD_OFFSET_FROM_END, FormatRecord("s1", fs_type, 512 * MIB).encode())
    with pytest.raises(CsiError, match="mounted since"):
        await ensure(loops, fs_type=fs_type)


async def test_two_loop_devices_over_one_file_are_refused(loops: Loops) -> None:
    loops.attach("s1")
    loops.attach("s1")
    with pytest.raises(CsiError, match="carried by 2 disks"):
        await loops.devices().find("s1", deadline=loops.soon())


async def test_a_stale_link_in_the_device_folder_is_not_followed(loops: Loops) -> None:
    wanted, other = loops.attach("s1"), loops.attach("s2")
    dev_root = loops.target("dev")
    (dev_root / wanted.name).symlink_to(other)
    with pytest.raises(CsiError, match="no block device"):
        await loops.devices(dev_root).find("s1", deadline=loops.soon(0.1))
    (dev_root / wanted.name).unlink()
    run("mknod", dev_root / wanted.name, "b", "7", str(os.minor(other.stat().st_rdev)))
    with pytest.raises(CsiError, match="stale"):
        await loops.devices(dev_root).find("s1", deadline=loops.soon(0.1))


async def test_a_mounted_or_opened_disk_is_not_formatted(loops: Loops) -> None:
    device = loops.attach("s1")
    fd = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(CsiError, match="used by something else"):
            await ensure(loops)
    finally:
        os.close(fd)
    assert loops.image("s1").stat().st_blocks == 0


async def test_a_disk_replaced_behind_its_name_is_noticed(loops: Loops) -> None:
    device = loops.attach("s1")
    devices: Devices = loops.devices()
    found = await devices.find("s1", deadline=loops.soon())
    loops.detach(device)
    loops.image("s2").touch()
    os.truncate(loops.image("s2"), 512 * MIB)
    run("losetup", device, loops.image("s2"))
    try:
        with pytest.raises(CsiError, match="another disk now"):
            await devices.verify(found)
        file_systems: FileSystems = loops.filesystems(devices)
        with pytest.raises(CsiError):
            await file_systems.ensure(found, FsRequest("s1"), deadline=loops.soon())
    finally:
        run("losetup", "--detach", device)
    assert loops.image("s2").stat().st_blocks == 0


@pytest.mark.parametrize("fs_type", TYPES)
def test_superblocks_are_read_as_the_tools_write_them(loops: Loops, fs_type: str) -> None:
    device = loops.attach("s1")
    run(f"mkfs.{fs_type}", "-q", device)

    def read() -> superblock.Superblock:
        fd = loops.kernel.open_device(device)
        try:
            found = superblock.read(loops.kernel.read(fd, 0, superblock.HEAD_BYTES))
        finally:
            loops.kernel.close(fd)
        assert found is not None
        return found

    fresh = read()
    assert fresh.size_bytes == 512 * MIB
    assert fresh.uuid == run("blkid", "-p", "-o", "value", "-s", "UUID", device).stdout.strip()
    assert not fresh.was_mounted
    run("mount", device, loops.target())
    run("umount", loops.target())
    assert read().was_mounted or fs_type == "btrfs"
