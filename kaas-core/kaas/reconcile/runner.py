"""One try of one step: begin in the ledger, check, apply, verify, end in the ledger.

A crash between any two of these leaves a record that says `running`; the next try begins at `check`, which finds by
name and mark what was made. Nothing is written after the lease is lost.
"""

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import NoReturn, Protocol

from kaas.domain.errors import STEP_CODES, Code, KaasError, LeaseLostError, StepError, StoreUnavailableError
from kaas.domain.model import StepRecord
from kaas.domain.states import StepState
from kaas.domain.store import Conducting
from kaas.reconcile.backoff import Backoff
from kaas.reconcile.faults import Faults, Point
from kaas.reconcile.halt import Halt, HaltedError, Reason
from kaas.reconcile.heartbeat import Guard
from kaas.reconcile.step import Result, Step, Work
from kaas.reconcile.unwrap import telling

_log = logging.getLogger(__name__)

_OVERRUN_S = 2.0
"""A step knows its deadline and says best why it was not done by then; only after this is it cancelled."""
_LEAST_TRY_S = 1.0
"""With less time left than this, a step is not tried again."""
_TAIL_CHARACTERS = 2000


class StepObserver(Protocol):
    """Is told how tries of steps end, for metrics."""

    def step_ended(self, key: str, outcome: str, duration_s: float) -> None:
        """Note that a try ended: done, waiting, failed or halted."""
        ...

    def step_retried(self, code: str) -> None:
        """Note that a step is tried again because of an error of this code."""
        ...


class NoStepObserver:
    """Notes nothing."""

    def step_ended(self, key: str, outcome: str, duration_s: float) -> None:
        """Note nothing."""

    def step_retried(self, code: str) -> None:
        """Note nothing."""


@dataclass(frozen=True, slots=True)
class Permit:
    """What a try has to ask on its way: whether the lease is held, and whether it should stop at the next boundary."""

    guard: Guard
    halt: Halt


class Runner:
    """Runs single tries of steps; what it raises means that the work on the cluster ends here."""

    def __init__(
        self,
        store: Conducting,
        *,
        faults: Faults,
        backoff: Backoff | None = None,
        observer: StepObserver | None = None,
    ) -> None:
        self._store = store
        self._faults = faults
        self._backoff = backoff or Backoff()
        self._observer = observer or NoStepObserver()

    async def run(
        self,
        step: Step,
        work: Work,
        permit: Permit,
        *,
        operation_id: str,
        inputs_hash: str,
        before: StepRecord | None = None,
        progress: int = 0,
    ) -> StepRecord:
        """Try a step of an operation once and write into the ledger how it ended; `before` is its record until now.

        `progress` is how far the operation is when the step begins.

        Raises LeaseLostError, StoreUnavailableError, and what the store raises beyond that.
        """
        await self._at(step, Point.BEFORE_BEGIN)
        record = await self._store.begin_step(work.lease, operation_id, step.key, inputs_hash, progress=progress)
        await self._at(step, Point.AFTER_BEGIN)
        try:
            result = await self.once(step, work, permit)
        except HaltedError as halted:
            ended = await self._halted(record, work, permit, halted)
        except StepError as error:
            ended = await self._failed(record, work, error, before.error if before is not None else "")
        else:
            ended = await self._store.end_step(work.lease, record, StepState.DONE, result=result)
        await self._at(step, Point.AFTER_END)
        return ended

    async def once(self, step: Step, work: Work, permit: Permit) -> Result:
        """Let a step become so, without the ledger. Raises StepError, HaltedError and what `run` raises."""
        began = _now()
        outcome = "halted"
        try:
            result = await self._bounded(step, work, permit)
            outcome = "done"
        except StepError as error:
            outcome = "waiting" if _is_retryable(error.code) else "failed"
            raise
        finally:
            self._observer.step_ended(step.key, outcome, _now() - began)
        return result

    async def _bounded(self, step: Step, work: Work, permit: Permit) -> Result:
        limit = asyncio.timeout_at(work.deadline + _OVERRUN_S)
        try:
            async with limit:
                return await self._become(step, work, permit)
        except HaltedError:
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                raise StepError(Code.DEADLINE, "it did not end by its deadline") from error
            _raise_as_step_error(step, error)

    async def _become(self, step: Step, work: Work, permit: Permit) -> Result:
        seen = await step.check(work)
        await self._at(step, Point.AFTER_CHECK)
        if seen is None:
            permit.halt.boundary()
            # What is made outside cannot be taken back, so that the lease is looked at right before.
            permit.guard.assure()
            await step.apply(work)
            await self._at(step, Point.AFTER_APPLY)
        result = await permit.halt.ends(step.verify(work))
        await self._at(step, Point.AFTER_VERIFY)
        json.dumps(result)  # the ledger can hold nothing else, and the step's own code is to blame
        return result

    async def _failed(self, record: StepRecord, work: Work, error: StepError, said_before: str) -> StepRecord:
        left_s = work.deadline - _now()
        text = _with_tail(error)
        asked_s = error.retry_after_s or 0.0
        if error.code is Code.DEADLINE:
            code, text = Code.DEADLINE, f"{text}; the try before said: {said_before}" if said_before else text
        elif not _is_retryable(error.code):
            code = error.code
        elif left_s < max(_LEAST_TRY_S, asked_s):
            code, text = Code.DEADLINE, f"its time is over after {record.attempt} tries; the last said: {text}"
        else:
            # Half of the time that is left is kept for a further try.
            pause_s = max(min(self._backoff.pause_s(record.attempt), left_s / 2), asked_s)
            self._observer.step_retried(error.code.value)
            _log.info(
                "%s: %s, tried again in %.1f s: %s",
                record.key,
                error.code,
                pause_s,
                error.message,
                extra=_fields(record, work),
            )
            return await self._store.end_step(
                work.lease, record, StepState.WAITING, error_code=error.code, error=text, retry_in_s=pause_s
            )
        _log.warning("%s failed: %s: %s", record.key, code, text, extra=_fields(record, work))
        return await self._store.end_step(work.lease, record, StepState.FAILED, error_code=code, error=text)

    async def _halted(self, record: StepRecord, work: Work, permit: Permit, halted: HaltedError) -> StepRecord:
        drained = permit.halt.reason is Reason.DRAIN
        return await self._store.end_step(
            work.lease,
            record,
            StepState.WAITING if drained else StepState.FAILED,
            error=f"stopped at a boundary: {halted}",
            retry_in_s=0.0 if drained else None,
        )

    async def _at(self, step: Step, point: Point) -> None:
        await self._faults.at(f"{step.key}:{point}")


def _raise_as_step_error(step: Step, error: Exception) -> NoReturn:
    """Raise what an error of a step means for its operation; only texts that are made for people go on."""
    cause = telling(error)
    if isinstance(cause, LeaseLostError | StoreUnavailableError | StepError | HaltedError):
        raise cause
    if isinstance(cause, KaasError):
        code = cause.code if cause.code in STEP_CODES else Code.BUG
        raise StepError(code, cause.message) from error
    _log.error("%s ended on an unexpected error", step.key, exc_info=error)
    raise StepError(
        Code.BUG, f"an unexpected {type(cause).__name__}; this is a mistake in kaas, whose log has the details"
    ) from error


def _fields(record: StepRecord, work: Work) -> dict[str, object]:
    return {"fields": {"cluster": work.lease.cluster_id, "operation": record.operation_id}}


def _is_retryable(code: Code) -> bool:
    return code in STEP_CODES and STEP_CODES[code].retryable


def _with_tail(error: StepError) -> str:
    tail = error.log_tail.strip()[-_TAIL_CHARACTERS:]
    return f"{error.message}\n{tail}" if tail else error.message


def _now() -> float:
    return asyncio.get_running_loop().time()
