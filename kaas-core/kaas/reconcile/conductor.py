"""A conductor: claims clusters that are due, one lease each, and brings them on. Any number may run.

Whoever calls `handle` for a cluster that has nothing to do, or that another conductor has, loses nothing.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from kaas.domain.errors import LeaseLostError, StoreUnavailableError
from kaas.domain.model import Lease
from kaas.domain.store import Conducting
from kaas.engine.port import Engine
from kaas.reconcile import faults as points
from kaas.reconcile.backoff import Backoff
from kaas.reconcile.faults import Faults, NoFaults
from kaas.reconcile.halt import Halt, Reason
from kaas.reconcile.heartbeat import Heartbeat, steady_clock
from kaas.reconcile.idle import IdleRun
from kaas.reconcile.operation import PARALLEL, ConductorObserver, Means, NoConductorObserver, OperationRun, Timing
from kaas.reconcile.planner import Planner
from kaas.reconcile.runner import Runner, StepObserver
from kaas.reconcile.step import Tools
from process.life import Stop
from process.request import request_id

_log = logging.getLogger(__name__)

CONCURRENCY = 64
_RELEASE_S = 5.0


def utc_now() -> datetime:
    """Give the time of day."""
    return datetime.now(UTC)


class Conductor:
    """Works on clusters under leases of `owner`, a name that no other conductor has.

    `now` is the time of day, `clock` one that never jumps. What happens is told to the observers, for metrics.
    """

    def __init__(
        self,
        store: Conducting,
        engine: Engine,
        planner: Planner,
        tools: Tools,
        *,
        owner: str,
        concurrency: int = CONCURRENCY,
        parallel: int = PARALLEL,
        timing: Timing | None = None,
        faults: Faults | None = None,
        observer: ConductorObserver | None = None,
        steps: StepObserver | None = None,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = steady_clock,
        chance: random.Random | None = None,
    ) -> None:
        self._store = store
        self._engine = engine
        self._owner = owner
        self._concurrency = concurrency
        self._clock = clock
        chance = chance or random.Random()  # noqa: S311 - to spread load, not to keep a secret
        faults = faults or NoFaults()
        self._means = Means(
            planner=planner,
            tools=tools,
            runner=Runner(store, faults=faults, backoff=Backoff(chance=chance), observer=steps),
            faults=faults,
            timing=timing or Timing(),
            drain=Halt(),
            now=now,
            observer=observer or NoConductorObserver(),
            parallel=parallel,
            chance=chance,
        )

    async def run(self, stop: Stop) -> None:
        """Work until `stop` asks for the end: nothing more is claimed, and steps come to a boundary.

        Leases are given back by then. After the engine's grace, what still runs is cancelled.
        """
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(self._drain(stop), name="end of the conductor")
            await self._engine.run(self.handle, concurrency=self._concurrency, stop=stop)
            draining.cancel()

    async def handle(self, cluster_id: str) -> None:
        """Look at a cluster and do what there is to do, unless another conductor has it.

        Raises what is a mistake of ours; the cluster is looked at again after a while.
        """
        if self._means.drain.reason is not None:
            return
        timing = self._means.timing
        asked_at = self._clock()
        lease = await self._store.claim(cluster_id, self._owner, ttl_s=timing.lease_s)
        if lease is None:
            return
        heartbeat = Heartbeat(
            self._store,
            lease,
            asked_at=asked_at,
            lease_s=timing.lease_s,
            renew_s=timing.renew_s,
            clock=self._clock,
        )
        try:
            await self._means.faults.at(points.AFTER_CLAIM)
            due_in_s = await heartbeat.hold(lambda: self._work(lease, heartbeat))
        except LeaseLostError as error:
            # It is not ours to give back any more.
            self._means.observer.lease_lost()
            _log.warning("cluster %s is let go: %s", cluster_id, error)
        except StoreUnavailableError as error:
            _log.warning("the work on cluster %s ends here: %s", cluster_id, error)
            await self._release(lease, timing.after_error_s)
        except asyncio.CancelledError:
            await self._release(lease, 0.0)
            raise
        except Exception:
            await self._release(lease, timing.after_error_s)
            raise
        else:
            await self._release(lease, due_in_s)

    async def _drain(self, stop: Stop) -> None:
        await stop.wait()
        self._means.drain(Reason.DRAIN)

    async def _work(self, lease: Lease, guard: Heartbeat) -> float | None:
        """Bring a cluster on until there is nothing to do for now; give in how many seconds there may be."""
        while self._means.drain.reason is None:
            snapshot = await self._store.snapshot(lease)
            if snapshot is None:
                return None
            operation = snapshot.operation
            with _on_behalf_of("" if operation is None else operation.request_id):
                if operation is None:
                    again_s = await IdleRun(self._means, lease, guard).advance(snapshot)
                else:
                    ahead = timedelta() if snapshot.read_at is None else snapshot.read_at - self._means.now()
                    run = OperationRun(self._means, lease, guard, operation, ahead=ahead)
                    again_s = await run.advance(snapshot)
            if again_s is not None:
                return again_s
        return 0.0

    async def _release(self, lease: Lease, due_in_s: float | None) -> None:
        await self._means.faults.at(points.BEFORE_RELEASE)
        try:
            async with asyncio.timeout(_RELEASE_S):
                await self._store.release(lease, due_in_s=due_in_s)
        except (StoreUnavailableError, TimeoutError) as error:
            _log.warning("cluster %s could not be given back, its lease runs out: %s", lease.cluster_id, error)


@contextlib.contextmanager
def _on_behalf_of(request: str) -> Iterator[None]:
    """Let logs and calls to the platform name a request while the block runs, and no longer."""
    token = request_id.set(request)
    try:
        yield
    finally:
        request_id.reset(token)
