"""Which steps may run now: pure, from a plan and the ledger."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kaas.domain.model import StepRecord
from kaas.domain.states import StepState
from kaas.reconcile.step import Result, Step


class PlanError(Exception):
    """A plan that cannot be carried out: a mistake of ours, told with the keys of its steps."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the steps of a plan are."""

    ready: tuple[Step, ...]
    """May begin now: all that they need is done, and their pause is over."""
    failed: tuple[StepRecord, ...]
    waiting: tuple[StepRecord, ...]
    """Failed in a way that passes, and their pause is not over."""
    is_done: bool
    hashes: Mapping[str, str]
    """Of the inputs of all steps, by key."""

    @property
    def next_try_at(self) -> datetime | None:
        """When the first pause is over; None when there is none."""
        return min((record.next_try_at for record in self.waiting if record.next_try_at), default=None)


def inputs_hash(step: Step) -> str:
    """Give what tells whether a step's inputs changed; they are values of JSON."""
    text = json.dumps(step.inputs, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def check_plan(steps: Sequence[Step]) -> None:
    """Raise PlanError for a key that is used twice, a need that no step fills, and needs in a circle."""
    keys = Counter(step.key for step in steps)
    if twice := sorted(key for key, times in keys.items() if times > 1):
        raise PlanError(f"the plan has two steps of one key: {', '.join(twice)}")
    for step in steps:
        if unknown := sorted(step.needs - keys.keys()):
            raise PlanError(f"step {step.key} needs {', '.join(unknown)}, and the plan has no such step")
    done: set[str] = set()
    left = list(steps)
    while left:
        free = [step for step in left if step.needs <= done]
        if not free:
            raise PlanError(f"steps need each other in a circle: {', '.join(sorted(step.key for step in left))}")
        done |= {step.key for step in free}
        left = [step for step in left if step.key not in done]


def standing(
    steps: Sequence[Step], ledger: Mapping[str, StepRecord], *, running: frozenset[str], now: datetime
) -> Standing:
    """Say where the steps are. A record that says `running` without one in `running` is what a crash left."""
    hashes = {step.key: inputs_hash(step) for step in steps}
    done = {key for key, digest in hashes.items() if _is_done(digest, ledger.get(key))} - running
    failed: list[StepRecord] = []
    waiting: list[StepRecord] = []
    ready: list[Step] = []
    for step in steps:
        record = ledger.get(step.key)
        if step.key in done or step.key in running:
            continue
        if record is not None and record.state is StepState.FAILED:
            failed.append(record)
        elif record is not None and _pauses(record, now):
            waiting.append(record)
        elif step.needs <= done:
            ready.append(step)
    return Standing(
        ready=tuple(ready),
        failed=tuple(failed),
        waiting=tuple(waiting),
        is_done=len(done) == len(steps),
        hashes=hashes,
    )


def progress_of(at: Standing, ledger: Mapping[str, StepRecord]) -> int:
    """Give how much is done of the steps that are planned or were ever begun, in per cent."""
    known = at.hashes.keys() | ledger.keys()
    done = sum(record.state is StepState.DONE for record in ledger.values())
    return 100 * done // max(1, len(known))


def results(ledger: Mapping[str, StepRecord]) -> Mapping[str, Result]:
    """Give the results of the steps that are done."""
    return {key: record.result for key, record in ledger.items() if record.state is StepState.DONE}


def _plain(value: object) -> object:
    """Give JSON an object for any mapping, also for one that cannot be changed."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a step has a {type(value).__name__} among its inputs, which is no value of JSON")


def _is_done(digest: str, record: StepRecord | None) -> bool:
    return record is not None and record.state is StepState.DONE and record.inputs_hash == digest


def _pauses(record: StepRecord, now: datetime) -> bool:
    return record.state is StepState.WAITING and record.next_try_at is not None and record.next_try_at > now
