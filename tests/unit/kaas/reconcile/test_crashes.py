"""A conductor that dies at any boundary: another one brings the operation to the same end, and makes nothing twice.

Here a dying conductor goes silent for ever: nothing that it meant to write arrives. `test_killed.py` kills processes.
"""

import asyncio
import contextlib

import pytest

from kaas.domain.errors import Code, StepError
from kaas.domain.states import ClusterStatus, OperationKind, OperationState
from kaas.reconcile import faults
from kaas.reconcile.faults import Point
from tests.support.kaas_steps import DieAt, FakeStep, Mortal, Points, World, creating, three_steps
from tests.support.kaas_store import MemoryStore
from tests.unit.kaas.reconcile.rig import CLUSTER, conductor, created, settle
from tests.unit.thecloud.virtual_time import now, virtual

STEPS = ("a", "b", "c")
STEP_POINTS = [f"{key}:{point}" for key in STEPS for point in Point]


async def die(store, planner, point):
    """Let a conductor work until a point and die there."""
    mortal = Mortal(store)
    death = DieAt(point, mortal)
    working = asyncio.ensure_future(conductor(store, planner, behind=mortal, faults=death).handle(CLUSTER))
    await asyncio.wait_for(death.reached.wait(), 100)
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError, TimeoutError):
        await working


@pytest.mark.parametrize("point", [*STEP_POINTS, *faults.OPERATION_POINTS])
def test_a_create_ends_the_same(point):
    @virtual
    async def check():
        store, world = MemoryStore(), World()
        operation = created(store)
        await die(store, three_steps(world), point)
        await settle(conductor(store, three_steps(world), owner="two"), store)
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        assert store.cluster(CLUSTER).status is ClusterStatus.RUNNING
        assert store.states(operation) == dict.fromkeys(STEPS, "done")
        assert world.made == dict.fromkeys(STEPS, 1)
        assert now() < 130

    check()


@pytest.mark.parametrize("point", faults.OPERATION_POINTS)
def test_a_delete_ends_the_same(point):
    @virtual
    async def check():
        store, world = MemoryStore(), World()
        operation = store.request(CLUSTER, OperationKind.DELETE)
        await die(store, three_steps(world), point)
        await settle(conductor(store, three_steps(world), owner="two"), store)
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        assert CLUSTER not in store.rows
        assert world.made == dict.fromkeys(STEPS, 1)

    check()


def test_a_step_that_is_done_is_not_begun_again():
    @virtual
    async def check():
        store, world = MemoryStore(), World()
        operation = created(store)
        await die(store, three_steps(world), "b:before-begin")
        begun = store.step(operation, "a").attempt
        await settle(conductor(store, three_steps(world), owner="two"), store)
        assert store.step(operation, "a").attempt == begun == 1

    check()


def test_a_failed_step_is_not_tried_again_by_the_next_conductor():
    @virtual
    async def check():
        store, world = MemoryStore(), World()
        operation = created(store)
        errors = [StepError(Code.PLATFORM_QUOTA, "no more instances")]
        await die(store, creating(FakeStep("a", world, errors=errors)), "a:after-end")
        await settle(conductor(store, creating(FakeStep("a", world)), owner="two"), store)
        ended = store.operations[operation.id]
        assert (ended.state, ended.error) == (OperationState.FAILED, "a: no more instances")
        assert not world.made

    check()


def test_every_boundary_has_its_point():
    @virtual
    async def check():
        store, world = MemoryStore(), World()
        created(store)
        points = Points()
        await conductor(store, creating(FakeStep("a", world)), faults=points).handle(CLUSTER)
        assert points.passed == [
            "lease:after-claim",
            "operation:after-start",
            *(f"a:{point}" for point in Point),
            "operation:before-outcome",
            "operation:after-end",
            "lease:before-release",
        ]

    check()
