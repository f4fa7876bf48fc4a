"""By when a step has to be done: measured on the loop's clock, and carried over a restart by the ledger."""

from collections.abc import Callable
from datetime import datetime

from kaas.domain.model import StepRecord
from kaas.domain.states import StepState
from kaas.reconcile.step import Step

RESUMED_S = 30.0
"""What a step that a crash interrupted gets at least: nobody knows for how long no conductor was there to try it."""


class Deadlines:
    """Deadlines of one operation's steps as loop times, for as long as one conductor has the cluster.

    `clock` is the loop's, `now` the time of day, which is used only for what another process has begun.
    """

    def __init__(self, deadline: datetime, *, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self._clock = clock
        self._now = now
        self.operation = clock() + (deadline - now()).total_seconds()
        """When the operation ends at the latest."""
        self._steps: dict[tuple[str, str], float] = {}

    def of(self, step: Step, inputs_hash: str, record: StepRecord | None) -> float:
        """Give the time by which all tries of a step together end; the first call counts from its first try."""
        known = self._steps.get((step.key, inputs_hash))
        if known is None:
            known = self._clock() + self._left_s(step, inputs_hash, record)
            self._steps[step.key, inputs_hash] = known
        return min(known, self.operation)

    def _left_s(self, step: Step, inputs_hash: str, record: StepRecord | None) -> float:
        if record is None or record.started_at is None or record.inputs_hash != inputs_hash:
            return step.deadline_s
        if record.state is StepState.WAITING:
            # Time after the next try was due is time without a conductor, and not the step's.
            until = min(self._now(), record.next_try_at or self._now())
            return step.deadline_s - max(0.0, (until - record.started_at).total_seconds())
        used_s = max(0.0, (self._now() - record.started_at).total_seconds())
        return max(step.deadline_s - used_s, min(step.deadline_s, RESUMED_S))
