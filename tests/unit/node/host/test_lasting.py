"""A tool that changes a file system comes to its own end, whatever becomes of the call that wanted it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from csi.errors import CsiError, ErrorKind
from node import disk_calls
from node.filesystems import FileSystems
from node.model import MIB, Device, FsRequest, FsType
from tests.support import fake_disk_formats as formats
from tests.support.fake_disks import FakeDisk
from tests.support.fake_host import FakeHost
from tests.support.fake_tools import Gate

SMALL, LARGE = 400 * MIB, 800 * MIB


class Volume:
    """An ext4 volume that is smaller than its disk."""

    def __init__(self, host: FakeHost, serial: str = "s1") -> None:
        self.host = host
        self.disk: FakeDisk = host.plug(serial, size_bytes=LARGE)
        for place, data in formats.make("ext4", SMALL).items():
            self.disk.write(place, data)
        devices = host.devices()
        self.device: Device = next(device for device in devices.scan() if serial in device.serials)
        self.file_systems: FileSystems = host.filesystems(devices, format_limit=1)

    async def ensure(self, seconds: float = 30.0):
        request = FsRequest(self.disk.serial)
        return await self.file_systems.ensure(self.device, request, deadline=self.host.soon(seconds))

    async def grow(self, seconds: float = 30.0):
        return await self.file_systems.grow(self.device, FsType.EXT4, mount_path=None, deadline=self.host.soon(seconds))

    async def abandon(self, call: Coroutine[Any, Any, Any], program: str) -> Gate:
        """Begin a call, and cancel it once the program runs; the program waits for the gate."""
        gate = self.host.runner.gate(program)
        task = asyncio.ensure_future(call)
        await gate.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not gate.ended.is_set()
        return gate

    async def settled(self) -> None:
        await asyncio.wait(self.host.runner.lasting)
        await self.file_systems._lasting.settle(self.device, deadline=self.host.soon())


@pytest.fixture
def volume(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Volume:
    monkeypatch.setattr(disk_calls, "_BUSY_PATIENCE_S", 0.0)
    return Volume(host)


async def test_a_check_longer_than_the_call_is_waited_for_by_the_next_one(volume: Volume) -> None:
    gate = volume.host.runner.gate("e2fsck")
    # The first call has to get as far as the check; the others find it running.
    for seconds in (2.0, 0.0, 0.0):
        with pytest.raises(CsiError, match=r"e2fsck is still working on .*Ask again") as caught:
            await volume.ensure(seconds)
        assert caught.value.kind is ErrorKind.BUSY
    assert (len(volume.host.commands("e2fsck")), gate.ended.is_set()) == (1, False)
    gate.go_on.set()
    assert not (await volume.ensure()).formatted
    assert volume.host.open_files == {}


async def test_a_cancelled_growth_comes_to_its_end_with_the_disk_locked(volume: Volume) -> None:
    gate = await volume.abandon(volume.grow(), "resize2fs")
    # A process started anew knows nothing of the tool; the lock that the tool holds tells it.
    anew = volume.host.filesystems()
    with pytest.raises(CsiError, match="used by something else") as caught:
        await anew.ensure(volume.device, FsRequest("s1"), deadline=volume.host.soon())
    assert caught.value.kind is ErrorKind.BUSY
    gate.go_on.set()
    assert (await volume.grow()).fs_size_bytes == LARGE
    assert [len(volume.host.commands(tool)) for tool in ("e2fsck", "resize2fs")] == [1, 1]
    assert volume.host.open_files == {}


async def test_a_check_longer_than_the_call_is_followed_by_the_growth_and_not_begun_again(volume: Volume) -> None:
    gate = await volume.abandon(volume.grow(), "e2fsck")
    with pytest.raises(CsiError, match="e2fsck and resize2fs is still working"):
        await volume.grow(0.0)
    gate.go_on.set()
    await volume.settled()
    assert formats.size_of(volume.disk.head) == LARGE
    assert not (await volume.grow()).grown
    assert len(volume.host.commands("e2fsck")) == 1


async def test_a_failure_that_nobody_waited_for_is_told_to_the_next_call_once(volume: Volume) -> None:
    volume.disk.damage = "fatal"
    gate = await volume.abandon(volume.ensure(), "e2fsck")
    gate.go_on.set()
    await asyncio.wait(volume.host.runner.lasting)
    with pytest.raises(CsiError, match="RUN fsck MANUALLY") as caught:
        await volume.ensure()
    assert caught.value.kind is ErrorKind.DATA_LOSS
    assert len(volume.host.commands("e2fsck")) == 1
    volume.disk.damage = ""
    assert not (await volume.ensure()).formatted


async def test_a_failure_of_one_disk_is_not_told_of_another_with_its_number(volume: Volume) -> None:
    volume.disk.damage = "fatal"
    gate = await volume.abandon(volume.ensure(), "e2fsck")
    gate.go_on.set()
    await asyncio.wait(volume.host.runner.lasting)
    volume.host.unplug(volume.disk)
    later = Volume(volume.host, "s2")
    assert later.device.number == volume.device.number
    await volume.file_systems.ensure(later.device, FsRequest("s2"), deadline=volume.host.soon())


async def test_work_without_a_caller_keeps_its_place(volume: Volume) -> None:
    gate = await volume.abandon(volume.ensure(), "e2fsck")
    other = Volume(volume.host, "s2")
    with pytest.raises(CsiError, match="took all the time") as caught:
        await volume.file_systems.ensure(other.device, FsRequest("s2"), deadline=volume.host.soon(2.0))
    assert caught.value.kind is ErrorKind.TIMEOUT
    gate.go_on.set()
    await volume.file_systems.ensure(other.device, FsRequest("s2"), deadline=volume.host.soon())
    assert volume.host.runner.most_running["e2fsck"] == 1


async def test_a_repair_is_logged_and_counted_also_when_the_caller_has_gone(
    volume: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    volume.disk.damage = "repairable"
    gate = await volume.abandon(volume.ensure(), "e2fsck")
    gate.go_on.set()
    await volume.settled()
    assert volume.host.observer.repairs == {"ext4": 1}
    assert [record.levelname for record in caplog.records if "repaired" in record.getMessage()] == ["WARNING"]
    volume.disk.damage = "repairable"
    await volume.grow()
    assert volume.host.observer.repairs == {"ext4": 2}
