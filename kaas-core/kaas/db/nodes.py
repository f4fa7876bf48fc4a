"""Nodes and the groups that they are of."""

import uuid
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, distinct, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import clock, tables
from kaas.db.rows import node_of
from kaas.domain import names
from kaas.domain.model import CONTROL_PLANE_GROUP, DEFAULT_GROUP, Cluster, Node
from kaas.domain.states import LIVING, NodeState
from kaas.domain.store import Losses, NewNode, NodeUpdate

_NODE, _GROUP, _CLUSTER = tables.node.c, tables.nodegroup.c, tables.cluster.c
# Made once: it is asked every second for each machine that boots.
_NAMED = select(tables.node).where(_NODE.cluster_id == bindparam("of_cluster"), _NODE.name == bindparam("node_name"))


async def named(connection: AsyncConnection, cluster_id: str, name: str) -> Node | None:
    """Give the node of a name."""
    row = (await connection.execute(_NAMED, {"of_cluster": cluster_id, "node_name": name})).first()
    return None if row is None else node_of(row)


async def add(
    connection: AsyncConnection, cluster: Cluster, new: Iterable[NewNode], counters: dict[str, object], now: datetime
) -> dict[str, object]:
    """Write nodes that are wanted. Gives the counters of names as they are then; they only grow."""
    after = dict(counters)
    rows: list[dict[str, object]] = []
    for node in new:
        number = int(str(after.get(node.group, 0)))
        after[node.group] = number + 1
        rows.append(
            {
                "uuid": str(uuid.uuid4()),
                "cluster_id": cluster.id,
                "nodegroup": node.group,
                "number": number,
                "name": names.node(cluster.name, node.group, number),
                "role": node.role,
                "state": NodeState.WANTED,
                "instance_id": "",
                "address": "",
                "boot_phase": "",
                "log_tail": "",
                "ssh_host_key": "",
                "version": "",
                "created_at": now,
                "updated_at": now,
            }
        )
    if rows:
        await connection.execute(tables.node.insert(), rows)
    return after


async def let_leave(connection: AsyncConnection, cluster_id: str, node_ids: Iterable[str], now: datetime) -> None:
    """Write that nodes of a cluster are to go; those that are gone stay so."""
    ids = list(node_ids)
    if not ids:
        return
    there = (_NODE.cluster_id == cluster_id, _NODE.uuid.in_(ids), _NODE.state != NodeState.GONE)
    await connection.execute(update(tables.node).where(*there).values(state=NodeState.LEAVING, updated_at=now))


async def change(
    connection: AsyncConnection, cluster_id: str, node_id: str, changed: NodeUpdate, now: datetime
) -> bool:
    """Write what is known of a node of a cluster; False when there is no such node."""
    facts = asdict(changed)
    values = {name: value for name, value in facts.items() if value is not None and name != "clear_unhealthy"}
    if changed.clear_unhealthy:
        values["unhealthy_since"] = None
    this = (_NODE.cluster_id == cluster_id, _NODE.uuid == node_id)
    done = await connection.execute(update(tables.node).where(*this).values(updated_at=now, **values))
    return done.rowcount == 1


async def losses(connection: AsyncConnection, around: datetime, window: timedelta) -> Losses:
    """Count the clusters that lost nodes no further than `window` from a time, and those that run."""
    runs = (_CLUSTER.coe_version != "", _CLUSTER.status.in_(LIVING))
    lately = clock.after(-window.total_seconds())
    counts = or_(
        _NODE.state == NodeState.UNHEALTHY,
        and_(_NODE.state.in_((NodeState.LEAVING, NodeState.GONE)), _NODE.updated_at >= lately),
    )
    lost = (
        select(func.count(distinct(_NODE.cluster_id)))
        .join_from(tables.node, tables.cluster, _CLUSTER.uuid == _NODE.cluster_id)
        .where(_NODE.unhealthy_since.between(around - window, around + window), counts, *runs)
    )
    running = select(func.count()).select_from(tables.cluster).where(*runs)
    row = (await connection.execute(select(lost.scalar_subquery(), running.scalar_subquery()))).one()
    return Losses(losing=row[0], running=row[1])


async def write_groups(connection: AsyncConnection, cluster: Cluster, now: datetime) -> None:
    """Let the rows of a cluster's groups be as its `spec` says."""
    found = await connection.execute(select(_GROUP.name).where(_GROUP.cluster_id == cluster.id))
    there = set(found.scalars())
    gone = there - {group.name for group in cluster.spec.groups}
    if gone:
        leaving = (_GROUP.cluster_id == cluster.id, _GROUP.name.in_(sorted(gone)))
        await connection.execute(tables.nodegroup.delete().where(*leaving))
    for group in cluster.spec.groups:
        values = {
            "role": group.role,
            "flavor_id": group.instance_type,
            "image_id": cluster.spec.image,
            "node_count": group.size,
            "min_node_count": group.min_size,
            "max_node_count": group.max_size,
            "updated_at": now,
        }
        if group.name in there:
            this = (_GROUP.cluster_id == cluster.id, _GROUP.name == group.name)
            await connection.execute(update(tables.nodegroup).where(*this).values(values))
        else:
            await connection.execute(
                tables.nodegroup.insert().values(
                    uuid=str(uuid.uuid4()),
                    cluster_id=cluster.id,
                    project_id=cluster.tenant_id,
                    name=group.name,
                    is_default=group.name in {DEFAULT_GROUP, CONTROL_PLANE_GROUP},
                    created_at=now,
                    **values,
                )
            )
