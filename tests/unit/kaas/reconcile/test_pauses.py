"""How long a step pauses, and by when it has to be done."""

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaas.domain.model import StepRecord
from kaas.domain.states import StepState
from kaas.reconcile.backoff import Backoff
from kaas.reconcile.deadlines import Deadlines
from tests.support.kaas_steps import FakeStep, World
from tests.support.kaas_store import START


class TestBackoff:
    def test_the_bound_doubles_up_to_a_minute(self):
        backoff = Backoff()
        assert [backoff.bound_s(attempt) for attempt in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]

    @given(st.integers(0, 10**6), st.integers())
    def test_a_pause_is_anything_below_its_bound(self, attempt, seed):
        backoff = Backoff(chance=random.Random(seed))
        assert 0 <= backoff.pause_s(attempt) <= backoff.bound_s(attempt) <= 60

    def test_clusters_that_failed_together_do_not_come_together(self):
        backoff = Backoff(chance=random.Random(1))
        pauses = [backoff.pause_s(7) for _ in range(1000)]
        assert min(pauses) < 2
        assert max(pauses) > 58
        assert 25 < sum(pauses) / 1000 < 35


def record(state, *, started_s=0, next_try_s=None, digest="d"):
    return StepRecord(
        "op",
        "a",
        1,
        state,
        1,
        digest,
        {},
        started_at=START + timedelta(seconds=started_s),
        next_try_at=None if next_try_s is None else START + timedelta(seconds=next_try_s),
    )


class Time:
    """A loop's clock and the time of day; they go together here."""

    def __init__(self, day_s=0.0):
        self.loop = 1000.0
        self.day = START + timedelta(seconds=day_s)

    def deadlines(self, operation_s=9000.0):
        return Deadlines(START + timedelta(seconds=operation_s), clock=lambda: self.loop, now=lambda: self.day)


STEP = FakeStep("a", World(), deadline_s=300)


class TestDeadlines:
    def test_a_step_that_never_began_has_all_of_its_time(self):
        assert Time().deadlines().of(STEP, "d", None) == 1300

    def test_further_tries_share_it(self):
        time = Time()
        deadlines = time.deadlines()
        first = deadlines.of(STEP, "d", None)
        time.loop += 100
        time.day += timedelta(seconds=9)
        assert deadlines.of(STEP, "d", record(StepState.WAITING)) == first

    def test_other_inputs_begin_anew(self):
        time = Time()
        deadlines = time.deadlines()
        deadlines.of(STEP, "d", None)
        time.loop += 100
        assert deadlines.of(STEP, "e", record(StepState.DONE)) == 1400

    def test_the_operation_ends_at_its_own(self):
        assert Time().deadlines(operation_s=50).of(STEP, "d", None) == 1050

    @pytest.mark.parametrize(
        ("before", "left_s"),
        [
            (record(StepState.WAITING, next_try_s=100), 200),
            (record(StepState.WAITING, next_try_s=9999), 100),
            (record(StepState.RUNNING), 100),
            (record(StepState.RUNNING, started_s=-4000), 30),
        ],
        ids=["nobody was there after its pause", "in its pause", "a crash", "a crash long ago"],
    )
    def test_time_of_another_conductor_counts_as_far_as_it_was_the_steps(self, before, left_s):
        assert Time(day_s=200).deadlines().of(STEP, "d", before) == 1000 + left_s
