"""Listings of one collection, shared by everybody who asks at about the same time.

Belongs here: when a listing starts and who gets it. Does not belong here: what it asks the platform for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from thecloud.call import Lane, Params
from thecloud.flight import Flight

T = TypeVar("T")

Fetch = Callable[[Params, Lane, float], Awaitable[tuple[T, ...]]]
"""Asks the platform for a listing: filter (empty = everything), lane, deadline (loop time)."""


@dataclass(slots=True)
class _Batch(Generic[T]):
    """Questions that one listing will answer, collected until it starts."""

    questions: set[Params] = field(default_factory=set)
    lane: Lane = Lane.READ
    deadline: float = 0.0
    flight: Flight[tuple[T, ...]] | None = None

    def add(self, question: Params, lane: Lane, deadline: float) -> None:
        self.questions.add(question)
        self.lane = min(self.lane, lane)
        self.deadline = max(self.deadline, deadline)

    def filter(self) -> Params:
        """Give the one question of all, or no filter when they differ: a listing of everything answers each."""
        return next(iter(self.questions)) if len(self.questions) == 1 else ()


class Listing(Generic[T]):
    """At most one listing at a time, with a pause of a window between two.

    A caller gets a listing that begins after he asked, never an older one: who has just created an object sees it.
    """

    def __init__(self, fetch: Fetch[T], *, window_s: float, name: str) -> None:
        self._fetch = fetch
        self._window_s = window_s
        self._name = name
        self._turn = asyncio.Lock()
        self._not_before = 0.0
        self._open: _Batch[T] | None = None
        self._flights: set[Flight[tuple[T, ...]]] = set()

    async def get(self, question: Params, *, deadline: float, lane: Lane) -> tuple[T, ...]:
        """Give a listing that holds at least what the question selects.

        Raises what the platform's answer means, and DeadlineExceeded when there is none in time.
        """
        batch = self._open
        if batch is None or batch.flight is None or batch.flight.is_over:
            batch = self._open = _Batch()
            batch.flight = Flight(self._serve(batch), name=self._name)
            self._flights.add(batch.flight)
            batch.flight.when_over(self._flights.discard)
        batch.add(question, lane, deadline)
        return await batch.flight.join(deadline=deadline)

    async def aclose(self) -> None:
        """End what is under way."""
        for flight in tuple(self._flights):
            await flight.aclose()

    async def _serve(self, batch: _Batch[T]) -> tuple[T, ...]:
        loop = asyncio.get_running_loop()
        async with self._turn:
            if loop.time() < self._not_before:
                await asyncio.sleep(self._not_before - loop.time())
            # From here on a question is too late for this listing: what it shows may be older than the question.
            self._open = None
            try:
                return await self._fetch(batch.filter(), batch.lane, batch.deadline)
            finally:
                # Counted from the end: the rate budget may have held the request back until then.
                self._not_before = loop.time() + self._window_s
