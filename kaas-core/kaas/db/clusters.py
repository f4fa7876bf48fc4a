"""Clusters: finding them for a tenant, making them, writing what is known of them."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Row, Select, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import clock, codec, tables
from kaas.db.rows import cluster_of, node_of, operation_of, ref_of, step_of, unreadable
from kaas.domain.errors import Code, KaasError, Problem, RequestError
from kaas.domain.groups import looks_like_id
from kaas.domain.model import Cluster, Health, Node, Scope, Snapshot
from kaas.domain.states import ClusterStatus

_log = logging.getLogger(__name__)

_CLUSTER = tables.cluster.c
_BY_ID = select(tables.cluster, clock.now().label("read_at")).where(_CLUSTER.uuid == bindparam("of_cluster"))


async def find(connection: AsyncConnection, scope: Scope, ref: str) -> Row[Any] | None:
    """Give the row of a tenant's cluster by id or name."""
    rows = (await connection.execute(_of(scope, or_(_CLUSTER.uuid == ref, _CLUSTER.name == ref)))).all()
    # A name may look like an id; the id is meant then.
    found: Row[Any] | None = min(rows, key=lambda row: bool(row.uuid != ref), default=None)
    return found


async def must_find(connection: AsyncConnection, scope: Scope, ref: str) -> Row[Any]:
    """Give the row of a tenant's cluster. Raises RequestError (NOT_FOUND)."""
    row = await find(connection, scope, ref)
    if row is None:
        raise no_cluster(ref)
    return row


async def must_lock(connection: AsyncConnection, scope: Scope, ref: str) -> Row[Any]:
    """Give the row of a tenant's cluster, locked to the end of the transaction. Raises RequestError (NOT_FOUND)."""
    # Locked by its key, since a search by two columns may lock, or wait for, clusters that it only looks at.
    this = _CLUSTER.uuid == (await must_find(connection, scope, ref)).uuid
    row: Row[Any] | None = (await connection.execute(_of(scope, this).with_for_update(key_share=True))).first()
    if row is None:
        raise no_cluster(ref)
    return row


def _of(scope: Scope, condition: ColumnElement[bool]) -> Select[Any]:
    return select(tables.cluster).where(_CLUSTER.project_id == scope.tenant_id, condition)


def no_cluster(ref: str) -> RequestError:
    """Say that the tenant has no such cluster; the same when another one has it."""
    return RequestError(Code.NOT_FOUND, f"there is no cluster {ref!r}; `cloud k8s list` shows those there are")


async def by_id(connection: AsyncConnection, cluster_id: str) -> Row[Any] | None:
    """Give the row of any tenant's cluster, and the time as `read_at`."""
    return (await connection.execute(_BY_ID, {"of_cluster": cluster_id})).first()


async def of_tenant(
    connection: AsyncConnection, tenant_id: str, *, marker: str = "", limit: int | None = None
) -> Sequence[Snapshot]:
    """Give a tenant's clusters by name, with their nodes and with what is done to them right now.

    `marker`: only those after the cluster of this id or name. Raises RequestError (INVALID) for an id of none.
    """
    here = await _page(connection, tenant_id, marker, limit)
    rows = (await connection.execute(select(tables.cluster).where(_CLUSTER.uuid.in_(here)))).all()
    nodes: dict[str, list[Row[Any]]] = {}
    for node in await connection.execute(select(tables.node).where(tables.node.c.cluster_id.in_(here))):
        nodes.setdefault(node.cluster_id, []).append(node)
    column = tables.operation.c.active_cluster_id
    active = await connection.execute(select(tables.operation).where(column.in_(here)))
    running = {row.active_cluster_id: operation_of(row) for row in active}
    found = [Snapshot(_shown(row), _in_order(nodes.get(row.uuid, ())), (), running.get(row.uuid)) for row in rows]
    return sorted(found, key=lambda one: one.cluster.name)


async def _page(connection: AsyncConnection, tenant_id: str, marker: str, limit: int | None) -> Sequence[str]:
    query = select(_CLUSTER.uuid, _CLUSTER.name).where(_CLUSTER.project_id == tenant_id)
    # Sorted here: databases differ in where they put a hyphen.
    names = sorted((row.name, row.uuid) for row in await connection.execute(query))
    if marker:
        after = next((name for name, cluster_id in names if cluster_id == marker), marker)
        if after == marker and looks_like_id(marker) and not any(name == marker for name, _ in names):
            problem = Problem("marker", "there is no cluster of this id (any more); give a name, or begin again")
            raise RequestError(Code.INVALID, f"marker: {problem.message}", problems=(problem,))
        names = [(name, cluster_id) for name, cluster_id in names if name > after]
    return [cluster_id for _, cluster_id in names[:limit]]


def _shown(row: Row[Any]) -> Cluster:
    """Read a row for a list, which one that cannot be read must not hide from people."""
    try:
        return cluster_of(row)
    except (KaasError, ValueError) as error:
        _log.error("what is stored of cluster %s (%s) cannot be read: %s", row.uuid, row.name, error)
        return unreadable(row)


async def is_taken(connection: AsyncConnection, tenant_id: str, name: str) -> bool:
    """Tell whether the tenant has a cluster of that name."""
    query = select(func.count()).where(_CLUSTER.project_id == tenant_id, _CLUSTER.name == name)
    return bool(await connection.scalar(query))


async def insert(connection: AsyncConnection, cluster: Cluster) -> None:
    """Write a new cluster, due at once."""
    await connection.execute(
        tables.cluster.insert().values(
            uuid=cluster.id,
            project_id=cluster.tenant_id,
            user_id=cluster.user_id,
            name=cluster.name,
            spec=codec.spec_to_json(cluster.spec),
            generation=cluster.generation,
            observed_generation=cluster.observed_generation,
            status=cluster.status,
            status_reason=cluster.status_reason,
            api_address=cluster.endpoint,
            coe_version=cluster.version,
            node_counters={},
            lease_owner="",
            lease_token=0,
            woken=True,
            due_at=clock.now(),
            created_at=cluster.created_at,
            updated_at=cluster.updated_at,
            **health_columns(cluster.health),
        )
    )


async def rewrite(connection: AsyncConnection, cluster: Cluster, counters: dict[str, object]) -> None:
    """Write what a change makes of a cluster, and the counters of its nodes' names; it becomes due."""
    await connection.execute(
        update(tables.cluster)
        .where(_CLUSTER.uuid == cluster.id)
        .values(
            spec=codec.spec_to_json(cluster.spec),
            generation=cluster.generation,
            status=cluster.status,
            status_reason=cluster.status_reason,
            node_counters=counters,
            updated_at=cluster.updated_at,
            due_at=clock.now(),
        )
    )


async def wake(connection: AsyncConnection, cluster_id: str) -> bool:
    """Make a cluster due, even if it is being worked on; its row is locked then. False when it is gone."""
    done = await connection.execute(
        update(tables.cluster).where(_CLUSTER.uuid == cluster_id).values(due_at=clock.now(), woken=True)
    )
    return done.rowcount == 1


async def remove(connection: AsyncConnection, cluster_id: str) -> None:
    """Remove a cluster's row, and with it whatever refers to it."""
    await connection.execute(delete(tables.cluster).where(_CLUSTER.uuid == cluster_id))


# Made once: conductors ask them whenever a step ends, and making them costs more than asking them.
_OF_CLUSTER: BindParameter[str] = bindparam("of_cluster")
_NODES = select(tables.node).where(tables.node.c.cluster_id == _OF_CLUSTER)
_REFS = select(tables.external_ref).where(tables.external_ref.c.cluster_id == _OF_CLUSTER)
_ACTIVE = select(tables.operation).where(tables.operation.c.active_cluster_id == _OF_CLUSTER)
_LEDGER = (
    select(tables.operation_step)
    .where(tables.operation_step.c.operation_id == bindparam("of_operation"))
    .order_by(tables.operation_step.c.seq)
)


async def snapshot_of(connection: AsyncConnection, row: Row[Any]) -> Snapshot:
    """Read all that is known of the cluster of a row."""
    of_cluster = {"of_cluster": row.uuid}
    nodes = (await connection.execute(_NODES, of_cluster)).all()
    refs = (await connection.execute(_REFS, of_cluster)).all()
    operation = (await connection.execute(_ACTIVE, of_cluster)).first()
    steps: Sequence[Row[Any]] = ()
    if operation is not None:
        steps = (await connection.execute(_LEDGER, {"of_operation": operation.uuid})).all()
    return Snapshot(
        cluster=cluster_of(row),
        nodes=_in_order(nodes),
        refs=tuple(map(ref_of, sorted(refs, key=lambda ref: (ref.kind, ref.name)))),
        operation=None if operation is None else operation_of(operation),
        steps=tuple(map(step_of, steps)),
    )


def _in_order(nodes: Sequence[Row[Any]]) -> tuple[Node, ...]:
    return tuple(map(node_of, sorted(nodes, key=lambda node: (node.role, node.nodegroup, node.number))))


def health_columns(health: Health) -> dict[str, object]:
    """Give the values of the columns that hold what was last seen; the first is one of Magnum's words."""
    if health.checked_at is None:
        word = "UNKNOWN"
    else:
        well = health.api_server and health.nodes_ready == health.nodes_total
        word = "HEALTHY" if well else "UNHEALTHY"
    return {"health_status": word, "health_status_reason": codec.to_json(health)}


def known_columns(
    *,
    status: ClusterStatus | None = None,
    status_reason: str | None = None,
    endpoint: str | None = None,
    version: str | None = None,
    health: Health | None = None,
    observed_generation: int | None = None,
    now: datetime | clock.Moment,
) -> dict[str, object]:
    """Give the values of what is not None. What is only seen, and seen again, is no update of the cluster."""
    facts = {
        "status": status,
        "status_reason": status_reason,
        "api_address": endpoint,
        "coe_version": version,
        "observed_generation": observed_generation,
    }
    values: dict[str, object] = {name: value for name, value in facts.items() if value is not None}
    if values:
        values["updated_at"] = now
    return values | ({} if health is None else health_columns(health))
