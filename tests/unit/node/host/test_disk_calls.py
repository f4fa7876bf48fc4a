"""A disk that hangs in the kernel costs its caller the deadline and nobody else anything."""

import asyncio
import errno
import threading

import pytest

from csi.errors import CsiError, ErrorKind
from node.disk_calls import claimed
from node.probe import Probe
from tests.support.fake_disks import FakeDisk
from tests.support.fake_host import FakeHost


class Hang:
    """Holds every opening of a disk in its thread until let go."""

    def __init__(self, host: FakeHost) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()
        host.kernel.on_open = self

    def __call__(self, disk: FakeDisk) -> None:
        self.entered.set()
        self.let_go.wait(30)


async def test_a_hanging_disk_ends_with_the_deadline(host: FakeHost) -> None:
    host.plug("s1")
    device = await host.devices().find("s1", deadline=host.soon())
    hang = Hang(host)
    try:
        with pytest.raises(CsiError, match="did not answer in time") as caught:
            await Probe(host.kernel, host.runner).content(device, serial="s1", deadline=host.soon(0.05))
        assert caught.value.kind is ErrorKind.TIMEOUT
    finally:
        hang.let_go.set()


async def test_a_claim_given_up_while_the_disk_hangs_is_released_when_it_answers(host: FakeHost) -> None:
    host.plug("s1")
    device = await host.devices().find("s1", deadline=host.soon())
    hang = Hang(host)

    async def claim() -> None:
        async with claimed(host.kernel, device, deadline=host.soon()):
            pytest.fail("claimed a disk that hangs")

    task = asyncio.ensure_future(claim())
    await asyncio.to_thread(hang.entered.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hang.let_go.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert host.open_files == {}


@pytest.mark.parametrize("reason", [errno.EIO, errno.ENXIO, errno.ENOENT])
async def test_a_claim_that_fails_half_way_leaves_nothing_open(host: FakeHost, reason: int) -> None:
    host.plug("s1")
    device = await host.devices().find("s1", deadline=host.soon())
    calls: list[str] = []

    def fail_second(disk: FakeDisk) -> None:
        calls.append(disk.name)
        if len(calls) == 2:
            raise OSError(reason, "failed")

    host.kernel.on_open = fail_second
    with pytest.raises(CsiError, match="cannot be opened"):
        async with claimed(host.kernel, device, deadline=host.soon()):
            pytest.fail("claimed a disk that failed")
    assert host.open_files == {}
