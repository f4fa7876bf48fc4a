"""The work that makes rows of load balancers true: one pass makes what is missing, and passes follow each other.

Belongs here: when to look, the status that comes of it, how soon to try again. Does not: how a path is made.
Extended tier: a pass follows every change. Strict tier: one every few seconds, as on the published platform.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence

from devcloud import addresses, balancers, strict_balancers
from devcloud.balancing.plan import Plan, plan_of, strict_plan_of
from devcloud.cloud import Cloud
from devcloud.errors import CloudError
from devcloud.network_rows import ACTIVE, BALANCERS, DELETED, Balancer
from devcloud.rows import CREATING, ERROR

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
_IDLE_S = 3600.0
_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 30.0


class Worker:
    """Makes the data paths of one platform."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._failed: dict[str, _Failure] = {}
        self._look_at = 0.0

    async def run_once(self) -> None:
        """Make one pass over all load balancers; what fails is tried again by a later one."""
        cloud = self._cloud
        if cloud.is_strict and await cloud.store.read(lambda db: BALANCERS.one(db, "status = ?", DELETED)) is not None:
            await cloud.store.write(strict_balancers.purge)
        plans = await cloud.store.read(self._plans)
        try:
            await cloud.path.keep(plans)
        except CloudError as error:
            _log.error("load balancers: %s", error)
            return
        await asyncio.gather(*(self._settle(plan) for plan in plans))
        if await self._look():
            # Targets of UDP that are not well any more are left out of its configuration.
            await asyncio.gather(*(self._settle(plan) for plan in plans))

    async def _look(self) -> bool:
        """Look at the targets' health, but not at every pass when one follows on the other."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_S / 2
        return await self._cloud.path.look()

    async def run(self) -> None:
        """Make passes until cancelled."""
        while True:
            waiter = self._cloud.hub.subscribe()
            try:
                await self.run_once()
            except Exception:  # noqa: BLE001
                # Whatever a pass did not expect, the next one may do better; without passes nothing is made any more.
                _log.exception("a pass over the load balancers failed")
            if self._cloud.is_strict:
                await asyncio.sleep(self._cloud.settings.lb_tick_s)
            else:
                await waiter.wait(self._pause_s())

    def _plans(self, db: sqlite3.Connection) -> list[Plan]:
        rows = BALANCERS.all(db)[::-1]
        if not self._cloud.is_strict:
            return [plan_of(db, row) for row in rows]
        address = addresses.gateway_of(self._cloud.settings.network)
        return [strict_plan_of(db, row, address) for row in _without_rivals(rows)]

    def _pause_s(self) -> float:
        return _LOOK_S if self._cloud.path.needs_looking or self._failed else _IDLE_S

    async def _settle(self, plan: Plan) -> None:
        failure = self._failed.get(plan.id)
        now = asyncio.get_running_loop().time()
        if failure is not None and failure.plan == plan and now < failure.again_at:
            return
        try:
            await self._cloud.path.apply(plan)
        except CloudError as error:
            pause_s = _FIRST_RETRY_S if failure is None else min(2 * failure.pause_s, _LAST_RETRY_S)
            self._failed[plan.id] = _Failure(plan, now + pause_s, pause_s)
            _log.error("load balancer %s: %s", plan.id, error)
            await self._note(plan, CREATING if self._cloud.is_strict else ERROR, str(error))
        else:
            self._failed.pop(plan.id, None)
            await self._note(plan, ACTIVE, "")

    async def _note(self, plan: Plan, status: str, reason: str) -> None:
        if await self._cloud.store.write(lambda db: balancers.set_status(db, plan.id, status, reason)):
            self._cloud.hub.wake()


class _Failure:
    """A plan that could not be made, and when it is tried again."""

    def __init__(self, plan: Plan, again_at: float, pause_s: float) -> None:
        self.plan = plan
        self.again_at = again_at
        self.pause_s = pause_s


@contextlib.asynccontextmanager
async def working(cloud: Cloud) -> AsyncIterator[None]:
    """Keep the data paths in line with the rows."""
    task = asyncio.create_task(Worker(cloud).run(), name="load balancers")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _without_rivals(rows: Sequence[Balancer]) -> list[Balancer]:
    """Leave out load balancers whose port an older one has: they stay CREATING (platform contract 9.4)."""
    served: dict[int, Balancer] = {}
    for row in rows:
        # One that is made already keeps its port.
        if row.port not in served or (row.status == ACTIVE and served[row.port].status != ACTIVE):
            served[row.port] = row
    return list(served.values())
