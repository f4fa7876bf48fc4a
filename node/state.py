"""Records of the volumes that this host has staged, one file each, so that a restarted process works from facts.

A record says what was mounted where, from which disk. It is never believed alone: the mount table and sysfs decide, see
`recovery` and the callers. Mounts do not outlive a boot, so each boot has a folder of its own and no record has to
survive a power cut: what one tears is never read. Not here: any decision about disks or mounts.
"""

import asyncio
import fcntl
import hashlib
import logging
import os
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TypeVar

import msgspec

from csi.errors import CsiError, ErrorKind
from node.model import Device, DeviceNumber
from node.shield import in_thread

_LOG = logging.getLogger(__name__)

FORMAT_VERSION = 1
SUFFIX = ".json"
CORRUPT_SUFFIX = ".corrupt"
_TEMPORARY_SUFFIX = ".new"
LOCK_NAME = ".lock"
RECORD_THREADS = 4
LOOK_S = 0.2
"""A folder that another process uses is tried this often."""

T = TypeVar("T")


class Phase(Enum):
    """How far a stage got."""

    STAGING = "staging"
    """Begun: what is mounted at the staging path is to be undone."""
    STAGED = "staged"


@dataclass(frozen=True, slots=True)
class Publication:
    """One target path that the volume was bound to."""

    target_path: str
    read_only: bool
    access_mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedVolume:
    """One volume on this host."""

    volume_id: str
    serial: str
    phase: Phase
    device_name: str
    """For messages only."""
    device: DeviceNumber
    sequence: int | None
    """The kernel's disk sequence number: tells a disk from a later one that got the same numbers."""
    block: bool
    fs_type: str
    staging_path: str
    mount_flags: tuple[str, ...]
    access_mode: str
    read_only: bool
    write_protected: bool = False
    """This driver made the kernel refuse writes to the disk, for a read-only raw block publication."""
    publications: tuple[Publication, ...] = ()
    version: int = field(default=FORMAT_VERSION)

    def publication(self, target_path: str) -> Publication | None:
        """Give what was published at this path."""
        return next((p for p in self.publications if p.target_path == target_path), None)

    def with_publication(self, publication: Publication) -> "StagedVolume":
        """Give the record with this publication in place of an older one at the same path."""
        return replace(self, publications=(*self._others(publication.target_path), publication))

    def without_publication(self, target_path: str) -> "StagedVolume":
        """Give the record without the publication at this path."""
        return replace(self, publications=self._others(target_path))

    def is_on(self, disk: Device) -> bool:
        """Whether this disk is the very one that was staged, and no later disk with its numbers."""
        same_sequence = self.sequence is None or disk.sequence is None or self.sequence == disk.sequence
        return disk.number == self.device and self.serial in disk.serials and same_sequence

    def describe_disk(self) -> str:
        """Name the disk for an error text."""
        return f"disk {self.device_name} ({self.device}, serial {self.serial})"

    def _others(self, target_path: str) -> tuple[Publication, ...]:
        return tuple(p for p in self.publications if p.target_path != target_path)


class FolderInUseError(CsiError):
    """Another process owns the folder of records."""


class VolumeRecords:
    """The folder of records. One process owns it; callers hold the volume's lock around read and write."""

    def __init__(self, folder: Path, *, boot_id: str) -> None:
        """`folder`: where the folders of boots are; `boot_id`: this boot, see `read_boot_id`."""
        self._root = folder
        self._folder = folder / boot_id
        # Of its own: records have to be read and written also while disks hang and hold all other threads.
        self._threads = ThreadPoolExecutor(RECORD_THREADS, thread_name_prefix="records")
        self._unlock: weakref.finalize[[int], VolumeRecords] | None = None

    def prepare(self) -> None:
        """Make the folder, readable by nobody else, own it, and drop what earlier boots and writes left (blocking).

        It is owned until `release` or the end of this process. Raises FolderInUseError (PRECONDITION) while another
        process owns it, CsiError INTERNAL when it cannot be written.
        """
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root.chmod(0o700)
            # Before anything is touched: what looks like a leftover may be the work of a process that still runs.
            self._lock()
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._drop_earlier_boots()
            for leftover in self._folder.glob(f"*{_TEMPORARY_SUFFIX}"):
                leftover.unlink()
        except OSError as error:
            raise self._unusable("prepare", error) from error

    async def prepare_when_free(self, *, limit_s: float) -> None:
        """Prepare the folder, and wait up to `limit_s` for a process that still ends. Raises as `prepare`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s
        waits = False
        while True:
            try:
                return await self._in_thread(self.prepare)
            except FolderInUseError:
                if loop.time() >= until:
                    raise
            if not waits:
                _LOG.warning("another process uses %s; waiting up to %.0f s for its end", self._root, limit_s)
                waits = True
            await asyncio.sleep(LOOK_S)

    def release(self) -> None:
        """Let another process own the folder; safe to call again."""
        if self._unlock is not None:
            self._unlock()
            self._unlock = None

    async def get(self, volume_id: str) -> StagedVolume | None:
        """Give the record of a volume; a damaged one is set aside and counts as none. Raises CsiError INTERNAL."""
        record = await self._in_thread(lambda: self._read(self._path(volume_id)))
        if record is not None and record.volume_id != volume_id:
            reason = f"it is about volume {record.volume_id!r}"
            await self._in_thread(lambda: self._set_aside(self._path(volume_id), reason))
            return None
        return record

    async def all(self) -> tuple[StagedVolume, ...]:
        """Give every readable record; damaged ones are set aside. Raises CsiError INTERNAL."""
        return await self._in_thread(self._read_all)

    async def put(self, record: StagedVolume) -> None:
        """Store a record so that it outlives this process. Raises CsiError INTERNAL; the old one stays then."""
        await self._in_thread(lambda: self._write(record))

    async def remove(self, volume_id: str) -> None:
        """Forget a volume; none there is fine. Raises CsiError INTERNAL."""
        await self._in_thread(lambda: self._remove(self._path(volume_id)))

    def set_aside_files(self) -> tuple[str, ...]:
        """Name the damaged files that were set aside (blocking)."""
        try:
            return tuple(sorted(path.name for path in self._folder.glob(f"*{CORRUPT_SUFFIX}")))
        except OSError:
            return ()

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await in_thread(function, executor=self._threads)

    def _lock(self) -> None:
        if self._unlock is not None:
            return
        # Commands do not inherit it, so one that outlives this process does not keep the next one out.
        descriptor = os.open(self._root / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise FolderInUseError(
                ErrorKind.PRECONDITION,
                f"another tc-csi-node uses {self._root}; end it first, or give each its own --state-dir.",
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        self._unlock = weakref.finalize(self, os.close, descriptor)

    def _path(self, volume_id: str) -> Path:
        # A hash, because an identifier chosen elsewhere must not choose a path here.
        return self._folder / (hashlib.sha256(volume_id.encode()).hexdigest()[:40] + SUFFIX)

    def _read(self, path: Path) -> StagedVolume | None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable("read", error) from error
        try:
            record = msgspec.json.decode(data, type=StagedVolume)
        except msgspec.MsgspecError as error:
            self._set_aside(path, str(error))
            return None
        if record.version != FORMAT_VERSION:
            self._set_aside(path, f"its format is version {record.version}, this program reads {FORMAT_VERSION}")
            return None
        return record

    def _read_all(self) -> tuple[StagedVolume, ...]:
        try:
            paths = sorted(self._folder.glob(f"*{SUFFIX}"))
        except OSError as error:
            raise self._unusable("list", error) from error
        return tuple(record for path in paths if (record := self._read(path)) is not None)

    def _write(self, record: StagedVolume) -> None:
        path = self._path(record.volume_id)
        temporary = path.with_suffix(_TEMPORARY_SUFFIX)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(record))
            temporary.replace(path)
        except OSError as error:
            raise self._unusable("write", error) from error

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable("write", error) from error

    def _drop_earlier_boots(self) -> None:
        for folder in self._root.iterdir():
            if folder == self._folder or folder.is_symlink() or not folder.is_dir():
                continue
            for file in folder.iterdir():
                if file.suffix in {SUFFIX, CORRUPT_SUFFIX, _TEMPORARY_SUFFIX}:
                    file.unlink()
            try:
                folder.rmdir()
            except OSError as error:
                _LOG.warning("%s is of an earlier boot and cannot be removed: %s", folder, error.strerror)

    def _set_aside(self, path: Path, reason: str) -> None:
        _LOG.error("record %s is damaged (%s); set aside as %s%s", path, reason, path.name, CORRUPT_SUFFIX)
        try:
            path.replace(path.with_name(path.name + CORRUPT_SUFFIX))
        except OSError as error:
            raise self._unusable("write", error) from error

    def _unusable(self, action: str, error: OSError) -> CsiError:
        return CsiError(
            ErrorKind.INTERNAL,
            f"cannot {action} the records of staged volumes in {self._folder}: {error}. Check the folder's file system "
            "(--state-dir).",
        )


def read_boot_id(proc_root: Path) -> str:
    """Give the identity of this boot (blocking). Raises CsiError INTERNAL."""
    path = proc_root / "sys/kernel/random/boot_id"
    try:
        return path.read_text().strip()
    except OSError as error:
        raise CsiError(ErrorKind.INTERNAL, f"cannot read this boot's identity: {error}") from error
