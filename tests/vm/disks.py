"""Disks as QEMU presents them: the bus, the serial, the file behind it. Not here: what is done with them in a guest.

The files are opened with `cache.direct` off, so QEMU writes through this host's page cache, and the devices show the
guest a write cache that it has to flush. This host never loses power in the tests, so killing QEMU loses nothing that
QEMU has taken from the guest; what a *disk's* write cache would have lost is decided afterwards from the record of
writes (see `writelog`), which is why a disk can be given one.
"""

import enum
import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCSI_CONTROLLER = "scsi0"
_BLOCK = 4096


class Bus(enum.Enum):
    """How the disk is connected, which decides where the kernel shows its serial."""

    VIRTIO = "virtio"
    NVME = "nvme"
    SCSI = "scsi"


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk: a file of this host behind a device of the guest."""

    name: str
    """Names the device and its back end towards QEMU; the guest never sees it."""
    path: Path
    serial: str
    bus: Bus = Bus.VIRTIO
    read_only: bool = False
    log: Path | None = None
    """Where to record every write and flush, in order."""
    stop_at_write: int | None = None
    """Freeze the whole machine when the guest sends this write (1 is the first one); the write is not done."""


def create_image(path: Path, size_bytes: int) -> Path:
    """Make a sparse file that reads as zeros."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return path


def grow_image(path: Path, size_bytes: int) -> None:
    """Make the file behind a disk that is not plugged in larger, as the platform does."""
    os.truncate(path, size_bytes)


def copy_sparse(base: Path, target: Path) -> Path:
    """Copy the parts of a file that were ever written; the rest of the copy stays a hole. Gives `target`."""
    with base.open("rb") as source, target.open("wb") as copy:
        copy.truncate(os.fstat(source.fileno()).st_size)
        for start, length in _written(source.fileno()):
            source.seek(start)
            copy.seek(start)
            for position in range(start, start + length, _BLOCK):
                copy.write(source.read(min(_BLOCK, start + length - position)))
    return target


def digest(path: Path) -> str:
    """Digest what the disk holds; zeros that were written and zeros that never were count the same."""
    summary = hashlib.sha256()
    with path.open("rb") as file:
        for start, length in _written(file.fileno()):
            file.seek(start)
            for position in range(start, start + length, _BLOCK):
                block = file.read(min(_BLOCK, start + length - position))
                if block.count(0) != len(block):
                    summary.update(b"%d:%d:" % (position, len(block)) + block)
    return summary.hexdigest()


def backend(disk: Disk) -> dict[str, Any]:
    """Give QEMU's description of what is behind the disk."""
    node: dict[str, Any] = _file(disk.path) | {"read-only": disk.read_only}
    if disk.log is not None:
        disk.log.touch()
        node = {"driver": "blklogwrites", "file": node, "log": _file(disk.log), "log-sector-size": 512}
    if disk.stop_at_write is not None:
        node = {"driver": "blkdebug", "image": node} | _freeze_rules(disk.stop_at_write)
    return {"driver": "raw", "file": node, "read-only": disk.read_only, "node-name": disk.name}


def device(disk: Disk) -> dict[str, Any]:
    """Give QEMU's description of the device that the guest sees."""
    common: dict[str, Any] = {"id": f"dev-{disk.name}", "drive": disk.name, "serial": disk.serial}
    match disk.bus:
        case Bus.VIRTIO:
            # QEMU 7.2 garbles its record when a request to write zeros overlaps another one, and fails when merged
            # requests reach the limit of pieces in one system call. Without both features the guest's own writes are
            # what is recorded. NVMe and SCSI have no such switches, so only virtio disks are recorded.
            plain = {} if disk.log is None else {"write-zeroes": False, "discard": False, "request-merging": False}
            return common | plain | {"driver": "virtio-blk-pci", "werror": _on_error(disk)}
        case Bus.SCSI:
            return common | {"driver": "scsi-hd", "bus": f"{SCSI_CONTROLLER}.0", "werror": _on_error(disk)}
        case Bus.NVME:
            return common | {"driver": "nvme"}


def _file(path: Path) -> dict[str, Any]:
    return {"driver": "file", "filename": str(path), "cache": {"direct": False, "no-flush": False}}


def _on_error(disk: Disk) -> str:
    return "report" if disk.stop_at_write is None else "stop"


def _freeze_rules(number: int) -> dict[str, Any]:
    """Count writes with the states of QEMU's fault injector: state n means that n - 1 writes went by."""
    counting = [{"event": "pwritev", "state": state, "new_state": state + 1} for state in range(1, number)]
    failing = {"event": "pwritev", "state": number, "errno": 5, "iotype": "write", "once": False}
    return {"set-state": counting, "inject-error": [failing]}


def _written(descriptor: int) -> Iterator[tuple[int, int]]:
    """Give start and length of the parts of a file that are no holes."""
    size_bytes = os.fstat(descriptor).st_size
    position = 0
    while position < size_bytes:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        position = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, position - start
