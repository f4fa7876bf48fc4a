"""Steps, plans and a world outside for tests of the conductor, and ways to let it die."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from kaas.domain.model import Snapshot
from kaas.domain.states import OperationKind
from kaas.reconcile.planner import Plan
from kaas.reconcile.step import Result, Tools, Work


class World:
    """What is outside: it outlives conductors, and counts what was made."""

    def __init__(self) -> None:
        self.things: set[str] = set()
        self.made: Counter[str] = Counter()
        self.log: list[str] = []
        """What steps did, in order: `check a`, `apply a`, `verify a`."""
        self.active = 0
        self.most_active = 0

    def make(self, name: str) -> None:
        self.made[name] += 1
        self.things.add(name)


class FileWorld(World):
    """What is outside, in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        if path.exists():
            self.things = set(path.read_text().split())

    def make(self, name: str) -> None:
        with self._path.open("a") as file:
            file.write(f"{name}\n")
        super().make(name)


@dataclass
class FakeStep:
    """Makes a thing of its own name. `errors` are raised by `apply`, one each time, before anything is made."""

    key: str
    world: World
    needs: frozenset[str] = frozenset()
    deadline_s: float = 600.0
    inputs: Mapping[str, object] = field(default_factory=dict)
    errors: list[Exception] = field(default_factory=list)
    unready: list[Exception] = field(default_factory=list)
    """Raised by `verify`, one each time."""
    apply_s: float = 0.0
    verify_s: float = 0.0
    during_apply: Callable[[Work], Any] | None = None
    seen: list[Mapping[str, Result]] = field(default_factory=list)

    async def check(self, work: Work) -> Result | None:
        self._log("check")
        self.seen.append(work.results)
        return self._result() if self.key in self.world.things else None

    async def apply(self, work: Work) -> None:
        self._log("apply")
        self.world.active += 1
        self.world.most_active = max(self.world.most_active, self.world.active)
        try:
            if self.during_apply is not None:
                await self.during_apply(work)
            await asyncio.sleep(self.apply_s)
            if self.errors:
                raise self.errors.pop(0)
            self.world.make(self.key)
        finally:
            self.world.active -= 1

    async def verify(self, work: Work) -> Result:
        self._log("verify")
        await asyncio.sleep(self.verify_s)
        if self.unready:
            raise self.unready.pop(0)
        return self._result()

    def _result(self) -> Result:
        return {"id": f"id of {self.key}"}

    def _log(self, what: str) -> None:
        self.world.log.append(f"{what} {self.key}")


class FakePlanner:
    """Gives plans by the kind of the operation; `idle` when there is none."""

    def __init__(self, plans: Mapping[OperationKind, Plan] | None = None, *, idle: Plan | None = None) -> None:
        self.plans = dict(plans or {})
        self.idle = idle or Plan()

    def plan(self, snapshot: Snapshot) -> Plan:
        operation = snapshot.operation
        return self.idle if operation is None else self.plans[operation.kind]


def creating(*steps: FakeStep) -> FakePlanner:
    return FakePlanner({OperationKind.CREATE: Plan(steps=steps), OperationKind.DELETE: Plan()})


def three_steps(world: World) -> FakePlanner:
    """Give a planner whose operations are all `a`, then `b` and `c`."""
    steps = (
        FakeStep("a", world),
        FakeStep("b", world, needs=frozenset({"a"})),
        FakeStep("c", world, needs=frozenset({"a"})),
    )
    return FakePlanner({kind: Plan(steps=steps) for kind in OperationKind})


def tools(store: object) -> Tools:
    """Tools of which the conductor itself uses the store alone."""
    nothing = cast(Any, None)
    return Tools(driver=nothing, remote=nothing, kube=nothing, sealed=nothing, store=cast(Any, store), boots=nothing)


class NoEngine:
    """For conductors whose `handle` is called by the test."""

    async def run(self, handler: object, *, concurrency: int, stop: object) -> None:
        raise AssertionError("not used")


class Mortal:
    """A store's connection that goes silent for ever: nothing that a dead process meant to write arrives."""

    def __init__(self, store: object) -> None:
        self._store = store
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: object, **options: object) -> object:
            if self.is_dead:
                await asyncio.Event().wait()
            return await method(*args, **options)

        return call


class DieAt:
    """Lets a conductor go silent at a point, `reached` then."""

    def __init__(self, point: str, mortal: Mortal) -> None:
        self.point = point
        self.reached = asyncio.Event()
        self._mortal = mortal

    async def at(self, point: str) -> None:
        if point == self.point:
            self._mortal.is_dead = True
            self.reached.set()
            await asyncio.Event().wait()


class Points:
    """Notes every point that was passed."""

    def __init__(self) -> None:
        self.passed: list[str] = []

    async def at(self, point: str) -> None:
        self.passed.append(point)
