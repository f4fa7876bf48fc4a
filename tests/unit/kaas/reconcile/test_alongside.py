"""What goes along with the work on a cluster: whose request it is, how far it is, and by which clock it goes."""

from datetime import timedelta

import pytest

from kaas.domain.errors import Code, StepError
from kaas.domain.states import OperationKind, OperationState
from kaas.reconcile.planner import Plan
from process.request import request_id
from tests.support.kaas_steps import FakeStep, World, creating
from tests.support.kaas_store import MemoryStore, loop_now
from tests.unit.kaas.reconcile.rig import CLUSTER, conductor, created, settle
from tests.unit.thecloud.virtual_time import now, virtual


class TestOnBehalfOf:
    @virtual
    async def test_an_operations_request_is_named_while_it_is_worked_on_and_no_longer(self):
        store, world = MemoryStore(), World()
        created(store)
        seen = []

        async def look(_work):
            seen.append(request_id.get())

        planner = creating(FakeStep("a", world, during_apply=look))
        planner.idle = Plan(steps=(FakeStep("health", world, during_apply=look),))
        await conductor(store, planner).handle(CLUSTER)
        assert seen == ["request-1", ""]
        assert request_id.get() == ""

    @virtual
    async def test_work_that_ends_on_an_error_takes_its_request_along(self):
        store = MemoryStore()
        created(store)

        async def fail(_work):
            store.unavailable = True

        await conductor(store, creating(FakeStep("a", World(), during_apply=fail))).handle(CLUSTER)
        assert request_id.get() == ""


class TestProgress:
    @virtual
    async def test_it_grows_with_what_is_done_of_all_that_is_planned(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        seen = []

        async def look(_work):
            seen.append(store.operations[operation.id].progress)

        keys = "abcd"
        steps = [
            FakeStep(key, world, needs=frozenset(keys[:number]), during_apply=look) for number, key in enumerate(keys)
        ]
        await conductor(store, creating(*steps)).handle(CLUSTER)
        assert seen == [0, 25, 50, 75]

    @virtual
    async def test_steps_that_are_planned_later_or_done_again_do_not_take_it_back(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        seen = []
        first = FakeStep("a", world)
        steps = [first, FakeStep("b", world, needs=frozenset({"a"}))]
        planner = creating(*steps)

        async def look(_work):
            seen.append(store.operations[operation.id].progress)

        async def grow(work):
            await look(work)
            first.inputs = {"size": 2}
            later = [FakeStep(f"c/{number}", world, needs=frozenset({"b"}), during_apply=look) for number in range(6)]
            planner.plans[OperationKind.CREATE] = Plan(steps=(*steps, *later))

        steps[1].during_apply = grow
        await conductor(store, planner, parallel=1).handle(CLUSTER)
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        assert seen == sorted(seen)
        assert seen[:2] == [50, 50]
        assert seen[-1] == 87


class TestClock:
    @pytest.mark.parametrize("wrong", [timedelta(hours=-2), timedelta(hours=2)])
    @virtual
    async def test_a_machine_whose_clock_is_wrong_goes_by_that_of_the_tables(self, wrong):
        store, world = MemoryStore(), World()
        operation = created(store, deadline_s=600)
        step = FakeStep("a", world, errors=[StepError(Code.PLATFORM_UNAVAILABLE, "away")])
        subject = conductor(store, creating(step), now=lambda: loop_now() + wrong)
        await settle(subject, store)
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        assert now() < 60
