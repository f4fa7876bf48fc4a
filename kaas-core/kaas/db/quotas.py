"""Quotas: what a tenant may use, and what its clusters have reserved of it."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import clock, tables
from kaas.db.columns import MYSQL
from kaas.db.session import SQLITE
from kaas.domain.errors import Code, RequestError
from kaas.domain.store import Amounts

RESOURCES = tuple(field.name for field in fields(Amounts))
_RESERVED = tables.quota_reservation.c


async def lock_tenant(connection: AsyncConnection, tenant_id: str) -> datetime:
    """Let the tenant's requests pass one after the other, from here to the commit. Gives the time.

    Before any cluster of the tenant is locked, always; the other way round two could wait for each other.
    """
    values = {"project_id": tenant_id}
    # Writing the row that is there locks it too, on each of them.
    if connection.dialect.name == MYSQL:
        statement = mysql.insert(tables.tenant).values(values).on_duplicate_key_update(values)
        await connection.execute(statement)
    else:
        insert = sqlite.insert if connection.dialect.name == SQLITE else postgresql.insert
        upsert = insert(tables.tenant).values(values)
        await connection.execute(upsert.on_conflict_do_update(index_elements=["project_id"], set_=values))
    return await clock.read(connection)


async def reserve(
    connection: AsyncConnection,
    tenant_id: str,
    cluster_id: str,
    usage: Amounts,
    *,
    operation_id: str,
    defaults: Mapping[str, int],
) -> None:
    """Set what a cluster may use in all; the tenant is locked. Raises RequestError (QUOTA), naming all that lacks.

    Only what grows is checked, so that a tenant above a limit that was lowered may still shrink.
    """
    before = await reserved(connection, _RESERVED.cluster_id == cluster_id)
    others = await reserved(connection, _RESERVED.project_id == tenant_id, _RESERVED.cluster_id != cluster_id)
    limits = dict(defaults) | await limits_of(connection, tenant_id)
    wanted = asdict(usage)
    lacking = [
        f"{name}: {limits[name]} allowed, {others[name]} in use by other clusters, {wanted[name]} wanted"
        for name in RESOURCES
        if name in limits and wanted[name] > before[name] and others[name] + wanted[name] > limits[name]
    ]
    if lacking:
        raise RequestError(
            Code.QUOTA,
            f"the tenant's quota does not allow it ({'; '.join(lacking)}); delete something, or ask for more",
        )
    await connection.execute(tables.quota_reservation.delete().where(_RESERVED.cluster_id == cluster_id))
    await connection.execute(
        tables.quota_reservation.insert().values(
            cluster_id=cluster_id, project_id=tenant_id, operation_id=operation_id, **wanted
        )
    )


async def reserved(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> dict[str, int]:
    """Give the sums of what is reserved, by resource."""
    sums = [func.coalesce(func.sum(_RESERVED[name]), 0).label(name) for name in RESOURCES]
    row = (await connection.execute(select(*sums).where(*conditions))).one()
    return {name: int(getattr(row, name)) for name in RESOURCES}


async def limits_of(connection: AsyncConnection, tenant_id: str) -> dict[str, int]:
    """Give the limits that were set for a tenant, by resource."""
    rows = await connection.execute(select(tables.quotas).where(tables.quotas.c.project_id == tenant_id))
    return {row.resource: row.hard_limit for row in rows}


async def set_limits(connection: AsyncConnection, tenant_id: str, limits: Mapping[str, int | None]) -> None:
    """Write limits of a tenant; None takes one away, so that the default counts again."""
    await lock_tenant(connection, tenant_id)
    for resource, limit in limits.items():
        mine = (tables.quotas.c.project_id == tenant_id, tables.quotas.c.resource == resource)
        await connection.execute(tables.quotas.delete().where(*mine))
        if limit is not None:
            values = {"project_id": tenant_id, "resource": resource, "hard_limit": limit}
            await connection.execute(tables.quotas.insert().values(values))
