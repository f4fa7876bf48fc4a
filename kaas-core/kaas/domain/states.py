"""States of clusters, operations, steps and nodes, the moves between them, and what they are called outside."""

from collections.abc import Mapping
from enum import StrEnum


class ClusterStatus(StrEnum):
    """As The Cloud's API spells it (platform contract 15.1)."""

    PENDING = "pending"
    PROVISIONING = "provisioning"
    RUNNING = "running"
    UPGRADING = "upgrading"
    UPDATING = "updating"
    REPAIRING = "repairing"
    FAILED = "failed"
    DELETING = "deleting"


class OperationKind(StrEnum):
    """What is done to a cluster."""

    CREATE = "create"
    SCALE = "scale"
    REPAIR = "repair"
    DELETE = "delete"


class OperationState(StrEnum):
    """Where an operation is. `superseded`: a newer one took its place."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


FINAL = frozenset(
    {OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED, OperationState.SUPERSEDED}
)


class StepState(StrEnum):
    """Where a step is; `waiting`: failed in a way that passes, tried again at `next_try_at`."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class NodeState(StrEnum):
    """Where a node is; `leaving`: its machine and its Node object are being taken away."""

    WANTED = "wanted"
    PROVISIONING = "provisioning"
    JOINING = "joining"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    LEAVING = "leaving"
    GONE = "gone"


class RefState(StrEnum):
    """Where something outside is; `intended`: it may exist already, and only a look can tell."""

    INTENDED = "intended"
    PRESENT = "present"
    DELETING = "deleting"
    GONE = "gone"


WORKING: Mapping[OperationKind, ClusterStatus] = {
    OperationKind.CREATE: ClusterStatus.PROVISIONING,
    OperationKind.SCALE: ClusterStatus.UPDATING,
    OperationKind.REPAIR: ClusterStatus.REPAIRING,
    OperationKind.DELETE: ClusterStatus.DELETING,
}
"""Status of a cluster while such an operation runs."""

LIVING = frozenset({ClusterStatus.RUNNING, ClusterStatus.UPDATING, ClusterStatus.UPGRADING, ClusterStatus.REPAIRING})
"""Status of a cluster that runs, whatever is done to it."""

ALLOWED: Mapping[OperationKind, frozenset[ClusterStatus]] = {
    OperationKind.SCALE: frozenset({ClusterStatus.RUNNING, ClusterStatus.UPDATING, ClusterStatus.REPAIRING}),
    OperationKind.REPAIR: frozenset({ClusterStatus.RUNNING, ClusterStatus.FAILED, ClusterStatus.REPAIRING}),
    OperationKind.DELETE: frozenset(ClusterStatus),
}
"""From which statuses a user may ask for it; `create` makes its cluster. Deleting again is no error."""

SUPERSEDES: Mapping[OperationKind, frozenset[OperationKind]] = {
    OperationKind.CREATE: frozenset(),
    OperationKind.SCALE: frozenset({OperationKind.SCALE, OperationKind.REPAIR}),
    OperationKind.REPAIR: frozenset({OperationKind.REPAIR}),
    OperationKind.DELETE: frozenset({OperationKind.CREATE, OperationKind.SCALE, OperationKind.REPAIR}),
}
"""Which running operations a new one takes the place of, at the next step boundary."""
