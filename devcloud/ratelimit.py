"""The platform's rate limits: token buckets per key prefix or address (platform contract 1.5)."""

import time
from collections.abc import Callable

_KEY_PREFIX_CHARACTERS = 5
_DROP_AFTER_S = 600.0


class RateLimiter:
    """Token buckets that live in memory and are all dropped every ten minutes."""

    def __init__(self, rate_per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate_per_s
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self._dropped_at = clock()

    def allows(self, bucket: str) -> bool:
        """Take a token from the bucket; False when it is empty. A rate of 0 allows everything."""
        if self._rate <= 0:
            return True
        now = self._clock()
        if now - self._dropped_at >= _DROP_AFTER_S:
            self._buckets.clear()
            self._dropped_at = now
        tokens, seen_at = self._buckets.get(bucket, (self._burst, now))
        tokens = min(self._burst, tokens + (now - seen_at) * self._rate)
        allowed = tokens >= 1
        self._buckets[bucket] = (tokens - 1 if allowed else tokens, now)
        return allowed


def bucket_of(api_key: str, client_host: str) -> str:
    """Name the bucket of a request; all keys that start alike share one."""
    return f"apikey:{api_key[:_KEY_PREFIX_CHARACTERS]}" if api_key else f"ip:{client_host}"
