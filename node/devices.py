"""Finds the one disk that carries a serial, by what the kernel reports for it.

Here belong waiting for a disk to arrive, refusing to choose between two, and proving again that a disk is still the one
that was found. Names (`/dev/vdb`) and links (`/dev/disk/by-id`) are never used to choose. Not here: where sysfs keeps
identities (`sysfs`), and what is on the disk (`probe`).
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from csi.errors import CsiError, ErrorKind
from node import mountinfo, sysfs
from node.model import Device, DeviceNumber
from node.ports import DiskEvents, Kernel, Observer, SilentObserver
from node.uevents import NoDiskEvents

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

RESCAN_S = 0.03
"""How long to trust silence before looking again; kernel events usually come first."""
_NAMED_IN_ERRORS = 20


class Devices:
    """The disks of this host."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        sys_root: Path = Path("/sys"),
        dev_root: Path = Path("/dev"),
        proc_root: Path = Path("/proc"),
        host_proc: Path | None = None,
        loop_disk_dir: Path | None = None,
        events: DiskEvents | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Take the places to look at.

        `loop_disk_dir`: loop devices whose backing file is `<loop_disk_dir>/<serial>.img` count as disks;
        `host_proc`: the host's `/proc`, where `proc_root` is that of a container.
        """
        self._kernel = kernel
        self._sys_root = sys_root
        self._dev_root = dev_root
        self._proc_root = proc_root
        self._mount_tables = [proc_root / "self/mountinfo", *([host_proc / "1/mountinfo"] if host_proc else [])]
        # The kernel prints the backing file's path with all links followed.
        self._loop_disk_dir = None if loop_disk_dir is None else Path(os.path.realpath(loop_disk_dir))
        self._events = events or NoDiskEvents()
        self._observer = observer or SilentObserver()
        self._listing = asyncio.Lock()
        self._next_listing: asyncio.Task[tuple[Device, ...]] | None = None

    def scan(self) -> tuple[Device, ...]:
        """Give every whole disk that the kernel reports now (blocking, a few milliseconds).

        Raises OSError when sysfs cannot be listed.
        """
        return sysfs.read_disks(self._sys_root, self._dev_root, self._loop_disk_dir)

    def numbered(self, number: DeviceNumber) -> Device | None:
        """Give the present state of the whole disk with these numbers; None when there is none (blocking).

        Raises OSError when sysfs cannot be listed.
        """
        return sysfs.read_numbered(self._sys_root, self._dev_root, self._loop_disk_dir, number)

    async def find(self, serial: str, *, deadline: float, expected_size_bytes: int | None = None) -> Device:
        """Give the one disk with exactly this serial, waiting for it until `deadline`.

        Raises CsiError: UNKNOWN_OUTCOME when none arrived in time (names the serial and those seen; ask again),
        PRECONDITION when several disks carry it, or when the disk is smaller than `expected_size_bytes`. Pass a
        deadline somewhat before the RPC's own, or nobody will read that text.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        device: Device | None = None
        with self._events.listen() as bell:
            while device is None:
                # Cleared before looking: a disk that arrives during the look rings again.
                bell.clear()
                seen = await self._scan()
                device, node_problem = await asyncio.to_thread(self._pick, serial, seen)
                if device is not None:
                    break
                remaining = deadline - loop.time()
                if remaining <= 0:
                    raise CsiError(ErrorKind.UNKNOWN_OUTCOME, _not_arrived(serial, seen, node_problem))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(bell.wait(), min(RESCAN_S, remaining))
        self._require_size(device, expected_size_bytes)
        self._observer.device_waited(loop.time() - began)
        return device

    async def verify(self, device: Device) -> Device:
        """Read the disk's identity again and give its present state (the size may have grown).

        Raises CsiError PRECONDITION when the name, number, serials or sequence number now belong to another disk, or
        its serial is no longer unique.
        """
        seen = await self._scan()
        now = _same(device, next((other for other in seen if other.name == device.name), None))
        for serial in sorted(now.serials):
            _require_unique(serial, [other for other in seen if serial in other.serials])
        problem = await asyncio.to_thread(self._node_problem, now)
        if problem:
            raise CsiError(ErrorKind.PRECONDITION, f"{problem}; nothing was written")
        return now

    async def reread(self, device: Device) -> Device:
        """Give the disk's present state (the size may have grown) at a fraction of what `verify` costs.

        No proof for writing: whether its serial is still unique is not looked at. Raises CsiError PRECONDITION when the
        name, number, serials or sequence number now belong to another disk.
        """
        return _same(device, await _listed(self._sys_root, lambda: self.numbered(device.number)))

    def in_use(self, device: Device) -> str:
        """Say what uses the disk (mounts, swap, holders, partitions), or "" for nothing (blocking).

        Raises OSError when a table of mounts cannot be read.
        """
        if device.holders:
            return f"held by {', '.join(device.holders)}"
        if device.partitions:
            return f"has partitions {', '.join(device.partitions)}"
        words = (f" {device.number} ", mountinfo.word_of(device.path))
        # A mount point may have any bytes in its name; one that is no text must not hide what else is mounted.
        texts = (path.read_text(errors="surrogateescape") for path in self._mount_tables)
        table = (entry for text in texts for entry in mountinfo.parse(text, holding=words))
        # btrfs shows an anonymous number in the table; its source names the device.
        mounted = [e for e in table if e.device == device.number or e.source == str(device.path)]
        if mounted:
            return f"mounted at {', '.join(sorted({mountinfo.shown(entry.mount_point) for entry in mounted}))}"
        swaps = (self._proc_root / "swaps").read_text().splitlines()[1:]
        if any(line.split()[0] == str(device.path) for line in swaps if line.strip()):
            return "used as swap"
        return ""

    async def _scan(self) -> tuple[Device, ...]:
        """Give every disk, as of some moment after this call.

        Whoever asks while a list is being read waits for the next one, and shares that with all who wait: fifty volumes
        that come up at once would otherwise read the same disks fifty times.
        """
        if self._next_listing is None:
            self._next_listing = asyncio.create_task(self._read_listing(), name="list of disks")
        return await asyncio.shield(self._next_listing)

    async def _read_listing(self) -> tuple[Device, ...]:
        async with self._listing:
            # From here on a disk that arrives may be missed, so this list is no answer to a later question.
            self._next_listing = None
            return await _listed(self._sys_root, self.scan)

    def _pick(self, serial: str, seen: tuple[Device, ...]) -> tuple[Device | None, str]:
        """Choose the disk; None, with the reason, while its node is not there yet."""
        matches = [device for device in seen if serial in device.serials]
        _require_unique(serial, matches)
        if not matches:
            return None, ""
        problem = self._node_problem(matches[0])
        return (None, problem) if problem else (matches[0], "")

    def _node_problem(self, device: Device) -> str:
        """Say why the node in the device folder does not lead to this disk, or ""."""
        number = self._kernel.node_number(device.path)
        if number is None:
            return f"{device.path} is no block device, though the kernel reports that disk as {device.number}"
        if number != device.number:
            return f"{device.path} is stale: it leads to {number}, the kernel reports that disk as {device.number}"
        return self._truncation(device)

    def _truncation(self, device: Device) -> str:
        # Some kernels read the missing part of a loop device's file as zeros, which would look blank.
        file = sysfs.loop_file(f"{self._sys_root}/block/{device.name}")
        if file is None:
            return ""
        try:
            file_bytes = file.stat().st_size
        except FileNotFoundError:
            # A deleted file would be called so by the kernel: this one lies where this machine cannot look, with the
            # platform that presents the disk.
            return ""
        except OSError as error:
            return f"{file} behind {device.path} cannot be read: {error.strerror}"
        if file_bytes < device.size_bytes:
            return f"{file} behind {device.path} has {file_bytes} bytes, the device {device.size_bytes}: it was cut off"
        return ""

    @staticmethod
    def _require_size(device: Device, expected_size_bytes: int | None) -> None:
        if expected_size_bytes is not None and device.size_bytes < expected_size_bytes:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"disk {device.describe()} is smaller than the volume, which has {expected_size_bytes} bytes; it is "
                "not used. Compare the volume's size on the platform with the attachment.",
            )


async def _listed(sys_root: Path, look: Callable[[], Answer]) -> Answer:
    try:
        return await asyncio.to_thread(look)
    except OSError as error:
        raise CsiError(
            ErrorKind.INTERNAL,
            f"disks cannot be listed in {sys_root}/block: {error.strerror}; is sysfs mounted here?",
        ) from error


def _same(device: Device, now: Device | None) -> Device:
    if now is None:
        raise CsiError(ErrorKind.PRECONDITION, f"disk {device.describe()} is gone; nothing was written to it")
    before = (device.name, device.number, device.identities, device.sequence)
    if (now.name, now.number, now.identities, now.sequence) != before:
        raise CsiError(
            ErrorKind.PRECONDITION,
            f"{device.path} is another disk now: it was {device.describe()}, it is {now.describe()}; nothing was "
            "written. Check the attachment of this volume.",
        )
    return now


def _require_unique(serial: str, matches: list[Device]) -> None:
    if len(matches) > 1:
        raise CsiError(
            ErrorKind.PRECONDITION,
            f"serial {serial!r} is carried by {len(matches)} disks: {'; '.join(d.describe() for d in matches)}. None "
            "of them is used. Detach the one that does not belong to the volume.",
        )


def _not_arrived(serial: str, seen: tuple[Device, ...], node_problem: str) -> str:
    if node_problem:
        return f"the disk with serial {serial!r} is attached, but its device node is not usable: {node_problem}"
    known = [device for device in seen if device.identities]
    listed = "; ".join(f"{d.name} {'/'.join(sorted(d.serials))}" for d in known[:_NAMED_IN_ERRORS])
    more = f" and {len(known) - _NAMED_IN_ERRORS} more" if len(known) > _NAMED_IN_ERRORS else ""
    return (
        f"no disk with serial {serial!r} appeared on this node in time; serials seen: {listed or 'none'}{more}. "
        "The attachment may still be under way, or the hypervisor does not pass the serial on."
    )
