"""Loop devices of this machine: the ioctls and what sysfs says about them.

Belongs here: the kernel interface. Does not: which image belongs to whom. All functions block for microseconds to
milliseconds; callers run them in a thread.
"""

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SYS_BLOCK = Path("/sys/block")
_DEV = Path("/dev")
_CONTROL = _DEV / "loop-control"

_CLR_FD = 0x4C01
_SET_STATUS64 = 0x4C04
_GET_STATUS64 = 0x4C05
_SET_CAPACITY = 0x4C07
_CONFIGURE = 0x4C0A
_CTL_ADD = 0x4C80
_CTL_REMOVE = 0x4C81
_CTL_GET_FREE = 0x4C82
_FLAG_READ_ONLY = 1
_FLAG_AUTOCLEAR = 4

# struct loop_info64: five 64-bit numbers, four 32-bit ones (the last are lo_number … lo_flags), names, key, init.
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")
_INFO_FLAGS = 8
_CONFIG = struct.Struct(f"=II{_INFO.size}s64x")
_NAME_BYTES = 63
MAJOR = 7
_FREE_TRIES = 64
_STAT_WRITES = 4
_STAT_INFLIGHT = 8
_STAT_DISCARDS = 11
_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop device that has a backing file."""

    number: int
    backing_file: Path
    read_only: bool

    @property
    def device(self) -> Path:
        """The device node."""
        return device_of(self.number)


class InUseError(Exception):
    """Somebody has the device mounted, held or open."""


def device_of(number: int) -> Path:
    """Give the device node of a loop number."""
    return _DEV / f"loop{number}"


def attached_loops() -> Iterator[Loop]:
    """Give every loop device that has a backing file."""
    for folder in _SYS_BLOCK.glob("loop*"):
        found = read_loop(int(folder.name.removeprefix("loop")))
        if found is not None:
            yield found


def read_loop(number: int) -> Loop | None:
    """Give one loop device, or None when it has no backing file."""
    folder = _SYS_BLOCK / f"loop{number}"
    try:
        backing = (folder / "loop" / "backing_file").read_text().rstrip("\n")
        read_only = (folder / "ro").read_text().strip() == "1"
    except (FileNotFoundError, OSError):
        return None
    return Loop(number, Path(backing.removesuffix(_DELETED)), read_only)


def attach(image: Path, *, read_only: bool) -> int:
    """Give the image to a free loop device and return its number.

    The kernel hands out the same free number to two callers; the loser tries the next. Raises OSError.
    """
    mode = os.O_RDONLY if read_only else os.O_RDWR
    with _opened(image, mode) as backing, _opened(_CONTROL, os.O_RDWR) as control:
        for _ in range(_FREE_TRIES):
            number = fcntl.ioctl(control, _CTL_GET_FREE)
            if _configure(number, backing, image, mode=mode, read_only=read_only):
                return number
    raise OSError(errno.EBUSY, f"no free loop device after {_FREE_TRIES} tries")


def attach_at(number: int, image: Path, *, read_only: bool) -> bool:
    """Make the loop device of this number and give it the image; False when the number is taken. Raises OSError."""
    mode = os.O_RDONLY if read_only else os.O_RDWR
    with _opened(image, mode) as backing, _opened(_CONTROL, os.O_RDWR) as control:
        try:
            fcntl.ioctl(control, _CTL_ADD, number)
        except OSError as error:
            if error.errno == errno.EEXIST:
                return False
            raise
        # Somebody who looked for a free device may have it by now; then it is theirs.
        return _configure(number, backing, image, mode=mode, read_only=read_only)


def discard(number: int) -> bool:
    """Remove an idle loop device; False while it has a backing file or is open, True also when there is none.

    Raises OSError.
    """
    with _opened(_CONTROL, os.O_RDWR) as control:
        try:
            fcntl.ioctl(control, _CTL_REMOVE, number)
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            if error.errno not in {errno.ENODEV, errno.ENXIO}:
                raise
    # Where nothing else makes nodes, nothing else removes them.
    if not (_SYS_BLOCK / f"loop{number}").exists():
        device_of(number).unlink(missing_ok=True)
    return True


def detach(number: int) -> None:
    """Take the backing file away; raises InUseError, with the device as it was, or OSError.

    The exclusive open fails while the device is mounted anywhere (any mount namespace) or held by another device.
    Clearing with other openers only marks the device for later; that mark is taken back, so nothing changes.
    """
    ensure_node(number)
    try:
        device = os.open(device_of(number), os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise InUseError from error
        raise
    try:
        fcntl.ioctl(device, _CLR_FD)
        info = _read_info(device)
        if info is not None and info[_INFO_FLAGS] & _FLAG_AUTOCLEAR:
            info[_INFO_FLAGS] &= ~_FLAG_AUTOCLEAR
            fcntl.ioctl(device, _SET_STATUS64, _INFO.pack(*info))
            raise InUseError
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    finally:
        os.close(device)


def set_capacity(number: int) -> None:
    """Let the device take the size that its backing file has now; raises OSError."""
    ensure_node(number)
    with _opened(device_of(number), os.O_RDONLY) as device:
        fcntl.ioctl(device, _SET_CAPACITY)


def count_writes(number: int) -> int | None:
    """Give a number that changes with every write or discard; None while one is under way."""
    fields = (_SYS_BLOCK / f"loop{number}" / "stat").read_text().split()
    if int(fields[_STAT_INFLIGHT]):
        return None
    return int(fields[_STAT_WRITES]) + int(fields[_STAT_DISCARDS])


def ensure_node(number: int) -> None:
    """Make the device node when nothing else does (a /dev that is no devtmpfs)."""
    with contextlib.suppress(FileExistsError):
        if not device_of(number).exists():
            os.mknod(device_of(number), stat.S_IFBLK | 0o660, os.makedev(MAJOR, number))


def holders(number: int) -> list[str]:
    """Give the names of block devices that are built on this one."""
    try:
        return sorted(path.name for path in (_SYS_BLOCK / f"loop{number}" / "holders").iterdir())
    except FileNotFoundError:
        return []


def _configure(number: int, backing: int, image: Path, *, mode: int, read_only: bool) -> bool:
    """Bind the backing file; False when another process was faster."""
    ensure_node(number)
    flags = _FLAG_READ_ONLY if read_only else 0
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, bytes(image)[:_NAME_BYTES], b"", b"", 0, 0)
    try:
        with _opened(device_of(number), mode) as device:
            fcntl.ioctl(device, _CONFIGURE, _CONFIG.pack(backing, 0, info))
    except OSError as error:
        if error.errno in {errno.EBUSY, errno.ENXIO}:
            return False
        raise
    return True


def _read_info(device: int) -> list[Any] | None:
    """Give loop_info64 of an open device; None when its backing file is already going."""
    try:
        return list(_INFO.unpack(fcntl.ioctl(device, _GET_STATUS64, bytes(_INFO.size))))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)
