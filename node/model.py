"""Plain facts about disks, file systems and mounts that the modules of `node` hand to each other.

Only frozen data and the texts that describe it belong here: no reading, no decisions.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

MIB = 1024 * 1024


class IdentitySource(Enum):
    """Where the kernel reports a disk's identity."""

    VIRTIO_SERIAL = "virtio serial"
    NVME_SERIAL = "NVMe serial"
    NVME_WWID = "NVMe wwid"
    SCSI_UNIT_SERIAL = "SCSI page 0x80"
    LOOP_FILE = "loop backing file"


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity of a disk and where it was read."""

    source: IdentitySource
    value: str


@dataclass(frozen=True, slots=True, order=True)
class DeviceNumber:
    """Major and minor number of a block device; the kernel's own name for it."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}:{self.minor}"

    @classmethod
    def parse(cls, text: str) -> "DeviceNumber":
        """Read `major:minor` as sysfs and mountinfo print it. Raises ValueError for anything else."""
        major, _, minor = text.strip().partition(":")
        return cls(int(major), int(minor))


@dataclass(frozen=True, slots=True)
class Device:
    """One whole disk as the kernel describes it at one moment."""

    name: str
    """Kernel name, good for messages and for this boot only."""
    path: Path
    """Node in the device folder; used only after its numbers were compared with `number`."""
    number: DeviceNumber
    size_bytes: int
    read_only: bool
    identities: tuple[Identity, ...]
    holders: tuple[str, ...] = ()
    """Kernel devices stacked on this one (device mapper, RAID)."""
    partitions: tuple[str, ...] = ()
    sequence: int | None = None
    """The kernel's disk sequence number, new for each disk that appears; None on kernels before 5.15."""

    @property
    def serials(self) -> frozenset[str]:
        """All identity values of this disk."""
        return frozenset(identity.value for identity in self.identities)

    def describe(self) -> str:
        """Name the disk for an error text."""
        seen = ", ".join(f"{identity.source.value} {identity.value!r}" for identity in self.identities)
        return f"{self.path} ({self.number}, {self.size_bytes} bytes, {seen or 'no identity'})"


class FsType(Enum):
    """File systems that this driver makes, checks, grows and mounts."""

    EXT3 = "ext3"
    EXT4 = "ext4"
    XFS = "xfs"
    BTRFS = "btrfs"

    @property
    def is_ext(self) -> bool:
        """Whether the tools of e2fsprogs apply."""
        return self in {FsType.EXT3, FsType.EXT4}


@dataclass(frozen=True, slots=True)
class Blank:
    """Proved to hold nothing: first and last MiB read as zeros and no known signature."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A file system over the whole disk: one of ext2, ext3, ext4, xfs, btrfs."""

    fs_type: str
    uuid: str
    label: str


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """The disk is partitioned."""

    kind: str


@dataclass(frozen=True, slots=True)
class InterruptedFormat:
    """A format of this very volume began and did not end; see `format_record`."""

    fs_type: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """Anything else: data, encryption, volume managers, swap, other file systems."""

    description: str


Content = Blank | FileSystem | PartitionTable | InterruptedFormat | Foreign


@dataclass(frozen=True, slots=True)
class FsRequest:
    """What a volume's file system is to be, and what is known about the volume's past."""

    serial: str
    """Serial of the volume, as `Devices.find` was asked for."""
    fs_type: str = "ext4"
    mkfs_options: tuple[str, ...] = ()
    """Extra arguments of mkfs, already checked by `csi.mkfs_options.parse_mkfs_options`."""
    read_only: bool = False
    has_source: bool = False
    """The volume came from a snapshot or another volume and is never formatted."""
    allocated_bytes: int | None = None
    """What the platform says was ever written; None when it does not say."""


@dataclass(frozen=True, slots=True)
class FsState:
    """What `FileSystems.ensure` left on the disk."""

    fs_type: FsType
    uuid: str
    formatted: bool
    """A new file system was made in this call."""
    repaired: bool = False
    """The check corrected errors."""


@dataclass(frozen=True, slots=True)
class GrowResult:
    """Sizes after `FileSystems.grow`."""

    fs_size_bytes: int
    device_size_bytes: int
    grown: bool


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of the kernel's mount table."""

    mount_id: int
    parent_id: int
    device: DeviceNumber
    """The file system's number; anonymous (major 0) for btrfs, see `Mounts.backed_by`."""
    root: str
    """Path inside the file system that is mounted here; of a bind-mounted device node, its name."""
    mount_point: Path
    options: tuple[str, ...]
    """Options of this mount point (`ro`, `noexec` …)."""
    fs_type: str
    source: str
    super_options: tuple[str, ...]

    @property
    def read_only(self) -> bool:
        """Whether writes through this mount point are refused."""
        return "ro" in self.options or "ro" in self.super_options


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes and inodes of a mounted file system; inode figures are 0 where the file system has no limit (btrfs)."""

    total_bytes: int
    available_bytes: int
    """What an ordinary user may still write."""
    used_bytes: int
    total_inodes: int
    free_inodes: int
    used_inodes: int


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a host command answered."""

    argv: tuple[str, ...]
    exit_code: int
    """Negative when a signal ended it."""
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams, shortened, for an error text."""
        text = " ".join(f"{self.stdout}\n{self.stderr}".split())
        return text[-600:] or "no output"
