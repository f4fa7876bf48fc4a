"""Looks at what is on a disk, read-only.

Here belongs the proof that a disk is blank. Whatever cannot be read or understood is never called blank. Not here: what
to do about it (`filesystems`), and where traces of file systems lie (`sample_places`).
"""

from dataclasses import dataclass

from csi.errors import CsiError, ErrorKind
from node import format_record, sample_places, superblock
from node.disk_calls import Claim, on_disk, opened
from node.format_record import FormatRecord
from node.model import MIB, Blank, Content, Device, FileSystem, Foreign, InterruptedFormat, PartitionTable
from node.ports import Kernel, Runner
from node.superblock import Superblock

EDGE_BYTES = MIB
"""Read at both ends. Signatures, superblocks and both copies of partition tables lie there."""
SMALLEST_BYTES = 2 * EDGE_BYTES
FILE_SYSTEMS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs"})

_PERHAPS_OURS = (
    ". Perhaps a format of this volume was cut off and the volume was expanded since, which cannot be told from data; "
    "if it never held any, delete the claim and make a new one"
)
_BLKID_NOTHING = 2
_BLKID_AMBIVALENT = 8


@dataclass(frozen=True, slots=True)
class _Edges:
    size_bytes: int
    data_at: int | None
    """Start of the first part read that is not all zeros."""
    record: FormatRecord | None
    superblock: Superblock | None


class Probe:
    """Reads disks and asks blkid."""

    def __init__(self, kernel: Kernel, runner: Runner) -> None:
        self._kernel = kernel
        self._runner = runner

    async def content(self, device: Device, *, serial: str, deadline: float, claim: Claim | None = None) -> Content:
        """Say what is on the disk. With a claim on it, a read that hangs keeps the disk locked until it ends.

        Raises CsiError INTERNAL when it cannot be read or blkid cannot be used, PRECONDITION when the node in the
        device folder is another device, TIMEOUT at the deadline. None of these says anything about the content.
        """
        # Read first: blkid answers "nothing found" also for a disk that it could not read.
        if claim is None:
            edges = await on_disk(lambda: self._read(device), device, "read", deadline=deadline)
        else:
            edges = await claim.run(lambda: self._read(device), "read", deadline=deadline)
        if edges.record is not None:
            return _recorded(edges.record, edges, serial)
        found = await self.signatures(device, deadline=deadline)
        if found is not None:
            return found
        if edges.data_at is not None:
            return Foreign(f"data without a known signature at byte {edges.data_at}{_PERHAPS_OURS}")
        return Blank()

    async def superblock(self, device: Device, *, deadline: float) -> Superblock | None:
        """Give the superblock of ext, xfs or btrfs; None when there is none. Raises as `content`."""

        def read() -> Superblock | None:
            with opened(self._kernel, device) as fd:
                return superblock.read(self._kernel.read(fd, 0, superblock.HEAD_BYTES))

        return await on_disk(read, device, "read", deadline=deadline)

    def _read(self, device: Device) -> _Edges:
        with opened(self._kernel, device) as fd:
            size = self._kernel.size_bytes(fd)
            if size < SMALLEST_BYTES:
                raise CsiError(ErrorKind.OUT_OF_RANGE, f"{device.describe()}: too small for any file system")
            self._kernel.begin_reads(fd, [(0, EDGE_BYTES), (size - EDGE_BYTES, EDGE_BYTES)])
            head = self._kernel.read(fd, 0, EDGE_BYTES)
            tail = self._kernel.read(fd, size - EDGE_BYTES, EDGE_BYTES)
            at = format_record.offset(size) - (size - EDGE_BYTES)
            record = format_record.decode(tail[at : at + format_record.RECORD_BYTES])
            edges = ((0, head), (size - EDGE_BYTES, tail))
            data_at = next((place for place, edge in edges if not _is_zero(edge)), None)
            if data_at is None:
                data_at = self._first_data(fd, size)
        return _Edges(size_bytes=size, data_at=data_at, record=record, superblock=superblock.read(head))

    def _first_data(self, fd: int, size_bytes: int) -> int | None:
        """Find data between the ends of the disk, where traces of a file system that lost its start would lie."""
        places = sample_places.places(size_bytes)
        self._kernel.begin_reads(fd, [(place, sample_places.SAMPLE_BYTES) for place in places])
        for place in places:
            if not _is_zero(self._kernel.read(fd, place, sample_places.SAMPLE_BYTES)):
                return place
        return None

    async def signatures(self, device: Device, *, deadline: float) -> Content | None:
        """Say what blkid finds; None when that is nothing, which alone proves nothing. Raises CsiError INTERNAL."""
        argv = ("blkid", "-p", "-o", "export", "--", str(device.path))
        result = await self._runner.run(argv, deadline=deadline)
        if result.exit_code == _BLKID_NOTHING:
            return None
        if result.exit_code == _BLKID_AMBIVALENT:
            return Foreign("signatures of several kinds at once")
        if result.exit_code != 0:
            raise CsiError(
                ErrorKind.INTERNAL,
                f"blkid could not look at {device.path} (exit code {result.exit_code}): {result.output}. Nothing is "
                "known about its content, so it is not touched.",
            )
        return classify(parse_export(result.stdout))


def parse_export(text: str) -> dict[str, str]:
    """Read blkid's `-o export` lines (`KEY=value`)."""
    pairs = (line.partition("=") for line in text.split("\n"))
    return {key: value for key, separator, value in pairs if separator}


def classify(tags: dict[str, str]) -> Content:
    """Say what blkid's tags mean. Tags without any type known here are foreign content, never "blank"."""
    kind = tags.get("TYPE", "")
    if tags.get("PTTYPE"):
        beside = f" beside {kind}" if kind else ""
        return PartitionTable(tags["PTTYPE"] + beside)
    if kind in FILE_SYSTEMS:
        return FileSystem(kind, tags.get("UUID", ""), tags.get("LABEL", ""))
    usage = tags.get("USAGE", "")
    return Foreign(" ".join(word for word in (kind or "an unknown signature", f"({usage})" if usage else "") if word))


def _recorded(record: FormatRecord, edges: _Edges, serial: str) -> Content:
    if record.serial != serial:
        return Foreign(f"a half-made {record.fs_type} of another volume, serial {record.serial}")
    if record.device_size_bytes != edges.size_bytes:
        return Foreign(f"the record of a format of this volume when it had {record.device_size_bytes} bytes")
    if edges.superblock is not None and edges.superblock.was_mounted:
        # Never by this driver; somebody mounted it by hand and may have put data there.
        return Foreign(f"a half-made {record.fs_type} of this volume that was mounted since")
    return InterruptedFormat(record.fs_type)


def _is_zero(data: bytes) -> bool:
    # Compared as a whole: byte by byte, a mebibyte takes as long as mkfs.
    return data == bytes(len(data))
