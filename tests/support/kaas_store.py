"""A store in memory, as strict about leases and tokens as the one on tables; its clock is the running loop's.

It keeps what tests look at as plain attributes, and can be made slow, deaf or dead.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from kaas.domain.errors import LeaseLostError, StoreUnavailableError
from kaas.domain.model import (
    Cluster,
    ClusterSpec,
    Cni,
    Event,
    ExternalRef,
    GroupSpec,
    Health,
    Lease,
    Node,
    Operation,
    Role,
    Snapshot,
    StepRecord,
)
from kaas.domain.states import FINAL, WORKING, ClusterStatus, OperationKind, OperationState, RefState, StepState
from kaas.domain.store import Change, Conducting, NodeUpdate

START = datetime(2030, 1, 1, tzinfo=UTC)
SPEC = ClusterSpec(
    version="v1.36.3",
    vpc_id="vpc-1",
    pod_cidr="10.244.0.0/16",
    service_cidr="10.96.0.0/12",
    cni=Cni.NONE,
    image="kubernetes-v1.36.3",
    groups=(GroupSpec("control-plane", Role.CONTROL_PLANE, 1, 1, 1, "small"),),
)


def loop_now() -> datetime:
    return START + timedelta(seconds=asyncio.get_running_loop().time())


@dataclass
class Row:
    """A cluster with what only the store knows of it."""

    cluster: Cluster
    nodes: dict[str, Node] = field(default_factory=dict)
    refs: dict[tuple[str, str], ExternalRef] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)
    owner: str = ""
    token: int = 0
    until: datetime | None = None
    due_at: datetime | None = None
    woken: bool = False


class MemoryStore(Conducting):
    def __init__(self, now: Callable[[], datetime] = loop_now) -> None:
        self._now = now
        self._ids = itertools.count(1)
        self.rows: dict[str, Row] = {}
        self.operations: dict[str, Operation] = {}
        self.ledger: dict[str, dict[str, StepRecord]] = {}
        self.told: list[Event] = []
        self.claims: list[tuple[str, str]] = []
        self.writes: list[tuple[str, int]] = []
        """Every write that a token allowed: what, and under which token."""
        self.unavailable = False

    # What the API and tests do.

    def request(
        self, cluster_id: str, kind: OperationKind = OperationKind.CREATE, *, deadline_s: float = 3600.0
    ) -> Operation:
        """Commit a request: the row, its operation, those that it supersedes, and that it is due."""
        now = self._now()
        if cluster_id not in self.rows:
            self.rows[cluster_id] = Row(
                Cluster(
                    id=cluster_id,
                    tenant_id="tenant",
                    user_id="user",
                    name=cluster_id,
                    spec=SPEC,
                    status=ClusterStatus.PENDING,
                    status_reason="",
                    generation=0,
                    observed_generation=0,
                    endpoint="",
                    health=Health(),
                    created_at=now,
                    updated_at=now,
                )
            )
        row = self.rows[cluster_id]
        running = self._active(cluster_id)
        if running is not None:
            self.operations[running.id] = replace(running, state=OperationState.SUPERSEDED, finished_at=now)
            row.cluster = replace(row.cluster, status=WORKING[kind])
        row.cluster = replace(row.cluster, generation=row.cluster.generation + 1)
        operation = Operation(
            id=f"op-{next(self._ids)}",
            cluster_id=cluster_id,
            kind=kind,
            state=OperationState.PENDING,
            generation=row.cluster.generation,
            requested_by="user",
            request_id="request-1",
            created_at=now,
            updated_at=now,
            deadline=now + timedelta(seconds=deadline_s),
        )
        self.operations[operation.id] = operation
        self.wake(cluster_id)
        return operation

    def cancel(self, operation_id: str) -> None:
        self.operations[operation_id] = replace(self.operations[operation_id], cancel_requested=True)
        self.wake(self.operations[operation_id].cluster_id)

    def wake(self, cluster_id: str) -> None:
        row = self.rows[cluster_id]
        row.due_at, row.woken = self._now(), True

    def cluster(self, cluster_id: str) -> Cluster:
        return self.rows[cluster_id].cluster

    def step(self, operation: Operation, key: str) -> StepRecord:
        return self.ledger[operation.id][key]

    def states(self, operation: Operation) -> dict[str, str]:
        return {key: record.state.value for key, record in self.ledger.get(operation.id, {}).items()}

    # What a conductor does.

    async def due(self, *, limit: int) -> Sequence[str]:
        await self._hop()
        now = self._now()
        free = [
            (row.due_at, cluster_id)
            for cluster_id, row in self.rows.items()
            if row.due_at is not None and row.due_at <= now and (row.until is None or row.until <= now)
        ]
        return [cluster_id for _, cluster_id in sorted(free)[:limit]]

    async def claim(self, cluster_id: str, owner: str, *, ttl_s: float) -> Lease | None:
        await self._hop()
        row = self.rows.get(cluster_id)
        if row is None or (row.until is not None and row.until > self._now()):
            return None
        row.owner, row.token, row.woken = owner, row.token + 1, False
        row.until = self._now() + timedelta(seconds=ttl_s)
        row.due_at = min(row.due_at or self._now(), self._now())
        self.claims.append((owner, cluster_id))
        return Lease(cluster_id, owner, row.token)

    async def renew(self, lease: Lease, *, ttl_s: float) -> None:
        await self._hop()
        self._held(lease).until = self._now() + timedelta(seconds=ttl_s)

    async def release(self, lease: Lease, *, due_in_s: float | None) -> None:
        await self._hop()
        row = self.rows.get(lease.cluster_id)
        if row is None or row.token != lease.token or row.until is None:
            return
        row.owner, row.until = "", None
        if not row.woken:
            row.due_at = None if due_in_s is None else self._now() + timedelta(seconds=due_in_s)

    async def snapshot(self, lease: Lease) -> Snapshot | None:
        await self._hop()
        if lease.cluster_id not in self.rows:
            return None
        row = self.rows[lease.cluster_id]
        operation = self._active(lease.cluster_id)
        steps = self.ledger.get(operation.id, {}).values() if operation is not None else ()
        return Snapshot(
            cluster=row.cluster,
            nodes=tuple(row.nodes.values()),
            refs=tuple(row.refs.values()),
            operation=operation,
            steps=tuple(sorted(steps, key=lambda record: record.seq)),
            read_at=self._now(),
        )

    async def node(self, lease: Lease, name: str) -> Node | None:
        await self._hop()
        row = self.rows.get(lease.cluster_id)
        return None if row is None else next((node for node in row.nodes.values() if node.name == name), None)

    async def begin_step(
        self, lease: Lease, operation_id: str, key: str, inputs_hash: str, *, progress: int = 0
    ) -> StepRecord:
        await self._write(lease, "begin_step")
        operation = self.operations[operation_id]
        self.operations[operation_id] = replace(operation, progress=max(progress, operation.progress))
        ledger = self.ledger.setdefault(operation_id, {})
        before = ledger.get(key)
        goes_on = before is not None and before.inputs_hash == inputs_hash
        ledger[key] = StepRecord(
            operation_id=operation_id,
            key=key,
            seq=before.seq if before is not None else len(ledger) + 1,
            state=StepState.RUNNING,
            attempt=before.attempt + 1 if before is not None else 1,
            inputs_hash=inputs_hash,
            result=before.result if before is not None else {},
            started_at=before.started_at if before is not None and goes_on else self._now(),
        )
        return ledger[key]

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
        await self._write(lease, "end_step")
        if self.ledger[step.operation_id][step.key].attempt != step.attempt:
            raise LeaseLostError("a later try has begun")
        now = self._now()
        ended = replace(
            step,
            state=state,
            result=step.result if result is None else result,
            finished_at=now,
            error_code=error_code,
            error=error,
            next_try_at=None if retry_in_s is None else now + timedelta(seconds=retry_in_s),
        )
        self.ledger[step.operation_id][step.key] = ended
        return ended

    async def intend(self, lease: Lease, ref: ExternalRef) -> ExternalRef:
        row = await self._write(lease, "intend")
        return row.refs.setdefault((ref.kind, ref.name), ref)

    async def update_ref(self, lease: Lease, ref: ExternalRef, state: RefState, *, external_id: str = "") -> None:
        row = await self._write(lease, "update_ref")
        row.refs[ref.kind, ref.name] = replace(ref, state=state, external_id=external_id)

    async def update_node(self, lease: Lease, node_id: str, update: NodeUpdate) -> None:
        raise NotImplementedError("no test of the conductor has nodes")

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
        row = await self._write(lease, "update_cluster")
        given = {
            "status": status,
            "status_reason": status_reason,
            "endpoint": endpoint,
            "version": version,
            "health": health,
            "observed_generation": observed_generation,
        }
        row.cluster = replace(row.cluster, **{name: value for name, value in given.items() if value is not None})

    async def settle_cluster(self, lease: Lease, status: ClusterStatus, reason: str) -> bool:
        row = await self._write(lease, "settle_cluster")
        if self._active(lease.cluster_id) is not None:
            return False
        row.cluster = replace(row.cluster, status=status, status_reason=reason)
        return True

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
        row = await self._write(lease, "update_operation")
        operation = self.operations[operation_id]
        if operation.state in FINAL:
            return False
        finished_at = self._now() if state in FINAL else None
        self.operations[operation_id] = replace(
            operation, state=state, error_code=error_code, error=error, finished_at=finished_at
        )
        if cluster is not None:
            row.cluster = replace(row.cluster, status=cluster, status_reason=error)
        if observed_generation is not None:
            row.cluster = replace(row.cluster, observed_generation=observed_generation)
        if event is not None:
            self.told.append(event)
        return True

    async def start_operation(self, lease: Lease, change: Change, *, requested_by: str) -> Operation | None:
        await self._write(lease, "start_operation")
        if self._active(lease.cluster_id) is not None:
            return None
        operation = self.request(lease.cluster_id, change.kind, deadline_s=change.deadline_s)
        self.operations[operation.id] = replace(operation, arguments=change.arguments, requested_by=requested_by)
        self.told += change.events
        return self.operations[operation.id]

    async def last_operation(self, lease: Lease) -> Operation | None:
        await self._hop()
        of_cluster = [one for one in self.operations.values() if one.cluster_id == lease.cluster_id]
        return of_cluster[-1] if of_cluster else None

    async def put_secret(self, lease: Lease, kind: str, sealed: bytes, *, not_after: datetime | None = None) -> None:
        (await self._write(lease, "put_secret")).secrets[kind] = sealed

    async def secret(self, lease: Lease, kind: str) -> bytes | None:
        await self._hop()
        return self.rows[lease.cluster_id].secrets.get(kind)

    async def add_event(self, lease: Lease, event: Event) -> None:
        await self._write(lease, "add_event")
        self.told.append(event)

    async def delete_cluster(self, lease: Lease, *, event: Event | None = None) -> None:
        row = await self._write(lease, "delete_cluster")
        if event is not None:
            self.told.append(event)
        assert all(ref.state is RefState.GONE for ref in row.refs.values())
        running = self._active(lease.cluster_id)
        if running is not None:
            self.operations[running.id] = replace(running, state=OperationState.SUCCEEDED)
        del self.rows[lease.cluster_id]

    def _active(self, cluster_id: str) -> Operation | None:
        mine = (each for each in self.operations.values() if each.cluster_id == cluster_id)
        return next((each for each in mine if each.state not in FINAL), None)

    def _held(self, lease: Lease) -> Row:
        row = self.rows.get(lease.cluster_id)
        if row is None or row.token != lease.token or row.until is None or row.until <= self._now():
            raise LeaseLostError(f"{lease.owner} has lost cluster {lease.cluster_id}")
        return row

    async def _write(self, lease: Lease, what: str) -> Row:
        await self._hop()
        row = self._held(lease)
        self.writes.append((what, lease.token))
        return row

    async def _hop(self) -> None:
        """Let others run in between, as a real database does."""
        await asyncio.sleep(0)
        if self.unavailable:
            raise StoreUnavailableError("the database does not answer")
