"""A conductor on a store in memory and virtual time."""

import asyncio
import random

from kaas.domain.states import OperationKind
from kaas.reconcile.conductor import Conductor
from tests.support.kaas_steps import FakePlanner, NoEngine, tools
from tests.support.kaas_store import MemoryStore, loop_now
from tests.unit.thecloud.virtual_time import now

CLUSTER = "c1"


class AlwaysMost(random.Random):
    """Chance that always gives the upper end."""

    def uniform(self, a, b):
        return b

    def random(self):
        return 0.5


def conductor(store, planner: FakePlanner, *, owner="one", behind=None, **options) -> Conductor:
    """Make a conductor; `behind` is what stands between it and the store."""
    options.setdefault("chance", AlwaysMost())
    options.setdefault("clock", now)
    options.setdefault("now", loop_now)
    reached = behind if behind is not None else store
    return Conductor(reached, NoEngine(), planner, tools(reached), owner=owner, **options)


async def settle(subject: Conductor, store: MemoryStore, *, until_s: float = 7200.0) -> None:
    """Handle the cluster whenever it is due, until no operation is open or the time is over."""
    end = now() + until_s
    while now() < end:
        for cluster_id in await store.due(limit=10):
            await subject.handle(cluster_id)
        if all(
            each.finished_at or each.state.value not in ("pending", "running") for each in store.operations.values()
        ):
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"not settled: {store.operations}")


def created(store: MemoryStore, **options):
    return store.request(CLUSTER, OperationKind.CREATE, **options)
