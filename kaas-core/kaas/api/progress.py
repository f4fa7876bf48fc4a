"""How far an operation is and how long it still takes, going by how long its like took before.

The steps of an operation overlap, so that their durations cannot be added up. Instead, each kind of step (the part of
its key before the slash) has a place in the time of earlier operations: when it began. An operation has come at least
to the latest place that it has reached, and from there it comes on with time, as far as the next place.

Neither ever goes back: kinds that have begun stay so however their steps are tried, planned or done again, and an
operation is measured by those that had ended when it was asked for, whatever ends meanwhile.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Final

from kaas.domain.model import Operation, Scope, StepRecord
from kaas.domain.states import FINAL, OperationState
from kaas.domain.store import Requests

_LOOKED_AT: Final = 5
"""Earlier operations that are gone by."""
_MOST_WHILE_RUNNING: Final = 99
_MAX_REMEMBERED: Final = 1000


@dataclass(frozen=True, slots=True)
class Timeline:
    """When, after its request, an operation ends and each kind of its steps begins, in seconds."""

    total_s: float
    starts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """How far it is."""

    percent: int
    eta_s: float | None
    """None when there is nothing to go by, or nothing left to do."""


Ledger = tuple[Operation, Sequence[StepRecord]]


def timeline_of(ledgers: Sequence[Ledger]) -> Timeline | None:
    """Make the middle of what earlier operations took; None of none."""
    totals: list[float] = []
    starts: dict[str, list[float]] = {}
    for operation, steps in ledgers:
        if operation.finished_at is None:
            continue
        totals.append((operation.finished_at - operation.created_at).total_seconds())
        for kind, start in _starts(operation, steps).items():
            starts.setdefault(kind, []).append(start)
    if not totals:
        return None
    return Timeline(median(totals), {kind: median(starts[kind]) for kind in starts})


def estimate(ledger: Ledger, timeline: Timeline | None, now: datetime) -> Estimate:
    """Tell how far an operation is; without a timeline, by the number of its steps."""
    operation, steps = ledger
    if operation.state is OperationState.SUCCEEDED:
        return Estimate(100, None)
    if timeline is None or timeline.total_s <= 0:
        return Estimate(min(_MOST_WHILE_RUNNING, operation.progress), None)
    since_s = ((operation.finished_at or now) - operation.created_at).total_seconds()
    reached = min(timeline.total_s, _reached({_kind(step) for step in steps}, timeline, since_s))
    percent = min(_MOST_WHILE_RUNNING, int(100 * reached / timeline.total_s))
    left = None if operation.state in FINAL else round(max(0.0, timeline.total_s - reached), 1)
    return Estimate(percent, left)


class History:
    """Remembers the timelines of the operations that are watched."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._timelines: dict[str, Timeline | None] = {}

    async def timeline(self, scope: Scope, operation: Operation) -> Timeline | None:
        """Give how long operations took that are like one of the tenant, and had ended when it was asked for."""
        if operation.id not in self._timelines:
            operations = await self._requests.operations(scope)
            earlier = [one for one in operations if _went_before(one, operation)][:_LOOKED_AT]
            timeline = timeline_of([await self._requests.operation(scope, one.id) for one in earlier])
            if len(self._timelines) >= _MAX_REMEMBERED:
                self._timelines.clear()
            self._timelines[operation.id] = timeline
        return self._timelines[operation.id]


def _went_before(one: Operation, other: Operation) -> bool:
    ended = one.finished_at if one.state is OperationState.SUCCEEDED else None
    return one.kind is other.kind and ended is not None and ended <= other.created_at


def _kind(step: StepRecord) -> str:
    return step.key.partition("/")[0]


def _starts(operation: Operation, steps: Sequence[StepRecord]) -> dict[str, float]:
    starts: dict[str, float] = {}
    for step in steps:
        if step.started_at is not None:
            start = (step.started_at - operation.created_at).total_seconds()
            starts[_kind(step)] = min(start, starts.get(_kind(step), start))
    return starts


def _reached(begun: Collection[str], timeline: Timeline, since_s: float) -> float:
    """Give the latest place of what has begun, or how long it has been since the request, up to the next place."""
    place = max((timeline.starts[kind] for kind in begun if kind in timeline.starts), default=0.0)
    ahead = (start for kind, start in timeline.starts.items() if kind not in begun and start > place)
    return max(place, min(since_s, min(ahead, default=timeline.total_s)))
