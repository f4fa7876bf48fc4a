"""A cluster without an operation: periodic work, which has no ledger because it is simply done again."""

import asyncio
import logging

from kaas.domain.errors import StepError
from kaas.domain.model import Lease, Snapshot
from kaas.domain.states import WORKING, ClusterStatus, NodeState, OperationKind, OperationState, RefState
from kaas.reconcile.again import delete_again, is_failed_delete
from kaas.reconcile.halt import Halt, HaltedError, Reason
from kaas.reconcile.heartbeat import Guard
from kaas.reconcile.operation import Means
from kaas.reconcile.planner import Plan, outcome_of
from kaas.reconcile.runner import Permit
from kaas.reconcile.schedule import check_plan
from kaas.reconcile.step import Result, Step, Work

_log = logging.getLogger(__name__)

_KIND_OF = {status: kind for kind, status in WORKING.items()}
_SPREAD = 0.1
"""Part of a pause that chance adds or takes, so that clusters do not come together for ever."""


class IdleRun:
    """Looks after one cluster until there is an operation, or nothing to do for now."""

    def __init__(self, means: Means, lease: Lease, guard: Guard) -> None:
        self._means = means
        self._store = means.tools.store
        self._lease = lease
        self._permit = Permit(guard, Halt())

    async def advance(self, snapshot: Snapshot) -> float | None:
        """Do the periodic work; give in how many seconds to look again, None for at once.

        Raises LeaseLostError, StoreUnavailableError, and what the store raises beyond that. What is wrong with a step
        is logged, and the work is done again the next time.
        """
        if snapshot.cluster.status in _KIND_OF:
            return await self._settle(snapshot)
        plan = self._plan(snapshot)
        results: dict[str, Result] = {}
        for step in _in_order(plan.steps):
            if not step.needs <= results.keys():
                continue
            result, latest = await self._try(step, snapshot, results)
            if result is not None:
                results[step.key] = result
            if latest is None or latest.operation is not None:
                return None
            if self._means.drain.reason is not None:
                return 0.0
            snapshot = latest
        return self._look_again_s(plan, snapshot)

    async def _settle(self, snapshot: Snapshot) -> float | None:
        """Bring a status in order that says that something is done, when nothing is; a crash leaves one."""
        kind = _KIND_OF[snapshot.cluster.status]
        if kind is OperationKind.DELETE:
            last = await self._store.last_operation(self._lease)
            # Also when nothing is left that is known of: it failed before its last look.
            if last is not None and is_failed_delete(last):
                now = snapshot.read_at or self._means.now()
                return await delete_again(self._store, self._lease, snapshot, last, now)
        if kind is OperationKind.DELETE and _is_empty(snapshot):
            await self._store.delete_cluster(self._lease)
            return None
        outcome = outcome_of(None, kind, OperationState.CANCELLED)
        reason = f"the {kind} ended before its work was done"
        await self._store.settle_cluster(self._lease, outcome.status, reason)
        return None

    def _plan(self, snapshot: Snapshot) -> Plan:
        try:
            plan = self._means.planner.plan(snapshot)
            check_plan(plan.steps)
        except Exception as error:  # noqa: BLE001 - the cluster runs on without its periodic work
            _log.error("the periodic work of cluster %s cannot be planned", self._lease.cluster_id, exc_info=error)
            return Plan()
        return plan

    async def _try(
        self, step: Step, snapshot: Snapshot, results: dict[str, Result]
    ) -> tuple[Result | None, Snapshot | None]:
        """Run a step while looking for an operation, which stops it at a boundary."""
        loop = asyncio.get_running_loop()
        work = Work(
            tools=self._means.tools,
            lease=self._lease,
            snapshot=snapshot,
            deadline=loop.time() + step.deadline_s,
            results=dict(results),
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._once(step, work), name=step.key)
            while True:
                await asyncio.wait({task}, timeout=self._means.timing.look_s)
                latest = await self._store.snapshot(self._lease)
                if task.done():
                    return await task, latest
                if latest is None or latest.operation is not None:
                    self._permit.halt(Reason.WITHDRAWN)
                elif self._means.drain.reason is not None:
                    self._permit.halt(self._means.drain.reason)

    async def _once(self, step: Step, work: Work) -> Result | None:
        try:
            return await self._means.runner.once(step, work, self._permit)
        except StepError as error:
            _log.warning("%s of cluster %s: %s: %s", step.key, self._lease.cluster_id, error.code, error.message)
        except HaltedError as halted:
            _log.info("%s of cluster %s stopped: %s", step.key, self._lease.cluster_id, halted)
        return None

    def _look_again_s(self, plan: Plan, snapshot: Snapshot) -> float:
        timing = self._means.timing
        pause_s = plan.look_again_s
        if pause_s is None:
            pause_s = timing.idle_s if snapshot.cluster.status is ClusterStatus.RUNNING else timing.resync_s
        return pause_s * self._means.chance.uniform(1 - _SPREAD, 1 + _SPREAD)


def _is_empty(snapshot: Snapshot) -> bool:
    return all(ref.state is RefState.GONE for ref in snapshot.refs) and all(
        node.state is NodeState.GONE for node in snapshot.nodes
    )


def _in_order(steps: tuple[Step, ...]) -> list[Step]:
    ordered: list[Step] = []
    done: set[str] = set()
    while len(ordered) < len(steps):
        free = [step for step in steps if step.key not in done and step.needs <= done]
        ordered += free
        done |= {step.key for step in free}
    return ordered
