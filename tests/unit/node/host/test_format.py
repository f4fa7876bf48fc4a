"""Only a disk proved blank is formatted, by one at a time; formats that stopped are in `test_interrupted_format`."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from csi.errors import CsiError, ErrorKind
from node import disk_calls, format_record
from node.format_record import FormatRecord
from node.model import MIB, FsRequest, FsType
from tests.support import fake_disk_formats as formats
from tests.support.fake_disks import FakeDisk
from tests.support.fake_host import FakeHost
from tests.unit.node.host.formatting import ensure, record_of

TYPES = ["ext3", "ext4", "xfs", "btrfs"]


def is_untouched(disk: FakeDisk) -> bool:
    """Whether nothing was ever written: the image has no blocks."""
    return disk.image.stat().st_blocks == 0


@pytest.mark.parametrize("fs_type", TYPES)
async def test_a_blank_disk_gets_the_file_system_asked_for_once(host: FakeHost, fs_type: str) -> None:
    disk = host.plug("s1")
    state = await ensure(host, disk, fs_type=fs_type)
    assert (state.fs_type, state.formatted) == (FsType(fs_type), True)
    assert state.uuid == formats.uuid_of(disk.head)
    assert record_of(disk) is None
    again = await ensure(host, disk, fs_type=fs_type)
    assert (again.uuid, again.formatted) == (state.uuid, False)
    assert len(host.commands("mkfs")) == 1
    assert [fs for fs, _ in host.observer.formats] == [fs_type]


async def test_the_default_is_ext4(host: FakeHost) -> None:
    assert (await ensure(host, host.plug("s1"), fs_type="")).fs_type is FsType.EXT4


async def test_an_unknown_file_system_is_refused_before_the_disk_is_touched(host: FakeHost) -> None:
    with pytest.raises(CsiError, match="'ntfs'") as caught:
        await ensure(host, host.plug("s1"), fs_type="ntfs")
    assert caught.value.kind is ErrorKind.INVALID
    assert host.points == []


@pytest.mark.parametrize(
    ("place", "data", "reason"),
    [
        (0, b"LUKS\xba\xbe\0\x01", "foreign"),
        (4086, b"SWAPSPACE2", "foreign"),
        (512, b"LABELONE", "foreign"),
        (4096, b"someone's data", "foreign"),
        (-1, b"x", "foreign"),
        (512, b"EFI PART", "partition_table"),
        (510, b"\x55\xaa", "partition_table"),
    ],
)
async def test_a_disk_that_holds_anything_is_refused_and_left_as_it_is(
    host: FakeHost, place: int, data: bytes, reason: str
) -> None:
    disk = host.plug("s1", size_bytes=16 * MIB)
    disk.write(place if place >= 0 else disk.size_bytes + place, data)
    before = disk.read(0, disk.size_bytes)
    with pytest.raises(CsiError, match="left as it is") as caught:
        await ensure(host, disk)
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert disk.read(0, disk.size_bytes) == before
    assert host.commands("mkfs") == []
    assert host.observer.refusals == {reason: 1}


async def test_an_unreadable_disk_is_not_formatted(host: FakeHost) -> None:
    disk = host.plug("s1")
    disk.unreadable_ranges.append(range(disk.size_bytes - 4096, disk.size_bytes))
    for _ in range(3):
        with pytest.raises(CsiError, match="cannot be read"):
            await ensure(host, disk)
    assert host.commands("mkfs") == []


@pytest.mark.parametrize(
    ("request_", "kind", "text"),
    [
        ({"has_source": True}, ErrorKind.DATA_LOSS, "snapshot or another volume"),
        ({"read_only": True}, ErrorKind.PRECONDITION, "read-only"),
        ({"allocated_bytes": 4096}, ErrorKind.DATA_LOSS, "4096 bytes written"),
    ],
)
async def test_a_blank_disk_with_a_past_or_without_a_future_is_not_formatted(
    host: FakeHost, request_: dict[str, Any], kind: ErrorKind, text: str
) -> None:
    disk = host.plug("s1")
    with pytest.raises(CsiError, match=text) as caught:
        await ensure(host, disk, **request_)
    assert caught.value.kind is kind
    assert is_untouched(disk)


async def test_a_read_only_disk_is_not_formatted(host: FakeHost) -> None:
    with pytest.raises(CsiError, match="read-only"):
        await ensure(host, host.plug("s1", read_only=True))


async def test_nothing_written_yet_is_a_reason_to_format(host: FakeHost) -> None:
    assert (await ensure(host, host.plug("s1"), allocated_bytes=0)).formatted


@pytest.mark.parametrize(("fs_type", "size_mib"), [("ext4", 10), ("xfs", 300), ("btrfs", 120)])
async def test_a_disk_too_small_is_named_before_anything_is_written(
    host: FakeHost, fs_type: str, size_mib: int
) -> None:
    disk = host.plug("s1", size_bytes=size_mib * MIB)
    with pytest.raises(CsiError, match="at least") as caught:
        await ensure(host, disk, fs_type=fs_type)
    assert caught.value.kind is ErrorKind.OUT_OF_RANGE
    assert is_untouched(disk)


async def test_a_disk_of_another_serial_is_refused(host: FakeHost) -> None:
    host.plug("s1")
    devices = host.devices()
    device = await devices.find("s1", deadline=host.soon())
    with pytest.raises(CsiError, match="not the volume"):
        await host.filesystems(devices).ensure(device, FsRequest("s2"), deadline=host.soon())
    assert host.points == []


@pytest.mark.parametrize("use", ["holders/dm-0", "vda1/partition"])
async def test_a_disk_in_use_is_not_formatted(host: FakeHost, use: str) -> None:
    disk = host.plug("s1")
    file = host.sys_root / "block" / disk.name / use
    file.parent.mkdir(exist_ok=True)
    file.touch()
    with pytest.raises(CsiError, match="left as it is"):
        await ensure(host, disk)
    assert host.commands("mkfs") == []


async def test_a_disk_swapped_after_the_proof_is_not_formatted(host: FakeHost) -> None:
    disk = host.plug("s1")
    swapped: list[FakeDisk] = []

    def swap(opened: FakeDisk) -> None:
        if any("blkid" in point for point in host.points) and not swapped:
            swapped.append(opened)
            host.unplug(disk)
            host.plug("other")

    host.kernel.on_open = swap
    original = host.runner.run

    async def run_then_swap(argv, **kwargs):
        result = await original(argv, **kwargs)
        if argv[0] == "blkid":
            swap(disk)
        return result

    host.runner.run = run_then_swap  # type: ignore[method-assign]
    with pytest.raises(CsiError, match="another disk now"):
        await ensure(host, disk)
    assert host.commands("mkfs") == []
    assert is_untouched(host.disks["vda"])


async def test_the_exclusive_opening_is_proved_before_and_let_go_for_mkfs(host: FakeHost) -> None:
    disk = host.plug("s1")
    await ensure(host, disk)
    place = format_record.offset(disk.size_bytes)
    order = [point.split(" -")[0] for point in host.points]
    assert order.index("open vda rx") < order.index(f"write vda@{place}") < order.index("flush vda")
    assert order.index("flush vda") < order.index("run mkfs.ext4")
    assert [point for point in order[order.index("run mkfs.ext4") :][1:] if not point.startswith("open")] == [
        "flush vda",
        f"write vda@{place}",
        "flush vda",
    ]


async def test_no_more_formats_at_once_than_the_limit(host: FakeHost) -> None:
    disks = [host.plug(f"s{index}") for index in range(6)]
    devices = host.devices()
    file_systems = host.filesystems(devices, format_limit=2)
    seen = {device.name: device for device in devices.scan()}
    await asyncio.gather(*(file_systems.ensure(seen[d.name], FsRequest(d.serial), deadline=host.soon()) for d in disks))
    assert host.runner.most_running["mkfs.ext4"] <= 2
    assert all(formats.fs_type_of(disk.head) == "ext4" for disk in disks)


async def test_waiting_for_a_place_ends_at_the_deadline_and_takes_none() -> None:
    places = asyncio.Semaphore(1)
    async with disk_calls.turn(places, deadline=FakeHost.soon()):
        with pytest.raises(CsiError, match="other formats") as caught:
            async with disk_calls.turn(places, deadline=FakeHost.soon(0.0)):
                pytest.fail("a place that is taken was given away")
        assert caught.value.kind is ErrorKind.TIMEOUT
    assert not places.locked()


async def test_a_second_format_of_one_disk_is_kept_away_by_the_lock(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = host.plug("s1")
    gate = host.runner.gate("mkfs.ext4")
    running = asyncio.ensure_future(ensure(host, disk))
    await gate.started.wait()
    monkeypatch.setattr(disk_calls, "_BUSY_PATIENCE_S", 0.0)
    with pytest.raises(CsiError, match="used by something else") as caught:
        await ensure(host, disk)
    assert caught.value.kind is ErrorKind.BUSY
    gate.go_on.set()
    assert (await running).formatted
    assert len(host.commands("mkfs")) == 1


async def test_an_option_that_makes_another_type_is_noticed_before_the_record_goes(host: FakeHost) -> None:
    disk = host.plug("s1")
    for _ in range(2):
        with pytest.raises(CsiError, match=r"made ext2 in place of ext4.*mkfsOptions: -O \^has_journal") as caught:
            await ensure(host, disk, mkfs_options=("-O", "^has_journal"))
        assert caught.value.kind is ErrorKind.INTERNAL
        assert record_of(disk) == FormatRecord("s1", "ext4", disk.size_bytes)
    assert (await ensure(host, disk)).formatted
    assert formats.fs_type_of(disk.head) == "ext4"


class HangingFlush:
    """Holds the first flush in its thread until let go, as a disk does that does not answer."""

    def __init__(self, host: FakeHost) -> None:
        self._flush = host.kernel.flush
        self.entered, self.let_go = threading.Event(), threading.Event()
        host.kernel.flush = self  # type: ignore[method-assign]

    def __call__(self, fd: int) -> None:
        if not self.entered.is_set():
            self.entered.set()
            self.let_go.wait(30)
        self._flush(fd)


async def test_a_write_that_hung_does_not_land_on_what_the_next_try_made(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = host.plug("s1")
    host.runner.fail_next("mkfs.ext4", 1, "killed", midway=True)
    with pytest.raises(CsiError):
        await ensure(host, disk)
    # The next try first writes the record again and then clears the first MiB; it hangs in between.
    hang = HangingFlush(host)
    first = asyncio.ensure_future(ensure(host, disk))
    try:
        await asyncio.to_thread(hang.entered.wait)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        monkeypatch.setattr(disk_calls, "_BUSY_PATIENCE_S", 0.0)
        with pytest.raises(CsiError, match="has not answered yet") as caught:
            await ensure(host, disk)
        assert caught.value.kind is ErrorKind.BUSY
        assert len(host.commands("mkfs")) == 1
    finally:
        hang.let_go.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert host.open_files == {}


async def test_a_write_that_was_given_up_before_its_turn_is_never_made(host: FakeHost) -> None:
    host.plug("s1")
    device = await host.devices().find("s1", deadline=host.soon())
    loop = asyncio.get_running_loop()
    written: list[str] = []
    let_go = threading.Event()
    async with disk_calls.claimed(host.kernel, device, deadline=host.soon()) as claim:
        loop.set_default_executor(ThreadPoolExecutor(1))
        blocker = loop.run_in_executor(None, let_go.wait, 30)
        try:
            with pytest.raises(CsiError, match="did not answer in time"):
                await claim.run(lambda: written.append("x"), "written", deadline=host.soon(0.05))
        finally:
            let_go.set()
        await blocker
    await loop.shutdown_default_executor()
    assert (written, host.open_files) == ([], {})


async def test_a_disk_that_cannot_be_written_fails_without_mkfs(host: FakeHost) -> None:
    disk = host.plug("s1")

    def fail_writes(fd: int, offset: int, data: bytes) -> None:
        raise OSError(5, "Input/output error")

    host.kernel.write = fail_writes  # type: ignore[method-assign]
    with pytest.raises(CsiError, match="cannot be written"):
        await ensure(host, disk)
    assert host.commands("mkfs") == []
