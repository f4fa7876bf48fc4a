"""`ports.Kernel` on the disks of the simulated host."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from node.model import MIB, DeviceNumber, MountEntry, Usage
from tests.support import fake_disk_formats
from tests.support.fake_disks import CrashError, FakeDisk, OpenFile

if TYPE_CHECKING:
    from tests.support.fake_host import FakeHost


class FakeKernel:
    """`ports.Kernel` on the simulated disks."""

    def __init__(self, host: "FakeHost") -> None:
        self._host = host
        self.on_open: Callable[[FakeDisk], None] | None = None
        """Called before each open; a test swaps disks here."""

    def open_device(self, path: Path, *, writable: bool = False, exclusive: bool = False) -> int:
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        disk = self._host.disk_at(path)
        if disk is None:
            reason = errno.ENXIO if self.node_number(path) else errno.ENOTBLK if path.exists() else errno.ENOENT
            raise OSError(reason, os.strerror(reason), str(path))
        if self.on_open:
            self.on_open(disk)
        mode = ("w" if writable else "r") + ("x" if exclusive else "")
        self._host.point(f"open {disk.name} {mode}")
        if exclusive and self._host.is_claimed(disk):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
        if writable and disk.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        fd = self._host.take("fd")
        self._host.open_files[fd] = OpenFile(disk, writable, exclusive)
        return fd

    def duplicate(self, fd: int) -> int:
        copy = self._host.take("fd")
        self._host.open_files[copy] = self._file(fd)
        return copy

    def close(self, fd: int) -> None:
        self._host.open_files.pop(fd, None)

    def device_number(self, fd: int) -> DeviceNumber:
        return self._file(fd).disk.number

    def node_number(self, path: Path) -> DeviceNumber | None:
        entry = self._host.top_mount(path)
        if entry is not None and entry.mount_id in self._host.bound_nodes:
            return self._host.bound_nodes[entry.mount_id]
        if path.is_symlink() or not path.is_file():
            return None
        word, _, number = path.read_text(errors="replace").partition(" ")
        return DeviceNumber.parse(number) if word == "block" else None

    def probe(self, path: Path) -> DeviceNumber:
        fd = self.open_device(path)
        try:
            self.read(fd, 0, 4096)
            return self.device_number(fd)
        finally:
            self.close(fd)

    def size_bytes(self, fd: int) -> int:
        return self._file(fd).disk.size_bytes

    def begin_reads(self, fd: int, places: Sequence[tuple[int, int]]) -> None:
        size = self.size_bytes(fd)
        assert all(0 <= offset <= offset + length <= size for offset, length in places)

    def read(self, fd: int, offset: int, length: int) -> bytes:
        return self._file(fd).disk.read(offset, length)

    def write(self, fd: int, offset: int, data: bytes) -> None:
        file = self._file(fd)
        if not file.writable:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._host.point(f"write {file.disk.name}@{offset}")
        file.disk.write(offset, data)

    def flush(self, fd: int) -> None:
        disk = self._file(fd).disk
        self._host.point(f"flush {disk.name}")
        disk.unflushed.clear()

    def try_lock(self, fd: int) -> bool:
        file = self._file(fd)
        if any(
            other.disk is file.disk and other.locked for other in self._host.open_files.values() if other is not file
        ):
            return False
        file.locked = True
        return True

    def path_device(self, path: Path) -> DeviceNumber:
        self._fail(path)
        path.stat()
        return self.mount_of(path).device

    def usage(self, path: Path) -> Usage:
        self._fail(path)
        path.stat()
        disk = self._host.disk_of(self.mount_of(path))
        total = fake_disk_formats.size_of(disk.head) if disk else 1024 * MIB
        inodes = 0 if disk and self.mount_of(path).fs_type == "btrfs" else total // 16384
        return Usage(total, total - MIB, MIB, inodes, max(inodes - 11, 0), min(inodes, 11))

    def has_sys_resource(self) -> bool:
        return self._host.sys_resource

    def release(self) -> tuple[int, int]:
        return self._host.release

    def _file(self, fd: int) -> OpenFile:
        if self._host.dead:
            raise CrashError("the process is dead")
        if fd not in self._host.open_files:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        file = self._host.open_files[fd]
        if file.disk.name not in self._host.disks:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return file

    def _fail(self, path: Path) -> None:
        for broken, reason in self._host.path_errors.items():
            if path == broken or broken in path.parents:
                raise OSError(reason, os.strerror(reason), str(path))

    def mount_of(self, path: Path) -> MountEntry:
        return max(
            (entry for entry in self._host.mounts if entry.mount_point == path or entry.mount_point in path.parents),
            key=lambda entry: (len(entry.mount_point.parts), entry.mount_id),
        )
