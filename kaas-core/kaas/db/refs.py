"""References to things outside."""

import uuid
from dataclasses import replace
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import tables
from kaas.db.rows import ref_of
from kaas.domain.model import ExternalRef
from kaas.domain.states import RefState

_REF = tables.external_ref.c


async def intend(connection: AsyncConnection, cluster_id: str, ref: ExternalRef, now: datetime) -> ExternalRef:
    """Write that something may exist; what is written already stays, and what was gone may exist again."""
    this = (_REF.cluster_id == cluster_id, _REF.kind == ref.kind, _REF.name == ref.name)
    row = (await connection.execute(select(tables.external_ref).where(*this))).first()
    if row is None:
        made = replace(ref, id=str(uuid.uuid4()), cluster_id=cluster_id, state=RefState.INTENDED, external_id="")
        await connection.execute(
            tables.external_ref.insert().values(
                uuid=made.id,
                cluster_id=cluster_id,
                kind=made.kind,
                name=made.name,
                state=made.state,
                external_id=made.external_id,
                node_id=made.node_id,
                step=made.step,
                created_at=now,
                updated_at=now,
            )
        )
        return made
    found = ref_of(row)
    if found.state is not RefState.GONE:
        return found
    again = replace(found, state=RefState.INTENDED, external_id="", node_id=ref.node_id, step=ref.step)
    values = {"state": again.state, "external_id": "", "node_id": again.node_id, "step": again.step, "updated_at": now}
    await connection.execute(update(tables.external_ref).where(_REF.uuid == again.id).values(values))
    return again


async def move(
    connection: AsyncConnection, cluster_id: str, ref_id: str, state: RefState, now: datetime, *, external_id: str
) -> bool:
    """Write what has become of it; False when there is no such row."""
    values: dict[str, object] = {"state": state, "updated_at": now} | (
        {"external_id": external_id} if external_id else {}
    )
    this = (_REF.cluster_id == cluster_id, _REF.uuid == ref_id)
    return (await connection.execute(update(tables.external_ref).where(*this).values(values))).rowcount == 1


async def left(connection: AsyncConnection, cluster_id: str) -> tuple[ExternalRef, ...]:
    """Give what is not known to be gone."""
    query = select(tables.external_ref).where(_REF.cluster_id == cluster_id, _REF.state != RefState.GONE)
    return tuple(map(ref_of, await connection.execute(query)))
