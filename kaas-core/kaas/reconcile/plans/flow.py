"""The planner: from an operation to its plan, and what is done while there is none."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kaas.domain.breaker import Breaker
from kaas.domain.model import Snapshot
from kaas.domain.repair import Limits
from kaas.domain.states import ClusterStatus, OperationKind, OperationState
from kaas.reconcile.planner import Outcome, Plan
from kaas.reconcile.plans.build import build
from kaas.reconcile.plans.end import end
from kaas.reconcile.steps.addons import Addons
from kaas.reconcile.steps.base import Recipe
from kaas.reconcile.steps.health import HealthLook, NoRepairObserver, RepairObserver

_STILL_RUNS = {
    OperationState.FAILED: Outcome(ClusterStatus.RUNNING),
    OperationState.CANCELLED: Outcome(ClusterStatus.RUNNING),
}


@dataclass(frozen=True, slots=True)
class FlowPlanner:
    """Plans every cluster of a conductor (`kaas.reconcile.planner.Planner`)."""

    recipe: Recipe
    addons: Addons
    limits: Limits = field(default_factory=Limits)
    breaker: Breaker = field(default_factory=Breaker)
    observer: RepairObserver = field(default_factory=NoRepairObserver)
    look_s: float = 60.0
    """Between two looks at a cluster that runs."""
    repairs: bool = True
    """False: clusters are not looked at, and nothing is repaired by itself."""

    def plan(self, snapshot: Snapshot) -> Plan:
        """Give what there is to do."""
        operation = snapshot.operation
        if operation is None:
            return self._steady(snapshot)
        if operation.kind is OperationKind.DELETE:
            return Plan(steps=end(snapshot, self.recipe))
        steps = build(snapshot, self.recipe, self.addons)
        if operation.kind is OperationKind.REPAIR and snapshot.cluster.version:
            # It ran before; what could not be repaired now is looked at again.
            return Plan(steps=steps, outcomes=_STILL_RUNS)
        return Plan(steps=steps)

    def _steady(self, snapshot: Snapshot) -> Plan:
        if not self.repairs or snapshot.cluster.status is not ClusterStatus.RUNNING:
            return Plan()
        look = HealthLook(key="health", limits=self.limits, breaker=self.breaker, observer=self.observer)
        return Plan(steps=(look,), look_again_s=self.look_s)


if TYPE_CHECKING:
    from kaas.reconcile.planner import Planner

    def _conforms(planner: FlowPlanner) -> Planner:
        return planner
