"""The real adapters, as far as they work without root: refusals of the kernel adapter, the event bell, figures."""

import asyncio
import errno
import os
import threading
import types
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from csi.metrics import Metrics
from node import uevents
from node.app import DISK_THREADS, MetricsObserver, this_host
from node.kernel import HostKernel
from node.model import MIB, DeviceNumber, Usage
from node.ports import SilentObserver
from node.stats import Figures
from node.uevents import KernelDiskEvents, NoDiskEvents
from tests.support import fake_disk_formats as formats
from tests.support.fake_host import FakeHost

NUMBER = DeviceNumber(252, 0)


def make_link(path: Path) -> None:
    path.symlink_to("/dev/null")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.touch, errno.ENOTBLK),
        (Path.mkdir, errno.ENOTBLK),
        (os.mkfifo, errno.ENOTBLK),
        (make_link, errno.ELOOP),
        (lambda path: None, errno.ENOENT),
    ],
)
def test_only_a_block_device_node_itself_is_opened(tmp_path: Path, make, reason: int) -> None:
    path = tmp_path / "node"
    make(path)
    kernel = HostKernel()
    with pytest.raises(OSError) as caught:  # noqa: PT011
        kernel.open_device(path)
    assert caught.value.errno == reason
    assert kernel.node_number(path) is None


def test_reads_are_whole_or_errors(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    kernel = HostKernel()
    fd = os.open(file, os.O_RDWR)
    try:
        assert kernel.read(fd, 2, 3) == b"234"
        kernel.write(fd, 8, b"abcd")
        kernel.flush(fd)
        assert kernel.read(fd, 6, 6) == b"67abcd"
        with pytest.raises(OSError) as caught:  # noqa: PT011
            kernel.read(fd, 8, 10)
        assert caught.value.errno == errno.EIO
    finally:
        kernel.close(fd)


def test_a_lock_is_refused_to_a_second_opener(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    kernel = HostKernel()
    first, second = os.open(file, os.O_RDONLY), os.open(file, os.O_RDONLY)
    try:
        assert kernel.try_lock(first)
        assert not kernel.try_lock(second)
        os.close(os.dup(first))
        assert not kernel.try_lock(second)
    finally:
        kernel.close(first)
        assert kernel.try_lock(second)
        kernel.close(second)


@pytest.mark.parametrize(
    ("status", "has"),
    [
        ("Name:\tx\nCapEff:\t000001ffffffffff\n", True),
        ("CapPrm:\t000001ffffffffff\nCapEff:\t000001fffeffffff\n", False),
        ("Name:\tx\n", False),
    ],
)
def test_the_capability_is_read_from_the_effective_set(tmp_path: Path, status: str, *, has: bool) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(status)
    assert HostKernel(proc_root=tmp_path).has_sys_resource() is has


@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.18.44-fc-v657", (6, 18)), ("5.15.0-91-generic", (5, 15)), ("4.19-rc1", (4, 19)), ("6.1rc3.x", (6, 13))],
)
def test_the_kernels_version_is_read(monkeypatch: pytest.MonkeyPatch, release: str, expected: tuple[int, int]) -> None:
    monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(release=release))
    assert HostKernel().release() == expected


def test_figures_add_up(tmp_path: Path) -> None:
    usage = HostKernel().usage(tmp_path)
    assert 0 < usage.used_bytes <= usage.total_bytes
    assert usage.used_bytes + usage.available_bytes <= usage.total_bytes
    assert usage.used_inodes + usage.free_inodes == usage.total_inodes
    assert HostKernel().path_device(tmp_path) == HostKernel().path_device(tmp_path.parent)


class FakeMonitor:
    """A monitor whose events come through a pipe."""

    def __init__(self) -> None:
        self.end, self.write_end = os.pipe()
        os.set_blocking(self.end, False)
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self.end

    def poll(self, timeout: float) -> object | None:
        try:
            data = os.read(self.end, 1)
        except BlockingIOError:
            return None
        if self.error:
            raise self.error
        return data

    def close(self) -> None:
        os.close(self.end)
        os.close(self.write_end)


@pytest.mark.parametrize("error", [None, OSError(errno.ENOBUFS, "No buffer space available")])
async def test_an_event_rings_every_listener_even_when_events_were_dropped(
    monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    monitor = FakeMonitor()
    monitor.error = error
    monkeypatch.setattr(uevents, "_open_monitor", lambda: monitor)
    events = KernelDiskEvents()
    await events.start()
    try:
        with events.listen() as first, events.listen() as second:
            os.write(monitor.write_end, b"x")
            async with asyncio.timeout(5):
                await first.wait()
                await second.wait()
    finally:
        events.stop()
        events.stop()
        monitor.close()


@pytest.mark.parametrize("error", [ImportError("no libudev"), PermissionError(1, "not permitted")])
async def test_without_kernel_events_one_warning_is_logged_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr(uevents, "_open_monitor", refuse)
    events = KernelDiskEvents()
    await events.start()
    with events.listen() as bell:
        assert not bell.is_set()
    events.stop()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_the_kernels_own_events_can_be_listened_to() -> None:
    events = KernelDiskEvents()
    await events.start()
    with events.listen() as bell, NoDiskEvents().listen() as silent:
        assert not bell.is_set()
        assert not silent.is_set()
    events.stop()


async def test_figures_of_a_volume(host: FakeHost, target: Path) -> None:
    disk = host.plug("s1")
    for place, data in formats.make("ext4", 400 * MIB).items():
        disk.write(place, data)
    node = host.dev_root / disk.name
    await host.mount_table().mount(node, target, fs_type="ext4", options=(), deadline=host.soon())
    usage = await Figures(host.kernel).file_system_usage(NUMBER, target, deadline=host.soon())
    assert usage.total_bytes == 400 * MIB
    assert await Figures(host.kernel).block_size_bytes(NUMBER, node, deadline=host.soon()) == disk.size_bytes
    assert host.open_files == {}


async def test_figures_of_a_dead_mount_are_an_error(host: FakeHost, target: Path) -> None:
    host.path_errors[target] = errno.EIO
    with pytest.raises(CsiError, match="figures cannot be read") as caught:
        await Figures(host.kernel).file_system_usage(NUMBER, target, deadline=host.soon())
    assert caught.value.kind is ErrorKind.INTERNAL
    with pytest.raises(CsiError):
        await Figures(host.kernel).block_size_bytes(NUMBER, target / "missing", deadline=host.soon())


async def test_disks_that_hang_do_not_keep_the_plugin_from_answering_for_others() -> None:
    let_go = threading.Event()
    async with this_host(SilentObserver()):
        loop = asyncio.get_running_loop()
        hung = [loop.run_in_executor(None, let_go.wait, 30) for _ in range(DISK_THREADS - 1)]
        try:
            async with asyncio.timeout(10):
                assert await asyncio.to_thread(lambda: "answered") == "answered"
        finally:
            let_go.set()
        await asyncio.gather(*hung)


def test_a_repair_reaches_the_metrics() -> None:
    metrics = Metrics()
    MetricsObserver(metrics).repaired("ext4")
    assert b'thecloud_csi_fsck_repairs_total{fs_type="ext4"} 1.0' in metrics.render()


async def test_figures_of_a_disk_that_hangs_take_one_thread_however_often_they_are_asked_for(
    host: FakeHost, target: Path
) -> None:
    entered, let_go = threading.Semaphore(0), threading.Event()
    answer = host.kernel.usage

    def hang(path: Path) -> Usage:
        entered.release()
        let_go.wait(30)
        return answer(path)

    host.kernel.usage = hang  # type: ignore[method-assign]
    figures = Figures(host.kernel)
    first = asyncio.ensure_future(figures.file_system_usage(NUMBER, target, deadline=host.soon()))
    await asyncio.to_thread(entered.acquire)
    # It waits for the first one, which may just be slow, as long as its own time allows …
    second = asyncio.ensure_future(figures.file_system_usage(NUMBER, target, deadline=host.soon(0.05)))
    with pytest.raises(CsiError, match="did not answer in time"):
        await second
    # … and is then an answer to all that follow, however much time they have.
    with pytest.raises(CsiError, match="did not answer in time"):
        await figures.file_system_usage(NUMBER, target, deadline=host.soon())
    let_go.set()
    assert (await first).total_bytes > 0
    assert not entered.acquire(blocking=False)
    assert (await figures.file_system_usage(NUMBER, target, deadline=host.soon())).total_bytes > 0
