"""Looking for clusters that are due: the safety net below wake-ups, and what notices that a pause is over."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from kaas.domain.errors import StoreUnavailableError
from kaas.domain.store import Conducting
from kaas.engine.dispatch import Dispatcher
from kaas.engine.port import EngineObserver, NoEngineObserver

_log = logging.getLogger(__name__)

_LEAST_REST_S = 0.05
"""Between two looks, so that a race for the same clusters does not become a busy loop."""
_LEAST_TAKEN = 4
"""So many of a look wait for room where there is none: wake-ups would always be quicker to take what gets free, and who
is due for longest, such as a cluster whose conductor died, would come after all of them."""


class DuePoll:
    """Hands due clusters to a dispatcher, every `interval_s` seconds, or at once when it has room for more of them.

    `spread`: several processes look at the same list; each takes from it by chance, so that they seldom meet.
    """

    def __init__(
        self,
        store: Conducting,
        dispatcher: Dispatcher,
        *,
        interval_s: float,
        spread: bool = False,
        observer: EngineObserver | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._interval_s = interval_s
        self._spread = spread
        self._observer = observer or NoEngineObserver()
        self._chance = chance or random.Random()  # noqa: S311 - to spread load, not to keep a secret
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._seen: dict[str, float] = {}
        """Since when each cluster of the last look is seen as due."""

    async def run(self) -> None:
        """Look until cancelled. Tables that do not answer are asked again."""
        while True:
            self._dispatcher.freed.clear()
            more = await self._look()
            pause_s = self._interval_s * (0.5 + self._chance.random())
            await asyncio.sleep(min(_LEAST_REST_S, pause_s))
            if more:
                await _set_within(self._dispatcher.freed, pause_s)
            else:
                await asyncio.sleep(max(0.0, pause_s - _LEAST_REST_S))

    async def _look(self) -> bool:
        """Take what there is room for, or a few that wait for it; say whether more is due than was taken."""
        room = self._dispatcher.room or (0 if self._dispatcher.is_crowded else _LEAST_TAKEN)
        limit = max(1, room) * (4 if self._spread else 1) + 1
        try:
            due = await self._store.due(limit=limit)
        except StoreUnavailableError as error:
            _log.warning("the tables do not say which clusters are due, and are asked again: %s", error)
            return False
        self._note(due)
        wanted = [cluster_id for cluster_id in due if not self._dispatcher.knows(cluster_id)]
        if self._spread:
            self._chance.shuffle(wanted)
        for cluster_id in wanted[:room]:
            self._dispatcher.wake(cluster_id)
        return len(wanted) > room

    def _note(self, due: Sequence[str]) -> None:
        now = self._clock()
        self._seen = {cluster_id: self._seen.get(cluster_id, now) for cluster_id in due}
        self._observer.oldest_due(now - min(self._seen.values(), default=now))


async def _set_within(event: asyncio.Event, time_s: float) -> None:
    try:
        async with asyncio.timeout(time_s):
            await event.wait()
    except TimeoutError:
        return
