"""Wake-ups where nothing is to be woken: tables without an engine, whose poll finds what is due."""

from sqlalchemy.ext.asyncio import AsyncConnection


class NoWakeups:
    """Wakes nobody. Implements `kaas.engine.port.Wakeups`."""

    async def enqueue(self, connection: AsyncConnection, cluster_id: str) -> None:
        """Do nothing."""

    def committed(self, cluster_id: str) -> None:
        """Do nothing."""


NO_WAKEUPS = NoWakeups()
