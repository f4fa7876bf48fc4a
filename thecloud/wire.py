"""The platform's objects as they travel: one frozen struct each, and how their JSON is read.

Unknown fields are ignored, missing optional fields have defaults, zero ids and zero times become None, `null` lists and
maps become empty (platform contract 1.1, 1.2, 4.1, 5.1, 6; extensions: docs/platform-api.md). A field that is always
there is required: an answer without it is unreadable, which is an unknown outcome and not a smaller object. Sizes with
the unit `gb` are GiB. Does not belong here: HTTP and any decision.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

ZERO_ID = "00000000-0000-0000-0000-000000000000"
GIB = 1 << 30
_ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)

T = TypeVar("T")


class VolumeStatus(StrEnum):
    """State of a volume; a word that we do not know reads as `UNKNOWN`."""

    AVAILABLE = "AVAILABLE"
    IN_USE = "IN-USE"
    DELETING = "DELETING"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def _missing_(cls, value: object) -> "VolumeStatus":
        return cls.UNKNOWN


class SnapshotStatus(StrEnum):
    """State of a snapshot or a group; a word that we do not know reads as `UNKNOWN`."""

    CREATING = "CREATING"
    AVAILABLE = "AVAILABLE"
    ERROR = "ERROR"
    DELETING = "DELETING"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def _missing_(cls, value: object) -> "SnapshotStatus":
        return cls.UNKNOWN


class InstanceStatus(StrEnum):
    """State of an instance; a word that we do not know reads as `UNKNOWN`."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    PAUSED = "PAUSED"
    ERROR = "ERROR"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def _missing_(cls, value: object) -> "InstanceStatus":
        return cls.UNKNOWN


class HealthStatus(StrEnum):
    """What is wrong with a volume; a word that we do not know reads as `UNKNOWN`."""

    DEGRADED = "DEGRADED"
    INACCESSIBLE = "INACCESSIBLE"
    DATA_LOSS = "DATA_LOSS"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def _missing_(cls, value: object) -> "HealthStatus":
        return cls.UNKNOWN


class VolumeHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a volume."""

    status: HealthStatus
    reason: str = ""
    message: str = ""


if TYPE_CHECKING:
    # Readers see what __post_init__ leaves; the decoder also takes the null that Go writes for an empty map or list.
    Tags = Mapping[str, str]
    Health = tuple[VolumeHealth, ...]
    Members = tuple["Snapshot", ...]
else:
    Tags = Mapping[str, str] | None
    Health = tuple[VolumeHealth, ...] | None
    Members = tuple["Snapshot", ...] | None


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A block volume (platform contract 5.1)."""

    id: str
    name: str
    size_gb: int
    status: VolumeStatus
    instance_id: str | None = None
    """The instance that holds it. IN-USE without an instance is a wedged volume (platform contract 5.5)."""
    serial: str | None = None
    """None where the platform does not tell; see `thecloud.volumes.serial_of`."""
    tags: Tags = msgspec.field(default_factory=dict)
    performance_class: str | None = None
    zone: str | None = None
    source_snapshot_id: str | None = None
    source_volume_id: str | None = None
    allocated_bytes: int | None = None
    """Bytes that writes have taken; None where the platform does not tell."""
    read_only: bool | None = None
    """How it is attached now; None where the platform does not tell."""
    health: Health = ()
    """Empty: healthy, or the platform does not tell."""
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        drop_empty(self, "instance_id", "serial", "performance_class", "zone", "source_snapshot_id")
        drop_empty(self, "source_volume_id")
        drop_zero_time(self)
        fill(self, "tags", {})
        fill(self, "health", ())

    @property
    def size_bytes(self) -> int:
        """Size in bytes."""
        return self.size_gb * GIB

    @property
    def is_wedged(self) -> bool:
        """Whether it is held by no instance and yet in use; only the platform's owner can free it."""
        return self.status is VolumeStatus.IN_USE and self.instance_id is None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of a volume (platform contract 6)."""

    id: str
    volume_id: str
    size_gb: int
    status: SnapshotStatus
    volume_name: str = ""
    description: str | None = None
    name: str | None = None
    tags: Tags = msgspec.field(default_factory=dict)
    group_id: str | None = None
    size_bytes: int | None = None
    """Storage that it takes; None where the platform does not tell."""
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        drop_empty(self, "group_id", "name", "description")
        drop_zero_time(self)
        fill(self, "tags", {})

    @property
    def restore_size_bytes(self) -> int:
        """The least size of a volume made from it, in bytes."""
        return self.size_gb * GIB


class SnapshotGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Snapshots of several volumes, taken at one point."""

    id: str
    name: str
    status: SnapshotStatus
    tags: Tags = msgspec.field(default_factory=dict)
    snapshots: Members = ()
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        drop_zero_time(self)
        fill(self, "tags", {})
        fill(self, "snapshots", ())


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """A machine (platform contract 4.1). Its `env` and `cmd` may hold secrets and are not read."""

    id: str
    name: str
    status: InstanceStatus
    hostname: str | None = None
    zone: str | None = None
    max_volumes: int | None = None
    private_ip: str | None = None
    """Without the mask that the platform appends."""
    public_ip: str | None = None
    instance_type: str | None = None
    vpc_id: str | None = None
    region: str | None = None
    labels: Tags = msgspec.field(default_factory=dict)
    metadata: Tags = msgspec.field(default_factory=dict)
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("private_ip", "public_ip"):
            if address := getattr(self, name):
                msgspec.structs.force_setattr(self, name, address.partition("/")[0])
        drop_empty(self, "hostname", "zone", "private_ip", "public_ip", "instance_type", "vpc_id", "region")
        drop_zero_time(self)
        fill(self, "labels", {})
        fill(self, "metadata", {})


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Storage that can still be had, and the limits of one volume."""

    available_bytes: int
    minimum_volume_size_gb: int | None = None
    maximum_volume_size_gb: int | None = None


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """A place that volumes and instances live in; a volume can be attached in its own zone only."""

    name: str


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /capabilities` answers."""

    tier: str
    features: tuple[str, ...] = ()


class AttachResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an attach answers. `device_path` names nothing in the guest and is not read (platform contract 5.5)."""

    volume: Volume | None = None


class Meta(msgspec.Struct, frozen=True):
    """What the platform says about an answer."""

    request_id: str = ""


class Envelope(msgspec.Struct, Generic[T], frozen=True):
    """The frame of every success (platform contract 1.2). A `data` that is left out is told apart from null."""

    data: T | msgspec.UnsetType | None = msgspec.UNSET
    meta: Meta | None = None


def drop_empty(struct: msgspec.Struct, *names: str) -> None:
    """Make empty texts and zero ids of these fields None; for `__post_init__` only, as the two below."""
    for name in names:
        if getattr(struct, name) in ("", ZERO_ID):
            msgspec.structs.force_setattr(struct, name, None)


def drop_zero_time(struct: msgspec.Struct) -> None:
    """Make a zero `created_at` None."""
    if getattr(struct, "created_at", None) == _ZERO_TIME:
        msgspec.structs.force_setattr(struct, "created_at", None)


def fill(struct: msgspec.Struct, name: str, empty: object) -> None:
    """Put `empty` where the platform wrote null."""
    if getattr(struct, name) is None:
        msgspec.structs.force_setattr(struct, name, empty)
