"""Finds the one disk that carries a serial, by what the kernel reports for it.

Here belong reading disks from sysfs, waiting for one to arrive, and proving again that a disk is still the one that was
found. Names (`/dev/vdb`) and links (`/dev/disk/by-id`) are never used to choose. Not here: what is on the disk.
"""

from pathlib import Path

from node.model import Device
from node.ports import DiskEvents, Kernel, Observer


class Devices:
    """The disks of this host."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        sys_root: Path = Path("/sys"),
        dev_root: Path = Path("/dev"),
        proc_root: Path = Path("/proc"),
        loop_disk_dir: Path | None = None,
        events: DiskEvents | None = None,
        observer: Observer,
    ) -> None:
        """`loop_disk_dir`: loop devices whose backing file is `<loop_disk_dir>/<serial>.img` count as disks."""
        raise NotImplementedError

    def scan(self) -> tuple[Device, ...]:
        """Give every whole disk that the kernel reports now (blocking, about a millisecond)."""
        raise NotImplementedError

    async def find(self, serial: str, *, deadline: float, expected_size_bytes: int | None = None) -> Device:
        """Give the one disk with exactly this serial, waiting for it until `deadline`.

        Raises CsiError: UNKNOWN_OUTCOME when none arrived in time (names the serial and those seen; ask again),
        PRECONDITION when several disks carry it, or when the disk is smaller than `expected_size_bytes`. Pass a
        deadline somewhat before the RPC's own, or nobody will read that text.
        """
        raise NotImplementedError

    async def verify(self, device: Device) -> Device:
        """Read the disk's identity again and give its present state (the size may have grown).

        Raises CsiError PRECONDITION when the name, number, serials or sequence number now belong to another disk, or
        its serial is no longer unique.
        """
        raise NotImplementedError

    def in_use(self, device: Device) -> str:
        """Say what uses the disk (mounts, swap, holders, partitions, root file system), or nothing ("")."""
        raise NotImplementedError
