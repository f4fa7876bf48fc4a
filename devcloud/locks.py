"""Locks by key: requests that work on the same object go one after the other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from devcloud.errors import TimedOutError


class KeyedLocks:
    """One lock per key, made when first wanted and forgotten when nobody wants it any more."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._locks: dict[str, asyncio.Lock] = {}
        self._wanted: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def hold(self, *keys: str) -> AsyncIterator[None]:
        """Hold all keys; taken in sorted order, so two callers never wait for each other.

        Raises TimedOutError when they cannot be had within the wait of this table.
        """
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._wait_s):
                    for key in sorted(set(keys)):
                        await stack.enter_async_context(self._hold_one(key))
            except TimeoutError as error:
                raise TimedOutError(f"another request works on {', '.join(keys)}; ask again") from error
            yield

    @contextlib.asynccontextmanager
    async def _hold_one(self, key: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._wanted[key] = self._wanted.get(key, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key], self._locks[key]
