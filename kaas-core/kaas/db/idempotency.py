"""Idempotency-Key: a request that comes again gets the answer that it had."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import codec, tables
from kaas.db.tables import NAME
from kaas.domain.errors import Code, Problem, RequestError
from kaas.domain.store import Accepted

_KEY = tables.idempotency_key.c


async def recall(connection: AsyncConnection, tenant_id: str, key: str, request_hash: str) -> Accepted | None:
    """Give what a request of that key was answered; the tenant is locked.

    Raises RequestError: KEY_REUSED when it was another request, INVALID when the key is too long to be kept.
    """
    if not key:
        return None
    if len(key) > NAME:
        problem = Problem("Idempotency-Key", f"longer than {NAME} characters")
        raise RequestError(Code.INVALID, f"the Idempotency-Key is longer than {NAME} characters", problems=(problem,))
    mine = (_KEY.project_id == tenant_id, _KEY.key == key)
    row = (await connection.execute(select(tables.idempotency_key).where(*mine))).first()
    if row is None:
        return None
    if row.request_hash != request_hash:
        raise RequestError(
            Code.KEY_REUSED, f"Idempotency-Key {key!r} belongs to another request; a new request needs a new key"
        )
    return replace(codec.from_json(row.answer, Accepted), replayed=True)


async def remember(
    connection: AsyncConnection, tenant_id: str, key: str, *, request_hash: str, accepted: Accepted, now: datetime
) -> None:
    """Keep what a request is answered."""
    if not key:
        return
    await connection.execute(
        tables.idempotency_key.insert().values(
            project_id=tenant_id,
            key=key,
            request_hash=request_hash,
            operation_id=accepted.operation.id,
            answer=codec.to_json(accepted),
            created_at=now,
        )
    )
