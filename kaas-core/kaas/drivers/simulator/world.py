"""What all faces of the simulator share: the ground, the clock, how long things take, and the gate for every call."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from kaas.domain.errors import Code, StepError
from kaas.drivers.simulator.faults import Action, Faults, KilledError, Rule
from kaas.drivers.simulator.ground import Call, Ground
from kaas.drivers.simulator.records import Balancer, Brain, Endpoint, Machine, Volume

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take, in seconds."""

    call_s: float = 0.0
    machine_s: float = 0.0
    """From the request to a machine that runs."""
    boot_s: float = 0.0
    """From then on to its report."""
    endpoint_s: float = 0.0
    delete_s: float = 0.0
    init_s: float = 0.0
    join_s: float = 0.0
    node_ready_s: float = 0.0
    """From a join to a Node that may be Ready."""
    node_grace_s: float = 0.0
    """From the death of a machine to a Node that is not Ready any more."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What the platform has."""

    endpoints: bool = True
    images: frozenset[str] = frozenset()
    """Empty: any."""
    instance_types: frozenset[str] = frozenset()
    """Empty: any."""
    machines: int = 1_000_000
    """Quota of the tenant."""


@dataclass(slots=True)
class World:
    """The outside, for its three faces."""

    ground: Ground
    timing: Timing = field(default_factory=Timing)
    offer: Offer = field(default_factory=Offer)
    faults: Faults = field(default_factory=Faults)
    clock: Callable[[], float] = time.time
    """Seconds that all users of one file agree on."""

    async def call(
        self, method: str, what: str, act: Callable[[Rule | None], Answer], *, deadline: float, cluster: str = ""
    ) -> Answer:
        """Do one call in one transaction, with its line in the audit log, the way the rules want it to go."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(min(self.timing.call_s, max(0.0, deadline - loop.time())))
        if loop.time() >= deadline:
            raise StepError(Code.PLATFORM_UNAVAILABLE, f"{method} {what}: no answer in time")
        rule = self.faults.due(f"{method} {what}")
        if rule is not None and rule.action is Action.KILL_BEFORE:
            raise KilledError(rule.name)
        if rule is not None and rule.action is Action.REFUSE:
            self._log(method, what, cluster, rule.code)
            raise _error(rule, what)
        try:
            with self.ground.change():
                answer = act(rule)
                lost = rule is not None and rule.action in {Action.LOSE, Action.KILL_AFTER}
                self.ground.log(Call(self.clock(), method, what, cluster, "lost" if lost else "done"))
        except StepError as error:
            self._log(method, what, cluster, error.code)
            raise
        if rule is not None and rule.action is Action.KILL_AFTER:
            raise KilledError(rule.name)
        if rule is not None and rule.action is Action.LOSE:
            raise _error(rule, what)
        return answer

    def machine(self, machine_id: str) -> Machine | None:
        """Give a machine that is not gone."""
        found = self.ground.get(Machine, machine_id)
        return None if found is None or self._is_over(found.gone_at) else found

    def machines(self, cluster: str = "", name: str = "") -> list[Machine]:
        """Give the machines that are not gone."""
        return [one for one in self.ground.all(Machine, cluster=cluster, name=name) if not self._is_over(one.gone_at)]

    def machine_at(self, address: str) -> Machine | None:
        """Give the machine of an address."""
        found = self.ground.all(Machine, host=address)
        return next((one for one in found if not self._is_over(one.gone_at)), None)

    def brain(self, machine: Machine) -> Brain | None:
        """Give the cluster that a machine belongs to."""
        return self.ground.get(Brain, machine.brain_id) if machine.brain_id else None

    def serves(self, brain: Brain) -> bool:
        """Tell whether etcd has a quorum."""
        now = self.clock()
        living = [one for one in (self.machine(member) for member in brain.members) if one is not None]
        return bool(brain.members) and sum(one.lives(now) for one in living) >= brain.quorum

    def server(self, host: str) -> tuple[Machine, Brain] | None:
        """Give what answers behind the address of an endpoint or of a machine."""
        ids = [one.id for one in self.ground.all(Machine, host=host)]
        for endpoint in self.ground.all(Endpoint, host=host):
            if not self._is_over(endpoint.gone_at) and self.clock() >= endpoint.ready_at:
                ids.extend(endpoint.targets)
        for machine_id in ids:
            machine = self.machine(machine_id)
            if machine is None or not machine.lives(self.clock()) or machine.api_stopped:
                continue
            brain = self.brain(machine)
            if brain is not None and machine.id in brain.members and self.serves(brain):
                return machine, brain
        return None

    def sweep(self, cluster: str) -> None:
        """Forget what has gone since the last look."""
        for kind in (Machine, Endpoint, Balancer, Volume):
            for thing in self.ground.all(kind, cluster=cluster):
                if self._is_over(thing.gone_at):
                    self.ground.remove(thing)
        for brain in self.ground.all(Brain, cluster=cluster):
            if not any(self.machine(member) for member in brain.members):
                self.ground.remove(brain)

    def _is_over(self, gone_at: float | None) -> bool:
        return gone_at is not None and self.clock() >= gone_at

    def _log(self, method: str, what: str, cluster: str, outcome: str) -> None:
        with self.ground.change():
            self.ground.log(Call(self.clock(), method, what, cluster, outcome))


def _error(rule: Rule, what: str) -> StepError:
    return StepError(rule.code, f"{what}: {rule.message}", retry_after_s=rule.retry_after_s)
