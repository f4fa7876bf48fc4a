"""Reads disks and their identities from sysfs.

Here belongs where each kind of disk reports who it is. Not here: choosing one of them (`devices`).
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from node.model import Device, DeviceNumber, Identity, IdentitySource

log = logging.getLogger(__name__)

SECTOR_BYTES = 512
"""sysfs counts in these whatever the disk's own block size is."""
_PAGE_80_HEADER_BYTES = 4
_PAGE_80 = 0x80
_IMAGE_SUFFIX = ".img"
_ATTRIBUTE_BYTES = 4096
"""No attribute of sysfs is longer than a page."""


def read_disks(sys_root: Path, dev_root: Path, loop_disk_dir: Path | None) -> tuple[Device, ...]:
    """Give every whole disk, by name. A disk that goes away while it is read is left out.

    Loop devices count only with `loop_disk_dir` set and a backing file `<serial>.img` directly in it. Raises OSError
    when sysfs cannot be listed.
    """
    block = f"{sys_root}/block"
    disks = (read_disk(f"{block}/{name}", dev_root, loop_disk_dir) for name in _listed(block))
    return tuple(disk for disk in disks if disk is not None)


def read_numbered(sys_root: Path, dev_root: Path, loop_disk_dir: Path | None, number: DeviceNumber) -> Device | None:
    """Give the whole disk that has these numbers now, as `read_disks` would; None when there is none.

    Raises OSError when sysfs cannot be listed, from which nothing may be concluded.
    """
    folder = os.path.realpath(sys_root / "dev/block" / str(number))
    disk = None if _exists(folder, "partition") else read_disk(folder, dev_root, loop_disk_dir)
    if disk is None:
        _listed(f"{sys_root}/block")
        return None
    return disk if disk.number == number else None


def read_disk(folder: str, dev_root: Path, loop_disk_dir: Path | None) -> Device | None:
    """Read one folder of `/sys/block`.

    None for a loop device that does not count, one in reserve, a hidden path, or a disk gone.
    """
    try:
        size_bytes = int(_text(folder, "size")) * SECTOR_BYTES
        # Loop devices in reserve, of which a host may have dozens: no hardware, no content, nothing to read of them.
        if size_bytes == 0 and not _exists(folder, "device"):
            return None
        # A path below a multipath disk has no node of its own.
        if _text(folder, "hidden") == "1":
            return None
        identities = tuple(_identities(folder, loop_disk_dir))
        if not identities and _exists(folder, "loop"):
            return None
        sequence = _text(folder, "diskseq")
        name = os.path.basename(folder)  # noqa: PTH119 - see `_bytes`
        return Device(
            name=name,
            path=dev_root / name,
            number=DeviceNumber.parse(_text(folder, "dev")),
            size_bytes=size_bytes,
            read_only=_text(folder, "ro") == "1",
            identities=identities,
            holders=_names(f"{folder}/holders"),
            partitions=tuple(inner for inner in _names(folder) if _is_partition(folder, name, inner)),
            sequence=int(sequence) if sequence.isdigit() else None,
        )
    except (OSError, ValueError) as error:
        log.debug("disk %s cannot be read and does not count: %s", folder, error)
        return None


def unit_serial(page: bytes) -> str:
    """Give the serial in a SCSI vital product data page 0x80 (SPC, unit serial number); "" for a malformed page."""
    if len(page) < _PAGE_80_HEADER_BYTES or page[1] != _PAGE_80:
        return ""
    length = int.from_bytes(page[2:4], "big")
    serial = page[_PAGE_80_HEADER_BYTES : _PAGE_80_HEADER_BYTES + length]
    return _clean(serial) if len(serial) == length else ""


def loop_file(folder: str) -> Path | None:
    """Give the backing file of a loop device; None when it has none or the file was deleted."""
    # Of a deleted file the kernel prints the old path with " (deleted)" behind it, which then has no `.img` ending.
    text = _text(folder, "loop/backing_file")
    return Path(text) if text.startswith("/") else None


def _identities(folder: str, loop_disk_dir: Path | None) -> Iterator[Identity]:
    for source, value in (
        (IdentitySource.VIRTIO_SERIAL, _text(folder, "serial")),
        (IdentitySource.NVME_SERIAL, _text(folder, "device/serial")),
        (IdentitySource.NVME_WWID, _text(folder, "wwid")),
        (IdentitySource.SCSI_UNIT_SERIAL, unit_serial(_bytes(folder, "device/vpd_pg80"))),
        (IdentitySource.LOOP_FILE, _loop_serial(folder, loop_disk_dir)),
    ):
        if value:
            yield Identity(source, value)


def _loop_serial(folder: str, loop_disk_dir: Path | None) -> str:
    file = loop_file(folder)
    if loop_disk_dir is None or file is None or file.parent != loop_disk_dir or file.suffix != _IMAGE_SUFFIX:
        return ""
    # A loop device over a part of a file is not the volume, whatever the file is called.
    if _text(folder, "loop/offset") not in {"", "0"} or _text(folder, "loop/sizelimit") not in {"", "0"}:
        return ""
    return file.stem


def _is_partition(folder: str, disk: str, name: str) -> bool:
    # The kernel names a partition after its disk.
    return name.startswith(disk) and _exists(folder, f"{name}/partition")


def _names(folder: str) -> tuple[str, ...]:
    try:
        return _listed(folder)
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _listed(folder: str) -> tuple[str, ...]:
    return tuple(sorted(os.listdir(folder)))  # noqa: PTH208 - names are all that is wanted, at a tenth of the time


def _text(folder: str, name: str) -> str:
    return _clean(_bytes(folder, name))


def _exists(folder: str, name: str) -> bool:
    return os.path.exists(f"{folder}/{name}")  # noqa: PTH110 - see `_bytes`


def _bytes(folder: str, name: str) -> bytes:
    # Absent, or present and refused (a virtio disk whose host gives no serial answers EIO): both mean "not reported".
    try:
        # A path object for each of hundreds of names would take as long as reading them.
        file = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, _ATTRIBUTE_BYTES)
    except OSError:
        return b""
    finally:
        os.close(file)


def _clean(raw: bytes) -> str:
    """Drop the padding that standards put around serials (spaces, NUL) and the newline of sysfs."""
    return raw.decode("ascii", "replace").strip(" \t\r\n\0")
