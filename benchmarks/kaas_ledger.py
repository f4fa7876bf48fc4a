"""What a run of `make bench-kaas` is judged by: the simulator's own ledger, and the steps that conductors wrote down.

Everything here is pure; whether something was made twice is never asked of the tables whose code is measured.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kaas.domain.ports import Kind
from kaas.drivers.simulator.ground import Call
from kaas.drivers.simulator.platform import RECORDS
from kaas.drivers.simulator.records import Brain, Record
from kaas.drivers.simulator.world import Timing, World

_HAPPENED = frozenset({"done", "lost"})
_CREATE, _DELETE, _RUN = "driver.create", "driver.delete", "remote.run"
_ONCE = ("kubeadm init", "kubeadm join")


@dataclass(frozen=True, slots=True)
class Creates:
    """What was made outside."""

    made: int
    twice: tuple[str, ...]
    """Made while there was one already."""
    anew: tuple[str, ...]
    """Made again after the one before was deleted: what a lost answer makes necessary where a secret is in it."""


def creates_of(calls: Iterable[Call]) -> Creates:
    """Look through a ledger, oldest first. Names are those of one cluster each, so that a name is one thing."""
    ever: Counter[str] = Counter()
    there: set[str] = set()
    twice, anew = [], []
    for call in calls:
        if call.outcome not in _HAPPENED:
            continue
        if call.method == _DELETE:
            there.discard(call.what)
        elif call.method == _CREATE:
            if call.what in there:
                twice.append(call.what)
            elif ever[call.what]:
                anew.append(call.what)
            there.add(call.what)
            ever[call.what] += 1
    return Creates(ever.total(), tuple(twice), tuple(anew))


def repeated_commands(calls: Iterable[Call]) -> list[str]:
    """Name the commands that may run once on a machine and were run again, such as `kubeadm init at 172.16.0.3`."""
    runs = Counter(
        call.what for call in calls if call.method == _RUN and call.outcome in _HAPPENED and call.what.startswith(_ONCE)
    )
    return [what for what, times in runs.items() if times > 1]


def left_over(world: World) -> list[str]:
    """Name what nobody has asked to go, of all clusters, and what knows of a cluster with a machine."""
    things: list[Record] = [
        thing for kind in Kind for thing in world.ground.all(RECORDS[kind]) if thing.gone_at is None
    ]
    brains = [one for one in world.ground.all(Brain) if any(world.machine(member) for member in one.members)]
    return [f"{one.kind} {one.name} {one.id} of cluster {one.cluster}" for one in (*things, *brains)]


@dataclass(frozen=True, slots=True)
class StepTime:
    """How long a step took, all its tries together."""

    key: str
    began_at: datetime
    ended_at: datetime
    attempts: int = 1

    @property
    def family(self) -> str:
        """What kind of step it is: `machine` for `machine/dev-0`."""
        return self.key.partition("/")[0]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_at - self.began_at).total_seconds()


def platform_seconds(timing: Timing) -> Mapping[str, float]:
    """Give the time that the simulated world takes by itself in a step, by the kind of step; others: none."""
    return {
        "machine": timing.machine_s,
        "boot": timing.boot_s,
        "endpoint": timing.endpoint_s,
        "init": timing.init_s,
        "join": timing.join_s,
        "ready": timing.node_ready_s,
        "gone": timing.delete_s,
    }


def own_seconds(steps: Iterable[StepTime], timing: Timing) -> list[float]:
    """Give for each step what is left of its time without that of the simulated world; single calls stay in it."""
    theirs = platform_seconds(timing)
    return [max(0.0, step.seconds - theirs.get(step.family, 0.0)) for step in steps]


def by_family(steps: Sequence[StepTime]) -> dict[str, list[StepTime]]:
    """Give the steps of each kind, in the order in which the kinds first began."""
    found: dict[str, list[StepTime]] = {}
    for step in sorted(steps, key=lambda one: one.began_at):
        found.setdefault(step.family, []).append(step)
    return found


def busy_seconds(steps: Iterable[StepTime]) -> float:
    """Give the time in which at least one step ran."""
    total, until = 0.0, None
    for step in sorted(steps, key=lambda one: one.began_at):
        begin = step.began_at if until is None else max(step.began_at, until)
        total += max(0.0, (step.ended_at - begin).total_seconds())
        until = step.ended_at if until is None else max(until, step.ended_at)
    return total
