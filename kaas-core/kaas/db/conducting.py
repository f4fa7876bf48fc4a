"""What a conductor reads and writes: `kaas.domain.store.Conducting` on the tables.

Every write locks the cluster's row under the condition that the lease is the newest and has not run out, so that
nobody else can claim the cluster between that look and the commit.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import changing, clusters, events, leases, nodes, operations, quotas, refs, secrets, tables
from kaas.db.rows import cluster_of
from kaas.db.session import Database
from kaas.db.turns import Turns
from kaas.domain.errors import Code, StepError
from kaas.domain.model import Event, ExternalRef, Health, Lease, Node, Operation, Snapshot, StepRecord
from kaas.domain.states import (
    WORKING,
    ClusterStatus,
    OperationKind,
    OperationState,
    RefState,
    StepState,
)
from kaas.domain.store import Amounts, Change, Losses, NodeUpdate
from kaas.domain.texts import listed

Result = TypeVar("Result")
Held = Callable[[AsyncConnection, Row[Any]], Awaitable[Result]]
"""What is done while a cluster is held; the row is that of `leases.hold`."""


class ConductorStore:
    """The tables for conductors. `default_quota` is that of `RequestStore`.

    Leases come before all else: a conductor whose writes line up must not lose its clusters meanwhile.
    """

    def __init__(self, database: Database, *, default_quota: Amounts | None = None) -> None:
        self._database = database
        self._quota = {} if default_quota is None else asdict(default_quota)
        self._turns = Turns()

    async def due(self, *, limit: int) -> Sequence[str]:
        """Give ids of clusters that are due and that nobody works on, longest due first."""
        return await self._database.read(lambda connection: leases.due(connection, limit))

    async def claim(self, cluster_id: str, owner: str, *, ttl_s: float) -> Lease | None:
        """Take a cluster whose lease is free or has run out, with a token one higher; None when somebody has it."""
        return await self._database.write(
            lambda connection: leases.claim(connection, cluster_id, owner, ttl_s), urgent=True
        )

    async def take_away_leases(self) -> int:
        """End the leases of conductors that are dead, and give how many there were; their clusters are due at once.

        Only for who knows that no other conductor lives: it does not look at what they are doing.
        """
        return await self._database.write(leases.take_away)

    async def renew(self, lease: Lease, *, ttl_s: float) -> None:
        """Keep a lease alive. One that has run out is lost, even if nobody else has the cluster yet."""
        await self._database.write(lambda connection: leases.renew(connection, lease, ttl_s), urgent=True)

    async def release(self, lease: Lease, *, due_in_s: float | None) -> None:
        """Give a cluster back, to be looked at again then, or at once if it was woken; a lost lease is no error."""
        await self._database.write(lambda connection: leases.release(connection, lease, due_in_s), urgent=True)

    async def snapshot(self, lease: Lease) -> Snapshot | None:
        """Give all that is known; None when the cluster's row is gone."""

        async def work(connection: AsyncConnection) -> Snapshot | None:
            row = await clusters.by_id(connection, lease.cluster_id)
            return None if row is None else replace(await clusters.snapshot_of(connection, row), read_at=row.read_at)

        return await self._database.read(work)

    async def node(self, lease: Lease, name: str) -> Node | None:
        """Give one node as it is now."""
        return await self._database.read(lambda connection: nodes.named(connection, lease.cluster_id, name))

    async def begin_step(
        self, lease: Lease, operation_id: str, key: str, inputs_hash: str, *, progress: int = 0
    ) -> StepRecord:
        """Write that a step starts (a further attempt of it, if there is one), before anything is done.

        `progress` is how far the operation is by then, in per cent; what is written of it only grows.
        """

        async def work(connection: AsyncConnection, held: Row[Any]) -> StepRecord:
            if progress:
                await operations.come_on(connection, operation_id, progress)
            return await operations.begin_step(connection, operation_id, key, inputs_hash, held.now)

        return await self._holding(lease, work)

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
        """Write how it ended; without `result` the one of an earlier try stays."""

        async def work(connection: AsyncConnection, held: Row[Any]) -> StepRecord:
            ended = await operations.end_step(
                connection,
                step,
                state,
                held.now,
                result=result,
                error_code=error_code,
                error=error,
                retry_in_s=retry_in_s,
            )
            if ended is None:
                raise leases.lost(lease)
            return ended

        return await self._holding(lease, work)

    async def intend(self, lease: Lease, ref: ExternalRef) -> ExternalRef:
        """Write that something outside may exist from now on; the same kind and name again gives the row there is."""

        async def work(connection: AsyncConnection, held: Row[Any]) -> ExternalRef:
            return await refs.intend(connection, lease.cluster_id, ref, held.now)

        return await self._holding(lease, work)

    async def update_ref(self, lease: Lease, ref: ExternalRef, state: RefState, *, external_id: str = "") -> None:
        """Write what has become of it; without `external_id` the one that is written stays."""

        async def work(connection: AsyncConnection, held: Row[Any]) -> None:
            if not await refs.move(connection, lease.cluster_id, ref.id, state, held.now, external_id=external_id):
                raise StepError(Code.BUG, f"{ref.kind} {ref.name!r} of cluster {lease.cluster_id} was never intended")

        await self._holding(lease, work)

    async def update_node(self, lease: Lease, node_id: str, update: NodeUpdate) -> None:
        """Write what is known of a node."""

        async def work(connection: AsyncConnection, held: Row[Any]) -> None:
            if not await nodes.change(connection, lease.cluster_id, node_id, update, held.now):
                raise StepError(Code.BUG, f"cluster {lease.cluster_id} has no node {node_id}")

        await self._holding(lease, work)

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

        async def work(connection: AsyncConnection, held: Row[Any]) -> None:
            values = clusters.known_columns(
                status=status,
                status_reason=status_reason,
                endpoint=endpoint,
                version=version,
                health=health,
                observed_generation=observed_generation,
                now=held.now,
            )
            await _write_cluster(connection, lease, values)

        await self._holding(lease, work)

    async def settle_cluster(self, lease: Lease, status: ClusterStatus, reason: str) -> bool:
        """Write the status of a cluster that nothing is done to; False when a request has come meanwhile."""

        async def work(connection: AsyncConnection, held: Row[Any]) -> bool:
            if await operations.active(connection, lease.cluster_id) is not None:
                return False
            values = clusters.known_columns(status=status, status_reason=reason, now=held.now)
            await _write_cluster(connection, lease, values)
            return True

        return await self._holding(lease, work)

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

        async def work(connection: AsyncConnection, held: Row[Any]) -> bool:
            if not await operations.move(
                connection, lease.cluster_id, operation_id, state, held.now, error_code=error_code, error=error
            ):
                return False
            values = clusters.known_columns(
                status=cluster,
                status_reason=None if cluster is None else error,
                observed_generation=observed_generation,
                now=held.now,
            )
            await _write_cluster(connection, lease, values)
            await _tell(connection, lease, held, event)
            return True

        return await self._holding(lease, work)

    async def start_operation(self, lease: Lease, change: Change, *, requested_by: str) -> Operation | None:
        """Begin an operation of our own (a repair); None when another one runs. Node changes in the same commit.

        The generation grows only if the change has another `spec`: users have not changed anything.
        """

        async def work(connection: AsyncConnection) -> Operation | None:
            row = await clusters.by_id(connection, lease.cluster_id)
            if row is not None and changing.uses_quota(change):
                await quotas.lock_tenant(connection, row.project_id)
            held = await leases.hold(connection, lease)
            if await operations.active(connection, lease.cluster_id) is not None:
                return None
            query = select(tables.cluster).where(tables.cluster.c.uuid == lease.cluster_id)
            cluster = cluster_of((await connection.execute(query)).one())
            generation = cluster.generation + (change.spec != cluster.spec)
            accepted = await changing.write(
                connection,
                replace(cluster, generation=generation, status=WORKING[change.kind]),
                change,
                held.now,
                counters=held.node_counters,
                requested_by=requested_by,
                # People see why a cluster is still there, while it is deleted once more.
                reason=cluster.status_reason if change.kind is OperationKind.DELETE else "",
                quota_defaults=self._quota,
            )
            return accepted.operation

        return await self._database.write(work)

    async def last_operation(self, lease: Lease) -> Operation | None:
        """Give the newest operation of the cluster, ended or not."""
        return await self._database.read(lambda connection: operations.last(connection, lease.cluster_id))

    async def losses(self, around: datetime, *, window: timedelta) -> Losses:
        """Count, over all tenants and conductors, the clusters that lost nodes no further than `window` from a time."""
        return await self._database.read(lambda connection: nodes.losses(connection, around, window))

    async def put_secret(self, lease: Lease, kind: str, sealed: bytes, *, not_after: datetime | None = None) -> None:
        """Store a sealed secret; one of the same kind is replaced."""

        async def work(connection: AsyncConnection, held: Row[Any]) -> None:
            await secrets.put(
                connection,
                held.project_id,
                lease.cluster_id,
                kind,
                sealed=sealed,
                not_after=not_after,
                now=held.now,
            )

        await self._holding(lease, work)

    async def secret(self, lease: Lease, kind: str) -> bytes | None:
        """Give a sealed secret."""
        return await self._database.read(lambda connection: secrets.of_cluster(connection, lease.cluster_id, kind))

    async def add_event(self, lease: Lease, event: Event) -> None:
        """Write an event."""

        async def work(connection: AsyncConnection, held: Row[Any]) -> None:
            await _tell(connection, lease, held, event)

        await self._holding(lease, work)

    async def delete_cluster(self, lease: Lease, *, event: Event | None = None) -> None:
        """Remove a cluster whose references are all gone, with its secrets; operations and events stay.

        The delete that runs has succeeded in the same commit, since nobody could write that afterwards. Raises
        StepError (SURVIVORS) while a reference is not gone.
        """

        async def work(connection: AsyncConnection, held: Row[Any]) -> None:
            left = await refs.left(connection, lease.cluster_id)
            if left:
                names = listed([f"{ref.kind} {ref.name!r} ({ref.state})" for ref in left], joint=", ")
                raise StepError(Code.SURVIVORS, f"cluster {lease.cluster_id} is kept, because of: {names}")
            running = await operations.active(connection, lease.cluster_id)
            if running is not None:
                is_delete = running.kind is OperationKind.DELETE
                state = OperationState.SUCCEEDED if is_delete else OperationState.CANCELLED
                await operations.move(connection, lease.cluster_id, running.id, state, held.now)
            await _tell(connection, lease, held, event)
            await clusters.remove(connection, lease.cluster_id)

        await self._holding(lease, work)

    async def _holding(self, lease: Lease, work: Held[Result]) -> Result:
        async def guarded(connection: AsyncConnection) -> Result:
            return await work(connection, await leases.hold(connection, lease))

        # Its steps write side by side. Whoever waits here needs no connection, and leaves them to other clusters.
        async with self._turns.of(lease.cluster_id):
            return await self._database.write(guarded)


async def _write_cluster(connection: AsyncConnection, lease: Lease, values: Mapping[str, object]) -> None:
    if values:
        this = tables.cluster.c.uuid == lease.cluster_id
        await connection.execute(update(tables.cluster).where(this).values(values))


async def _tell(connection: AsyncConnection, lease: Lease, held: Row[Any], event: Event | None) -> None:
    if event is not None:
        actor = event.actor or lease.owner
        await events.add(connection, held.project_id, lease.cluster_id, [event], held.now, actor=actor)


if TYPE_CHECKING:
    from kaas.domain.store import Conducting

    def _conforms(store: ConductorStore) -> Conducting:
        return store
