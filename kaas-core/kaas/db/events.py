"""Events: appended and read, never changed."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import tables
from kaas.db.rows import event_of
from kaas.domain.errors import Code, Problem, RequestError
from kaas.domain.model import Event

MOST = 1000
"""So many are read at once."""

_EVENT = tables.event.c


async def add(
    connection: AsyncConnection,
    tenant_id: str,
    cluster_id: str,
    events: Iterable[Event],
    now: datetime,
    *,
    operation_id: str = "",
    actor: str = "",
) -> None:
    """Append events of a cluster; what they leave open of operation and actor is filled in."""
    rows = [
        {
            "project_id": tenant_id,
            "cluster_id": cluster_id,
            "operation_id": event.operation_id or operation_id,
            "node_id": event.node_id,
            "actor": event.actor or actor,
            "code": event.code,
            "severity": event.severity,
            "message": event.message,
            "created_at": now,
        }
        for event in events
    ]
    if rows:
        await connection.execute(tables.event.insert(), rows)


async def read(
    connection: AsyncConnection, tenant_id: str, cluster_id: str, *, after_id: str, limit: int
) -> Sequence[Event]:
    """Give events behind one, oldest first; of all clusters when none is named. Raises RequestError (INVALID)."""
    query = select(tables.event).where(_EVENT.project_id == tenant_id)
    if cluster_id:
        query = query.where(_EVENT.cluster_id == cluster_id)
    if after_id:
        query = query.where(_EVENT.id > _number(after_id))
    rows = await connection.execute(query.order_by(_EVENT.id).limit(max(0, min(limit, MOST))))
    return tuple(map(event_of, rows))


def _number(event_id: str) -> int:
    # 18 digits, since the databases count up to 2**63.
    if not (event_id.isascii() and event_id.isdigit() and len(event_id) <= 18):  # noqa: PLR2004
        problem = Problem("after_id", f"{event_id!r} is no id of an event")
        raise RequestError(
            Code.INVALID,
            f"{event_id!r} is no id of an event; leave it out to begin with the oldest",
            problems=(problem,),
        )
    return int(event_id)
