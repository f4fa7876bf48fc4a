"""What the rules need from the platform, and how it says no.

Every method takes `deadline`, an absolute time of the running loop's clock, and returns or raises before it. Methods
raise `CloudError` and nothing else about the platform. No rules here, and no HTTP.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from controller.model import (
    Capacity,
    Group,
    Instance,
    NewGroup,
    NewSnapshot,
    NewVolume,
    Snapshot,
    Volume,
)
from csi.errors import CsiError, ErrorKind


class Cause(Enum):
    """Why the platform did not do it, as far as a rule may act on it."""

    MISSING = "missing"
    """An object is definitely not there; `resource` says which kind where the platform tells."""
    NAME_TAKEN = "name_taken"
    KEY_REUSED = "key_reused"
    ATTACHED = "attached"
    """Attached already, elsewhere or in another mode; `instance_id` is the holder."""
    NOT_HOLDER = "not_holder"
    """Another instance holds the volume."""
    BUSY = "busy"
    """The instance still has the disk mounted or open."""
    IN_GROUP = "in_group"
    CONFLICT = "conflict"
    """The state forbids it and the platform does not say more."""
    GUARD = "guard"
    """The object does not carry the demanded tag."""
    REFUSED = "refused"
    QUOTA = "quota"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    UNSUPPORTED = "unsupported"
    NOT_SENT = "not_sent"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"
    """It may or may not have happened."""


KIND_OF_CAUSE: dict[Cause, ErrorKind] = {
    Cause.MISSING: ErrorKind.NOT_FOUND,
    Cause.NAME_TAKEN: ErrorKind.ALREADY_EXISTS,
    Cause.KEY_REUSED: ErrorKind.ALREADY_EXISTS,
    Cause.ATTACHED: ErrorKind.PRECONDITION,
    Cause.NOT_HOLDER: ErrorKind.PRECONDITION,
    Cause.BUSY: ErrorKind.PRECONDITION,
    Cause.IN_GROUP: ErrorKind.PRECONDITION,
    Cause.CONFLICT: ErrorKind.PRECONDITION,
    Cause.GUARD: ErrorKind.PRECONDITION,
    Cause.REFUSED: ErrorKind.INVALID,
    Cause.QUOTA: ErrorKind.EXHAUSTED,
    Cause.RATE_LIMITED: ErrorKind.UNKNOWN_OUTCOME,
    # May be a passing fault of the platform (platform contract 2.1). UNAUTHENTICATED would be final for the sidecars,
    # which then forget a volume that an earlier call of the same name may have made.
    Cause.UNAUTHORIZED: ErrorKind.UNKNOWN_OUTCOME,
    Cause.UNSUPPORTED: ErrorKind.UNSUPPORTED,
    Cause.NOT_SENT: ErrorKind.UNKNOWN_OUTCOME,
    Cause.TIMEOUT: ErrorKind.TIMEOUT,
    Cause.UNKNOWN: ErrorKind.UNKNOWN_OUTCOME,
}
"""What a cause means to Kubernetes when no rule knows better."""


class Lane(Enum):
    """What a look is for: the first goes first when the client's rate budget is short."""

    DELETE = "delete"
    ATTACH = "attach"
    READ = "read"


class CloudError(CsiError):
    """The platform did not do what was asked, or did not say whether it did."""

    def __init__(
        self, cause: Cause, message: str, *, resource: str = "", instance_id: str = "", is_answered: bool = False
    ) -> None:
        super().__init__(KIND_OF_CAUSE[cause], message)
        self.cause = cause
        self.is_answered = is_answered
        """Whether the platform itself has ended the call; if not, an UNKNOWN one may have its effect later."""
        self.resource = resource
        """Kind of the missing object: `volume`, `snapshot`, `snapshot_group`, `instance`, `zone`, …"""
        self.instance_id = instance_id
        """Holder of the volume, for ATTACHED and NOT_HOLDER."""


class CloudVolumes(Protocol):
    """Volumes of the platform."""

    async def create(self, new: NewVolume, *, deadline: float) -> Volume:
        """Make a volume; with the platform's idempotency keys the same call gives the same volume."""
        ...

    async def get(self, volume_id: str, *, lane: Lane = Lane.READ, deadline: float) -> Volume | None:
        """Read a volume; None only when the platform says definitely that it is not there."""
        ...

    async def find(self, name: str, *, deadline: float) -> Volume | None:
        """Find the volume of this name; None when a complete listing does not have it."""
        ...

    async def all(self, *, deadline: float) -> Sequence[Volume]:
        """List every volume of the tenant."""
        ...

    async def delete(self, volume_id: str, *, guard: tuple[str, str] | None, deadline: float) -> None:
        """Delete a volume, with `guard` only if it carries that tag. Not idempotent: MISSING when it is gone."""
        ...

    async def attach(self, volume_id: str, instance_id: str, *, read_only: bool, deadline: float) -> Volume | None:
        """Attach; gives the volume where the platform's answer holds it. Idempotent only with `volume.attach-wait`."""
        ...

    async def detach(self, volume_id: str, instance_id: str, *, deadline: float) -> None:
        """Detach; the instance is checked by the platform only with `volume.attach-wait`."""
        ...

    async def resize(self, volume_id: str, size_bytes: int, *, deadline: float) -> Volume:
        """Grow to a whole number of GiB; the same size is no change, a smaller one REFUSED."""
        ...

    async def modify(
        self, volume_id: str, *, performance_class: str, tags: Mapping[str, str], deadline: float
    ) -> Volume:
        """Change class (empty: keep) and tags (merged, an empty value removes)."""
        ...


class CloudSnapshots(Protocol):
    """Snapshots of the platform."""

    async def create(self, new: NewSnapshot, *, deadline: float) -> Snapshot:
        """Take a snapshot; the same key gives the same snapshot."""
        ...

    async def get(self, snapshot_id: str, *, deadline: float) -> Snapshot | None:
        """Read a snapshot; None only when it is definitely not there."""
        ...

    async def find(self, name: str, *, deadline: float) -> Snapshot | None:
        """Find the snapshot of this name."""
        ...

    async def all(self, *, volume_id: str = "", lane: Lane = Lane.READ, deadline: float) -> Sequence[Snapshot]:
        """List every snapshot, or those of one volume."""
        ...

    async def delete(self, snapshot_id: str, *, guard: tuple[str, str] | None, deadline: float) -> None:
        """Delete a snapshot, with `guard` only if it carries that tag; MISSING when it is gone."""
        ...


class CloudGroups(Protocol):
    """Group snapshots of the platform."""

    async def create(self, new: NewGroup, *, deadline: float) -> Group:
        """Take all snapshots or none; the same key gives the same group."""
        ...

    async def get(self, group_id: str, *, deadline: float) -> Group | None:
        """Read a group; None only when it is definitely not there."""
        ...

    async def find(self, name: str, *, deadline: float) -> Group | None:
        """Find the group of this name."""
        ...

    async def delete(self, group_id: str, *, guard: tuple[str, str] | None, deadline: float) -> None:
        """Delete a group and its snapshots, with `guard` only if it carries that tag; MISSING when it is gone."""
        ...


class CloudInstances(Protocol):
    """Instances of the platform."""

    async def all(self, *, max_age_s: float, deadline: float) -> Sequence[Instance]:
        """List every instance as of at most `max_age_s` ago; 0 asks for a listing that begins now.

        Callers at one time share one request, and listings keep a pause between them, which is waited for.
        """
        ...

    async def get(self, instance_id: str, *, deadline: float) -> Instance | None:
        """Read an instance; None only when the platform says definitely that it is not there."""
        ...


class CloudOffer(Protocol):
    """What the platform offers at all."""

    async def features(self, *, deadline: float) -> frozenset[str]:
        """Give the announced features; read once and remembered."""
        ...

    async def zones(self, *, max_age_s: float, deadline: float) -> frozenset[str]:
        """Give the names of all zones as of at most `max_age_s` ago, 0 as of now; only with `instance.zone`."""
        ...

    async def capacity(self, *, zone: str, performance_class: str, deadline: float) -> Capacity:
        """Say what can still be provisioned in a zone (empty: anywhere) and class (empty: the default)."""
        ...


@dataclass(frozen=True, slots=True)
class Cloud:
    """All ports of the platform together."""

    volumes: CloudVolumes
    snapshots: CloudSnapshots
    groups: CloudGroups
    instances: CloudInstances
    offer: CloudOffer
