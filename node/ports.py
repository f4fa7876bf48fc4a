"""What the domain needs from the host: commands, and the few system calls that need root or real devices.

Everything that can be read from files (sysfs, mountinfo, `/proc`) is not behind a port: the parsers take the folder as
an argument and run for real in unit tests. Adapters are `commands`, `kernel` and `uevents`; the simulated host in the
tests implements the same protocols.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from node.model import CommandResult, DeviceNumber, Usage


class Runner(Protocol):
    """Starts host commands."""

    async def run(self, argv: Sequence[str], *, deadline: float, pass_fds: Sequence[int] = ()) -> CommandResult:
        """Run one command to its end and give its exit code and output; a non-zero exit code is an answer, no error.

        The command gets no standard input, a clean environment and its own process group. When `deadline` (loop time)
        passes or the caller is cancelled, it is killed with all its children and waited for before this returns.
        `pass_fds` stay open in the command, and with them any lock that they hold.

        Raises CsiError INTERNAL when the program is not installed, TIMEOUT when the deadline passed; it is not even
        started when that was before.
        """
        ...

    async def run_through(self, argv: Sequence[str], *, deadline: float, pass_fds: Sequence[int] = ()) -> CommandResult:
        """Run one command as `run` does, but let it go on when the caller is cancelled or this process ends.

        For tools that change what is on a disk, which must come to their own end. `deadline` is only there to stop one
        that hangs. An orphaned command keeps `pass_fds` open, and so holds its disk's lock against the next process.
        Raises as `run`.
        """
        ...


class Kernel(Protocol):
    """System calls on block devices and paths. All methods block; callers use `asyncio.to_thread`."""

    def open_device(self, path: Path, *, writable: bool = False, exclusive: bool = False) -> int:
        """Open a block device and give the descriptor; cached pages are dropped first, so reads reach the device.

        `exclusive` fails with EBUSY while a mount, a device mapper or another exclusive opener uses the disk. Raises
        OSError (ELOOP for a symbolic link, ENOTBLK for anything that is no block device).
        """
        ...

    def duplicate(self, fd: int) -> int:
        """Give another descriptor of the same opening, which holds the same lock; commands do not inherit it."""
        ...

    def close(self, fd: int) -> None:
        """Close a descriptor of `open_device` or `duplicate`."""
        ...

    def device_number(self, fd: int) -> DeviceNumber:
        """Give the numbers of the opened device."""
        ...

    def node_number(self, path: Path) -> DeviceNumber | None:
        """Give the numbers of a device node without following links; None when there is no block device node."""
        ...

    def probe(self, path: Path) -> DeviceNumber:
        """Read the start of a disk from the disk itself, past all caches, and give the number of what answered.

        Disturbs no mount: nothing cached is dropped. Raises OSError as `open_device` and `read`.
        """
        ...

    def size_bytes(self, fd: int) -> int:
        """Give the device's size."""
        ...

    def begin_reads(self, fd: int, places: Sequence[tuple[int, int]]) -> None:
        """Have the device fetch parts (offset, length) at once that are read next; a part that fails fails there."""
        ...

    def read(self, fd: int, offset: int, length: int) -> bytes:
        """Read exactly `length` bytes. Raises OSError, EIO for a short read."""
        ...

    def write(self, fd: int, offset: int, data: bytes) -> None:
        """Write all of `data`. Raises OSError."""
        ...

    def flush(self, fd: int) -> None:
        """Return when everything written is on stable storage. Raises OSError."""
        ...

    def try_lock(self, fd: int) -> bool:
        """Take the exclusive advisory lock of the device (flock), which udev respects; False while others hold it.

        The lock lives until the last copy of the descriptor is closed, those inside commands included.
        """
        ...

    def path_device(self, path: Path) -> DeviceNumber:
        """Give the number of the file system that holds `path` (st_dev). Raises OSError (EIO … for a dead mount)."""
        ...

    def usage(self, path: Path) -> Usage:
        """Give the figures of the mounted file system at `path` (statvfs). Raises OSError."""
        ...

    def has_sys_resource(self) -> bool:
        """Whether this process has CAP_SYS_RESOURCE, without which the kernel refuses to grow a mounted ext4."""
        ...

    def release(self) -> tuple[int, int]:
        """Give the running kernel's version as (major, minor)."""
        ...


class DiskEvents(Protocol):
    """Tells that disks may have come, gone or changed."""

    def listen(self) -> AbstractContextManager[asyncio.Event]:
        """Give an event that is set at every change of a block device until the context ends; listeners clear it."""
        ...


class Observer(Protocol):
    """Receives figures for metrics; calls return at once and never raise."""

    def device_waited(self, seconds: float) -> None:
        """Take the time that a disk took to be found."""
        ...

    def formatted(self, fs_type: str, seconds: float) -> None:
        """Take the time that a successful mkfs took."""
        ...

    def format_refused(self, reason: str) -> None:
        """Count a disk that was not formatted; `reason` is one of a few fixed words."""
        ...

    def repaired(self, fs_type: str) -> None:
        """Count a file system that the check before its use had to repair."""
        ...

    def command_ended(self, program: str, seconds: float) -> None:
        """Take the time that a host command took, whatever came of it."""
        ...


class SilentObserver:
    """Drops every figure."""

    def device_waited(self, seconds: float) -> None:
        """Ignore the figure."""

    def formatted(self, fs_type: str, seconds: float) -> None:
        """Ignore the figure."""

    def format_refused(self, reason: str) -> None:
        """Ignore the reason."""

    def repaired(self, fs_type: str) -> None:
        """Ignore the repair."""

    def command_ended(self, program: str, seconds: float) -> None:
        """Ignore the figure."""
