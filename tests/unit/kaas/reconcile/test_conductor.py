"""An operation is brought from its commit to its end, step by step."""

import asyncio
import itertools
import logging

import pytest

from kaas.domain.errors import Code, KaasError, StepError
from kaas.domain.model import ExternalRef
from kaas.domain.ports import Kind
from kaas.domain.states import ClusterStatus, OperationKind, OperationState, RefState
from kaas.reconcile.planner import Outcome, Plan
from tests.support.kaas_steps import FakePlanner, FakeStep, World, creating
from tests.support.kaas_store import MemoryStore
from tests.unit.kaas.reconcile.rig import CLUSTER, conductor, created, settle
from tests.unit.thecloud.virtual_time import now, virtual


class TestSuccess:
    @virtual
    async def test_a_create_runs_its_steps_and_the_cluster_runs(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        planner = creating(FakeStep("a", world), FakeStep("b", world, needs=frozenset({"a"})))
        await conductor(store, planner).handle(CLUSTER)
        assert store.states(operation) == {"a": "done", "b": "done"}
        assert world.log == ["check a", "apply a", "verify a", "check b", "apply b", "verify b"]
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        cluster = store.cluster(CLUSTER)
        assert (cluster.status, cluster.observed_generation) == (ClusterStatus.RUNNING, 1)
        assert [event.code for event in store.told] == ["OPERATION_SUCCEEDED"]

    @virtual
    async def test_while_it_works_the_status_says_so(self):
        store, world = MemoryStore(), World()
        created(store)
        seen = []

        async def look(_work):
            seen.append(store.cluster(CLUSTER).status)

        await conductor(store, creating(FakeStep("a", world, during_apply=look))).handle(CLUSTER)
        assert seen == [ClusterStatus.PROVISIONING]

    @virtual
    async def test_a_step_gets_the_results_of_those_before(self):
        store, world = MemoryStore(), World()
        created(store)
        last = FakeStep("b", world, needs=frozenset({"a"}))
        await conductor(store, creating(FakeStep("a", world), last)).handle(CLUSTER)
        assert last.seen == [{"a": {"id": "id of a"}}]

    @virtual
    async def test_what_is_so_already_is_not_made_again(self):
        store, world = MemoryStore(), World()
        created(store)
        world.make("a")
        await conductor(store, creating(FakeStep("a", world))).handle(CLUSTER)
        assert world.log == ["check a", "verify a"]

    @virtual
    async def test_another_conductor_that_is_called_for_it_does_nothing(self):
        store, world = MemoryStore(), World()
        created(store)
        planner = creating(FakeStep("a", world, apply_s=30))
        one, two = conductor(store, planner), conductor(store, planner, owner="two")
        working = asyncio.ensure_future(one.handle(CLUSTER))
        await asyncio.sleep(10)
        await two.handle(CLUSTER)
        await working
        assert world.made == {"a": 1}
        assert {owner for owner, _ in store.claims} == {"one"}

    @virtual
    async def test_inputs_that_changed_let_a_done_step_run_again(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        step = FakeStep("a", world, inputs={"size": 1})

        async def change(_work):
            step.inputs = {"size": 2}

        await conductor(
            store, creating(step, FakeStep("b", world, needs=frozenset({"a"}), during_apply=change))
        ).handle(CLUSTER)
        assert world.log.count("check a") == 2
        assert store.step(operation, "a").attempt == 2


class TestNeeds:
    @virtual
    async def test_independent_steps_run_together(self):
        store, world = MemoryStore(), World()
        created(store)
        steps = [FakeStep(f"machine/{number}", world, apply_s=60) for number in range(5)]
        await conductor(store, creating(*steps)).handle(CLUSTER)
        assert world.most_active == 5
        assert now() < 70

    @virtual
    async def test_no_more_of_them_than_allowed(self):
        store, world = MemoryStore(), World()
        created(store)
        steps = [FakeStep(f"machine/{number}", world, apply_s=60) for number in range(5)]
        await conductor(store, creating(*steps), parallel=2).handle(CLUSTER)
        assert world.most_active == 2
        assert world.made.total() == 5

    @virtual
    async def test_a_step_waits_for_all_that_it_needs(self):
        store, world = MemoryStore(), World()
        created(store)
        steps = [
            FakeStep("slow", world, apply_s=60),
            FakeStep("fast", world, apply_s=1),
            FakeStep("last", world, needs=frozenset({"slow", "fast"})),
        ]
        await conductor(store, creating(*steps)).handle(CLUSTER)
        assert world.log.index("check last") > world.log.index("verify slow")

    @virtual
    async def test_a_failing_step_does_not_start_its_dependants_while_independent_ones_finish(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        steps = [
            FakeStep(
                "bad", world, errors=[StepError(Code.PLATFORM_QUOTA, "no more instances; ask for a larger quota")]
            ),
            FakeStep("after-bad", world, needs=frozenset({"bad"})),
            FakeStep("good", world, apply_s=30),
        ]
        await conductor(store, creating(*steps)).handle(CLUSTER)
        assert store.states(operation) == {"bad": "failed", "good": "done"}
        ended = store.operations[operation.id]
        assert (ended.state, ended.error_code) == (OperationState.FAILED, "PLATFORM_QUOTA")
        assert ended.error == "bad: no more instances; ask for a larger quota"
        cluster = store.cluster(CLUSTER)
        assert (cluster.status, cluster.status_reason) == (ClusterStatus.FAILED, ended.error)

    @pytest.mark.parametrize(
        ("steps", "said"),
        [
            ([("a", {"x"})], "PlanError"),
            ([("a", {"b"}), ("b", {"a"})], "PlanError"),
            ([("a", set()), ("a", set())], "PlanError"),
        ],
        ids=["unknown need", "circle", "same key twice"],
    )
    def test_a_plan_that_cannot_be_carried_out_is_a_bug(self, steps, said, caplog):
        @virtual
        async def check():
            store, world = MemoryStore(), World()
            operation = created(store)
            planner = creating(*(FakeStep(key, world, needs=frozenset(needs)) for key, needs in steps))
            await conductor(store, planner).handle(CLUSTER)
            ended = store.operations[operation.id]
            assert (ended.state, ended.error_code) == (OperationState.FAILED, "BUG")
            assert said in ended.error
            assert not world.log

        check()
        assert "PlanError" in caplog.text


class TestFailures:
    @virtual
    async def test_an_error_that_passes_is_tried_again_with_growing_pauses(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        errors = [StepError(Code.PLATFORM_UNAVAILABLE, "503 from the platform") for _ in range(8)]
        subject = conductor(store, creating(FakeStep("a", world, errors=errors)))
        times = []
        world.log = _Noting(times)
        await settle(subject, store)
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        # The longest pause each time, and at most a poll later.
        assert [round(pause) for pause in pauses[:3]] == [1, 2, 4]
        assert all(pause <= 61 for pause in pauses)
        assert max(pauses) > 32
        assert store.step(operation, "a").attempt == 9

    @virtual
    async def test_a_pause_that_the_other_side_asks_for_is_kept(self):
        store, world = MemoryStore(), World()
        created(store)
        errors = [StepError(Code.PLATFORM_THROTTLED, "429", retry_after_s=120)]
        await settle(conductor(store, creating(FakeStep("a", world, errors=errors))), store)
        assert 120 <= now() < 125

    @virtual
    async def test_for_long_pauses_the_cluster_is_given_back(self):
        store, world = MemoryStore(), World()
        created(store)
        errors = [StepError(Code.PLATFORM_THROTTLED, "429", retry_after_s=120)]
        await conductor(store, creating(FakeStep("a", world, errors=errors))).handle(CLUSTER)
        row = store.rows[CLUSTER]
        assert row.until is None
        assert now() < 10
        await asyncio.sleep(119)
        assert not await store.due(limit=1)
        await asyncio.sleep(2)
        assert await store.due(limit=1) == [CLUSTER]

    @virtual
    async def test_at_the_deadline_of_a_step_its_last_reason_is_told(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        errors = [StepError(Code.NOT_READY, "dev-1 has not reported") for _ in range(100)]
        await settle(conductor(store, creating(FakeStep("a", world, errors=errors, deadline_s=300))), store)
        ended = store.operations[operation.id]
        assert (ended.state, ended.error_code) == (OperationState.FAILED, "DEADLINE")
        assert "dev-1 has not reported" in ended.error
        assert 250 < now() < 310

    @virtual
    async def test_a_step_that_does_not_end_is_ended_at_its_deadline(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        await conductor(store, creating(FakeStep("a", world, apply_s=10_000, deadline_s=100))).handle(CLUSTER)
        assert store.step(operation, "a").error_code == "DEADLINE"
        assert 100 <= now() < 110

    @virtual
    async def test_at_the_deadline_of_the_operation_it_fails(self):
        store, world = MemoryStore(), World()
        operation = created(store, deadline_s=200)
        errors = [StepError(Code.NOT_READY, "dev-1 has not reported") for _ in range(100)]
        await settle(conductor(store, creating(FakeStep("a", world, errors=errors, deadline_s=9000))), store)
        ended = store.operations[operation.id]
        assert (ended.state, ended.error_code) == (OperationState.FAILED, "DEADLINE")
        assert "dev-1 has not reported" in ended.error
        assert now() < 210

    @virtual
    async def test_an_operation_that_nobody_worked_on_in_its_time_fails_at_once(self):
        store, world = MemoryStore(), World()
        operation = created(store, deadline_s=200)
        await asyncio.sleep(1000)
        await conductor(store, creating(FakeStep("a", world))).handle(CLUSTER)
        assert store.operations[operation.id].error_code == "DEADLINE"
        assert not world.log

    @virtual
    async def test_the_log_of_a_node_is_part_of_the_reason(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        error = StepError(Code.PLATFORM_REFUSED, "dev-1 did not boot", log_tail="kernel panic")
        step = FakeStep("a", world, errors=[error])
        await conductor(store, creating(step)).handle(CLUSTER)
        assert "kernel panic" in store.operations[operation.id].error

    def test_an_unexpected_error_fails_the_operation_without_its_text(self, caplog):
        @virtual
        async def check():
            store, world = MemoryStore(), World()
            operation = created(store)
            step = FakeStep("a", world, errors=[ValueError("token=s3cret")])
            await conductor(store, creating(step)).handle(CLUSTER)
            ended = store.operations[operation.id]
            assert (ended.state, ended.error_code) == (OperationState.FAILED, "BUG")
            assert "ValueError" in ended.error
            assert "s3cret" not in ended.error + store.cluster(CLUSTER).status_reason + store.told[0].message

        with caplog.at_level(logging.ERROR):
            check()
        assert "Traceback" in caplog.text

    @virtual
    async def test_an_error_for_people_that_is_none_of_a_step_keeps_its_text(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        step = FakeStep("a", world, errors=[KaasError(Code.BUG, "the key of the key ring is unknown")])
        await conductor(store, creating(step)).handle(CLUSTER)
        assert store.operations[operation.id].error == "a: the key of the key ring is unknown"

    @virtual
    async def test_a_result_that_the_ledger_cannot_hold_is_a_bug(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        step = FakeStep("a", world)
        step._result = lambda: {"id": object()}
        await conductor(store, creating(step)).handle(CLUSTER)
        assert store.operations[operation.id].error_code == "BUG"

    @virtual
    async def test_tables_that_are_away_fail_nothing(self):
        store, world = MemoryStore(), World()
        operation = created(store)

        async def away(_work):
            store.unavailable = True

        step = FakeStep("a", world, during_apply=away)
        subject = conductor(store, creating(step))
        await subject.handle(CLUSTER)
        store.unavailable = False
        assert store.operations[operation.id].state is OperationState.RUNNING
        step.during_apply = None
        await asyncio.sleep(61)
        await subject.handle(CLUSTER)
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        assert world.made == {"a": 1}

    @virtual
    async def test_after_a_mistake_of_ours_the_cluster_is_given_back_for_a_while(self):
        store, world = MemoryStore(), World()
        created(store)

        async def wrong(*_arguments, **_more):
            raise RuntimeError("a mistake")

        store.begin_step = wrong
        with pytest.raises(RuntimeError, match="a mistake"):
            await conductor(store, creating(FakeStep("a", world))).handle(CLUSTER)
        assert store.rows[CLUSTER].until is None
        assert not await store.due(limit=1)
        await asyncio.sleep(11)
        assert await store.due(limit=1) == [CLUSTER]

    @virtual
    async def test_periodic_work_that_begins_again_what_fails_rests_in_between(self):
        store, world = MemoryStore(), World()
        created(store)
        planner = creating()
        plan = Plan(
            steps=(FakeStep("a", world, errors=[StepError(Code.PLATFORM_QUOTA, "no") for _ in range(100)]),),
            outcomes={OperationState.FAILED: Outcome(ClusterStatus.RUNNING)},
        )

        async def start(_work):
            store.request(CLUSTER, OperationKind.REPAIR)
            store.rows[CLUSTER].woken = False

        planner.plans[OperationKind.REPAIR] = plan
        planner.idle = Plan(steps=(FakeStep("look", _Forgetful(), during_apply=start),))
        await conductor(store, planner).handle(CLUSTER)
        assert len(store.operations) == 2
        await asyncio.sleep(59)
        assert not await store.due(limit=1)

    @virtual
    async def test_a_plan_may_say_what_becomes_of_the_cluster(self):
        store, world = MemoryStore(), World()
        store.request(CLUSTER, OperationKind.REPAIR)
        step = FakeStep("a", world, errors=[StepError(Code.PLATFORM_REFUSED, "no")])
        plan = Plan(steps=(step,), outcomes={OperationState.FAILED: Outcome(ClusterStatus.RUNNING)})
        await conductor(store, FakePlanner({OperationKind.REPAIR: plan})).handle(CLUSTER)
        assert store.cluster(CLUSTER).status is ClusterStatus.RUNNING
        assert store.cluster(CLUSTER).status_reason == "a: no"


class TestDelete:
    @virtual
    async def test_the_row_goes_last(self):
        store, world = MemoryStore(), World()
        operation = store.request(CLUSTER, OperationKind.DELETE)
        await conductor(store, FakePlanner({OperationKind.DELETE: Plan(steps=(FakeStep("a", world),))})).handle(CLUSTER)
        assert CLUSTER not in store.rows
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        assert [what for what, _ in store.writes][-1] == "delete_cluster"
        assert [event.code for event in store.told] == ["OPERATION_SUCCEEDED"]

    @virtual
    async def test_the_row_stays_while_a_reference_is_not_known_to_be_gone(self):
        store = MemoryStore()
        operation = store.request(CLUSTER, OperationKind.DELETE)
        ref = ExternalRef("r1", CLUSTER, Kind.MACHINE.value, "dev-1", RefState.DELETING)
        store.rows[CLUSTER].refs["machine", "dev-1"] = ref
        await conductor(store, FakePlanner({OperationKind.DELETE: Plan()})).handle(CLUSTER)
        ended = store.operations[operation.id]
        assert (ended.state, ended.error_code) == (OperationState.FAILED, "SURVIVORS")
        assert "machine dev-1" in ended.error
        assert store.cluster(CLUSTER).status is ClusterStatus.DELETING
        assert "machine dev-1" in store.cluster(CLUSTER).status_reason


class _Forgetful(World):
    """Where nothing stays made."""

    def make(self, name):
        """Make nothing."""


class _Noting(list):
    """Notes when each entry of `apply` came."""

    def __init__(self, times):
        super().__init__()
        self._times = times

    def append(self, entry):
        super().append(entry)
        if entry.startswith("apply"):
            self._times.append(now())
