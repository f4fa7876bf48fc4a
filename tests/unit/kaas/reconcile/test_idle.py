"""A cluster without an operation: looked after again and again, and left at once when there is a request."""

import asyncio
from dataclasses import replace

from kaas.domain.errors import Code, StepError
from kaas.domain.states import ClusterStatus, OperationKind, OperationState
from kaas.reconcile.operation import Timing
from kaas.reconcile.planner import Plan
from tests.support.kaas_steps import FakeStep, World, creating
from tests.support.kaas_store import MemoryStore
from tests.unit.kaas.reconcile.rig import CLUSTER, conductor, created
from tests.unit.thecloud.virtual_time import now, virtual


class TestPeriodicWork:
    @virtual
    async def test_a_running_cluster_is_looked_at_every_minute(self):
        store, world = MemoryStore(), World()
        created(store)
        health = FakeStep("health", world)
        planner = creating()
        planner.idle = Plan(steps=(health,))
        subject = conductor(store, planner)
        await subject.handle(CLUSTER)
        assert world.log == ["check health", "apply health", "verify health"]
        await asyncio.sleep(53)
        assert not await store.due(limit=1)
        await asyncio.sleep(14)
        assert await store.due(limit=1) == [CLUSTER]

    @virtual
    async def test_a_step_that_fails_changes_nothing_and_comes_again(self):
        store, world = MemoryStore(), World()
        created(store)
        planner = creating()
        bad = FakeStep("health", world, errors=[StepError(Code.API_SERVER_DOWN, "no answer")])
        planner.idle = Plan(steps=(FakeStep("repair", world, needs=frozenset({"health"})), bad))
        await conductor(store, planner).handle(CLUSTER)
        assert store.cluster(CLUSTER).status is ClusterStatus.RUNNING
        assert "check repair" not in world.log
        assert store.rows[CLUSTER].due_at is not None

    @virtual
    async def test_a_request_in_the_middle_stops_it_at_once(self):
        store, world = MemoryStore(), World()
        created(store)
        planner = creating()
        subject = conductor(store, planner, timing=Timing(look_s=5))
        await subject.handle(CLUSTER)
        planner.idle = Plan(steps=(FakeStep("repair", world, verify_s=3000, deadline_s=4000),))
        working = asyncio.ensure_future(subject.handle(CLUSTER))
        await asyncio.sleep(20)
        operation = store.request(CLUSTER, OperationKind.DELETE)
        await working
        assert now() < 40
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        assert CLUSTER not in store.rows

    @virtual
    async def test_an_operation_that_it_starts_is_brought_on_at_once(self):
        store, world = MemoryStore(), World()
        created(store)
        planner = creating()
        subject = conductor(store, planner)
        await subject.handle(CLUSTER)

        async def start(_work):
            store.request(CLUSTER, OperationKind.REPAIR)

        planner.plans[OperationKind.REPAIR] = Plan(steps=(FakeStep("replace", world),))
        planner.idle = Plan(steps=(FakeStep("look", world, during_apply=start),))
        await subject.handle(CLUSTER)
        assert world.made["replace"] == 1

    def test_a_mistake_in_planning_it_is_logged_and_stops_nothing(self, caplog):
        @virtual
        async def check():
            store, world = MemoryStore(), World()
            created(store)
            planner = creating()
            planner.idle = Plan(steps=(FakeStep("a", world, needs=frozenset({"b"})),))
            await conductor(store, planner).handle(CLUSTER)
            assert store.rows[CLUSTER].due_at is not None
            assert store.rows[CLUSTER].until is None

        check()
        assert "cannot be planned" in caplog.text

    @virtual
    async def test_a_status_without_its_operation_is_put_in_order(self):
        store = MemoryStore()
        operation = created(store)
        store.operations[operation.id] = _ended(store.operations[operation.id])
        store.rows[CLUSTER].cluster = _with_status(store.cluster(CLUSTER), ClusterStatus.UPDATING)
        await conductor(store, creating()).handle(CLUSTER)
        assert store.cluster(CLUSTER).status is ClusterStatus.RUNNING

    @virtual
    async def test_a_request_that_comes_at_that_moment_keeps_its_own_status(self):
        class Meanwhile(MemoryStore):
            async def settle_cluster(self, lease, status, reason):
                self.request(CLUSTER, OperationKind.SCALE)
                self.rows[CLUSTER].cluster = _with_status(self.cluster(CLUSTER), ClusterStatus.UPDATING)
                written = await super().settle_cluster(lease, status, reason)
                seen.append((written, self.cluster(CLUSTER).status))
                return written

        seen = []
        store = Meanwhile()
        operation = created(store)
        store.operations[operation.id] = _ended(store.operations[operation.id])
        store.rows[CLUSTER].cluster = _with_status(store.cluster(CLUSTER), ClusterStatus.UPDATING)
        await conductor(store, creating()).handle(CLUSTER)
        assert seen == [(False, ClusterStatus.UPDATING)]
        assert store.cluster(CLUSTER).status is ClusterStatus.RUNNING

    @virtual
    async def test_a_deleted_cluster_whose_row_is_left_goes(self):
        store = MemoryStore()
        operation = created(store)
        store.operations[operation.id] = _ended(store.operations[operation.id])
        store.rows[CLUSTER].cluster = _with_status(store.cluster(CLUSTER), ClusterStatus.DELETING)
        await conductor(store, creating()).handle(CLUSTER)
        assert CLUSTER not in store.rows


def _ended(operation):
    return replace(operation, state=OperationState.CANCELLED)


def _with_status(cluster, status):
    return replace(cluster, status=status)
