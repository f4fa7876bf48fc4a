"""Keeping a lease while its work is done. Whoever may have lost it stops before another can have it.

The lease counts from before a renewal was sent, on this machine's own clock, one that never jumps and that goes on
while the machine sleeps. A renewal that fails or is refused ends the work at once; one that hangs ends it while the
lease still has time. A process that was stopped and goes on finds out by the clock, before any timer has run; and what
it had under way already is refused by the token.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol, TypeVar

from kaas.domain.errors import LeaseLostError
from kaas.domain.model import Lease
from kaas.domain.store import Conducting
from kaas.reconcile.unwrap import telling

LEASE_S = 60.0
RENEW_S = 15.0
_MARGIN = 1 / 6
"""Part of the lease in which nothing is begun any more and the work has time to stop."""

Value = TypeVar("Value")


def steady_clock() -> float:
    """Give seconds that never jump, those in which the machine slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Guard(Protocol):
    """Says whether the lease is held."""

    def assure(self) -> None:
        """Raise LeaseLostError when another conductor may have the cluster by now."""
        ...


class Heartbeat:
    """One lease; `asked_at` is the clock's time before it was claimed."""

    def __init__(
        self,
        store: Conducting,
        lease: Lease,
        *,
        asked_at: float,
        lease_s: float = LEASE_S,
        renew_s: float = RENEW_S,
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        if not 0 < renew_s < lease_s * (1 - _MARGIN):
            raise ValueError("a lease must be renewed well before it runs out")
        self._store = store
        self._lease = lease
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._clock = clock
        self._renewed_at = asked_at

    def assure(self) -> None:
        """Raise LeaseLostError when the lease may run out before anything that begins now has ended."""
        if self._left_s() <= 0:
            raise LeaseLostError(
                f"the lease on cluster {self._lease.cluster_id} was not renewed for "
                f"{self._clock() - self._renewed_at:.0f} s and may have run out"
            )

    async def hold(self, work: Callable[[], Awaitable[Value]]) -> Value:
        """Do the work while the lease is renewed. Raises LeaseLostError, and what the work or a renewal raises.

        The work has been cancelled and has ended by then.
        """
        self.assure()
        try:
            async with asyncio.TaskGroup() as group:
                beat = group.create_task(self._beat(), name=f"lease on {self._lease.cluster_id}")
                value = await work()
                beat.cancel()
        except BaseExceptionGroup as errors:
            raise telling(errors) from errors
        return value

    def _left_s(self) -> float:
        return self._renewed_at + self._lease_s * (1 - _MARGIN) - self._clock()

    async def _beat(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._renew_s)
            self.assure()
            asked_at = self._clock()
            try:
                async with asyncio.timeout(self._left_s()) as limit:
                    await self._store.renew(self._lease, ttl_s=self._lease_s)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                raise LeaseLostError(
                    f"the lease on cluster {self._lease.cluster_id} could not be renewed: the tables did not answer"
                ) from error
            self._renewed_at = asked_at
