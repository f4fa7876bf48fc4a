"""What the API reads and changes: `kaas.domain.store.Requests` on the tables."""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import audit, changing, clock, clusters, events, idempotency, naming, operations, quotas, secrets, tables
from kaas.db.session import Database
from kaas.db.wakeups import NO_WAKEUPS
from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Cluster, Event, Health, Operation, Scope, Snapshot, StepRecord
from kaas.domain.states import (
    FINAL,
    SUPERSEDES,
    WORKING,
    ClusterStatus,
    OperationKind,
    OperationState,
)
from kaas.domain.store import Accepted, Amounts, Change
from kaas.engine.port import Wakeups

CANCEL_REQUESTED = "CANCEL_REQUESTED"


class RequestStore:
    """Requests of tenants. `default_quota` counts for tenants that have no limits of their own; None: no limit."""

    def __init__(
        self, database: Database, *, wakeups: Wakeups = NO_WAKEUPS, default_quota: Amounts | None = None
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._quota = {} if default_quota is None else asdict(default_quota)

    async def create(
        self, scope: Scope, name: str, change: Change, *, idempotency_key: str = "", request_hash: str = ""
    ) -> Accepted:
        """Make a cluster with its operation and its wake-up. NAME_TAKEN, QUOTA, KEY_REUSED."""

        async def make(connection: AsyncConnection, now: datetime) -> Accepted:
            if await clusters.is_taken(connection, scope.tenant_id, name):
                raise RequestError(Code.NAME_TAKEN, f"there is a cluster {name!r} already; choose another name")
            cluster = _new(scope, name, change, now)
            await naming.claim(connection, cluster, [group.name for group in change.spec.groups])
            await clusters.insert(connection, cluster)
            return await self._write(connection, scope, cluster, change, now, counters={})

        return await self._accept(scope, idempotency_key, request_hash, make)

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
        """Let `decide` say what becomes of a cluster that is read and locked; it may be called again.

        Deleting what is being deleted changes nothing, and gives the operation that does it.
        """

        async def make(connection: AsyncConnection, now: datetime) -> Accepted:
            row = await clusters.must_lock(connection, scope, ref)
            snapshot = await clusters.snapshot_of(connection, row)
            cluster, running = snapshot.cluster, snapshot.operation
            if if_match is not None and if_match != cluster.generation:
                raise _stale(cluster, if_match)
            change = decide(snapshot)
            if running is not None:
                if change.kind is running.kind is OperationKind.DELETE:
                    return Accepted(cluster=cluster, operation=running)
                await _supersede(connection, cluster, running, change.kind, now)
            there = {group.name for group in cluster.spec.groups}
            await naming.claim(connection, cluster, [one.name for one in change.spec.groups if one.name not in there])
            changed = replace(cluster, generation=cluster.generation + 1, status=WORKING[change.kind])
            return await self._write(connection, scope, changed, change, now, counters=row.node_counters)

        return await self._accept(scope, idempotency_key, request_hash, make)

    async def get(self, scope: Scope, ref: str) -> Snapshot:
        """Give a cluster by id or name. NOT_FOUND, of other tenants too."""

        async def work(connection: AsyncConnection) -> Snapshot:
            return await clusters.snapshot_of(connection, await clusters.must_find(connection, scope, ref))

        return await self._database.read(work)

    async def list(self, scope: Scope, *, marker: str = "", limit: int | None = None) -> Sequence[Snapshot]:
        """Give the tenant's clusters by name, after that of `marker`; without what they have outside, and no ledgers.

        One that cannot be read is given as failed, and the log says why.
        """
        return await self._database.read(
            lambda connection: clusters.of_tenant(connection, scope.tenant_id, marker=marker, limit=limit)
        )

    async def operations(
        self, scope: Scope, ref: str = "", *, marker: str = "", limit: int | None = None
    ) -> Sequence[Operation]:
        """Give operations, newest first, of one cluster (by its id after its end too) or of the tenant.

        `marker`: only those that are older than the operation of this id.
        """

        async def work(connection: AsyncConnection) -> Sequence[Operation]:
            row = await clusters.find(connection, scope, ref) if ref else None
            cluster_id = ref if row is None else row.uuid
            if ref and row is None and not await operations.newest(connection, scope.tenant_id, ref, limit=1):
                raise clusters.no_cluster(ref)
            return await operations.newest(connection, scope.tenant_id, cluster_id, marker=marker, limit=limit)

        return await self._database.read(work)

    async def operation(self, scope: Scope, operation_id: str) -> tuple[Operation, Sequence[StepRecord]]:
        """Give an operation with its ledger."""

        async def work(connection: AsyncConnection) -> tuple[Operation, Sequence[StepRecord]]:
            found = await operations.must_find(connection, scope.tenant_id, operation_id)
            return found, await operations.steps(connection, found.id)

        return await self._database.read(work)

    async def cancel(self, scope: Scope, operation_id: str) -> Operation:
        """Ask a running operation to end at its next step boundary; an ended one is WRONG_STATE."""

        async def work(connection: AsyncConnection) -> tuple[Operation, bool]:
            cluster_id = (await operations.must_find(connection, scope.tenant_id, operation_id)).cluster_id
            await clusters.wake(connection, cluster_id)
            # Again, now that its cluster is locked and it cannot end meanwhile.
            found = await operations.must_find(connection, scope.tenant_id, operation_id)
            if found.state in FINAL:
                raise RequestError(Code.WRONG_STATE, f"operation {found.id} has ended already ({found.state})")
            await audit.note(connection, scope)
            if found.cancel_requested:
                return found, False
            now = await clock.read(connection)
            asked = await operations.ask_to_end(connection, found, now)
            event = Event(cluster_id, CANCEL_REQUESTED, f"the end of the running {found.kind} was asked for")
            await events.add(
                connection,
                scope.tenant_id,
                cluster_id,
                [event],
                now,
                operation_id=found.id,
                actor=scope.user_id,
            )
            await self._wakeups.enqueue(connection, cluster_id)
            return asked, True

        operation, is_new = await self._database.write(work)
        if is_new:
            self._wakeups.committed(operation.cluster_id)
        return operation

    async def events(self, scope: Scope, ref: str = "", *, after_id: str = "", limit: int = 100) -> Sequence[Event]:
        """Give events, oldest first, of one cluster (by its id after its end too) or of the tenant.

        Those of one cluster are complete behind `after_id`. Of a whole tenant, one with a lower id may appear later.
        """

        async def work(connection: AsyncConnection) -> Sequence[Event]:
            row = await clusters.find(connection, scope, ref) if ref else None
            cluster_id = ref if row is None else row.uuid
            found = await events.read(connection, scope.tenant_id, cluster_id, after_id=after_id, limit=limit)
            if (
                ref
                and row is None
                and not found
                and not await operations.newest(connection, scope.tenant_id, ref, limit=1)
            ):
                raise clusters.no_cluster(ref)
            return found

        return await self._database.read(work)

    async def record_kubeconfig(
        self, scope: Scope, cluster_id: str, *, role: str, serial: str, not_after: datetime, client_ip: str
    ) -> None:
        """Write down who was given access; the key itself is stored nowhere."""

        async def work(connection: AsyncConnection) -> None:
            row = await clusters.must_find(connection, scope, cluster_id)
            await connection.execute(
                tables.kubeconfig_issue.insert().values(
                    project_id=scope.tenant_id,
                    user_id=scope.user_id,
                    cluster_id=row.uuid,
                    role=role,
                    serial=serial,
                    not_after=not_after,
                    client_ip=client_ip,
                    created_at=clock.now(),
                )
            )
            await audit.note(connection, scope)

        await self._database.write(work)

    async def audit(self, scope: Scope, action: str, target: str, outcome: str) -> None:
        """Write down that somebody asked for something that changed nothing, refused or not."""
        asked = replace(scope, action=action, target=target)
        await self._database.write(lambda connection: audit.note(connection, asked, outcome))

    async def secret(self, scope: Scope, cluster_id: str, kind: str) -> bytes | None:
        """Give a sealed secret of the tenant's cluster."""
        return await self._database.read(
            lambda connection: secrets.of_tenant(connection, scope.tenant_id, cluster_id, kind)
        )

    async def _accept(
        self,
        scope: Scope,
        key: str,
        request_hash: str,
        make: Callable[[AsyncConnection, datetime], Awaitable[Accepted]],
    ) -> Accepted:
        async def work(connection: AsyncConnection) -> Accepted:
            now = await quotas.lock_tenant(connection, scope.tenant_id)
            before = await idempotency.recall(connection, scope.tenant_id, key, request_hash)
            if before is not None:
                await audit.note(connection, scope)
                return before
            made = await make(connection, now)
            await audit.note(connection, scope)
            await idempotency.remember(
                connection, scope.tenant_id, key, request_hash=request_hash, accepted=made, now=now
            )
            await clusters.wake(connection, made.cluster.id)
            await self._wakeups.enqueue(connection, made.cluster.id)
            return made

        accepted = await self._database.write(work)
        if not accepted.replayed:
            self._wakeups.committed(accepted.cluster.id)
        return accepted

    async def _write(
        self,
        connection: AsyncConnection,
        scope: Scope,
        cluster: Cluster,
        change: Change,
        now: datetime,
        *,
        counters: Mapping[str, object],
    ) -> Accepted:
        return await changing.write(
            connection,
            cluster,
            change,
            now,
            counters=counters,
            requested_by=scope.user_id,
            request_id=scope.request_id,
            quota_defaults=self._quota,
        )


def _new(scope: Scope, name: str, change: Change, now: datetime) -> Cluster:
    return Cluster(
        id=str(uuid.uuid4()),
        tenant_id=scope.tenant_id,
        user_id=scope.user_id,
        name=name,
        spec=change.spec,
        status=ClusterStatus.PENDING,
        status_reason="",
        generation=1,
        observed_generation=0,
        endpoint="",
        health=Health(),
        created_at=now,
        updated_at=now,
    )


def _stale(cluster: Cluster, seen: int) -> RequestError:
    return RequestError(
        Code.STALE,
        f"cluster {cluster.name!r} is at generation {cluster.generation}, not {seen} any more; read it again",
    )


async def _supersede(
    connection: AsyncConnection, cluster: Cluster, running: Operation, kind: OperationKind, now: datetime
) -> None:
    if running.kind not in SUPERSEDES[kind]:
        raise RequestError(
            Code.WRONG_STATE,
            f"cluster {cluster.name!r} has a {running.kind} running ({running.id}); wait for its end, or cancel it",
        )
    reason = f"a newer request ({kind}) took its place"
    await operations.move(connection, cluster.id, running.id, OperationState.SUPERSEDED, now, error=reason)


if TYPE_CHECKING:
    from kaas.domain.store import Requests

    def _conforms(store: RequestStore) -> Requests:
        return store
