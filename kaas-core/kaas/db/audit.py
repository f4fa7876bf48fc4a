"""Who asked for what: one row for each request that changes something, asks for access, or is refused."""

from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import clock, tables
from kaas.domain.model import Scope

ACCEPTED = "accepted"


async def note(connection: AsyncConnection, scope: Scope, outcome: str = ACCEPTED) -> None:
    """Write down what a scope asks for; nothing when it names no action."""
    if not scope.action:
        return
    await connection.execute(
        tables.audit.insert().values(
            project_id=scope.tenant_id,
            user_id=scope.user_id,
            role=scope.role,
            request_id=scope.request_id,
            action=scope.action,
            target=scope.target,
            outcome=outcome,
            created_at=clock.now(),
        )
    )
