"""Which clusters are worked on in this process: each once at one time, so many at one time."""

import asyncio
import logging
from collections import deque
from contextvars import Context
from functools import partial

from kaas.engine.port import EngineObserver, Handler, NoEngineObserver

_log = logging.getLogger(__name__)


class Dispatcher:
    """Runs a handler for clusters that are woken. For one event loop, in which every method must be called.

    A cluster that is woken while it waits is not added twice; one that is woken while it is worked on comes again once
    that has ended, because the handler may have looked before what it was woken for was there.
    """

    def __init__(self, handler: Handler, *, concurrency: int, observer: EngineObserver | None = None) -> None:
        if concurrency < 1:
            raise ValueError("at least one cluster must be worked on at one time")
        self._handler = handler
        self._concurrency = concurrency
        self._observer = observer or NoEngineObserver()
        self._queue: deque[str] = deque()
        self._next: dict[str, asyncio.Future[None]] = {}
        """Done when a handling that has not begun yet has ended, by cluster."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ended = False
        self.freed = asyncio.Event()
        """Set whenever a handler has ended; for those who wait for room to clear."""

    @property
    def room(self) -> int:
        """How many more clusters could be worked on now."""
        return max(0, self._concurrency - len(self._running) - len(self._queue))

    @property
    def is_crowded(self) -> bool:
        """Whether as many clusters wait as can be worked on at one time."""
        return len(self._queue) >= self._concurrency

    def knows(self, cluster_id: str) -> bool:
        """Say whether a cluster waits or is worked on."""
        return cluster_id in self._running or cluster_id in self._next

    def wake(self, cluster_id: str) -> asyncio.Future[None]:
        """Let a cluster be worked on; done when a handling that began after this call has ended, however it ended.

        Those who wait for it shield it, since it may be shared.
        """
        future = self._next.get(cluster_id)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            if self._ended:
                future.set_result(None)
                return future
            self._next[cluster_id] = future
            if cluster_id not in self._running:
                self._queue.append(cluster_id)
                self._start()
        return future

    async def end(self, *, grace_s: float) -> None:
        """Begin nothing more, wait for the handlers, and after the grace cancel them and wait for that."""
        self._ended = True
        self._queue.clear()
        for future in self._next.values():
            _done(future)
        self._next.clear()
        try:
            if self._running:
                await asyncio.wait(self._running.values(), timeout=grace_s)
        finally:
            # Here as well when the caller is cancelled: a handler that goes on alone would hold its lease for nobody.
            for task in self._running.values():
                task.cancel()
            if self._running:
                await asyncio.wait(self._running.values())

    def _start(self) -> None:
        while self._queue and len(self._running) < self._concurrency:
            cluster_id = self._queue.popleft()
            future = self._next.pop(cluster_id)
            # An empty context: what a request set in the caller's must not go on in the work that it woke.
            task = asyncio.get_running_loop().create_task(self._handler(cluster_id), context=Context())
            self._running[cluster_id] = task
            task.add_done_callback(partial(self._finish, cluster_id, future))
        self._observer.running(len(self._running))

    def _finish(self, cluster_id: str, future: asyncio.Future[None], task: asyncio.Task[None]) -> None:
        del self._running[cluster_id]
        _done(future)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The next poll brings it again; one cluster that fails must not stop the others.
            _log.error("the work on cluster %s ended on an error", cluster_id, exc_info=error)
        if cluster_id in self._next:
            self._queue.append(cluster_id)
        self.freed.set()
        self._start()


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
