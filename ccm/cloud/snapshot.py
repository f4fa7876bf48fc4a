"""A listing that is kept for a while and shared by everybody who asks meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from ccm.cloud.errors import translated
from thecloud.flight import Flight

T = TypeVar("T")

LISTING_LIMIT_S = 60.0
"""Time of one listing; each of those who wait for it has a deadline of its own."""


class Snapshot(Generic[T]):
    """The last listing, and at most one under way that is fresh enough for whoever asks.

    `fetch` takes the deadline (loop time) of the listing and the time at which it was begun.
    """

    def __init__(self, fetch: Callable[[float, float], Awaitable[T]], *, name: str) -> None:
        self._fetch = fetch
        self._name = name
        self._writes = 0
        self._known: tuple[float, int, T] | None = None
        self._asking: Flight[T] | None = None
        self._asked: tuple[float, int] = (0.0, 0)

    async def get(self, *, max_age_s: float, deadline: float) -> T:
        """Give a listing that was begun at most `max_age_s` ago, and after the last `spoil`.

        Raises PlatformError; a failure is told to all who wait for it, and the next caller asks again.
        """
        now = asyncio.get_running_loop().time()
        if self._known is not None and self._is_fresh(self._known[:2], now, max_age_s):
            return self._known[2]
        if self._asking is None or self._asking.is_over or not self._is_fresh(self._asked, now, max_age_s):
            self._asked = (now, self._writes)
            self._asking = Flight(self._ask(now, self._writes), name=self._name)
        return await self._asking.join(deadline=deadline)

    def spoil(self) -> None:
        """Let nobody have what was begun before this moment: something has been, or may have been, changed."""
        self._writes += 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Spoil it after a write in the block, also after one that failed: it may have happened. Raises CloudError."""
        try:
            with translated():
                yield
        finally:
            self.spoil()

    def _is_fresh(self, begun: tuple[float, int], now: float, max_age_s: float) -> bool:
        # Not ">=": what was begun in the same tick of the clock may have been begun before the question.
        return begun[0] > now - max_age_s and begun[1] == self._writes

    async def _ask(self, since: float, writes: int) -> T:
        found = await self._fetch(since + LISTING_LIMIT_S, since)
        if self._known is None or self._known[:2] <= (since, writes):
            self._known = (since, writes, found)
        return found
