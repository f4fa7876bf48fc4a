"""One operation, for as long as this conductor has its cluster: steps by their needs, until it ends or is let go.

Between steps a new snapshot is looked at, and a new plan made from it; nothing is remembered but which steps run.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from kaas.domain.errors import Code
from kaas.domain.model import Event, Lease, Operation, Snapshot, StepRecord
from kaas.domain.states import WORKING, OperationState, RefState, StepState
from kaas.domain.texts import listed
from kaas.reconcile import faults
from kaas.reconcile.deadlines import Deadlines
from kaas.reconcile.halt import Halt, Reason
from kaas.reconcile.heartbeat import LEASE_S, RENEW_S, Guard
from kaas.reconcile.planner import Outcome, Plan, Planner, outcome_of
from kaas.reconcile.runner import Permit, Runner
from kaas.reconcile.schedule import Standing, check_plan, progress_of, results, standing
from kaas.reconcile.step import Step, Tools, Work

_log = logging.getLogger(__name__)

PARALLEL = 16


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a conductor waits for what, in seconds."""

    lease_s: float = LEASE_S
    renew_s: float = RENEW_S
    look_s: float = 5.0
    """Between two looks at a cluster whose steps run: after so long, a cancel is seen even without a boundary."""
    hold_s: float = 2.0
    """For pauses up to this, the lease is kept; for longer ones the cluster is given back."""
    idle_s: float = 60.0
    """Between two looks at a cluster that runs."""
    resync_s: float = 600.0
    """Between two looks at any other cluster without an operation."""
    after_error_s: float = 10.0
    """Until a cluster is looked at again whose work ended on an unexpected error."""


class ConductorObserver(Protocol):
    """Is told what becomes of clusters, for metrics."""

    def lease_lost(self) -> None:
        """Note that a cluster was let go because its lease may have been lost."""
        ...

    def operation_ended(self, kind: str, state: str) -> None:
        """Note that an operation ended."""
        ...


class NoConductorObserver:
    """Notes nothing."""

    def lease_lost(self) -> None:
        """Note nothing."""

    def operation_ended(self, kind: str, state: str) -> None:
        """Note nothing."""


@dataclass(frozen=True, slots=True)
class Means:
    """What the work on all clusters of a conductor is done with."""

    planner: Planner
    tools: Tools
    runner: Runner
    faults: faults.Faults
    timing: Timing
    drain: Halt
    """Asked when the conductor ends."""
    now: Callable[[], datetime]
    observer: ConductorObserver
    parallel: int = PARALLEL
    chance: random.Random = field(default_factory=random.Random)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an operation ends, or has ended elsewhere."""

    state: OperationState
    code: str = ""
    error: str = ""
    halts: bool = False
    """Steps that run stop at their next boundary; otherwise they are let finish."""


class OperationRun:
    """Brings the operation of a snapshot on; `ahead` is by how much the tables' clock is ahead of this machine's."""

    def __init__(self, means: Means, lease: Lease, guard: Guard, operation: Operation, *, ahead: timedelta) -> None:
        self._means = means
        self._store = means.tools.store
        self._lease = lease
        self._operation = operation
        self._permit = Permit(guard, Halt())
        self._ahead = ahead
        self._deadlines = Deadlines(operation.deadline, clock=asyncio.get_running_loop().time, now=self._now)
        self._running: dict[str, asyncio.Task[StepRecord]] = {}
        self._decided: Ending | None = None

    async def advance(self, snapshot: Snapshot) -> float | None:
        """Run steps until the operation has ended; give in how many seconds to look at the cluster, None for at once.

        Raises an exception group with what ended the work on the cluster, when all steps have stopped.
        """
        if not await self._start():
            return None
        async with asyncio.TaskGroup() as group:
            while True:
                ending, plan, at = self._judge(snapshot)
                if ending is not None and not self._running:
                    break
                self._halt_steps(ending)
                if self._permit.halt.reason is Reason.DRAIN and not self._running:
                    return 0.0
                if ending is None and self._permit.halt.reason is None:
                    self._begin(group, at, snapshot)
                pause_s = self._pause_s(at)
                if not self._running and pause_s > self._means.timing.hold_s:
                    return pause_s
                await self._boundary(pause_s)
                latest = await self._store.snapshot(self._lease)
                if latest is None:
                    self._permit.halt(Reason.WITHDRAWN)
                    return None
                snapshot = latest
        if ending.state is OperationState.SUPERSEDED:
            return None
        await self._end(ending, plan)
        # What failed is let rest, so that periodic work which begins the same again does not do it without a pause.
        return None if ending.state is OperationState.SUCCEEDED else self._means.timing.idle_s

    async def _start(self) -> bool:
        """Write that the operation runs; False when a newer request has taken its place since it was read."""
        operation = self._operation
        if operation.state is not OperationState.PENDING or operation.cancel_requested:
            return True
        working = WORKING[operation.kind]
        starts = await self._store.update_operation(self._lease, operation.id, OperationState.RUNNING, cluster=working)
        await self._means.faults.at(faults.AFTER_START)
        return starts

    def _now(self) -> datetime:
        """Give the time of day by the tables' clock, which deadlines and pauses are written in."""
        return self._means.now() + self._ahead

    def _halt_steps(self, ending: Ending | None) -> None:
        if ending is not None and ending.halts:
            self._permit.halt(Reason.WITHDRAWN)
        elif self._means.drain.reason is not None:
            self._permit.halt(self._means.drain.reason)

    def _judge(self, snapshot: Snapshot) -> tuple[Ending | None, Plan, Standing]:
        """Say how the operation ends, if it does, and where its steps are."""
        operation = snapshot.operation
        if operation is None or operation.id != self._operation.id:
            return Ending(OperationState.SUPERSEDED, halts=True), Plan(), NOWHERE
        ledger = {record.key: record for record in snapshot.steps}
        plan, at = Plan(), NOWHERE
        try:
            plan = self._means.planner.plan(snapshot)
            check_plan(plan.steps)
            at = standing(plan.steps, ledger, running=frozenset(self._running), now=self._now())
            # What was decided first stays: steps that are stopped because of it look like failures of their own.
            self._decided = self._decided or self._ending(operation, snapshot, plan, at)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not make the cluster come back for ever
            _log.error("operation %s cannot be planned", operation.id, exc_info=error)
            text = f"the steps could not be planned ({type(error).__name__}); this is a mistake in kaas"
            self._decided = self._decided or Ending(OperationState.FAILED, Code.BUG, text, halts=True)
        return self._decided, plan, at

    def _ending(self, operation: Operation, snapshot: Snapshot, plan: Plan, at: Standing) -> Ending | None:
        if operation.cancel_requested:
            return Ending(OperationState.CANCELLED, error="cancelled by request", halts=True)
        if at.is_done:
            return self._success(plan, snapshot)
        if self._deadlines.operation <= asyncio.get_running_loop().time():
            return Ending(OperationState.FAILED, Code.DEADLINE, self._out_of_time(snapshot), halts=True)
        if at.failed:
            first = min(at.failed, key=lambda record: record.seq)
            return Ending(OperationState.FAILED, first.error_code, f"{first.key}: {first.error}")
        return None

    def _success(self, plan: Plan, snapshot: Snapshot) -> Ending:
        left = [f"{ref.kind} {ref.name}" for ref in snapshot.refs if ref.state is not RefState.GONE]
        if outcome_of(plan, self._operation.kind, OperationState.SUCCEEDED).remove and left:
            text = f"not known to be gone: {listed(left, joint=', ')}; look for them on the platform, then delete again"
            return Ending(OperationState.FAILED, Code.SURVIVORS, text)
        return Ending(OperationState.SUCCEEDED)

    def _out_of_time(self, snapshot: Snapshot) -> str:
        told = [
            f"{record.key}: {record.error or 'was not done'}"
            for record in snapshot.steps
            if record.state is not StepState.DONE
        ]
        return "the operation was not done in its time; " + (listed(told) or "nothing of it could begin")

    def _begin(self, group: asyncio.TaskGroup, at: Standing, snapshot: Snapshot) -> None:
        ledger = {record.key: record for record in snapshot.steps}
        progress = progress_of(at, ledger)
        for step in at.ready[: self._means.parallel - len(self._running)]:
            self._running[step.key] = group.create_task(
                self._try(step, at.hashes[step.key], snapshot, ledger, progress), name=step.key
            )

    async def _try(
        self, step: Step, digest: str, snapshot: Snapshot, ledger: Mapping[str, StepRecord], progress: int
    ) -> StepRecord:
        before = ledger.get(step.key)
        work = Work(
            tools=self._means.tools,
            lease=self._lease,
            snapshot=snapshot,
            deadline=self._deadlines.of(step, digest, before),
            results=results(ledger),
        )
        return await self._means.runner.run(
            step,
            work,
            self._permit,
            operation_id=self._operation.id,
            inputs_hash=digest,
            before=before,
            progress=progress,
        )

    def _pause_s(self, at: Standing) -> float:
        """Give the time until something may begin by itself."""
        if at.next_try_at is None:
            return self._means.timing.look_s
        return max(0.0, (at.next_try_at - self._now()).total_seconds())

    async def _boundary(self, pause_s: float) -> None:
        """Wait until a step ends, a pause is over, somebody wants the conductor to end, or it is time to look."""
        drained = asyncio.ensure_future(self._means.drain.wait())
        waits: set[asyncio.Future[StepRecord] | asyncio.Future[None]] = {*self._running.values()}
        if self._means.drain.reason is None:
            waits.add(drained)
        try:
            await asyncio.wait(
                waits, timeout=min(pause_s, self._means.timing.look_s), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            drained.cancel()
        self._running = {key: task for key, task in self._running.items() if not task.done()}

    async def _end(self, ending: Ending, plan: Plan) -> None:
        operation = self._operation
        outcome = outcome_of(plan, operation.kind, ending.state)
        await self._means.faults.at(faults.BEFORE_OUTCOME)
        if await self._write(ending, outcome, _event(operation, ending)):
            self._means.observer.operation_ended(operation.kind.value, ending.state.value)
        await self._means.faults.at(faults.AFTER_OPERATION)

    async def _write(self, ending: Ending, outcome: Outcome, event: Event) -> bool:
        """Write the end in one commit; False when the operation was superseded meanwhile."""
        succeeded = ending.state is OperationState.SUCCEEDED
        if outcome.remove and succeeded:
            await self._store.delete_cluster(self._lease, event=event)
            return True
        return await self._store.update_operation(
            self._lease,
            self._operation.id,
            ending.state,
            error_code=ending.code,
            error=ending.error,
            cluster=outcome.status,
            observed_generation=self._operation.generation if succeeded else None,
            event=event,
        )


NOWHERE = Standing(ready=(), failed=(), waiting=(), is_done=False, hashes={})


def _event(operation: Operation, ending: Ending) -> Event:
    severity = "error" if ending.state is OperationState.FAILED else "info"
    text = f"{operation.kind} {ending.state}" + (f": {ending.error}" if ending.error else "")
    return Event(
        cluster_id=operation.cluster_id,
        code=f"OPERATION_{ending.state.name}",
        message=text,
        severity=severity,
        operation_id=operation.id,
        actor="conductor",
    )
