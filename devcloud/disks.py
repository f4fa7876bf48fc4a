"""Images of volumes and snapshots: sparse files that are made, copied, grown and removed.

Belongs here: files and their durability. Does not: rows, and how an instance gets to see an image. All functions block;
callers run them in a thread. An image is made before its row and removed after it, so a crash leaves at most an image
without a row, which the next start removes.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from devcloud.errors import BackendError

IMAGE_SUFFIX = ".img"
PART_SUFFIX = ".part"
_FICLONE = 0x40049409
_COPY_CHUNK_BYTES = 16 << 20
_CANNOT_CLONE = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM})
_CANNOT_COPY_RANGE = _CANNOT_CLONE | {errno.EBADF}


class Images:
    """The images in one folder."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder
        self._durable = durable

    def path(self, name: str) -> Path:
        """Give where the image of this name lies."""
        return self.folder / (name + IMAGE_SUFFIX)

    def create(self, name: str, size_bytes: int) -> None:
        """Make an empty sparse image; raises BackendError when the file system refuses."""
        with self._new_file(name) as file:
            os.ftruncate(file, size_bytes)

    def copy(self, source: Path, name: str, size_bytes: int) -> None:
        """Make an image with the content of another file, sparse where that is, grown to `size_bytes`.

        The copy shares blocks with its source where the file system can do that. Raises BackendError.
        """
        with self._new_file(name) as file, _opened(source, os.O_RDONLY) as origin:
            if not _clone(origin, file):
                _copy_sparse(origin, file)
            os.ftruncate(file, size_bytes)

    def grow(self, name: str, size_bytes: int) -> None:
        """Make an image larger; never smaller. Raises BackendError."""
        try:
            with _opened(self.path(name), os.O_RDWR) as file:
                if os.fstat(file).st_size < size_bytes:
                    os.ftruncate(file, size_bytes)
                    self._sync(file)
        except OSError as error:
            raise BackendError(f"cannot grow {self.path(name)} to {size_bytes} bytes: {error.strerror}") from error

    def remove(self, name: str) -> None:
        """Remove an image; none is no error."""
        self.path(name).unlink(missing_ok=True)

    def allocated_bytes(self, name: str) -> int | None:
        """Give the bytes of storage that writes have taken; None when the image is missing."""
        try:
            return self.path(name).stat().st_blocks * 512
        except FileNotFoundError:
            return None

    def names(self) -> set[str]:
        """Give the names of all images."""
        return {path.name.removesuffix(IMAGE_SUFFIX) for path in self.folder.glob("*" + IMAGE_SUFFIX)}

    def remove_parts(self) -> None:
        """Remove what interrupted copies left."""
        for path in self.folder.glob("*" + PART_SUFFIX):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _new_file(self, name: str) -> Iterator[int]:
        """Write under another name and rename when complete, so that an image is whole or not there."""
        target = self.path(name)
        part = target.with_suffix(PART_SUFFIX)
        try:
            with _opened(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as file:
                yield file
                self._sync(file)
            part.rename(target)
            if self._durable:
                with _opened(self.folder, os.O_RDONLY | os.O_DIRECTORY) as folder:
                    os.fsync(folder)
        except OSError as error:
            raise BackendError(f"cannot write {target}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)

    def _sync(self, file: int) -> None:
        if self._durable:
            os.fsync(file)


def free_bytes(folder: Path) -> int:
    """Give the bytes that the file system of a folder has left for us."""
    return shutil.disk_usage(folder).free


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _clone(source: int, target: int) -> bool:
    """Share the source's blocks; False when this file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _CANNOT_CLONE:
            return False
        raise
    return True


def _copy_sparse(source: int, target: int) -> None:
    """Copy the data ranges and keep the holes."""
    position = 0
    while True:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        position = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, target, start, position)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        wanted = min(end - start, _COPY_CHUNK_BYTES)
        try:
            copied = os.copy_file_range(source, target, wanted, start, start)
        except OSError as error:
            if error.errno not in _CANNOT_COPY_RANGE:
                raise
            copied = os.pwrite(target, os.pread(source, wanted, start), start)
        if not copied:
            return
        start += copied
