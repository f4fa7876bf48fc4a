"""Sealed secrets of clusters. What is in them is not known here."""

import uuid
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import tables

_SECRET = tables.x509keypair.c


async def put(
    connection: AsyncConnection,
    tenant_id: str,
    cluster_id: str,
    kind: str,
    *,
    sealed: bytes,
    not_after: datetime | None,
    now: datetime,
) -> None:
    """Write a secret in the place of the one of its kind; the cluster is locked."""
    values = {"sealed": sealed, "not_after": not_after, "updated_at": now}
    this = (_SECRET.cluster_id == cluster_id, _SECRET.kind == kind)
    done = await connection.execute(update(tables.x509keypair).where(*this).values(values))
    if done.rowcount == 0:
        row = {"uuid": str(uuid.uuid4()), "cluster_id": cluster_id, "project_id": tenant_id, "kind": kind}
        await connection.execute(tables.x509keypair.insert().values(**row, **values, created_at=now))


async def of_cluster(connection: AsyncConnection, cluster_id: str, kind: str) -> bytes | None:
    """Give a secret of any tenant's cluster."""
    return await connection.scalar(select(_SECRET.sealed).where(_SECRET.cluster_id == cluster_id, _SECRET.kind == kind))


async def of_tenant(connection: AsyncConnection, tenant_id: str, cluster_id: str, kind: str) -> bytes | None:
    """Give a secret of a cluster, if it is that tenant's."""
    this = (_SECRET.project_id == tenant_id, _SECRET.cluster_id == cluster_id, _SECRET.kind == kind)
    return await connection.scalar(select(_SECRET.sealed).where(*this))
