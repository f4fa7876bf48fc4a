from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from kaas.api.progress import Estimate, History, Ledger, estimate, timeline_of
from kaas.domain.model import Operation, Scope, StepRecord
from kaas.domain.states import OperationKind, OperationState, StepState
from kaas.domain.store import Requests
from tests.unit.kaas.domain.made import NOW, operation

SCOPE = Scope("acme", "ann", "reader")


def step(key: str, start: float, end: float | None = None) -> StepRecord:
    state = StepState.RUNNING if end is None else StepState.DONE
    finished = None if end is None else NOW + timedelta(seconds=end)
    return StepRecord("o-1", key, 1, state, 1, "", {}, NOW + timedelta(seconds=start), finished)


def past(total: float, *steps: StepRecord) -> Ledger:
    ended = replace(
        operation(OperationKind.CREATE, OperationState.SUCCEEDED), finished_at=NOW + timedelta(seconds=total)
    )
    return ended, steps


def running(*steps: StepRecord) -> Ledger:
    return operation(OperationKind.CREATE), steps


def at(ledger: Ledger, earlier: Sequence[Ledger], seconds: float) -> Estimate:
    return estimate(ledger, timeline_of(earlier), NOW + timedelta(seconds=seconds))


EARLIER = [
    past(100, step("secrets", 0, 10), step("machine/a", 10, 40), step("machine/b", 10, 60), step("init/a", 60, 90))
]


def test_at_least_as_far_as_the_latest_place_that_was_reached() -> None:
    assert at(running(), EARLIER, 0) == Estimate(0, 100.0)
    assert at(running(step("secrets", 0, 3), step("machine/x", 3)), EARLIER, 3) == Estimate(10, 90.0)
    assert at(running(step("machine/x", 3, 9), step("init/x", 9)), EARLIER, 10) == Estimate(60, 40.0)


def test_between_two_places_it_comes_on_with_time_as_far_as_the_next() -> None:
    begun = running(step("secrets", 0, 3), step("machine/x", 3))
    assert at(begun, EARLIER, 23) == Estimate(23, 77.0)
    assert at(begun, EARLIER, 500) == Estimate(60, 40.0)
    assert at(running(step("init/x", 9)), EARLIER, 500) == Estimate(99, 0.0)


def test_the_middle_of_several() -> None:
    earlier = [past(total, step("secrets", total / 2, total)) for total in (10, 1000, 20)]
    assert at(running(step("secrets", 0, 1)), earlier, 1) == Estimate(50, 10.0)


def test_nothing_to_go_by() -> None:
    operation_, steps = running(step("secrets", 0, 1), step("machine/a", 1))
    assert at((replace(operation_, progress=33), steps), [], 1) == Estimate(33, None)
    assert at(running(), [], 1) == Estimate(0, None)
    assert at(running(step("new-kind", 0, 1)), EARLIER, 1) == Estimate(1, 99.0)


def test_what_has_ended() -> None:
    done, steps = running(step("secrets", 0, 1))
    assert estimate((replace(done, state=OperationState.SUCCEEDED), steps), None, NOW) == Estimate(100, None)
    ended = replace(done, state=OperationState.FAILED, finished_at=NOW + timedelta(seconds=7))
    failed = estimate((ended, steps), timeline_of(EARLIER), NOW + timedelta(days=1))
    assert failed == Estimate(7, None)


class Past:
    """Requests of which only earlier operations are known."""

    def __init__(self, *ledgers: Ledger) -> None:
        self.ledgers = {operation.id: (operation, steps) for operation, steps in ledgers}

    async def operations(self, _scope: Scope) -> list[Operation]:
        return [operation for operation, _ in self.ledgers.values()]

    async def operation(self, _scope: Scope, operation_id: str) -> Ledger:
        return self.ledgers[operation_id]


async def test_an_operation_is_measured_by_those_that_had_ended_before_it_whatever_ends_meanwhile() -> None:
    def ended(name: str, total: float) -> Ledger:
        operation_, steps = past(total)
        return replace(operation_, id=name), steps

    before = replace(operation(OperationKind.CREATE), id="this", created_at=NOW + timedelta(seconds=60))
    known = Past(ended("earlier", 50), ended("later", 70), (before, ()))
    timeline = await History(cast(Requests, known)).timeline(SCOPE, before)
    assert timeline is not None
    assert timeline.total_s == 50
    del known.ledgers["later"]
    assert await History(cast(Requests, known)).timeline(SCOPE, before) == timeline


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100), st.none() | st.floats(0, 100)), max_size=6),
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100), st.floats(0, 100)), max_size=6),
    st.floats(0, 1000),
)
def test_progress_stays_within_its_bounds(
    now: list[tuple[str, float, float | None]], before: list[tuple[str, float, float]], seconds: float
) -> None:
    earlier = [past(100, *(step(key, start, start + took) for key, start, took in before))]
    steps = [step(key, start, None if took is None else start + took) for key, start, took in now]
    found = at(running(*steps), earlier, seconds)
    assert 0 <= found.percent <= 99
    assert found.eta_s is not None
    assert 0 <= found.eta_s <= 100


KINDS = st.sampled_from("abcd")


@settings(deadline=None)
@given(
    st.lists(st.tuples(KINDS, st.floats(0, 100)), max_size=6),
    st.lists(st.tuples(st.sampled_from(["begin", "end", "again", "wait"]), KINDS, st.floats(0, 30)), max_size=20),
)
def test_neither_progress_nor_what_is_left_goes_back(
    before: list[tuple[str, float]], history: list[tuple[str, str, float]]
) -> None:
    earlier = [past(100, *(step(kind, start, start + 1) for kind, start in before))]
    ledger: dict[str, StepRecord] = {}
    seconds, seen = 0.0, [at(running(), earlier, 0)]
    for what, key, passed in history:
        seconds += passed
        if what in ("begin", "again") or key in ledger:
            ledger[key] = step(key, seconds, seconds if what == "end" else None)
        seen.append(at(running(*ledger.values()), earlier, seconds))
    for earlier_one, later in pairwise(seen):
        assert earlier_one.percent <= later.percent
        assert earlier_one.eta_s is not None
        assert later.eta_s is not None
        assert earlier_one.eta_s >= later.eta_s
