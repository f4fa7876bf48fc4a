"""The engine of one machine: API and conductor in one process, wake-ups as method calls, the tables as safety net.

It is made for one conductor; `advisory_lock` keeps a second one away. Several conductors need `procrastinate`.
"""

import asyncio
import random
from typing import TYPE_CHECKING

from kaas.domain.store import Conducting
from kaas.engine.dispatch import Dispatcher
from kaas.engine.due import DuePoll
from kaas.engine.port import EngineObserver, Handler
from process.life import Stop

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

POLL_S = 1.0
GRACE_S = 25.0
"""For handlers to come to a boundary; what is cancelled then still ends within the 30 seconds that supervisors wait."""


class InProcessEngine:
    """Wakes this process' conductor; `Engine` and `Wakeups` in one."""

    def __init__(
        self,
        store: Conducting,
        *,
        poll_s: float = POLL_S,
        grace_s: float = GRACE_S,
        observer: EngineObserver | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._store = store
        self._poll_s = poll_s
        self._grace_s = grace_s
        self._observer = observer
        self._chance = chance
        self._dispatcher: Dispatcher | None = None

    async def enqueue(self, connection: "AsyncConnection", cluster_id: str) -> None:
        """Do nothing: the row says that the cluster is due, and `committed` that somebody should look."""

    def committed(self, cluster_id: str) -> None:
        """Let the cluster be worked on now; without a conductor in this process, its poll finds it."""
        if self._dispatcher is not None:
            self._dispatcher.wake(cluster_id)

    async def run(self, handler: Handler, *, concurrency: int, stop: Stop) -> None:
        """Work until asked to end, as `Engine.run` says."""
        dispatcher = Dispatcher(handler, concurrency=concurrency, observer=self._observer)
        poll = DuePoll(self._store, dispatcher, interval_s=self._poll_s, observer=self._observer, chance=self._chance)
        self._dispatcher = dispatcher
        try:
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(poll.run(), name="due clusters")
                await stop.wait()
                looking.cancel()
            await dispatcher.end(grace_s=self._grace_s)
        finally:
            self._dispatcher = None
            await dispatcher.end(grace_s=0)
