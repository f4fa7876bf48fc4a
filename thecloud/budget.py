"""How often this client may ask, and who goes first when that is not enough.

The platform limits all API-key clients together (platform contract 1.5), so that each has to hold back on its own.
Belongs here: the budget. Does not belong here: what happens after the platform refused (`thecloud.retry`).
"""

import asyncio
from collections import OrderedDict

from thecloud.call import Answer, Call, Exchange, Lane
from thecloud.errors import DeadlineExceeded, RateLimited

FAIR_SHARE = 8
"""Every n-th request that had to wait goes to whoever has waited longest, so that no lane waits for ever."""

_Waiter = asyncio.Future[None]
_Lane = OrderedDict[int, _Waiter]

_WHOLE_TOKEN = 1 - 1e-6
"""A token, less what adding up fractions may lose: a timer that fires a rounding error early must not fire again."""


class Budget:
    """A token bucket with lanes.

    A token is taken in the order of the lanes, first come first served within one. A caller that is cancelled, or whose
    deadline passes, loses no token and keeps none.
    """

    def __init__(self, *, rate_per_s: float, burst: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._counted_at: float | None = None
        self._paused_until = 0.0
        self._lanes: dict[Lane, _Lane] = {lane: OrderedDict() for lane in sorted(Lane)}
        self._tickets = 0
        self._grants = 0
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, lane: Lane, *, deadline: float) -> None:
        """Wait for the right to make one request; raises TimeoutError when the deadline passes first."""
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        ticket = self._tickets = self._tickets + 1
        self._lanes[lane][ticket] = waiter
        self._grant()
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
        except BaseException:
            self._lanes[lane].pop(ticket, None)
            if waiter.done() and not waiter.cancelled():
                # Granted, but nobody is left to use it.
                self._tokens = min(self._burst, self._tokens + 1)
            self._grant()
            raise

    def hold_back(self, pause_s: float) -> None:
        """Spend what was saved up and grant nothing for a while: the platform said that it was too much."""
        now = self._refill()
        self._tokens = min(self._tokens, 0.0)
        self._paused_until = max(self._paused_until, now + pause_s)

    @property
    def waiting(self) -> int:
        """Callers that wait now."""
        return sum(len(lane) for lane in self._lanes.values())

    def _grant(self) -> None:
        now = self._refill()
        while now >= self._paused_until and self._tokens >= _WHOLE_TOKEN and self.waiting:
            waiter = self._next()
            # One that was cancelled in this turn of the loop has not taken itself out yet.
            if not waiter.done():
                self._tokens -= 1
                waiter.set_result(None)
        self._set_timer(now)

    def _next(self) -> _Waiter:
        filled = [lane for lane in self._lanes.values() if lane]
        self._grants += 1
        oldest_first = self._grants % FAIR_SHARE == 0
        chosen = min(filled, key=lambda lane: next(iter(lane))) if oldest_first else filled[0]
        return chosen.popitem(last=False)[1]

    def _refill(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._counted_at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._rate_per_s)
        self._counted_at = now
        return now

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.waiting:
            missing_s = max(0.0, 1 - self._tokens) / self._rate_per_s
            at = max(now + missing_s, self._paused_until)
            self._timer = asyncio.get_running_loop().call_at(at, self._grant)


class BudgetedExchange:
    """Makes each request wait for its turn."""

    def __init__(self, inner: Exchange, budget: Budget) -> None:
        self._inner = inner
        self._budget = budget

    async def send(self, call: Call) -> Answer:
        """Make the call in its turn; raises DeadlineExceeded when the turn does not come in time."""
        try:
            await self._budget.take(call.lane, deadline=call.deadline)
        except TimeoutError as error:
            raise DeadlineExceeded(
                "the rate budget of this client gave no turn in time", method=call.method, route=call.route
            ) from error
        try:
            return await self._inner.send(call)
        except RateLimited as error:
            self._budget.hold_back(error.retry_after_s or 0.0)
            raise
