"""Keys that wait to be worked on: each once, never two at a time, later again if it failed."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

_log = logging.getLogger(__name__)


class QueueObserver(Protocol):
    """Is told what happens in a queue, for metrics."""

    def added(self, depth: int) -> None:
        """Note that a key came to wait; `depth` keys wait now."""
        ...

    def started(self, depth: int, waited_s: float) -> None:
        """Note that the work on a key begins, after it waited so long."""
        ...

    def finished(self, worked_s: float) -> None:
        """Note that the work on a key ended."""
        ...

    def retried(self) -> None:
        """Note that a key failed and comes again later."""
        ...


class NoObserver:
    """Notes nothing."""

    def added(self, depth: int) -> None:
        """Note nothing."""

    def started(self, depth: int, waited_s: float) -> None:
        """Note nothing."""

    def finished(self, worked_s: float) -> None:
        """Note nothing."""

    def retried(self) -> None:
        """Note nothing."""


class WorkQueue:
    """A queue of keys, first come first served. For one event loop, in which every method must be called.

    A key that is added while it waits is not added twice; one that is added while it is worked on comes again once that
    has ended. `retry` waits from `min_delay_s` on, twice as long each time, to `max_delay_s`; up to half of it is taken
    off by chance, so that what failed together does not come back together.
    """

    def __init__(
        self,
        name: str = "",
        *,
        min_delay_s: float = 5.0,
        max_delay_s: float = 300.0,
        observer: QueueObserver | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._min_delay_s = min_delay_s
        self._max_delay_s = max_delay_s
        self._observer = observer or NoObserver()
        self._chance = chance
        self._waiting: deque[str] = deque()
        self._added_at: dict[str, float] = {}
        """When each key was added that waits, or that comes again when the work on it has ended."""
        self._working: dict[str, float] = {}
        """Since when each key is worked on."""
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is worked on; what comes later does not count."""
        return not self._added_at and not self._working

    def add(self, key: str) -> None:
        """Let a key be worked on as soon as a worker is free."""
        if key in self._added_at:
            return
        self._added_at[key] = _now()
        if key not in self._working:
            self._enter(key)

    def add_after(self, key: str, delay_s: float) -> None:
        """Let a key be worked on after a while, even if it is also worked on before.

        Of several times that were asked for, the earliest counts.
        """
        if delay_s <= 0:
            self.add(key)
            return
        at = _now() + delay_s
        timer = self._later.get(key)
        if timer is not None:
            if timer.when() <= at:
                return
            timer.cancel()
        self._later[key] = asyncio.get_running_loop().call_at(at, self._fall_due, key)

    def retry(self, key: str) -> float:
        """Let a key come again that has failed; gives the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # Beyond 2**32 the longest delay is reached for sure, and the power would not fit a float for ever.
        whole_s = min(self._max_delay_s, self._min_delay_s * 2.0 ** min(failures, 32))
        delay_s = whole_s * (1 - 0.5 * self._chance())
        self._observer.retried()
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: str) -> None:
        """Count no failures of a key any more."""
        self._failures.pop(key, None)

    def retries(self, key: str) -> int:
        """How often a key has failed since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> str:
        """Wait for the next key; `done` must follow."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        key = self._waiting.popleft()
        now = _now()
        self._working[key] = now
        self._observer.started(len(self._waiting), now - self._added_at.pop(key))
        return key

    def done(self, key: str) -> None:
        """Say that the work on a key has ended, however it ended."""
        self._observer.finished(_now() - self._working.pop(key))
        if key in self._added_at:
            self._enter(key)

    def _fall_due(self, key: str) -> None:
        del self._later[key]
        self.add(key)

    def _enter(self, key: str) -> None:
        self._waiting.append(key)
        self._observer.added(len(self._waiting))
        self._some.set()


async def work(queue: WorkQueue, workers: int, reconcile: Callable[[str], Awaitable[float | None]]) -> None:
    """Work on a queue's keys until cancelled, on `workers` of them at one time.

    `reconcile` gives the seconds after which to look at the key again, or None. If it raises, the key comes again with
    growing delays. Cancelling waits until the work on every key has been cancelled.
    """
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(_worker(queue, reconcile))


async def _worker(queue: WorkQueue, reconcile: Callable[[str], Awaitable[float | None]]) -> None:
    while True:
        key = await queue.get()
        try:
            again_s = await reconcile(key)
        except Exception as error:  # noqa: BLE001 - one key that fails must not stop the others
            delay_s = queue.retry(key)
            text = "%s: %s failed and is tried again in %.1f s (failure %d): %s"
            values = (queue.name, key, delay_s, queue.retries(key), error or type(error).__name__)
            # The first time says where it came from; a key that fails for hours must not fill the log.
            _log.warning(text, *values, exc_info=queue.retries(key) == 1)
        else:
            queue.forget(key)
            if again_s is not None:
                queue.add_after(key, again_s)
        finally:
            queue.done(key)


def _now() -> float:
    return asyncio.get_running_loop().time()
