"""Random orders, lost answers, repeated calls, changes of leaders: what must hold all the time, and in the end."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ccm.autoscaler.model import CLUSTER_LABEL, Machine, pending_id, provider_id
from ccm.autoscaler.ports import AutoscalerError, Problem
from ccm.autoscaler.record import GroupRecord
from tests.unit.ccm.autoscaler.fakes import CLUSTER, FakeMachines, MemoryStore, Rig, group, quota, store_away, unknown

LEAST, MOST = 1, 6
UNDECIDED = (Problem.UNAVAILABLE,)


class Bridge(RuleBasedStateMachine):
    """One group on a platform and a store that lose answers."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.machines, self.store = FakeMachines(), MemoryStore()
        self.ended: set[str] = set()
        """Slots that an order may have ended."""
        self.last_delete: tuple[str, ...] = ()
        self.seen = 0

    def teardown(self) -> None:
        try:
            self.run(self.find_rest())
        finally:
            self.runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize(given=st.integers(0, 2))
    def start(self, given: int) -> None:
        for _ in range(given):
            self.machines.put(group="pool-a")
        self.foreign = [
            self.machines.put(group="pool-a", cluster="cluster-2"),
            self.machines.put(group="pool-b"),
            self.machines.put(),
        ]
        self.run(self.begin())

    async def begin(self) -> None:
        self.rig = Rig(group(least=LEAST, most=MOST), machines=self.machines, store=self.store)
        try:
            await self.rig.refresh()
        except AutoscalerError as error:
            if error.problem not in UNDECIDED:
                raise

    async def order(self, work: Coroutine[Any, Any, None], before: GroupRecord, allowed: set[int]) -> bool | None:
        """Carry out an order: True done, False refused, None undecided. Its effect is one of `allowed`, and once."""
        try:
            await work
        except AutoscalerError as error:
            done = None if error.problem in UNDECIDED else False
        else:
            done = True
        after = self.store.record()
        change = after.target - before.target
        # A doubtful write may have been done; a refused one never is.
        assert change in (allowed if done else {0} if done is False else {0, *allowed}), (done, change, allowed)
        return done

    @rule(delta=st.integers(1, 4))
    def increase(self, delta: int) -> None:
        self.prepare()
        before = self.store.record()
        self.run(self.order(self.rig.increase(delta), before, {delta}))

    @rule(delta=st.integers(1, 3))
    def decrease(self, delta: int) -> None:
        self.prepare()
        before = self.store.record()
        living = {one.id for one in self.rig.live()}
        self.run(self.order(self.rig.decrease(-delta), before, {-delta}))
        self.ended |= set(before.slots) - set(self.store.record().slots)
        assert living == {one.id for one in self.rig.live()}

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.prepare()
        living = [one for one in self.rig.live() if one.id not in self.machines.hidden]
        chosen = data.draw(st.lists(st.sampled_from(living), max_size=3)) if living else []
        self.delete_nodes(tuple(provider_id(one.id) for one in chosen))

    @rule(data=st.data())
    def delete_place(self, data: st.DataObject) -> None:
        self.prepare()
        places = [pending_id("pool-a", slot) for slot in self.store.record().slots]
        if places:
            self.delete_nodes((data.draw(st.sampled_from(places)),))

    @precondition(lambda self: self.last_delete)
    @rule()
    def delete_again(self) -> None:
        self.prepare()
        self.delete_nodes(self.last_delete)

    def delete_nodes(self, node_ids: tuple[str, ...]) -> None:
        before = self.store.record()
        named = {self.slot_of(one) for one in node_ids}
        expected = {-count for count in range(len(named & set(before.slots)) + 1)}
        done = self.run(self.order(self.rig.delete(*node_ids), before, expected))
        after = self.store.record()
        assert set(before.slots) - set(after.slots) <= named
        self.ended |= set(before.slots) - set(after.slots)
        self.last_delete = node_ids
        if done:
            again = self.store.record()
            assert self.run(self.order(self.rig.delete(*node_ids), again, {0})) is not False

    def slot_of(self, node_id: str) -> str:
        if node_id.startswith("thecloud://pending/"):
            return node_id.rpartition("/")[2]
        machine_id = node_id.removeprefix("thecloud://")
        known = {one.id: one for one in (*self.machines.all.values(), *self.machines.terminated)}
        return known[machine_id].slot if machine_id in known else machine_id

    @rule(data=st.data())
    def delete_of_others_is_refused(self, data: st.DataObject) -> None:
        self.prepare()
        before = self.store.record()
        node = provider_id(data.draw(st.sampled_from(self.foreign)).id)
        assert self.run(self.order(self.rig.delete(node), before, {0})) is not True

    @rule(
        point=st.sampled_from(["put", "get", "list", "look_up", "launch", "terminate"]),
        after=st.booleans(),
        times=st.integers(1, 3),
    )
    def trouble(self, point: str, after: bool, times: int) -> None:
        if point in ("put", "get"):
            self.store.faults.add(point, store_away(), after=after, times=times)
        else:
            self.machines.faults.add(point, unknown(), after=after, times=times)

    @rule(times=st.integers(1, 3))
    def no_room(self, times: int) -> None:
        self.machines.faults.add("launch", quota(), times=times)

    @rule(data=st.data())
    def stale_listing(self, data: st.DataObject) -> None:
        self.machines.hidden = set(data.draw(st.lists(st.sampled_from(sorted(self.machines.all)), max_size=3)))

    @rule()
    def true_listing(self) -> None:
        self.machines.hidden = set()

    @rule()
    def look(self) -> None:
        try:
            self.run(self.rig.step())
        except AutoscalerError as error:
            if error.problem not in UNDECIDED:
                raise

    @rule()
    def other_leader(self) -> None:
        self.run(self.begin())

    @rule(data=st.data())
    def instance_vanishes(self, data: st.DataObject) -> None:
        living = self.rig.live()
        if living:
            machine = data.draw(st.sampled_from(living))
            del self.machines.all[machine.id]

    def prepare(self) -> None:
        """Make sure that there is a record, as a loop of the Cluster Autoscaler does before its orders."""
        if not self.store.text:
            faults = self.store.faults.to_come, self.machines.faults.to_come
            self.store.faults.to_come, self.machines.faults.to_come = [], []
            self.run(self.rig.refresh())
            self.store.faults.to_come, self.machines.faults.to_come = faults

    @invariant()
    def sizes_hold(self) -> None:
        if self.store.text:
            assert LEAST <= self.store.record().target <= MOST + 2

    @invariant()
    def nothing_of_others_is_terminated(self) -> None:
        for machine in self.machines.terminated[self.seen :]:
            assert machine.group == "pool-a"
            assert machine.labels[CLUSTER_LABEL] == CLUSTER
            assert machine.slot in self.ended or self.is_double(machine), machine
        self.seen = len(self.machines.terminated)

    def is_double(self, machine: Machine) -> bool:
        """Whether another machine filled the same slot, so that one of them was too many."""
        made = (*self.machines.all.values(), *self.machines.terminated)
        return sum(one.slot == machine.slot for one in made if one.labels.get(CLUSTER_LABEL) == CLUSTER) > 1

    async def find_rest(self) -> None:
        """Without further trouble, there are as many machines as are wanted, each in its own slot."""
        self.store.faults.to_come, self.machines.faults.to_come, self.machines.hidden = [], [], set()
        if not hasattr(self, "rig"):
            return
        await self.rig.refresh()
        await self.rig.settle()
        record = self.store.record()
        assert sorted(one.slot for one in self.rig.live()) == sorted(record.slots)
        assert record.deleting == {}
        assert all(one.id in self.machines.all for one in self.foreign)


TestBridge = Bridge.TestCase
TestBridge.settings = settings(
    max_examples=60,
    phases=[Phase.generate],  # shrinking takes minutes, and the steps of a failure are few
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
