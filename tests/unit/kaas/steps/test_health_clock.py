"""What is seen of a cluster is dated by the clock that everything it is compared with is written by."""

from dataclasses import replace
from typing import Any

import pytest

from kaas.domain.errors import Code, StepError
from kaas.domain.model import Lease
from kaas.domain.repair import Limits
from kaas.reconcile.step import Tools, Work
from kaas.reconcile.steps.health import HealthLook
from tests.support.kaas_flow import utc
from tests.unit.kaas.plans.test_repair import cluster


class Silent:
    """A platform that does not answer."""

    async def find(self, *_: object, **__: object) -> Any:
        raise StepError(Code.PLATFORM_UNAVAILABLE, "away")


class Written:
    """Takes note of what is written of nodes."""

    def __init__(self) -> None:
        self.since: set[object] = set()

    async def update_node(self, _lease: Lease, _node_id: str, update: Any) -> None:
        self.since.add(update.unhealthy_since)

    async def update_cluster(self, *_: object, **__: object) -> None:
        """Take no note."""

    async def add_event(self, *_: object) -> None:
        """Take no note."""


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
async def test_a_conductor_whose_clock_is_wrong_writes_the_time_of_the_tables(ahead_s: int) -> None:
    snapshot = cluster()
    # Without an address its API does not answer.
    snapshot = replace(snapshot, cluster=replace(snapshot.cluster, endpoint=""), read_at=utc(50_000))
    written = Written()
    others: Any = None
    store: Any = written
    tools = Tools(Silent(), others, others, others, store, others)  # type: ignore[arg-type]
    step = HealthLook(key="health", limits=Limits(), now=lambda: utc(50_000 + ahead_s))
    await step.apply(Work(tools, Lease("c", "one", 1), snapshot, float("inf"), {}))
    assert written.since == {utc(50_000)}
