"""Waiting for a lock no longer than the caller may, and locks of load balancers by their ids."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from ccm.ports import Cause, CloudError


@asynccontextmanager
async def held(lock: asyncio.Lock, what: str, *, deadline: float) -> AsyncIterator[None]:
    """Hold a lock; raises CloudError NOT_SENT when it is not free by the deadline."""
    try:
        async with asyncio.timeout_at(deadline):
            await lock.acquire()
    except TimeoutError as error:
        raise CloudError(Cause.NOT_SENT, f"no time left while waiting for {what}") from error
    try:
        yield
    finally:
        lock.release()


class BalancerLocks:
    """One writer for each load balancer: services that share one do not plan on what another is just changing."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def held(self, balancer_ids: Iterable[str], *, deadline: float) -> AsyncIterator[None]:
        """Hold the locks of these load balancers; raises CloudError NOT_SENT when one is not free by the deadline."""
        async with AsyncExitStack() as stack:
            # All in one order, so that no two wait for each other.
            for balancer_id in sorted(set(balancer_ids)):
                lock = self._locks.setdefault(balancer_id, asyncio.Lock())
                self._users[balancer_id] = self._users.get(balancer_id, 0) + 1
                stack.callback(self._leave, balancer_id)
                what = f"others that write to load balancer {balancer_id}"
                await stack.enter_async_context(held(lock, what, deadline=deadline))
            yield

    def _leave(self, balancer_id: str) -> None:
        self._users[balancer_id] -= 1
        if not self._users[balancer_id]:
            del self._users[balancer_id], self._locks[balancer_id]
