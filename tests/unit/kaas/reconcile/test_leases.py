"""Who has lost a cluster, or may have, stops and writes nothing more."""

import asyncio

import pytest

from kaas.domain.errors import LeaseLostError
from kaas.domain.states import OperationState
from kaas.reconcile.heartbeat import Heartbeat
from kaas.reconcile.metrics import ConductorMetrics
from kaas.reconcile.operation import Timing
from tests.support.kaas_steps import FakeStep, World, creating
from tests.support.kaas_store import MemoryStore
from tests.unit.kaas.reconcile.rig import CLUSTER, conductor, created
from tests.unit.thecloud.virtual_time import now, virtual


class TestConductor:
    @virtual
    async def test_a_long_step_keeps_its_lease(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        await conductor(store, creating(FakeStep("a", world, apply_s=500))).handle(CLUSTER)
        assert store.operations[operation.id].state is OperationState.SUCCEEDED

    @virtual
    async def test_lost_in_the_middle_of_apply_nothing_is_written_after(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        metrics = ConductorMetrics()
        step = FakeStep("a", world, apply_s=300)
        subject = conductor(store, creating(step), observer=metrics)
        working = asyncio.ensure_future(subject.handle(CLUSTER))
        await asyncio.sleep(20)
        store.rows[CLUSTER].token += 1
        writes = len(store.writes)
        await working
        assert now() <= 30
        assert not world.made
        assert world.active == 0
        assert len(store.writes) == writes
        assert store.step(operation, "a").state.value == "running"
        assert metrics.registry.get_sample_value("kaas_lease_losses_total") == 1

    @virtual
    async def test_a_paused_conductor_that_wakes_up_is_fenced(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        wakes = asyncio.Event()

        async def pause(_work):
            await wakes.wait()

        frozen = FakeStep("a", world, during_apply=pause)
        # A process that is stopped renews nothing, and its clock tells it of no time that has passed.
        stopped = conductor(store, creating(frozen), timing=Timing(renew_s=49), clock=lambda: 0.0)
        one = asyncio.ensure_future(stopped.handle(CLUSTER))
        await asyncio.sleep(30)
        store.rows[CLUSTER].until = store._now()
        two = conductor(store, creating(FakeStep("a", world, apply_s=1), FakeStep("b", world)), owner="two")
        await two.handle(CLUSTER)
        assert store.operations[operation.id].state is OperationState.SUCCEEDED
        before = (list(store.writes), dict(store.ledger[operation.id]), store.cluster(CLUSTER))
        wakes.set()
        await one
        assert (store.writes, store.ledger[operation.id], store.cluster(CLUSTER)) == before
        assert {token for _, token in before[0]} == {1, 2}

    @virtual
    async def test_the_next_conductor_waits_until_the_lease_has_run_out(self):
        store, world = MemoryStore(), World()
        operation = created(store)
        await store.claim(CLUSTER, "dead", ttl_s=60)
        other = conductor(store, creating(FakeStep("a", world)), owner="two")
        await asyncio.sleep(59)
        assert not await store.due(limit=1)
        await other.handle(CLUSTER)
        assert not world.log
        await asyncio.sleep(1)
        assert await store.due(limit=1) == [CLUSTER]
        await other.handle(CLUSTER)
        assert store.operations[operation.id].state is OperationState.SUCCEEDED

    @virtual
    async def test_before_something_is_made_the_lease_is_looked_at(self):
        store, world = MemoryStore(), World()
        created(store)
        time = [0.0]
        step = FakeStep("a", world)

        async def wakes_late(work):
            time[0] = 55.0

        step.check = wakes_late
        await conductor(store, creating(step), clock=lambda: time[0]).handle(CLUSTER)
        assert "apply a" not in world.log


class TestHeartbeat:
    async def _held(self, store, **options):
        created(store)
        asked_at = now()
        lease = await store.claim(CLUSTER, "one", ttl_s=60)
        return Heartbeat(store, lease, asked_at=asked_at, clock=options.pop("clock", now), **options)

    @virtual
    async def test_gives_what_the_work_gives(self):
        heartbeat = await self._held(MemoryStore())

        async def work():
            await asyncio.sleep(200)
            return 7

        assert await heartbeat.hold(work) == 7

    @virtual
    async def test_a_refused_renewal_ends_the_work_at_once(self):
        store = MemoryStore()
        heartbeat = await self._held(store)
        store.rows[CLUSTER].token += 1
        with pytest.raises(LeaseLostError):
            await heartbeat.hold(asyncio.Event().wait)
        assert now() == 15

    @virtual
    async def test_a_failed_renewal_ends_the_work_at_once(self):
        store = MemoryStore()
        heartbeat = await self._held(store)

        async def fails(lease, *, ttl_s):
            raise OSError("the connection is closed")

        store.renew = fails
        with pytest.raises(OSError, match="closed"):
            await heartbeat.hold(asyncio.Event().wait)
        assert now() == 15

    @virtual
    async def test_a_renewal_that_hangs_ends_the_work_before_the_lease_runs_out(self):
        store = MemoryStore()
        heartbeat = await self._held(store)
        renewals = []

        async def hangs(lease, *, ttl_s):
            renewals.append(now())
            if len(renewals) > 1:
                await asyncio.Event().wait()

        store.renew = hangs
        with pytest.raises(LeaseLostError, match="did not answer"):
            await heartbeat.hold(asyncio.Event().wait)
        assert renewals == [15, 30]
        assert now() == 15 + 50

    @virtual
    async def test_a_process_that_was_stopped_knows_it_by_its_clock(self):
        store = MemoryStore()
        time = [0.0]
        heartbeat = await self._held(store, clock=lambda: time[0])
        heartbeat.assure()
        time[0] = 49.0
        heartbeat.assure()
        time[0] = 51.0
        with pytest.raises(LeaseLostError, match="51 s"):
            heartbeat.assure()

    @virtual
    async def test_it_stops_when_it_goes_on_and_asks_nobody_first(self):
        store = MemoryStore()
        time = [0.0]
        heartbeat = await self._held(store, clock=lambda: time[0])
        asyncio.get_running_loop().call_later(5, time.__setitem__, 0, 100.0)
        store.renew = None
        with pytest.raises(LeaseLostError, match="100 s"):
            await heartbeat.hold(asyncio.Event().wait)

    @virtual
    async def test_a_claim_that_took_too_long_begins_nothing(self):
        heartbeat = await self._held(MemoryStore())
        began = []

        async def work():
            began.append(now())

        await asyncio.sleep(51)
        with pytest.raises(LeaseLostError):
            await heartbeat.hold(work)
        assert not began

    @virtual
    async def test_a_lease_counts_from_before_it_was_asked_for(self):
        store = MemoryStore()
        heartbeat = await self._held(store)
        pauses = iter((20.0, 1000.0))

        async def slow(lease, *, ttl_s):
            await asyncio.sleep(next(pauses))

        store.renew = slow
        with pytest.raises(LeaseLostError, match="did not answer"):
            await heartbeat.hold(asyncio.Event().wait)
        assert now() == 15 + 50

    @virtual
    async def test_the_work_has_ended_when_the_loss_is_told(self):
        store = MemoryStore()
        heartbeat = await self._held(store)
        store.rows[CLUSTER].token += 1
        ended = []

        async def work():
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(3)
                ended.append(now())

        with pytest.raises(LeaseLostError):
            await heartbeat.hold(work)
        assert ended == [18]

    def test_a_lease_that_cannot_be_renewed_in_time_is_a_wrong_setting(self):
        with pytest.raises(ValueError, match="renewed"):
            Heartbeat(MemoryStore(), None, asked_at=0.0, lease_s=60, renew_s=55)
