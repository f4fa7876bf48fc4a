"""Conductors: which processes work on clusters, and when each was last seen. Leases know nothing of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import clock, tables
from kaas.db.session import Database
from kaas.domain.errors import Code, RequestError

_CONDUCTOR = tables.conductor.c


@dataclass(frozen=True, slots=True)
class Conductor:
    """A process that works on clusters."""

    id: str
    host: str
    version: str
    started_at: datetime
    last_seen_at: datetime
    silent_s: float
    """For how long it has not been seen, by the database's clock."""
    disabled: bool = False
    disabled_reason: str = ""


class ConductorRegistry:
    """The rows of conductors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, conductor_id: str, *, host: str, version: str) -> None:
        """Write that a conductor starts; one that was disabled stays so."""

        async def work(connection: AsyncConnection) -> None:
            now = clock.now()
            values = {"host": host, "version": version, "report_count": 0, "started_at": now, "last_seen_up": now}
            this = update(tables.conductor).where(_CONDUCTOR.id == conductor_id)
            if (await connection.execute(this.values(values))).rowcount == 0:
                row = values | {"id": conductor_id, "disabled": False, "disabled_reason": ""}
                await connection.execute(tables.conductor.insert().values(row))

        await self._database.write(work)

    async def beat(self, conductor_id: str) -> bool:
        """Write that a conductor lives. False when it is disabled, or not registered."""

        async def work(connection: AsyncConnection) -> bool:
            values = {"last_seen_up": clock.now(), "report_count": _CONDUCTOR.report_count + 1}
            await connection.execute(update(tables.conductor).where(_CONDUCTOR.id == conductor_id).values(values))
            disabled = await connection.scalar(select(_CONDUCTOR.disabled).where(_CONDUCTOR.id == conductor_id))
            return disabled is False

        return await self._database.write(work)

    async def list(self) -> Sequence[Conductor]:
        """Give all conductors by id."""

        async def work(connection: AsyncConnection) -> Sequence[Conductor]:
            now = await clock.read(connection)
            rows = await connection.execute(select(tables.conductor))
            found = [
                Conductor(
                    id=row.id,
                    host=row.host,
                    version=row.version,
                    started_at=row.started_at,
                    last_seen_at=row.last_seen_up,
                    silent_s=max(0.0, (now - row.last_seen_up).total_seconds()),
                    disabled=row.disabled,
                    disabled_reason=row.disabled_reason,
                )
                for row in rows
            ]
            return sorted(found, key=lambda conductor: conductor.id)

        return await self._database.read(work)

    async def disable(self, conductor_id: str, reason: str) -> None:
        """Let a conductor claim no more clusters; those that it has, it brings to their end. NOT_FOUND."""
        await self._set(conductor_id, disabled=True, reason=reason)

    async def enable(self, conductor_id: str) -> None:
        """Let it work again. Raises RequestError (NOT_FOUND)."""
        await self._set(conductor_id, disabled=False, reason="")

    async def remove(self, conductor_id: str) -> None:
        """Forget a conductor that has ended."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(tables.conductor).where(_CONDUCTOR.id == conductor_id))

        await self._database.write(work)

    async def _set(self, conductor_id: str, *, disabled: bool, reason: str) -> None:
        async def work(connection: AsyncConnection) -> None:
            this = update(tables.conductor).where(_CONDUCTOR.id == conductor_id)
            if (await connection.execute(this.values(disabled=disabled, disabled_reason=reason))).rowcount == 0:
                raise RequestError(Code.NOT_FOUND, f"there is no conductor {conductor_id!r}")

        await self._database.write(work)
