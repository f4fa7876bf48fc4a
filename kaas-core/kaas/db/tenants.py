"""Limits of tenants, for who runs the service."""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import quotas, tables
from kaas.db.session import Database
from kaas.domain.errors import Code, Problem, RequestError
from kaas.domain.store import Amounts


class TenantStore:
    """What tenants may use, and what they do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def limits(self, tenant_id: str) -> Mapping[str, int]:
        """Give the limits that were set for a tenant by resource; for others the default counts."""
        return await self._database.read(lambda connection: quotas.limits_of(connection, tenant_id))

    async def set_limits(self, tenant_id: str, limits: Mapping[str, int | None]) -> None:
        """Set limits by resource; None takes one away. What is in use already is not touched. INVALID."""
        problems = [
            *(Problem(name, "nothing of this name is limited") for name in limits if name not in quotas.RESOURCES),
            *(Problem(name, "below 0") for name, limit in limits.items() if limit is not None and limit < 0),
        ]
        if problems:
            known = ", ".join(quotas.RESOURCES)
            raise RequestError(Code.INVALID, f"limits are 0 or more, and are of {known}", problems=tuple(problems))
        await self._database.write(lambda connection: quotas.set_limits(connection, tenant_id, limits))

    async def usage(self, tenant_id: str) -> Amounts:
        """Give what the tenant's clusters have reserved."""

        async def work(connection: AsyncConnection) -> Amounts:
            mine = tables.quota_reservation.c.project_id == tenant_id
            return Amounts(**await quotas.reserved(connection, mine))

        return await self._database.read(work)
