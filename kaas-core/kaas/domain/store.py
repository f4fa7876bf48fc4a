"""What the domain asks of its tables. Every method is one transaction, and no network call happens inside of one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from kaas.domain.model import (
    Cluster,
    ClusterSpec,
    Event,
    ExternalRef,
    Health,
    Lease,
    Node,
    Operation,
    Scope,
    Snapshot,
    StepRecord,
)
from kaas.domain.states import ClusterStatus, NodeState, OperationKind, OperationState, RefState, StepState


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a tenant's quota counts."""

    clusters: int = 0
    nodes: int = 0
    vcpus: int = 0
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class NewNode:
    """A node that a change adds; its name is chosen by the store from the group's counter and never used again."""

    group: str
    role: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a request makes of a cluster, decided by pure code; the store writes all of it or nothing."""

    kind: OperationKind
    spec: ClusterSpec
    deadline_s: float
    add: tuple[NewNode, ...] = ()
    leave: tuple[str, ...] = ()
    """Ids of nodes that are to go."""
    usage: Amounts = Amounts()
    """What the whole cluster may use after it; reserved now, checked against the tenant's quota.

    All zero, or in a delete: what is reserved stays until the cluster's row goes.
    """
    arguments: Mapping[str, object] = field(default_factory=dict)
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A committed request."""

    cluster: Cluster
    operation: Operation
    replayed: bool = False
    """The same Idempotency-Key had made it before."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What the tables say of the fleet."""

    losing: int
    """Clusters that lost a node at about the same time and still lack it, or had it replaced shortly before."""
    running: int
    """Clusters that run; those that lose nodes are among them."""


@dataclass(frozen=True, slots=True)
class NodeUpdate:
    """Fields of a node to write; None leaves one as it is."""

    state: NodeState | None = None
    instance_id: str | None = None
    address: str | None = None
    boot_phase: str | None = None
    log_tail: str | None = None
    ssh_host_key: str | None = None
    version: str | None = None
    unhealthy_since: datetime | None = None
    clear_unhealthy: bool = False


class Requests(Protocol):
    """What the API reads and changes. Every query names the tenant of `scope`. Raises RequestError.

    What changes something, or gives access, is written down in the same commit where `scope` names its action.
    """

    async def create(
        self, scope: Scope, name: str, change: Change, *, idempotency_key: str = "", request_hash: str = ""
    ) -> Accepted:
        """Make a cluster with its operation and its wake-up. NAME_TAKEN, QUOTA, KEY_REUSED (another request had it)."""
        ...

    async def change(
        self,
        scope: Scope,
        ref: str,
        decide: Callable[[Snapshot], Change],
        *,
        if_match: int | None = None,
        idempotency_key: str = "",
        request_hash: str = "",
    ) -> Accepted:
        """Let `decide` say what becomes of a cluster that is read and locked. It raises RequestError to refuse.

        `if_match`: the generation that the caller has seen; STALE when it is another. Running operations that the new
        one supersedes end as such in the same commit, all others make it WRONG_STATE.
        """
        ...

    async def get(self, scope: Scope, ref: str) -> Snapshot:
        """Give a cluster by id or name. NOT_FOUND, of other tenants too."""
        ...

    async def list(self, scope: Scope, *, marker: str = "", limit: int | None = None) -> Sequence[Snapshot]:
        """Give the tenant's clusters by name; without what they have outside, and without the ledgers.

        `marker`: only those after the cluster of this id or name. One that cannot be read is given as failed.
        """
        ...

    async def operations(
        self, scope: Scope, ref: str = "", *, marker: str = "", limit: int | None = None
    ) -> Sequence[Operation]:
        """Give operations, newest first, of one cluster or of the tenant; a thousand at most.

        `marker`: only those that are older than the operation of this id.
        """
        ...

    async def operation(self, scope: Scope, operation_id: str) -> tuple[Operation, Sequence[StepRecord]]:
        """Give an operation with its ledger."""
        ...

    async def cancel(self, scope: Scope, operation_id: str) -> Operation:
        """Ask a running operation to end at its next step boundary; an ended one is WRONG_STATE."""
        ...

    async def events(self, scope: Scope, ref: str = "", *, after_id: str = "", limit: int = 100) -> Sequence[Event]:
        """Give events, oldest first."""
        ...

    async def record_kubeconfig(
        self, scope: Scope, cluster_id: str, *, role: str, serial: str, not_after: datetime, client_ip: str
    ) -> None:
        """Write down who was given access; the key itself is stored nowhere."""
        ...

    async def audit(self, scope: Scope, action: str, target: str, outcome: str) -> None:
        """Write down that somebody asked for something that changed nothing, refused or not."""
        ...

    async def secret(self, scope: Scope, cluster_id: str, kind: str) -> bytes | None:
        """Give a sealed secret of the tenant's cluster."""
        ...


class Conducting(Protocol):
    """What a conductor reads and writes. Writes name the lease's token; LeaseLostError when it is not the newest."""

    async def due(self, *, limit: int) -> Sequence[str]:
        """Give ids of clusters that are due and that nobody works on, longest due first."""
        ...

    async def claim(self, cluster_id: str, owner: str, *, ttl_s: float) -> Lease | None:
        """Take a cluster whose lease is free or has run out, with a token one higher; None when somebody has it."""
        ...

    async def renew(self, lease: Lease, *, ttl_s: float) -> None:
        """Keep a lease alive."""
        ...

    async def release(self, lease: Lease, *, due_in_s: float | None) -> None:
        """Give a cluster back, to be looked at again then; a lost lease is no error here.

        Earlier when a request or a report made it due while it was held: a wake-up is never overwritten. `None` leaves
        it to the next wake-up alone.
        """
        ...

    async def snapshot(self, lease: Lease) -> Snapshot | None:
        """Give all that is known; None when the cluster's row is gone."""
        ...

    async def node(self, lease: Lease, name: str) -> Node | None:
        """Give one node as it is now: for whoever waits for what is written of it, a snapshot is too much to ask."""
        ...

    async def begin_step(
        self, lease: Lease, operation_id: str, key: str, inputs_hash: str, *, progress: int = 0
    ) -> StepRecord:
        """Write that a step starts (a further attempt of it, if there is one), before anything is done.

        `progress` is how far the operation is by then, in per cent; what is written of it only grows.
        """
        ...

    async def end_step(
        self,
        lease: Lease,
        step: StepRecord,
        state: StepState,
        *,
        result: Mapping[str, object] | None = None,
        error_code: str = "",
        error: str = "",
        retry_in_s: float | None = None,
    ) -> StepRecord:
        """Write how it ended."""
        ...

    async def intend(self, lease: Lease, ref: ExternalRef) -> ExternalRef:
        """Write that something outside may exist from now on; the same kind and name again gives the row there is."""
        ...

    async def update_ref(self, lease: Lease, ref: ExternalRef, state: RefState, *, external_id: str = "") -> None:
        """Write what has become of it."""
        ...

    async def update_node(self, lease: Lease, node_id: str, update: NodeUpdate) -> None:
        """Write what is known of a node."""
        ...

    async def update_cluster(
        self,
        lease: Lease,
        *,
        status: ClusterStatus | None = None,
        status_reason: str | None = None,
        endpoint: str | None = None,
        version: str | None = None,
        health: Health | None = None,
        observed_generation: int | None = None,
    ) -> None:
        """Write what is known of the cluster; None leaves a field as it is."""
        ...

    async def settle_cluster(self, lease: Lease, status: ClusterStatus, reason: str) -> bool:
        """Write the status of a cluster that nothing is done to.

        False, and nothing is written, when there is an operation: a request has come since somebody looked.
        """
        ...

    async def update_operation(
        self,
        lease: Lease,
        operation_id: str,
        state: OperationState,
        *,
        error_code: str = "",
        error: str = "",
        cluster: ClusterStatus | None = None,
        observed_generation: int | None = None,
        event: Event | None = None,
    ) -> bool:
        """Write where an operation is, and in the same commit what becomes of its cluster and what is told of it.

        With `cluster`, `error` is the reason of that status. False, and nothing is written, when it has ended already:
        the cluster is then what a newer request has made of it.
        """
        ...

    async def start_operation(self, lease: Lease, change: Change, *, requested_by: str) -> Operation | None:
        """Begin an operation of our own (a repair); None when another one runs. Node changes in the same commit."""
        ...

    async def last_operation(self, lease: Lease) -> Operation | None:
        """Give the newest operation of the cluster, ended or not."""
        ...

    async def losses(self, around: datetime, *, window: timedelta) -> Losses:
        """Count, over all tenants and conductors, the clusters that lost nodes no further than `window` from a time.

        A node that is unhealthy counts until it is well or replaced; one that is being replaced, or was, counts for
        `window` after that.
        """
        ...

    async def put_secret(self, lease: Lease, kind: str, sealed: bytes, *, not_after: datetime | None = None) -> None:
        """Store a sealed secret; one of the same kind is replaced."""
        ...

    async def secret(self, lease: Lease, kind: str) -> bytes | None:
        """Give a sealed secret."""
        ...

    async def add_event(self, lease: Lease, event: Event) -> None:
        """Write an event."""
        ...

    async def delete_cluster(self, lease: Lease, *, event: Event | None = None) -> None:
        """Remove a cluster whose references are all gone, with its secrets; operations and events stay.

        A delete that runs has succeeded in the same commit, and `event` tells of it.
        """
        ...


class Boots(Protocol):
    """What machines tell while they boot; not fenced, because they know nothing of leases."""

    async def issue_boot_token(self, lease: Lease, node_id: str, token_hash: str, *, ttl_s: float) -> None:
        """Remember the hash of the only token that a node may report with: earlier ones end here."""
        ...

    async def report_boot(self, token_hash: str, *, phase: str, ssh_host_key: str, log_tail: str) -> bool:
        """Write a node's report and make its cluster due; False when its token is no good, or was used already.

        A token is used up by the first report with a host key; the same report again is no error. Another host key is
        refused, and is an event.
        """
        ...
