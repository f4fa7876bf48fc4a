"""What the controller knows about the platform's objects, in its own words.

Frozen values only: no wire formats (those are in `thecloud`), no protobuf (that is in the servicers), no rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

GIB = 1 << 30
MIN_VOLUME_BYTES = GIB
MAX_VOLUME_BYTES = 16_000 * GIB
DEFAULT_VOLUME_BYTES = 10 * GIB


class SourceKind(Enum):
    """What a volume can be made from."""

    SNAPSHOT = "snapshot"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True)
class Source:
    """The object whose content a volume started with."""

    kind: SourceKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.id}"


class Health(Enum):
    """How a volume suffers, worst last (CSI 1.13, VolumeHealthErrorType)."""

    DEGRADED = "DEGRADED"
    INACCESSIBLE = "INACCESSIBLE"
    DATA_LOSS = "DATA_LOSS"


@dataclass(frozen=True, slots=True)
class HealthProblem:
    """One thing that is wrong with a volume."""

    status: Health
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Volume:
    """A block volume as the platform last described it."""

    id: str
    name: str
    size_bytes: int
    created_at: datetime
    serial: str
    """What the kernel of the instance reports for the disk."""
    in_use: bool = False
    instance_id: str = ""
    """The holder; empty when nobody has it, and also when a volume in use has lost its holder."""
    read_only: bool = False
    allocated_bytes: int | None = None
    """Bytes ever written; None when the platform does not say."""
    tags: Mapping[str, str] = field(default_factory=dict)
    performance_class: str = ""
    zone: str = ""
    source: Source | None = None
    health: tuple[HealthProblem, ...] = ()

    @property
    def is_wedged(self) -> bool:
        """The platform says "in use" and cannot say by whom (platform contract 5.5)."""
        return self.in_use and not self.instance_id


@dataclass(frozen=True, slots=True)
class NewVolume:
    """A volume to be made."""

    name: str
    size_bytes: int
    """A whole number of GiB."""
    key: str
    """Idempotency key, used where the platform knows such keys."""
    tags: Mapping[str, str] = field(default_factory=dict)
    performance_class: str = ""
    zone: str = ""
    source: Source | None = None


class SnapshotState(Enum):
    """How far a snapshot is."""

    CREATING = "CREATING"
    AVAILABLE = "AVAILABLE"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as the platform last described it."""

    id: str
    name: str
    volume_id: str
    size_bytes: int
    created_at: datetime
    state: SnapshotState
    tags: Mapping[str, str] = field(default_factory=dict)
    group_id: str = ""


@dataclass(frozen=True, slots=True)
class NewSnapshot:
    """A snapshot to be taken."""

    name: str
    volume_id: str
    key: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Snapshots of several volumes taken at one point."""

    id: str
    name: str
    created_at: datetime
    state: SnapshotState
    snapshots: tuple[Snapshot, ...]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewGroup:
    """A group snapshot to be taken."""

    name: str
    volume_ids: tuple[str, ...]
    key: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine of the platform, as far as nodes of Kubernetes are concerned."""

    id: str
    name: str
    hostname: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What can still be provisioned."""

    available_bytes: int
    minimum_volume_bytes: int = MIN_VOLUME_BYTES
    maximum_volume_bytes: int = MAX_VOLUME_BYTES
