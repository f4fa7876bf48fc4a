"""The record that a disk carries while a file system is being made on it.

A mkfs that was killed leaves a disk that is neither blank nor usable, and nothing on it says whose work it was. So the
record is written and flushed before mkfs and taken away after mkfs succeeded and was flushed. It lies in a tail of the
disk that mkfs is told to leave alone, so it survives whatever mkfs does.

Why a disk with its own record may be formatted again: the record is only ever written to a disk that was proved blank,
and data can only come after a mount, which is made only once the record is gone. So a disk with the record of *this*
volume holds nothing but the half of our own mkfs. The record of another serial (a copy of such a disk) gives no right.

Only bytes and places belong here. Who may write the record, and when, is decided in `filesystems`.
"""

import struct
import zlib
from dataclasses import dataclass

from node.model import MIB

TAIL_BYTES = 4 * MIB
"""Left free at the end of the disk by every mkfs of ours. A gap this small is never grown into."""
RECORD_OFFSET_FROM_END = MIB
"""Clear of the last 128 KiB, which mkfs.xfs wipes, and inside the last MiB, which a blank proof reads."""
RECORD_BYTES = 4096
_MAGIC = b"thecloud mkfs\r\n\x1a"
_VERSION = 1
_LAYOUT = struct.Struct("<16sIQ16s64s")
_CHECKSUM = struct.Struct("<I")
_EMPTY = bytes(RECORD_BYTES)


@dataclass(frozen=True, slots=True)
class FormatRecord:
    """Whose format is in progress, of what, on a disk of which size."""

    serial: str
    fs_type: str
    device_size_bytes: int

    def encode(self) -> bytes:
        """Give the record as it lies on the disk. Raises ValueError for a serial or type that has no room."""
        serial, fs_type = self.serial.encode(), self.fs_type.encode()
        if not 0 < len(serial) <= 64 or not 0 < len(fs_type) <= 16:  # noqa: PLR2004 -- the widths in _LAYOUT
            raise ValueError(f"no room for serial {self.serial!r} or file system {self.fs_type!r}")
        body = _LAYOUT.pack(_MAGIC, _VERSION, self.device_size_bytes, fs_type, serial)
        body = body.ljust(RECORD_BYTES - _CHECKSUM.size, b"\0")
        return body + _CHECKSUM.pack(zlib.crc32(body))


def decode(data: bytes) -> FormatRecord | None:
    """Read a record; None for anything that is not one, whole and of a version known here."""
    if len(data) != RECORD_BYTES or not data.startswith(_MAGIC):
        return None
    (checksum,) = _CHECKSUM.unpack(data[-_CHECKSUM.size :])
    _, version, size, fs_type, serial = _LAYOUT.unpack(data[: _LAYOUT.size])
    if version != _VERSION or checksum != zlib.crc32(data[: -_CHECKSUM.size]):
        return None
    try:
        return FormatRecord(serial.rstrip(b"\0").decode(), fs_type.rstrip(b"\0").decode(), size)
    except UnicodeDecodeError:
        return None


def offset(device_size_bytes: int) -> int:
    """Give the place of the record on a disk of this size."""
    return device_size_bytes - RECORD_OFFSET_FROM_END


def no_record() -> bytes:
    """Give the bytes that take a record away."""
    return _EMPTY


def fs_bytes(device_size_bytes: int) -> int:
    """Give the size that mkfs is told to use: whole MiB, without the tail. Not above 0 for a disk too small."""
    return (device_size_bytes - TAIL_BYTES) // MIB * MIB
