"""What a disk holds after a power cut, worked out from QEMU's record of everything that reached it.

QEMU's `blklogwrites` notes each write with its data and each flush, in the order of their completion. Killing QEMU
alone would prove little: what the guest never flushed would still be in this host's page cache. So a cut has two
halves: the machine is killed, and the disk is rebuilt from the record as a disk with a volatile write cache might
have left it: everything before the last flush is there, of what came later nothing, everything, or a part chosen by a
seed, in pieces of 4 KiB and in any order.

What this shows: a driver that trusts writes which it never flushed, or their order, fails. What it does not: disks
that lie about flushes, sectors torn in the middle, and writes that were still under way while a flush of others ran
(the record counts them as flushed, though a disk need not).

The record's layout is that of the kernel's dm-log-writes: a superblock, then entries of one sector each, followed by
their data.
"""

import enum
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.vm.disks import copy_sparse

SECTOR = 512
PIECE = 4096
"""The smallest part of an unflushed write that is kept or lost as a whole."""
_MAGIC = 0x6A736677736872
_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_FLUSH = 1
_DISCARD = 4


class RecordError(Exception):
    """The file is no record of writes, or it ends inside an entry."""


class Survival(enum.Enum):
    """What becomes of writes that were not flushed before the cut."""

    NOTHING = "nothing"
    SOME = "some"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Write:
    """One write; its data are in the record's file."""

    offset_bytes: int
    length_bytes: int
    data_at: int


@dataclass(frozen=True, slots=True)
class Flush:
    """Everything completed before this is on stable storage."""


@dataclass(frozen=True, slots=True)
class WriteLog:
    """Everything that reached a disk, in order."""

    path: Path
    entries: tuple[Write | Flush, ...]

    @property
    def writes(self) -> int:
        """How many writes reached the disk."""
        return sum(isinstance(entry, Write) for entry in self.entries)

    def stable_at(self, cut: int) -> int:
        """Give how many of the first `cut` entries are on stable storage whatever happens."""
        return max((number + 1 for number in range(cut) if isinstance(self.entries[number], Flush)), default=0)


def read_log(path: Path) -> WriteLog:
    """Read the record of a machine that has ended, or of a disk that was unplugged. Raises RecordError."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(SECTOR)
        if size_bytes == 0:
            return WriteLog(path, ())
        if len(header) < _SUPER.size:
            raise RecordError(f"{path} has {size_bytes} bytes; a record begins with a sector of its own")
        magic, _version, _count, sector_bytes = _SUPER.unpack_from(header)
        # A machine that is killed before its first flush has not written the superblock yet.
        if header.strip(b"\0") and (magic, sector_bytes) != (_MAGIC, SECTOR):
            raise RecordError(f"{path} is no record of writes in sectors of {SECTOR} bytes")
        return WriteLog(path, tuple(_entries(path, size_bytes)))


def rebuild(log: WriteLog, base: Path, target: Path, *, cut: int, survival: Survival, seed: int = 0) -> Path:
    """Make the image that a power cut after `cut` entries leaves of a disk that held `base` before.

    `base` is copied sparsely; `seed` chooses the survivors of Survival.SOME. Gives `target`.
    """
    copy_sparse(base, target)
    stable = log.stable_at(cut)
    chance = random.Random(seed)
    lost = [entry for entry in log.entries[stable:cut] if isinstance(entry, Write)]
    pieces = [piece for entry in lost for piece in _pieces(entry)]
    match survival:
        case Survival.NOTHING:
            pieces = []
        case Survival.SOME:
            pieces = [piece for piece in pieces if chance.random() < 0.5]
        case Survival.ALL:
            pass
    with log.path.open("rb") as source, target.open("r+b") as image:
        for entry in (*log.entries[:stable], *pieces):
            if isinstance(entry, Write):
                source.seek(entry.data_at)
                image.seek(entry.offset_bytes)
                image.write(source.read(entry.length_bytes))
    return target


def cut_points(log: WriteLog, count: int, *, start: int = 0) -> list[int]:
    """Choose at most `count` moments from entry `start` to the end, both included.

    First come those just before and just after a flush, at which most is at stake; what is left of `count` is spread
    evenly over the rest.
    """
    end = len(log.entries)
    flushes = [number for number in range(start, end) if isinstance(log.entries[number], Flush)]
    chosen = sorted({flush + step for flush in flushes for step in (0, 1)} | {start, end})
    if len(chosen) > count:
        return sorted({chosen[(len(chosen) - 1) * step // (count - 1)] for step in range(count)})
    others = [number for number in range(start, end) if number not in chosen]
    free = min(count - len(chosen), len(others))
    return sorted([*chosen, *(others[(2 * step + 1) * len(others) // (2 * free)] for step in range(free))])


def _entries(path: Path, size_bytes: int) -> Iterator[Write | Flush]:
    position = SECTOR
    with path.open("rb") as file:
        while position + _ENTRY.size <= size_bytes:
            file.seek(position)
            sector, sectors, flags, _length = _ENTRY.unpack(file.read(_ENTRY.size))
            position += SECTOR
            if flags & _DISCARD:
                raise RecordError(f"{path} holds a discard, which the disks of these tests do not pass on")
            if flags & _FLUSH:
                yield Flush()
                continue
            length_bytes = sectors * SECTOR
            if length_bytes == 0 or position + length_bytes > size_bytes:
                raise RecordError(f"{path} ends inside the entry at {position - SECTOR}")
            yield Write(sector * SECTOR, length_bytes, position)
            position += length_bytes


def _pieces(entry: Write) -> Iterator[Write]:
    for start in range(0, entry.length_bytes, PIECE):
        length_bytes = min(PIECE, entry.length_bytes - start)
        yield Write(entry.offset_bytes + start, length_bytes, entry.data_at + start)
