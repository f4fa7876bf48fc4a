"""System calls on block devices, for real.

The adapter of `ports.Kernel`: nothing here decides anything.
"""

import errno
import fcntl
import mmap
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

from node.model import DeviceNumber, Usage

# From linux/fs.h; the same on every architecture that this runs on.
_BLKGETSIZE64 = 0x80081272
_CAP_SYS_RESOURCE = 24
_PROBE_BYTES = 4096
"""A whole block of every disk."""


class HostKernel:
    """The kernel that this process runs on."""

    def __init__(self, *, proc_root: Path = Path("/proc")) -> None:
        self._proc_root = proc_root

    def open_device(self, path: Path, *, writable: bool = False, exclusive: bool = False) -> int:
        """Open a block device; see `ports.Kernel.open_device`."""
        fd = _open_block(path, (os.O_RDWR if writable else os.O_RDONLY) | (os.O_EXCL if exclusive else 0))
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            # Reads here are few and far apart; reading ahead of each would take far more from the disk than is asked.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        except OSError:
            os.close(fd)
            raise
        return fd

    def duplicate(self, fd: int) -> int:
        """Give another descriptor of the same opening; see `ports.Kernel.duplicate`."""
        return os.dup(fd)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def device_number(self, fd: int) -> DeviceNumber:
        """Give the numbers of the opened device."""
        return _number(os.fstat(fd).st_rdev)

    def node_number(self, path: Path) -> DeviceNumber | None:
        """Give the numbers of a device node; see `ports.Kernel.node_number`."""
        try:
            found = os.lstat(path)
        except OSError:
            return None
        return _number(found.st_rdev) if stat.S_ISBLK(found.st_mode) else None

    def probe(self, path: Path) -> DeviceNumber:
        """Ask the disk itself; see `ports.Kernel.probe`.

        A mounted ext4 keeps the first block in the page cache, where a dead disk still answers.
        """
        fd = _open_block(path, os.O_RDONLY | os.O_DIRECT)
        try:
            # Anonymous memory begins at a page, as a read past the cache demands.
            with mmap.mmap(-1, _PROBE_BYTES) as buffer:
                if os.preadv(fd, [buffer], 0) != _PROBE_BYTES:
                    raise OSError(errno.EIO, f"{path} gave less than {_PROBE_BYTES} bytes")
            return self.device_number(fd)
        finally:
            os.close(fd)

    def size_bytes(self, fd: int) -> int:
        """Give the device's size."""
        (size,) = struct.unpack("Q", fcntl.ioctl(fd, _BLKGETSIZE64, b"\0" * 8))
        return int(size)

    def begin_reads(self, fd: int, places: Sequence[tuple[int, int]]) -> None:
        """Have parts fetched at once; see `ports.Kernel.begin_reads`."""
        for offset, length in places:
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_WILLNEED)

    def read(self, fd: int, offset: int, length: int) -> bytes:
        """Read exactly `length` bytes; see `ports.Kernel.read`."""
        data = bytearray()
        while len(data) < length:
            chunk = os.pread(fd, length - len(data), offset + len(data))
            if not chunk:
                raise OSError(errno.EIO, f"device ends after {offset + len(data)} bytes, {offset + length} are needed")
            data += chunk
        return bytes(data)

    def write(self, fd: int, offset: int, data: bytes) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            offset += written
            view = view[written:]

    def flush(self, fd: int) -> None:
        """Return when everything written is on stable storage."""
        os.fsync(fd)

    def try_lock(self, fd: int) -> bool:
        """Take the device's exclusive advisory lock; see `ports.Kernel.try_lock`."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def path_device(self, path: Path) -> DeviceNumber:
        """Give the number of the file system that holds `path`."""
        return _number(path.stat().st_dev)

    def usage(self, path: Path) -> Usage:
        """Give the figures of the mounted file system at `path`."""
        figures = os.statvfs(path)
        return Usage(
            total_bytes=figures.f_blocks * figures.f_frsize,
            available_bytes=figures.f_bavail * figures.f_frsize,
            used_bytes=(figures.f_blocks - figures.f_bfree) * figures.f_frsize,
            total_inodes=figures.f_files,
            free_inodes=figures.f_ffree,
            used_inodes=figures.f_files - figures.f_ffree,
        )

    def has_sys_resource(self) -> bool:
        """Whether CAP_SYS_RESOURCE is in this process's effective set."""
        status = (self._proc_root / "self/status").read_text()
        for line in status.splitlines():
            name, _, value = line.partition(":")
            if name == "CapEff":
                return bool(int(value.strip(), 16) >> _CAP_SYS_RESOURCE & 1)
        return False

    def release(self) -> tuple[int, int]:
        """Give the running kernel's version."""
        major, minor = os.uname().release.split("-", 1)[0].split(".")[:2]
        return int(major), int("".join(c for c in minor if c.isdigit()) or "0")


def _open_block(path: Path, flags: int) -> int:
    # Looked at before it is opened, because opening a FIFO or a character device may have effects of its own.
    _require_block(path, os.lstat(path).st_mode)
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _require_block(path, os.fstat(fd).st_mode)
    except OSError:
        os.close(fd)
        raise
    return fd


def _require_block(path: Path, mode: int) -> None:
    if not stat.S_ISBLK(mode):
        reason = errno.ELOOP if stat.S_ISLNK(mode) else errno.ENOTBLK
        raise OSError(reason, os.strerror(reason), str(path))


def _number(device: int) -> DeviceNumber:
    return DeviceNumber(os.major(device), os.minor(device))
