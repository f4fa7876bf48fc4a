"""The kernel's mount table decides what is mounted; nothing is undone that was not found there."""

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.holders import holders_of
from node.model import MIB, DeviceNumber, MountEntry
from node.mounts import Mounts
from tests.support import fake_disk_formats as formats
from tests.support.fake_disks import FakeDisk
from tests.support.fake_host import FakeHost


@pytest.fixture
def disk(host: FakeHost) -> FakeDisk:
    return put(host, "s1", "ext4")


def put(host: FakeHost, serial: str, fs_type: str) -> FakeDisk:
    disk = host.plug(serial)
    for place, data in formats.make(fs_type, 400 * MIB).items():
        disk.write(place, data)
    return disk


async def mount(host: FakeHost, disk: FakeDisk, target: Path, fs_type: str = "ext4", *options: str) -> MountEntry:
    source = host.dev_root / disk.name
    return await host.mount_table().mount(source, target, fs_type=fs_type, options=options, deadline=host.soon())


def on(host: FakeHost, target: Path) -> list[MountEntry]:
    return [entry for entry in host.mounts if entry.mount_point == target]


async def test_a_mount_is_listed_with_its_device(host: FakeHost, disk: FakeDisk, target: Path) -> None:
    mounts = host.mount_table()
    assert mounts.at(target) is None
    entry = await mount(host, disk, target, "ext4", "noatime")
    assert mounts.at(target) == entry
    assert mounts.backed_by(entry) == disk.number
    assert mounts.entries_of(disk.number) == (entry,)
    assert host.commands("mount") == [f"mount -n -t ext4 -o noatime -- {host.dev_root / disk.name} {target}"]


async def test_a_failed_mount_gives_the_tools_words_and_leaves_nothing(
    host: FakeHost, disk: FakeDisk, target: Path
) -> None:
    with pytest.raises(CsiError, match="wrong fs type"):
        await mount(host, disk, target, "xfs")
    assert on(host, target) == []


async def test_a_mount_that_failed_after_mounting_is_undone(host: FakeHost, disk: FakeDisk, target: Path) -> None:
    host.runner.fail_next("mount", 32, "helper failed", midway=True)
    with pytest.raises(CsiError, match="helper failed"):
        await mount(host, disk, target)
    assert on(host, target) == []


async def test_a_cancelled_mount_that_happened_is_undone(host: FakeHost, disk: FakeDisk, target: Path) -> None:
    original = host.runner.run
    mounted = asyncio.Event()

    async def mount_then_hang(argv, **kwargs):
        result = await original(argv, **kwargs)
        if argv[0] == "mount":
            mounted.set()
            await asyncio.Event().wait()
        return result

    host.runner.run = mount_then_hang  # type: ignore[method-assign]
    task = asyncio.ensure_future(mount(host, disk, target))
    await mounted.wait()
    assert len(on(host, target)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert on(host, target) == []


async def test_an_older_mount_below_is_not_undone_with_a_failed_one(
    host: FakeHost, disk: FakeDisk, target: Path
) -> None:
    entry = await mount(host, disk, target)
    with pytest.raises(CsiError):
        await mount(host, disk, target, "xfs")
    assert on(host, target) == [entry]


async def test_a_success_without_a_mount_is_an_error(host: FakeHost, disk: FakeDisk, target: Path) -> None:
    host.runner.fail_next("mount", 0, "")
    with pytest.raises(CsiError, match="nothing is mounted there"):
        await mount(host, disk, target)


async def test_of_several_mounts_on_one_path_the_topmost_counts(host: FakeHost, disk: FakeDisk, target: Path) -> None:
    await mount(host, disk, target)
    top = await mount(host, put(host, "s2", "xfs"), target, "xfs")
    assert host.mount_table().at(target) == top
    # The order in the table is no proof: mounts can be moved.
    host.mounts.reverse()
    host.write_mountinfo()
    assert host.mount_table().at(target) == top


async def test_a_path_with_spaces_is_found(host: FakeHost, disk: FakeDisk, target: Path) -> None:
    target = target.parent / "a b\tc\\d"
    target.mkdir()
    await mount(host, disk, target)
    assert host.mount_table().at(target) is not None


async def test_links_in_the_parents_are_followed_as_the_kernel_does(
    host: FakeHost, disk: FakeDisk, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(target.parent)
    entry = await mount(host, disk, tmp_path / "link" / target.name)
    assert entry.mount_point == target
    assert host.mount_table().at(tmp_path / "link" / target.name) == entry


async def at(mounts: Mounts, link: Path, deadline: float) -> None:
    mounts.at(link)


async def mount_on(mounts: Mounts, link: Path, deadline: float) -> None:
    await mounts.mount(Path("/dev/vda"), link, fs_type="ext4", options=(), deadline=deadline)


async def bind_on(mounts: Mounts, link: Path, deadline: float) -> None:
    await mounts.bind(link.parent, link, read_only=False, deadline=deadline)


async def unmount(mounts: Mounts, link: Path, deadline: float) -> None:
    await mounts.unmount(link, deadline=deadline)


@pytest.mark.parametrize("call", [at, mount_on, bind_on, unmount])
async def test_a_target_that_is_a_link_is_refused(host: FakeHost, target: Path, tmp_path: Path, call) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(CsiError, match="symbolic link") as caught:
        await call(host.mount_table(), link, host.soon())
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert host.commands() == []


async def test_unmounting_what_is_not_mounted_changes_nothing(host: FakeHost, target: Path) -> None:
    assert not await host.mount_table().unmount(target, deadline=host.soon())
    assert host.commands() == []


async def test_unmount_takes_every_layer_of_exactly_this_path(
    host: FakeHost, disk: FakeDisk, target: Path, tmp_path: Path
) -> None:
    other = target.parent / "target-2"
    other.mkdir()
    await mount(host, disk, target)
    await host.mount_table().bind(target, target, read_only=False, deadline=host.soon())
    await mount(host, disk, other)
    assert await host.mount_table().unmount(target, deadline=host.soon())
    assert on(host, target) == []
    assert len(on(host, other)) == 1
    assert not any(word in command for command in host.commands("umount") for word in ("-l", "-f "))


async def test_a_busy_mount_stays_and_its_users_are_named(host: FakeHost, disk: FakeDisk, target: Path) -> None:
    await mount(host, disk, target)
    host.busy.add(target)
    process = host.proc_root / "4711"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text("postgres\n")
    (process / "fd/3").symlink_to(target / "base/1")
    with pytest.raises(CsiError, match=r"busy.*postgres \(process 4711\)") as caught:
        await host.mount_table().unmount(target, deadline=host.soon())
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert len(on(host, target)) == 1


async def test_an_unmount_that_reports_failure_but_worked_is_done(host: FakeHost, disk: FakeDisk, target: Path) -> None:
    await mount(host, disk, target)
    host.runner.fail_next("umount", 32, "interrupted", midway=True)
    assert await host.mount_table().unmount(target, deadline=host.soon())


def test_only_paths_below_the_mount_count_as_users(host: FakeHost, target: Path) -> None:
    process = host.proc_root / "1"
    process.mkdir()
    (process / "cwd").symlink_to(f"{target}-other")
    assert holders_of(target, host.proc_root) == ""
    (process / "root").symlink_to(target)
    assert holders_of(target, host.proc_root) == "a process (process 1)"


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_bind_has_the_asked_for_mode_in_the_table(
    host: FakeHost, disk: FakeDisk, target: Path, tmp_path: Path, *, read_only: bool
) -> None:
    bound = target.parent / "bound"
    bound.mkdir()
    await mount(host, disk, target)
    entry = await host.mount_table().bind(target, bound, read_only=read_only, deadline=host.soon())
    assert entry.read_only is read_only
    assert host.mount_table().backed_by(entry) == disk.number
    source_entry = host.mount_table().at(target)
    assert source_entry is not None
    assert not source_entry.read_only


async def test_a_bind_that_stays_writable_is_undone(
    host: FakeHost, disk: FakeDisk, target: Path, tmp_path: Path
) -> None:
    bound = target.parent / "bound"
    bound.mkdir()
    await mount(host, disk, target)
    original = host.runner.run

    async def ignore_remount(argv, **kwargs):
        if "remount,bind,ro" in argv:
            argv = ("mount", "-n", "-o", "remount,bind", "--", argv[-1])
        return await original(argv, **kwargs)

    host.runner.run = ignore_remount  # type: ignore[method-assign]
    with pytest.raises(CsiError, match="writable"):
        await host.mount_table().bind(target, bound, read_only=True, deadline=host.soon())
    assert on(host, bound) == []


async def test_a_device_node_is_bound_on_a_file(host: FakeHost, disk: FakeDisk, target: Path) -> None:
    file = target.parent / "volume"
    file.touch()
    await host.mount_table().bind(host.dev_root / disk.name, file, read_only=False, deadline=host.soon())
    assert host.kernel.node_number(file) == disk.number
    assert await host.mount_table().unmount(file, deadline=host.soon())
    assert host.kernel.node_number(file) is None


async def test_the_disk_under_btrfs_is_found_although_its_number_is_anonymous(host: FakeHost, target: Path) -> None:
    disk = put(host, "s1", "btrfs")
    entry = await mount(host, disk, target, "btrfs")
    assert entry.device.major == 0
    assert host.mount_table().backed_by(entry) == disk.number


async def test_a_btrfs_clone_shown_as_its_source_is_seen_by_the_disk_behind_it(
    host: FakeHost, target: Path, tmp_path: Path
) -> None:
    original, clone = put(host, "original", "btrfs"), host.plug("clone")
    clone.write(0, original.head)
    await mount(host, original, target, "btrfs")
    second = target.parent / "second"
    second.mkdir()
    entry = await mount(host, clone, second, "btrfs")
    assert host.mount_table().backed_by(entry) == original.number


def test_what_is_on_no_disk_is_backed_by_none(host: FakeHost) -> None:
    entry = MountEntry(9, 1, DeviceNumber(0, 23), "/", Path("/run"), ("rw",), "tmpfs", "tmpfs", ("rw",))
    assert host.mount_table().backed_by(entry) is None
    gone = MountEntry(9, 1, DeviceNumber(0, 40), "/", Path("/x"), ("rw",), "btrfs", "/dev/gone", ("rw",))
    assert host.mount_table().backed_by(gone) is None


@pytest.mark.parametrize("reason", [errno.EIO, errno.ENOTCONN, errno.ESTALE])
async def test_a_dead_mount_is_told_from_a_living_one(
    host: FakeHost, disk: FakeDisk, target: Path, reason: int
) -> None:
    await mount(host, disk, target)
    mounts = host.mount_table()
    assert mounts.damage(target) == ""
    host.path_errors[target] = reason
    assert mounts.damage(target) != ""
    assert await mounts.unmount(target, deadline=host.soon())


async def test_a_missing_path_is_no_damage(host: FakeHost, target: Path) -> None:
    assert host.mount_table().damage(target / "missing") == ""


async def test_an_unreadable_table_is_an_error_and_not_an_empty_one(host: FakeHost, target: Path) -> None:
    (host.proc_root / "self/mountinfo").unlink()
    with pytest.raises(CsiError, match="cannot be read"):
        await host.mount_table().unmount(target, deadline=host.soon())


async def test_a_btrfs_that_is_unmounted_while_another_is_looked_up_disturbs_nobody(
    host: FakeHost, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = put(host, "s1", "btrfs")
    entry = await mount(host, disk, target, "btrfs")
    gone = host.sys_root / "fs/btrfs/0-gone/devices"
    real = Path.glob

    def glob_then_unmount(folder: Path, pattern: str) -> list[Path]:
        return [gone, *real(folder, pattern)] if folder == host.sys_root / "fs/btrfs" else list(real(folder, pattern))

    monkeypatch.setattr(Path, "glob", glob_then_unmount)
    assert host.mount_table().backed_by(entry) == disk.number


async def test_a_path_that_hangs_costs_a_mount_its_time_and_not_the_event_loop(
    host: FakeHost, disk: FakeDisk, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = host.mount_table()
    threads: list[int] = []
    real = os.path.realpath

    def watched(path: Path) -> str:
        threads.append(threading.get_ident())
        return real(path)

    monkeypatch.setattr("node.mounts.os.path.realpath", watched)
    source = host.dev_root / disk.name
    await mounts.mount(source, target, fs_type="ext4", options=(), deadline=host.soon())
    await mounts.bind(target, target, read_only=False, deadline=host.soon())
    assert threads
    assert threading.get_ident() not in threads
