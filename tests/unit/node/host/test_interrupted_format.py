"""A format that stopped anywhere is recognised and finished by the next try."""

import asyncio

import pytest

from csi.errors import CsiError, ErrorKind
from node.format_record import FormatRecord
from node.model import MIB
from tests.support import fake_disk_formats as formats
from tests.support.fake_disks import CrashError
from tests.support.fake_host import FakeHost
from tests.unit.node.host.formatting import ensure, record_of


async def test_a_failed_mkfs_keeps_the_record_and_the_next_try_finishes(host: FakeHost) -> None:
    disk = host.plug("s1")
    host.runner.fail_next("mkfs.ext4", -9, "", midway=True)
    with pytest.raises(CsiError, match=r"ended with -9.*memory"):
        await ensure(host, disk)
    assert record_of(disk) == FormatRecord("s1", "ext4", disk.size_bytes)
    assert (await ensure(host, disk, allocated_bytes=8192)).formatted
    assert record_of(disk) is None


async def test_what_an_interrupted_format_left_beside_the_new_file_system_is_noticed(
    host: FakeHost, monkeypatch
) -> None:
    disk = host.plug("s1")
    host.runner.fail_next("mkfs.btrfs", 1, "killed", midway=True)
    with pytest.raises(CsiError):
        await ensure(host, disk, fs_type="btrfs")
    look = formats.kinds
    monkeypatch.setattr(formats, "kinds", lambda head: [*look(head), {"TYPE": "swap", "USAGE": "other"}])
    with pytest.raises(CsiError, match="made signatures of several kinds at once in place of ext4"):
        await ensure(host, disk, fs_type="ext4")
    assert record_of(disk) == FormatRecord("s1", "ext4", disk.size_bytes)
    monkeypatch.undo()
    assert (await ensure(host, disk, fs_type="ext4")).formatted


async def test_an_interrupted_format_of_another_type_leaves_no_second_signature(host: FakeHost) -> None:
    disk = host.plug("s1")
    host.runner.fail_next("mkfs.btrfs", 1, "killed", midway=True)
    with pytest.raises(CsiError):
        await ensure(host, disk, fs_type="btrfs")
    for place, data in formats.make("btrfs", 400 * MIB).items():
        disk.write(place, data)
    state = await ensure(host, disk, fs_type="ext4")
    assert state.formatted
    assert [tags["TYPE"] for tags in formats.kinds(disk.head)] == ["ext4"]


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
@pytest.mark.parametrize("power", [False, True])
async def test_a_crash_before_any_side_effect_is_finished_by_the_next_try(
    host: FakeHost, fs_type: str, *, power: bool
) -> None:
    reference = host.plug("reference")
    await ensure(host, reference, fs_type=fs_type)
    steps = len(host.points)
    for step in range(steps):
        disk = host.plug(f"s{step}")
        host.points.clear()
        countdown = iter(range(step))
        original = host.point

        def crash_at_step(name: str, countdown=countdown, original=original) -> None:
            if next(countdown, None) is None:
                host.dead = True
            original(name)

        host.point = crash_at_step  # type: ignore[method-assign]
        with pytest.raises(CrashError):
            await ensure(host, disk, fs_type=fs_type)
        host.point = original  # type: ignore[method-assign]
        if power:
            host.power_cut()
        else:
            host.restart_process()
        state = await ensure(host, disk, fs_type=fs_type, allocated_bytes=None)
        assert formats.fs_type_of(disk.head) == fs_type
        assert record_of(disk) is None
        assert state.uuid == formats.uuid_of(disk.head)
        host.unplug(disk)


async def test_a_cancelled_format_keeps_the_record_and_lets_the_disk_go(host: FakeHost) -> None:
    disk = host.plug("s1")
    gate = host.runner.gate("mkfs.ext4")
    task = asyncio.ensure_future(ensure(host, disk))
    await gate.started.wait()
    assert record_of(disk) is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert host.open_files == {}
    gate.go_on.set()
    assert (await ensure(host, disk)).formatted


async def test_the_deadline_stops_mkfs_and_the_next_try_finishes(host: FakeHost) -> None:
    disk = host.plug("s1")
    gate = host.runner.gate("mkfs.ext4")
    task = asyncio.ensure_future(ensure(host, disk))
    await gate.started.wait()
    gate.expire.set()
    with pytest.raises(CsiError) as caught:
        await task
    assert caught.value.kind is ErrorKind.TIMEOUT
    assert record_of(disk) is not None
    gate.go_on.set()
    assert (await ensure(host, disk)).formatted
