"""Random wishes, faults and deaths, one after the other; what must hold, holds after each of them."""

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Role
from kaas.domain.states import ClusterStatus, NodeState, OperationKind, OperationState
from kaas.drivers.simulator.faults import Action, KilledError, Rule
from kaas.drivers.simulator.invariants import broken_quorums, duplicates
from kaas.drivers.simulator.platform import RECORDS
from tests.support.kaas_flow import LIMITS, WHO, rig_on

EXAMPLES = int(os.environ.get("KAAS_HISTORIES", "2"))
"""More of them for whoever has the time."""
FAULTS = (
    "driver.find *",
    "driver.create *",
    "driver.create machine *",
    "driver.update *",
    "driver.delete *",
    "remote.put *",
    "remote.run *",
    "remote.ended *",
    "kube.*",
    "kube.apply *",
    "kube.delete_node *",
)
EAGER = replace(LIMITS, patience_rest=timedelta(0), budget=100)
ACTIONS = (Action.REFUSE, Action.LOSE, Action.KILL_BEFORE, Action.KILL_AFTER)


class Histories(RuleBasedStateMachine):
    """One cluster and what happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = tempfile.TemporaryDirectory()
        self.rig = self.do(self.stack.enter_async_context(rig_on(Path(self.folder.name), limits=EAGER)))
        self.cluster = ""
        self.lives = 0
        self.number = 0
        self.other = self.do(self.rig.made("other", workers=1))
        self.of_other = self.belongings()
        self.done_before = len(self.rig.sim.calls())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize(planes=st.sampled_from([1, 1, 3]), workers=st.integers(1, 2))
    def create(self, planes: int, workers: int) -> None:
        self.planes = planes
        self.begin(workers)

    def begin(self, workers: int) -> None:
        self.number += 1
        self.store.writes.clear()
        self.cluster = self.do(self.rig.create(f"dev-{self.number}", planes=self.planes, workers=workers))

    @rule(workers=st.integers(1, 4))
    def scale(self, workers: int) -> None:
        self.ask(self.rig.scale(self.cluster, workers))

    @rule()
    def repair(self) -> None:
        self.ask(self.rig.repair(self.cluster))

    @rule()
    def cancel(self) -> None:
        operation = self.store._active(self.cluster)
        if operation is not None and operation.kind is not OperationKind.DELETE:
            self.store.operations[operation.id] = replace(operation, cancel_requested=True)

    @rule(turns=st.integers(1, 4), workers=st.integers(1, 2))
    def delete(self, turns: int, workers: int) -> None:
        self.ask(self.rig.delete(self.cluster))
        self.work(turns)
        if self.cluster not in self.store.rows:
            assert self.rig.left(self.cluster) == []
            self.begin(workers)

    @rule(
        match=st.sampled_from(FAULTS),
        action=st.sampled_from(ACTIONS),
        first=st.integers(1, 6),
        times=st.integers(1, 2),
    )
    def fault(self, match: str, action: Action, first: int, times: int) -> None:
        code = Code.API_SERVER_DOWN if match.startswith("kube") else Code.PLATFORM_UNAVAILABLE
        code = Code.NODE_UNREACHABLE if match.startswith("remote") else code
        self.rig.sim.faults.add(Rule(f"{match} {action}", match, action, code=code, first=first, times=times))

    @rule(action=st.sampled_from([Action.FAIL_MACHINE, Action.NEVER_BOOT, Action.BOOT_ERROR]))
    def bad_machine(self, action: Action) -> None:
        self.rig.sim.faults.add(Rule(f"machine {action}", "driver.create machine *", action))

    @rule(turns=st.integers(1, 3))
    def work(self, turns: int) -> None:
        for _ in range(turns):
            self.do(self.turn())

    @precondition(lambda self: self.is_quiet())
    @rule(number=st.integers(0, 3))
    def kill_a_worker(self, number: int) -> None:
        workers = self.ready(Role.WORKER)
        if workers:
            self.rig.sim.kill(workers[number % len(workers)])

    @precondition(lambda self: self.is_quiet() and self.planes == 3 and len(self.ready(Role.CONTROL_PLANE)) == 3)
    @rule(number=st.integers(0, 2))
    def kill_a_control_plane(self, number: int) -> None:
        if broken_quorums(self.rig.sim.world) or self.dead_planes():
            return
        self.rig.sim.kill(self.ready(Role.CONTROL_PLANE)[number])

    @precondition(lambda self: self.is_quiet())
    @rule()
    def hang_the_api(self) -> None:
        for name in self.ready(Role.CONTROL_PLANE):
            if name not in self.dead_planes():
                self.rig.sim.stop_api(name)

    @invariant()
    def nothing_is_there_twice(self) -> None:
        if not self.rig.sim.faults.rules and self.is_quiet():
            assert duplicates(self.rig.sim.world) == []

    @invariant()
    def nothing_of_another_cluster_is_touched(self) -> None:
        assert self.belongings() == self.of_other
        assert all(call.cluster != self.other for call in self.rig.sim.calls()[self.done_before :])

    @invariant()
    def only_the_newest_lease_writes(self) -> None:
        tokens = [token for _, token in self.store.writes]
        assert tokens == sorted(tokens)

    @invariant()
    def etcd_has_its_quorum(self) -> None:
        assert broken_quorums(self.rig.sim.world) == []

    @invariant()
    def one_control_plane_changes_at_a_time(self) -> None:
        changing = [one.name for one in self.rig.sim.world.machines(self.cluster) if "control" in one.half]
        assert len(changing) <= 1

    def teardown(self) -> None:
        try:
            if self.cluster:
                self.rig.sim.faults.clear()
                self.do(self.settle())
                self.do(self.come_to_rest())
                self.ask(self.rig.delete(self.cluster))
                self.do(self.settle())
                assert self.rig.left(self.cluster) == []
        finally:
            self.do(self.stack.aclose())
            self.runner.close()
            self.folder.cleanup()

    def belongings(self) -> list[Any]:
        ground = self.rig.sim.world.ground
        return [one for kind in RECORDS.values() for one in ground.all(kind, cluster=self.other)]

    def ask(self, wish: Coroutine[Any, Any, None]) -> None:
        try:
            self.do(wish)
        except RequestError as error:
            if error.code is not Code.WRONG_STATE:
                raise

    def is_quiet(self) -> bool:
        if not self.cluster or self.cluster not in self.store.rows:
            return False
        newest = self.do(self.rig.kit.requests.operations(WHO, self.cluster))[0]
        return newest.finished_at is not None and newest.state is OperationState.SUCCEEDED

    def ready(self, role: Role) -> list[str]:
        nodes = self.do(self.rig.nodes(self.cluster)).values()
        alive = {one.name for one in self.rig.sim.world.machines(self.cluster) if one.dead_at is None}
        return sorted(
            node.name for node in nodes if node.role is role and node.state is NodeState.READY and node.name in alive
        )

    def dead_planes(self) -> set[str]:
        machines = self.rig.sim.world.machines(self.cluster)
        return {one.name for one in machines if one.is_control_plane and one.dead_at is not None}

    async def turn(self) -> None:
        if self.cluster not in self.store.rows:
            return
        self.lives += 1
        try:
            await self.rig.conductor(f"conductor-{self.lives}").handle(self.cluster)
        except BaseException as error:
            if not _died(error):
                raise
            await self.rig.kit.run_out(self.cluster)

    async def settle(self) -> None:
        """Work until nothing runs any more."""
        for _ in range(60):
            await self.turn()
            newest = (await self.rig.kit.requests.operations(WHO, self.cluster))[0]
            if newest.finished_at is not None:
                return
        raise AssertionError(f"{newest.kind} does not end: {await self.rig.ledger(newest)}")

    async def come_to_rest(self) -> None:
        """Let the cluster be looked at until nothing follows from it; then it is whole, or says that it froze."""
        for _ in range(8):
            await self.turn()
        snapshot = await self.rig.snapshot(self.cluster)
        frozen = {"REPAIR_FROZEN", "REPAIR_HELD"} & {event.code for event in await self.rig.events(self.cluster)}
        if snapshot.operation is not None or snapshot.cluster.status is not ClusterStatus.RUNNING or frozen:
            return
        assert self.rig.problems(self.cluster) == []
        nodes = (await self.rig.nodes(self.cluster)).values()
        assert {node.state for node in nodes} == {NodeState.READY}
        assert set(self.rig.sim.brain(self.cluster).nodes) == {node.name for node in nodes}
        newest = (await self.rig.kit.requests.operations(WHO, self.cluster))[0]
        if newest.state is OperationState.SUCCEEDED:
            wanted = {group.name: group.size for group in snapshot.cluster.spec.groups}
            assert Counter(node.group for node in nodes) == wanted
            assert snapshot.cluster.observed_generation == snapshot.cluster.generation

    @property
    def store(self) -> Any:
        return self.rig.kit.conducting


def _died(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_died(one) for one in error.exceptions)
    return isinstance(error, KilledError)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=12, deadline=None, derandomize="KAAS_HISTORIES" not in os.environ
)
