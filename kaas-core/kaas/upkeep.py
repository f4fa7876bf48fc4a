"""What a conductor does besides its clusters: it is written down as long as it lives, and old rows go."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from kaas.db.store import Store
from kaas.domain.errors import StoreUnavailableError
from kaas.engine.advisory_lock import Alone

LOG = logging.getLogger("kaas.upkeep")
BEAT_S = 10.0
PRUNE_S = 3600.0
_FORGOTTEN_S = 24 * 3600.0
"""A conductor that was killed is remembered for so long."""


def conductor_name() -> str:
    """Give a name that no other conductor has or had."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The work around a conductor called `owner`."""

    store: Store
    owner: str
    version: str
    keep_events_s: float
    keep_audit_s: float

    @contextlib.asynccontextmanager
    async def running(self, *, alone: Alone | None = None) -> AsyncIterator[None]:
        """Do it inside of the block. Raises StoreUnavailableError when the tables do not answer at its begin.

        With `alone`, what conductors before this one held is taken away from them first: they were killed.
        """
        registry = self.store.conductors
        if alone is not None and (taken := await self.store.conducting.take_away_leases()):
            LOG.info("%s clusters were held by a conductor that was killed, and are worked on again", taken)
        await registry.register(self.owner, host=socket.gethostname(), version=self.version)
        try:
            # A mistake in what is done here ends the conductor, instead of going on unseen.
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._beat()), group.create_task(self._prune())]
                yield
                for task in tasks:
                    task.cancel()
        finally:
            with contextlib.suppress(StoreUnavailableError):
                await registry.remove(self.owner)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self.store.conductors.beat(self.owner)
            except StoreUnavailableError as error:
                LOG.warning("the tables do not take note that this conductor lives: %s", error)

    async def _prune(self) -> None:
        while True:
            try:
                gone = await self.store.retention.prune(
                    older_than_s=self.keep_events_s, audit_older_than_s=self.keep_audit_s
                )
                LOG.debug("old rows are removed: %s", gone)
                for conductor in await self.store.conductors.list():
                    if conductor.silent_s > _FORGOTTEN_S:
                        await self.store.conductors.remove(conductor.id)
            except StoreUnavailableError as error:
                LOG.warning("old rows are left for later: %s", error)
            await asyncio.sleep(PRUNE_S)
