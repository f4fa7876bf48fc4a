"""Conductors that die on purpose: at every boundary of every step, and on both sides of every call to the outside."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, cast

from kaas.drivers.simulator.faults import Faults, KilledError, Rule
from kaas.reconcile.faults import Point
from kaas.reconcile.step import Tools
from tests.support.kaas_flow import Rig

_step: ContextVar[str] = ContextVar("step", default="conductor")
_IDS = re.compile(r"k8s-([a-z]+)-[0-9a-f]+")
BEFORE, AFTER = "before", "after"


def is_call(point: str) -> bool:
    """Tell a side of a call from a boundary."""
    return point.partition(" ")[0] in {BEFORE, AFTER}


class Watch:
    """Is told every point that a conductor passes, by a name that is the same in every run.

    A boundary is called as `kaas.reconcile.faults` has it; a side of a call `after 2nd driver.find of machine/dev-0`.
    """

    def __init__(self, passed: Callable[[str], None]) -> None:
        self._passed = passed
        self._calls: Counter[tuple[str, str]] = Counter()

    async def at(self, point: str) -> None:
        """Be told of a boundary (`kaas.reconcile.faults.Faults`)."""
        key, _, name = point.rpartition(":")
        if name in set(Point):
            _step.set(plain(key))
        self._passed(plain(point))

    async def call(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Do a call to the outside."""
        said = self._said(name)
        self._passed(f"{BEFORE} {said}")
        answer = await call()
        self._passed(f"{AFTER} {said}")
        return answer

    def half(self, name: str) -> None:
        """Be told that a call has done the first part of what it does."""
        self._passed(f"{BEFORE} {self._said(name)}")

    def _said(self, name: str) -> str:
        step = _step.get()
        self._calls[step, name] += 1
        return f"{name} {self._calls[step, name]} of {step}"


class Seen:
    """A tool whose calls are watched."""

    def __init__(self, name: str, tool: object, watch: Watch) -> None:
        self._name = name
        self._tool = tool
        self._watch = watch

    def __getattr__(self, method: str) -> Any:
        there = getattr(self._tool, method)
        if not callable(there):
            return there

        async def call(*args: object, **options: object) -> object:
            return await self._watch.call(f"{self._name}.{method}", lambda: there(*args, **options))

        return call


class _Halves(Faults):
    """The faults of a world, which also see kubeadm between its begin and its end."""

    def __init__(self, there: Faults, watch: Watch) -> None:
        super().__init__(there.rules)
        self._watch = watch

    def due(self, call: str) -> Rule | None:
        if call.startswith("remote.ended"):
            self._watch.half("kubeadm's second half")
        return super().due(call)


class Mortal:
    """A connection of a process: dead, it carries nothing any more."""

    def __init__(self, there: object, life: "Life") -> None:
        self._there = there
        self._life = life

    def __getattr__(self, method: str) -> Any:
        there = getattr(self._there, method)

        async def call(*args: object, **options: object) -> object:
            self._life.assure()
            return await there(*args, **options)

        return call


class Life:
    """A conductor in this process, which dies at a point: nothing that it means to do after that is done."""

    def __init__(self, until: str = "") -> None:
        self.passed: list[str] = []
        self.is_over = False
        self._until = until

    def __call__(self, point: str) -> None:
        self.assure()
        self.passed.append(point)
        if point == self._until:
            self.is_over = True
            raise KilledError(point)

    def assure(self) -> None:
        """Raise KilledError when it is over."""
        if self.is_over:
            raise KilledError(self._until)


def watched(rig: Rig, watch: Watch) -> Tools:
    """Give the tools of a rig, watched, with machines whose kubeadm is watched too."""
    if not isinstance(rig.sim.world.faults, _Halves):
        rig.sim.world.faults = _Halves(rig.sim.faults, watch)
    rig.sim.world.faults._watch = watch
    return replace(
        rig.tools,
        driver=cast(Any, Seen("driver", rig.tools.driver, watch)),
        remote=cast(Any, Seen("remote", rig.tools.remote, watch)),
        kube=cast(Any, Seen("kube", rig.tools.kube, watch)),
    )


def died(error: BaseException) -> bool:
    """Tell whether a conductor ended because it was killed, and of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return any(died(one) for one in error.exceptions)
    return isinstance(error, KilledError)


def plain(point: str) -> str:
    """Give a point's name without the id of its cluster."""
    return _IDS.sub(r"k8s-\1", point)
