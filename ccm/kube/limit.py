"""How often something may be done."""

import asyncio
from collections.abc import Callable


class TokenBucket:
    """`rate_per_s` times a second on average, and `burst` times at once after a rest; times are those of `clock`."""

    def __init__(self, rate_per_s: float, burst: int, *, clock: Callable[[], float]) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._clock = clock
        self._counted_at = clock()

    def try_take(self) -> bool:
        """Take a turn if there is one now."""
        self._refill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def take(self, *, deadline: float) -> None:
        """Wait for a turn, first come first served; raises TimeoutError at once if it will not come in time."""
        self._refill()
        wait_s = max(0.0, 1 - self._tokens) / self._rate_per_s
        if self._clock() + wait_s > deadline:
            raise TimeoutError
        # The turn is reserved now; whoever comes later waits longer.
        self._tokens -= 1
        if wait_s:
            try:
                await asyncio.sleep(wait_s)
            except asyncio.CancelledError:
                self._tokens += 1
                raise

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._rate_per_s)
        self._counted_at = now
