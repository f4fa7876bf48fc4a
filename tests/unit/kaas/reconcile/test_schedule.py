"""Which steps may begin, for every ledger that there can be."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaas.domain.model import StepRecord
from kaas.domain.states import StepState
from kaas.reconcile.schedule import PlanError, check_plan, inputs_hash, results, standing

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Bare:
    key: str
    needs: frozenset[str] = frozenset()
    inputs: dict = field(default_factory=dict)
    deadline_s: float = 1.0


def record(key, state, *, digest=None, next_try_s=None, seq=1):
    return StepRecord(
        operation_id="op",
        key=key,
        seq=seq,
        state=state,
        attempt=1,
        inputs_hash=inputs_hash(Bare(key)) if digest is None else digest,
        result={"of": key},
        next_try_at=None if next_try_s is None else NOW + timedelta(seconds=next_try_s),
    )


def at(steps, *records, running=()):
    return standing(steps, {each.key: each for each in records}, running=frozenset(running), now=NOW)


def ready(*arguments, **options):
    return [step.key for step in at(*arguments, **options).ready]


A, B = Bare("a"), Bare("b", frozenset({"a"}))


class TestStanding:
    def test_what_needs_nothing_is_ready(self):
        assert ready([A, B]) == ["a"]

    def test_what_needs_something_done_is_ready(self):
        assert ready([A, B], record("a", StepState.DONE)) == ["b"]

    def test_what_runs_is_neither_ready_nor_done(self):
        assert ready([A, B], record("a", StepState.RUNNING), running=["a"]) == []

    def test_what_a_crash_left_running_is_ready(self):
        assert ready([A, B], record("a", StepState.RUNNING)) == ["a"]

    def test_what_waits_is_ready_when_its_pause_is_over(self):
        waiting = record("a", StepState.WAITING, next_try_s=10)
        assert ready([A, B], waiting) == []
        assert at([A, B], waiting).next_try_at == NOW + timedelta(seconds=10)
        assert ready([A, B], record("a", StepState.WAITING, next_try_s=0)) == ["a"]
        assert ready([A, B], record("a", StepState.WAITING)) == ["a"]

    def test_what_failed_is_told_and_not_ready(self):
        failed = record("a", StepState.FAILED)
        assert at([A, B], failed).failed == (failed,)
        assert ready([A, B], failed) == []

    def test_a_done_step_with_other_inputs_is_ready_again(self):
        assert ready([A, B], record("a", StepState.DONE, digest="old")) == ["a"]

    def test_all_done_is_done(self):
        assert at([A, B], record("a", StepState.DONE), record("b", StepState.DONE)).is_done
        assert at([]).is_done
        assert not at([A], record("a", StepState.DONE), running=["a"]).is_done

    def test_results_are_those_of_done_steps(self):
        ledger = {"a": record("a", StepState.DONE), "b": record("b", StepState.RUNNING)}
        assert results(ledger) == {"a": {"of": "a"}}

    def test_the_order_of_inputs_does_not_matter(self):
        assert inputs_hash(Bare("a", inputs={"x": 1, "y": 2})) == inputs_hash(Bare("a", inputs={"y": 2, "x": 1}))
        assert inputs_hash(Bare("a", inputs={"x": 1})) != inputs_hash(Bare("a", inputs={"x": 2}))

    def test_inputs_are_values_of_json(self):
        frozen = MappingProxyType({"x": MappingProxyType({"y": 1})})
        assert inputs_hash(Bare("a", inputs=frozen)) == inputs_hash(Bare("a", inputs={"x": {"y": 1}}))
        with pytest.raises(TypeError, match="frozenset"):
            inputs_hash(Bare("a", inputs={"x": frozenset({1})}))


@st.composite
def plans(draw):
    size = draw(st.integers(1, 8))
    return [
        Bare(f"s{number}", frozenset(draw(st.sets(st.sampled_from([f"s{each}" for each in range(number)])))))
        if number
        else Bare("s0")
        for number in range(size)
    ]


class TestPlans:
    @settings(max_examples=40)
    @given(plans(), st.data())
    def test_every_plan_is_brought_to_its_end_in_an_order_that_keeps_its_needs(self, steps, data):
        check_plan(steps)
        ledger = {}
        while not (now := standing(steps, ledger, running=frozenset(), now=NOW)).is_done:
            step = data.draw(st.sampled_from(now.ready))
            assert step.needs <= ledger.keys()
            ledger[step.key] = record(step.key, StepState.DONE)

    @pytest.mark.parametrize(
        ("steps", "said"),
        [
            ([Bare("a", frozenset({"x", "b"})), Bare("b")], "a needs x,"),
            ([Bare("a"), Bare("a")], "two steps of one key: a"),
            ([Bare("a", frozenset({"b"})), Bare("b", frozenset({"a"})), Bare("c")], "circle: a, b"),
            ([Bare("a", frozenset({"a"}))], "circle: a"),
        ],
    )
    def test_one_that_cannot_be_is_told_with_its_keys(self, steps, said):
        with pytest.raises(PlanError, match=said):
            check_plan(steps)
