"""Leases: who works on a cluster. By the database's clock; each claim has a token that is one higher."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, bindparam, case, exists, null, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import clock, tables
from kaas.domain.errors import LeaseLostError
from kaas.domain.model import Lease

_CLUSTER = tables.cluster.c


def _is_free() -> ColumnElement[bool]:
    return or_(_CLUSTER.lease_until.is_(None), _CLUSTER.lease_until <= clock.now())


def _was_given(lease: Lease) -> ColumnElement[bool]:
    return and_(
        _CLUSTER.uuid == lease.cluster_id,
        _CLUSTER.lease_token == lease.token,
        _CLUSTER.lease_owner == lease.owner,
        _CLUSTER.lease_until.is_not(None),
    )


def is_held(lease: Lease) -> ColumnElement[bool]:
    """Give the condition that a lease is the newest of its cluster and has not run out."""
    return and_(_was_given(lease), _CLUSTER.lease_until > clock.now())


def _is_disabled(owner: str) -> ColumnElement[bool]:
    return exists().where(tables.conductor.c.id == owner, tables.conductor.c.disabled.is_(true()))


def _due_by_now() -> ColumnElement[datetime]:
    return case((_CLUSTER.due_at <= clock.now(), _CLUSTER.due_at), else_=clock.now())


async def due(connection: AsyncConnection, limit: int) -> Sequence[str]:
    """Give the clusters that are due and free, longest due first."""
    query = select(_CLUSTER.uuid).where(_CLUSTER.due_at <= clock.now(), _is_free())
    return (await connection.scalars(query.order_by(_CLUSTER.due_at, _CLUSTER.uuid).limit(limit))).all()


async def claim(connection: AsyncConnection, cluster_id: str, owner: str, ttl_s: float) -> Lease | None:
    """Take a cluster that is free; None when somebody has it, it is gone, or who asks is a disabled conductor."""
    taken = await connection.execute(
        update(tables.cluster)
        .where(_CLUSTER.uuid == cluster_id, _is_free(), ~_is_disabled(owner))
        .values(
            lease_owner=owner,
            lease_token=_CLUSTER.lease_token + 1,
            lease_until=clock.after(ttl_s),
            woken=False,
            # Due while it is worked on, so that another finds it when this one dies.
            due_at=_due_by_now(),
        )
    )
    if taken.rowcount != 1:
        return None
    token = await connection.scalar(select(_CLUSTER.lease_token).where(_CLUSTER.uuid == cluster_id))
    return Lease(cluster_id=cluster_id, owner=owner, token=token or 0)


async def take_away(connection: AsyncConnection) -> int:
    """End all leases, whoever holds them, and make their clusters due; gives how many there were.

    The tokens grow, so that a process that comes back with one of them writes nothing.
    """
    done = await connection.execute(
        update(tables.cluster)
        .where(_CLUSTER.lease_until.is_not(None))
        .values(lease_owner="", lease_token=_CLUSTER.lease_token + 1, lease_until=None, due_at=_due_by_now())
    )
    return done.rowcount


async def renew(connection: AsyncConnection, lease: Lease, ttl_s: float) -> None:
    """Keep a lease. Raises LeaseLostError."""
    done = await connection.execute(update(tables.cluster).where(is_held(lease)).values(lease_until=clock.after(ttl_s)))
    if done.rowcount != 1:
        raise lost(lease)


async def release(connection: AsyncConnection, lease: Lease, due_in_s: float | None) -> None:
    """Give a cluster back, if it is still this one's; what was woken meanwhile stays due."""
    later = null() if due_in_s is None else clock.after(due_in_s)
    due_at = case((_CLUSTER.woken.is_(true()), _CLUSTER.due_at), else_=later)
    values = {"lease_owner": "", "lease_until": None, "due_at": due_at}
    await connection.execute(update(tables.cluster).where(_was_given(lease)).values(values))


# Made once: it comes with every write of a conductor, and making it costs more than asking it.
_HOLD = (
    select(_CLUSTER.project_id, _CLUSTER.node_counters, clock.now().label("now"))
    .where(
        _CLUSTER.uuid == bindparam("held_id"),
        _CLUSTER.lease_token == bindparam("held_token"),
        _CLUSTER.lease_owner == bindparam("held_owner"),
        _CLUSTER.lease_until.is_not(None),
        _CLUSTER.lease_until > clock.now(),
    )
    .with_for_update(key_share=True)
)


async def hold(connection: AsyncConnection, lease: Lease) -> Row[Any]:
    """Lock the cluster of a lease to the end of the transaction, so that nobody claims it before the commit.

    Gives its `project_id`, its `node_counters` and the time as `now`. Raises LeaseLostError.
    """
    given = {"held_id": lease.cluster_id, "held_token": lease.token, "held_owner": lease.owner}
    row = (await connection.execute(_HOLD, given)).first()
    if row is None:
        raise lost(lease)
    return row


def lost(lease: Lease) -> LeaseLostError:
    """Say whose lease of what is not the newest, or has run out."""
    return LeaseLostError(f"{lease.owner} has lost cluster {lease.cluster_id} (token {lease.token})")
