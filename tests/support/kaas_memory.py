"""The store in memory with what requests and booting machines do, for tests of whole flows that are in a hurry.

`tests.support.kaas_tables.Kit` is the same on real tables; what is proved here of steps holds there, because both are
used through the same ports and some flows run on both.
"""

import itertools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from kaas.domain.errors import Code, RequestError
from kaas.domain.model import (
    Cluster,
    Event,
    ExternalRef,
    Health,
    Lease,
    Node,
    Operation,
    Role,
    Scope,
    Snapshot,
    StepRecord,
)
from kaas.domain.names import node as node_name
from kaas.domain.states import (
    FINAL,
    LIVING,
    SUPERSEDES,
    WORKING,
    ClusterStatus,
    NodeState,
    OperationState,
    RefState,
)
from kaas.domain.store import Accepted, Change, Losses, NodeUpdate
from tests.support.kaas_store import MemoryStore, Row


class FlowStore(MemoryStore):
    """Nodes, boot tokens and operations of our own as well."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: dict[str, str] = {}
        """Ids of nodes by the hash of a token."""
        self.numbers: dict[str, itertools.count[int]] = {}

    async def intend(self, lease: Lease, ref: ExternalRef) -> ExternalRef:
        row = await self._write(lease, "intend")
        found = row.refs.get((ref.kind, ref.name))
        if found is None or found.state is RefState.GONE:
            found = replace(ref, id=found.id if found else str(uuid.uuid4()), state=RefState.INTENDED, external_id="")
            row.refs[ref.kind, ref.name] = found
        return found

    async def update_ref(self, lease: Lease, ref: ExternalRef, state: RefState, *, external_id: str = "") -> None:
        row = await self._write(lease, "update_ref")
        there = row.refs[ref.kind, ref.name]
        row.refs[ref.kind, ref.name] = replace(there, state=state, external_id=external_id or there.external_id)

    async def update_node(self, lease: Lease, node_id: str, update: NodeUpdate) -> None:
        row = await self._write(lease, "update_node")
        row.nodes[node_id] = changed(row.nodes[node_id], update)

    async def start_operation(self, lease: Lease, change: Change, *, requested_by: str) -> Operation | None:
        row = await self._write(lease, "start_operation")
        if self._active(lease.cluster_id) is not None:
            return None
        return self.accept(row, change, requested_by)

    async def delete_cluster(self, lease: Lease, *, event: Event | None = None) -> None:
        row = await self._write(lease, "delete_cluster")
        if event is not None:
            self.told.append(event)
        assert all(ref.state is RefState.GONE for ref in row.refs.values()), row.refs
        running = self._active(lease.cluster_id)
        if running is not None:
            self.end(running, OperationState.SUCCEEDED)
        del self.rows[lease.cluster_id]

    async def update_operation(self, lease: Lease, operation_id: str, state: OperationState, **more: Any) -> bool:
        if not await super().update_operation(lease, operation_id, state, **more):
            return False
        if state in FINAL:
            self.end(self.operations[operation_id], state)
        return True

    async def losses(self, around: datetime, *, window: timedelta) -> Losses:
        await self._hop()
        living = [row for row in self.rows.values() if row.cluster.version and row.cluster.status in LIVING]
        losing = [row for row in living if any(_is_lost(node, around, window) for node in row.nodes.values())]
        return Losses(losing=len(losing), running=len(living))

    async def issue_boot_token(self, lease: Lease, node_id: str, token_hash: str, *, ttl_s: float) -> None:
        row = await self._write(lease, "issue_boot_token")
        self.tokens = {earlier: node for earlier, node in self.tokens.items() if node != node_id} | {
            token_hash: node_id
        }
        row.nodes[node_id] = replace(row.nodes[node_id], boot_phase="", ssh_host_key="")

    async def report_boot(self, token_hash: str, *, phase: str, ssh_host_key: str, log_tail: str) -> bool:
        node_id = self.tokens.get(token_hash, "")
        for cluster_id, row in self.rows.items():
            if (node := row.nodes.get(node_id)) is not None:
                if node.ssh_host_key:
                    return (phase, ssh_host_key) == (node.boot_phase, node.ssh_host_key)
                row.nodes[node_id] = replace(node, boot_phase=phase, ssh_host_key=ssh_host_key, log_tail=log_tail)
                self.wake(cluster_id)
                return True
        return False

    def end(self, operation: Operation, state: OperationState) -> None:
        self.operations[operation.id] = replace(operation, state=state, finished_at=self._now())

    def accept(self, row: Row, change: Change, requested_by: str) -> Operation:
        """Write a change as the tables would."""
        now, cluster = self._now(), row.cluster
        for new in change.add:
            number = self.numbers.setdefault(f"{cluster.id}/{new.group}", itertools.count())
            name = node_name(cluster.name, new.group, next(number))
            node = Node(
                str(uuid.uuid4()), cluster.id, new.group, name, Role(new.role), NodeState.WANTED, created_at=now
            )
            row.nodes[node.id] = node
        for node_id in change.leave:
            row.nodes[node_id] = replace(row.nodes[node_id], state=NodeState.LEAVING)
        generation = cluster.generation + 1
        row.cluster = replace(cluster, spec=change.spec, generation=generation, status=WORKING[change.kind])
        operation = Operation(
            id=f"op-{len(self.operations):05d}",
            cluster_id=cluster.id,
            kind=change.kind,
            state=OperationState.PENDING,
            generation=generation,
            requested_by=requested_by,
            request_id="",
            created_at=now,
            updated_at=now,
            deadline=now + timedelta(seconds=change.deadline_s),
            arguments=change.arguments,
        )
        self.operations[operation.id] = operation
        self.wake(cluster.id)
        return operation


def _is_lost(node: Node, around: datetime, window: timedelta) -> bool:
    """Say whether a node counts; what was replaced counts for ever, since nobody writes when that was."""
    since, states = node.unhealthy_since, {NodeState.UNHEALTHY, NodeState.LEAVING, NodeState.GONE}
    return since is not None and abs(since - around) <= window and node.state in states


class MemoryRequests:
    """What of `kaas.domain.store.Requests` flows need."""

    def __init__(self, store: FlowStore) -> None:
        self._store = store

    async def create(self, scope: Scope, name: str, change: Change) -> Accepted:
        now = self._store._now()
        cluster = Cluster(
            id=str(uuid.uuid4()),
            tenant_id=scope.tenant_id,
            user_id=scope.user_id,
            name=name,
            spec=change.spec,
            status=ClusterStatus.PENDING,
            status_reason="",
            generation=0,
            observed_generation=0,
            endpoint="",
            health=Health(),
            created_at=now,
            updated_at=now,
        )
        row = self._store.rows[cluster.id] = Row(cluster)
        operation = self._store.accept(row, change, scope.user_id)
        return Accepted(row.cluster, operation)

    async def change(self, scope: Scope, ref: str, decide: Callable[[Snapshot], Change]) -> Accepted:
        row = self._store.rows[ref]
        running = self._store._active(ref)
        change = decide(await self.get(scope, ref))
        if running is not None:
            if running.kind not in SUPERSEDES[change.kind]:
                raise RequestError(Code.WRONG_STATE, f"{running.kind} runs")
            self._store.end(running, OperationState.SUPERSEDED)
        operation = self._store.accept(row, change, scope.user_id)
        return Accepted(row.cluster, operation)

    async def get(self, scope: Scope, ref: str) -> Snapshot:
        row, running = self._store.rows[ref], self._store._active(ref)
        steps = self._store.ledger.get(running.id, {}).values() if running is not None else ()
        return Snapshot(row.cluster, tuple(row.nodes.values()), tuple(row.refs.values()), running, tuple(steps))

    async def list(self, scope: Scope) -> Sequence[Snapshot]:
        return [Snapshot(row.cluster, tuple(row.nodes.values()), (), None) for row in self._store.rows.values()]

    async def operations(self, scope: Scope, ref: str = "") -> Sequence[Operation]:
        mine = [one for one in self._store.operations.values() if ref in ("", one.cluster_id)]
        return sorted(mine, key=lambda one: one.id, reverse=True)

    async def operation(self, scope: Scope, operation_id: str) -> tuple[Operation, Sequence[StepRecord]]:
        records = self._store.ledger.get(operation_id, {}).values()
        return self._store.operations[operation_id], tuple(records)

    async def events(self, scope: Scope, ref: str = "") -> Sequence[Event]:
        return [event for event in self._store.told if ref in ("", event.cluster_id)]


class MemoryKit:
    """What `Kit` is, without a file."""

    def __init__(self) -> None:
        self.conducting = self.boots = FlowStore()
        self.requests = MemoryRequests(self.conducting)

    async def run_out(self, cluster_id: str) -> None:
        """Let the lease of a cluster run out."""
        self.conducting.rows[cluster_id].until = None

    async def close(self) -> None:
        """Nothing is open."""


def changed(node: Node, update: NodeUpdate) -> Node:
    """Give a node with what an update says."""
    given = {
        name: getattr(update, name)
        for name in ("state", "instance_id", "address", "boot_phase", "log_tail", "ssh_host_key", "version")
    }
    since = None if update.clear_unhealthy else update.unhealthy_since or node.unhealthy_since
    return replace(node, unhealthy_since=since, **{name: value for name, value in given.items() if value is not None})
