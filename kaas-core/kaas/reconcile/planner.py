"""What a planner gives: the steps of an operation, and what becomes of the cluster when it has ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from kaas.domain.model import Snapshot
from kaas.domain.states import ClusterStatus, OperationKind, OperationState
from kaas.reconcile.step import Step


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a cluster's row when an operation has ended."""

    status: ClusterStatus
    remove: bool = False
    """The row itself goes; everything outside is gone by then."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do.

    For an operation: steps that go through its ledger, and outcomes that differ from `DEFAULT_OUTCOMES`. With none
    running: periodic work without a ledger, and in how many seconds to look again.
    """

    steps: tuple[Step, ...] = ()
    outcomes: Mapping[OperationState, Outcome] = field(default_factory=dict)
    look_again_s: float | None = None
    """None: 60 seconds while the cluster runs, 10 minutes otherwise."""


class Planner(Protocol):
    """Decides from what is known, without asking anybody."""

    def plan(self, snapshot: Snapshot) -> Plan:
        """Give what there is to do; pure, and asked anew at every step boundary.

        Every key that a step needs is the key of another step of the plan. Steps whose record in the ledger is done
        with the same inputs are not run again, so that a plan names all of them each time.
        """
        ...


DEFAULT_OUTCOMES: Mapping[tuple[OperationKind, OperationState], Outcome] = MappingProxyType(
    {
        (OperationKind.CREATE, OperationState.SUCCEEDED): Outcome(ClusterStatus.RUNNING),
        (OperationKind.CREATE, OperationState.FAILED): Outcome(ClusterStatus.FAILED),
        (OperationKind.CREATE, OperationState.CANCELLED): Outcome(ClusterStatus.FAILED),
        (OperationKind.SCALE, OperationState.SUCCEEDED): Outcome(ClusterStatus.RUNNING),
        (OperationKind.SCALE, OperationState.FAILED): Outcome(ClusterStatus.RUNNING),
        (OperationKind.SCALE, OperationState.CANCELLED): Outcome(ClusterStatus.RUNNING),
        (OperationKind.REPAIR, OperationState.SUCCEEDED): Outcome(ClusterStatus.RUNNING),
        (OperationKind.REPAIR, OperationState.FAILED): Outcome(ClusterStatus.FAILED),
        (OperationKind.REPAIR, OperationState.CANCELLED): Outcome(ClusterStatus.FAILED),
        (OperationKind.DELETE, OperationState.SUCCEEDED): Outcome(ClusterStatus.DELETING, remove=True),
        (OperationKind.DELETE, OperationState.FAILED): Outcome(ClusterStatus.DELETING),
        (OperationKind.DELETE, OperationState.CANCELLED): Outcome(ClusterStatus.FAILED),
    }
)
"""A scale that failed leaves a cluster that runs; the reason is in its status and in the operation.

A delete that failed leaves one that is deleted again after a while (`kaas.reconcile.again`).
"""


def outcome_of(plan: Plan | None, kind: OperationKind, state: OperationState) -> Outcome:
    """Give what becomes of the cluster: what the plan says of it, or the default."""
    given = plan.outcomes.get(state) if plan is not None else None
    return given or DEFAULT_OUTCOMES[kind, state]
