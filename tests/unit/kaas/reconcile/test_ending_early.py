"""Cancel, supersede and the end of the conductor: steps stop at their next boundary, and what was begun is whole."""

import asyncio

from kaas.domain.errors import Code, StepError
from kaas.domain.states import ClusterStatus, OperationKind, OperationState
from kaas.engine.inprocess import InProcessEngine
from kaas.reconcile.conductor import Conductor
from kaas.reconcile.halt import Reason
from kaas.reconcile.planner import Plan
from process.life import Stop
from tests.support.kaas_steps import FakePlanner, FakeStep, World, creating, tools
from tests.support.kaas_store import MemoryStore, loop_now
from tests.unit.kaas.reconcile.rig import CLUSTER, conductor, created
from tests.unit.thecloud.virtual_time import now, virtual


class TestCancel:
    @virtual
    async def test_before_it_began_nothing_is_done(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        store.cancel(operation.id)
        await conductor(store, creating(FakeStep("a", world))).handle(CLUSTER)
        assert store.operations[operation.id].state is OperationState.CANCELLED
        assert not world.log

    @virtual
    async def test_during_a_step_the_step_is_let_finish_and_no_other_begins(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        steps = [FakeStep("a", world, apply_s=30), FakeStep("b", world, needs=frozenset({"a"}))]
        working = asyncio.ensure_future(conductor(store, creating(*steps)).handle(CLUSTER))
        await asyncio.sleep(10)
        store.cancel(operation.id)
        await working
        assert world.made == {"a": 1}
        assert "check b" not in world.log
        assert store.operations[operation.id].state is OperationState.CANCELLED
        cluster = store.cluster(CLUSTER)
        assert (cluster.status, cluster.status_reason) == (ClusterStatus.FAILED, "cancelled by request")

    @virtual
    async def test_what_only_waits_is_not_waited_for(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        working = asyncio.ensure_future(
            conductor(store, creating(FakeStep("boot", world, verify_s=500))).handle(CLUSTER)
        )
        await asyncio.sleep(10)
        store.cancel(operation.id)
        await working
        assert now() < 20
        assert store.operations[operation.id].state is OperationState.CANCELLED
        assert store.step(operation, "boot").state.value == "failed"

    @virtual
    async def test_what_was_looked_at_and_not_begun_is_not_made(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        step = FakeStep("a", world)

        async def looks_long(_work):
            await asyncio.sleep(30)

        step.check = looks_long
        working = asyncio.ensure_future(conductor(store, creating(step)).handle(CLUSTER))
        await asyncio.sleep(10)
        store.cancel(operation.id)
        await working
        assert not world.made
        assert store.operations[operation.id].state is OperationState.CANCELLED

    @virtual
    async def test_in_a_pause_before_a_further_try(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        step = FakeStep("a", world, errors=[StepError(Code.PLATFORM_THROTTLED, "429", retry_after_s=300)])
        subject = conductor(store, creating(step))
        await subject.handle(CLUSTER)
        store.cancel(operation.id)
        assert await store.due(limit=1) == [CLUSTER]
        await subject.handle(CLUSTER)
        assert store.operations[operation.id].state is OperationState.CANCELLED

    @virtual
    async def test_when_all_steps_are_done_already_it_is_cancelled_all_the_same(self):
        store, world = MemoryStore(), World()
        operation = created(store)

        async def ask(_work):
            store.cancel(operation.id)

        await conductor(store, creating(FakeStep("a", world, during_apply=ask))).handle(CLUSTER)
        assert store.operations[operation.id].state is OperationState.CANCELLED


class TestSupersede:
    @virtual
    async def test_a_delete_takes_over_at_the_next_boundary(self):
        store, world = MemoryStore(), World()
        create = created(store)
        planner = FakePlanner(
            {
                OperationKind.CREATE: Plan(
                    steps=(FakeStep("a", world, apply_s=30), FakeStep("b", world, needs=frozenset({"a"})))
                ),
                OperationKind.DELETE: Plan(steps=(FakeStep("gone", world),)),
            }
        )
        working = asyncio.ensure_future(conductor(store, planner).handle(CLUSTER))
        await asyncio.sleep(10)
        delete = store.request(CLUSTER, OperationKind.DELETE)
        await working
        assert world.made == {"a": 1, "gone": 1}
        assert world.log.index("check gone") > world.log.index("apply a")
        assert store.operations[create.id].state is OperationState.SUPERSEDED
        assert store.operations[delete.id].state is OperationState.SUCCEEDED
        assert CLUSTER not in store.rows

    @virtual
    async def test_what_only_waits_is_not_waited_for(self):
        store, world = MemoryStore(), World()
        created(store)
        planner = creating(FakeStep("boot", world, verify_s=500))
        working = asyncio.ensure_future(conductor(store, planner).handle(CLUSTER))
        await asyncio.sleep(10)
        store.request(CLUSTER, OperationKind.DELETE)
        await working
        assert now() < 20
        assert CLUSTER not in store.rows

    @virtual
    async def test_steps_of_both_never_run_at_one_time(self):
        store, world = MemoryStore(), World()
        created(store)
        planner = FakePlanner(
            {
                OperationKind.CREATE: Plan(
                    steps=tuple(FakeStep(f"m/{each}", world, apply_s=each) for each in range(9))
                ),
                OperationKind.DELETE: Plan(steps=(FakeStep("gone", world, apply_s=5),)),
            }
        )
        working = asyncio.ensure_future(conductor(store, planner).handle(CLUSTER))
        await asyncio.sleep(4.5)
        store.request(CLUSTER, OperationKind.DELETE)
        await working
        before, _, after = "\n".join(world.log).partition("check gone")
        assert "m/" in before
        assert "m/" not in after

    @virtual
    async def test_a_failure_that_waits_for_others_does_not_spoil_what_superseded_it(self):
        store, world = MemoryStore(), World()
        create = created(store)
        planner = FakePlanner(
            {
                OperationKind.CREATE: Plan(
                    steps=(
                        FakeStep("bad", world, errors=[StepError(Code.PLATFORM_QUOTA, "no")]),
                        FakeStep("slow", world, apply_s=60),
                    )
                ),
                OperationKind.DELETE: Plan(steps=(FakeStep("gone", world, apply_s=60),)),
            }
        )
        working = asyncio.ensure_future(conductor(store, planner).handle(CLUSTER))
        await asyncio.sleep(10)
        store.request(CLUSTER, OperationKind.DELETE)
        await asyncio.sleep(70)
        assert store.cluster(CLUSTER).status is ClusterStatus.DELETING
        assert store.operations[create.id].state is OperationState.SUPERSEDED
        assert not store.told
        await working


def running(store, planner, **options):
    engine = InProcessEngine(store, grace_s=30)
    subject = Conductor(store, engine, planner, tools(store), owner="one", now=loop_now, clock=now, **options)
    stop = Stop()
    return asyncio.ensure_future(subject.run(stop)), stop, engine


class TestFirstReason:
    @virtual
    async def test_a_failure_stays_when_time_runs_out_while_others_finish(self):
        store, world = MemoryStore(), World()
        operation = created(store, deadline_s=100)
        steps = [
            FakeStep("bad", world, errors=[StepError(Code.PLATFORM_QUOTA, "no")]),
            FakeStep("slow", world, apply_s=300),
        ]
        await conductor(store, creating(*steps)).handle(CLUSTER)
        assert store.operations[operation.id].error == "bad: no"
        assert 100 < now() < 110


class TestEndOfTheConductor:
    @virtual
    async def test_steps_come_to_a_boundary_and_the_lease_is_given_back(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        steps = [FakeStep("a", world, apply_s=20), FakeStep("b", world, needs=frozenset({"a"}))]
        running_, stop, _ = running(store, creating(*steps))
        await asyncio.sleep(10)
        stop()
        await running_
        assert 20 <= now() < 25
        assert store.rows[CLUSTER].until is None
        assert await store.due(limit=1) == [CLUSTER]
        assert world.made == {"a": 1}
        assert store.operations[operation.id].state is OperationState.RUNNING
        await conductor(store, creating(*steps), owner="two").handle(CLUSTER)
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        assert world.made == {"a": 1, "b": 1}

    @virtual
    async def test_while_others_finish_nothing_begins(self):
        store, world = MemoryStore(), World()
        created(store)
        steps = [FakeStep("a", world, apply_s=20), FakeStep("b", world, apply_s=25), FakeStep("c", world)]
        running_, stop, _ = running(store, creating(*steps), parallel=2)
        await asyncio.sleep(10)
        stop()
        await running_
        assert world.made == {"a": 1, "b": 1}
        assert "check c" not in world.log

    @virtual
    async def test_what_was_just_claimed_is_given_back_as_it_is(self):
        store, world = MemoryStore(), World()
        created(store)

        class Ends:
            async def at(self, point):
                subject._means.drain(Reason.DRAIN)

        subject = conductor(store, creating(FakeStep("a", world)), faults=Ends())
        await subject.handle(CLUSTER)
        assert not store.writes
        assert await store.due(limit=1) == [CLUSTER]
        await subject.handle(CLUSTER)
        assert len(store.claims) == 1

    @virtual
    async def test_what_only_waits_is_left_to_the_next_one(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        steps = [FakeStep("boot", world, verify_s=400)]
        running_, stop, _ = running(store, creating(*steps))
        await asyncio.sleep(10)
        stop()
        await running_
        assert now() < 12
        assert store.step(operation, "boot").state.value == "waiting"
        await conductor(store, creating(*steps), owner="two").handle(CLUSTER)
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        assert world.made == {"boot": 1}

    @virtual
    async def test_after_the_grace_the_rest_is_cancelled_and_the_lease_is_given_back(self):
        store, world = MemoryStore(), World()
        created(store)
        running_, stop, _ = running(store, creating(FakeStep("a", world, apply_s=400)))
        await asyncio.sleep(10)
        stop()
        await running_
        assert 40 <= now() < 46
        assert not world.made
        assert world.active == 0
        assert store.rows[CLUSTER].until is None

    @virtual
    async def test_nothing_new_is_claimed(self):
        store, world = MemoryStore(), World()
        created(store)
        running_, stop, engine = running(store, creating(FakeStep("a", world, apply_s=20)))
        await asyncio.sleep(10)
        stop()
        await asyncio.sleep(1)
        store.request("c2")
        engine.committed("c2")
        await running_
        assert store.claims == [("one", CLUSTER)]
