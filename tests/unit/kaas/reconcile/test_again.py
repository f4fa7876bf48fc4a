"""A delete that failed is begun again by itself, until the cluster is gone."""

import asyncio
import itertools
from dataclasses import replace

import pytest

from kaas.domain.errors import Code, StepError
from kaas.domain.states import ClusterStatus, OperationKind, OperationState
from kaas.reconcile.again import ATTEMPT, FIRST_S, LONGEST_S, pause_s
from kaas.reconcile.planner import Plan
from tests.support.kaas_steps import FakePlanner, FakeStep, World
from tests.support.kaas_store import MemoryStore
from tests.unit.kaas.reconcile.rig import CLUSTER, conductor
from tests.unit.thecloud.virtual_time import now, virtual

REFUSED = StepError(Code.PLATFORM_REFUSED, "it is in use")


def deletes(store):
    return [one for one in store.operations.values() if one.kind is OperationKind.DELETE]


async def until_gone(subject, store, *, most_s=100_000.0):
    """Handle the cluster whenever it is due, and tell when each delete began."""
    began = {}
    while CLUSTER in store.rows and now() < most_s:
        for cluster_id in await store.due(limit=1):
            await subject.handle(cluster_id)
        for one in deletes(store):
            began.setdefault(one.id, one.created_at)
        await asyncio.sleep(1)
    return list(began.values())


@virtual
async def test_it_is_tried_with_growing_pauses_until_the_cluster_is_gone():
    store, world = MemoryStore(), World()
    step = FakeStep("gone", world, errors=[REFUSED, REFUSED, REFUSED])
    first = store.request(CLUSTER, OperationKind.DELETE, deadline_s=900)
    store.operations[first.id] = replace(first, arguments={"delete_volumes": True})
    began = await until_gone(conductor(store, FakePlanner({OperationKind.DELETE: Plan(steps=(step,))})), store)
    assert CLUSTER not in store.rows
    assert [one.state for one in deletes(store)[:-1]] == [OperationState.FAILED] * 3
    assert [one.arguments.get(ATTEMPT, 0) for one in deletes(store)] == [0, 1, 2, 3]
    assert {one.arguments["delete_volumes"] for one in deletes(store)} == {True}
    assert {one.deadline - one.created_at for one in deletes(store)} == {first.deadline - first.created_at}
    pauses = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(began)]
    assert [round(pause / FIRST_S) for pause in pauses] == [1, 2, 4]


@virtual
async def test_meanwhile_the_cluster_is_being_deleted_and_says_why_it_is_still_there():
    store, world = MemoryStore(), World()
    step = FakeStep("gone", world, errors=[REFUSED])
    store.request(CLUSTER, OperationKind.DELETE)
    await conductor(store, FakePlanner({OperationKind.DELETE: Plan(steps=(step,))})).handle(CLUSTER)
    assert store.cluster(CLUSTER).status is ClusterStatus.DELETING
    assert "it is in use" in store.cluster(CLUSTER).status_reason


@virtual
async def test_a_wake_up_does_not_shorten_the_pause():
    store, world = MemoryStore(), World()
    step = FakeStep("gone", world, errors=[REFUSED])
    store.request(CLUSTER, OperationKind.DELETE)
    subject = conductor(store, FakePlanner({OperationKind.DELETE: Plan(steps=(step,))}))
    await subject.handle(CLUSTER)
    store.wake(CLUSTER)
    await subject.handle(CLUSTER)
    assert len(deletes(store)) == 1
    assert store.cluster(CLUSTER).status is ClusterStatus.DELETING


@virtual
async def test_a_request_does_not_wait_for_the_pause():
    store, world = MemoryStore(), World()
    step = FakeStep("gone", world, errors=[REFUSED])
    store.request(CLUSTER, OperationKind.DELETE)
    subject = conductor(store, FakePlanner({OperationKind.DELETE: Plan(steps=(step,))}))
    await subject.handle(CLUSTER)
    began = now()
    store.request(CLUSTER, OperationKind.DELETE)
    await subject.handle(CLUSTER)
    assert CLUSTER not in store.rows
    assert now() - began < FIRST_S


@pytest.mark.parametrize(("failed", "wanted"), [(0, FIRST_S), (1, FIRST_S), (2, 2 * FIRST_S), (99, LONGEST_S)])
def test_pauses_are_bounded(failed, wanted):
    assert pause_s(failed) == wanted
