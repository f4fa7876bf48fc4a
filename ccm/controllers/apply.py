"""Carries out plans (`ccm.plan`) on the platform, step by step, and keeps what is known of it true."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ccm.controllers.observed import Observed
from ccm.model import Balancer, BalancerState, Target
from ccm.names import CLUSTER_TAG
from ccm.plan import Create, Delete, DeleteGroup, Modify, Plan, PutGroup, Step
from ccm.ports import Cause, CloudBalancers, CloudError

log = logging.getLogger(__name__)

_MAX_REFUSED = 20
"""So many targets of one write may be refused before it is given up."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a plan."""

    balancer: Balancer | None = None
    """The load balancer that was made or last written; None when only others were taken away."""
    is_finished: bool = True
    """False when the platform has not let go of something yet, or another service uses it by now.

    The steps after it were not taken.
    """
    refused_targets: tuple[str, ...] = ()
    """Ids of instances that the platform does not take as targets of this load balancer."""


class Applier:
    """Takes steps. Each may be taken again: what is as it should be stays so."""

    def __init__(self, balancers: CloudBalancers, observed: Observed) -> None:
        self._balancers = balancers
        self._observed = observed

    async def run(self, plan: Plan, uid: str, *, deadline: float) -> Applied:
        """Take all steps of a plan for the service of this uid.

        Raises CloudError, after which `Observed.doubt` has to be told: a step may or may not have been taken.
        """
        balancer: Balancer | None = None
        refused: tuple[str, ...] = ()
        for step in plan.steps:
            log.info("service %s: %s", uid, step)
            if isinstance(step, Delete):
                if not await self._delete(step, uid, deadline):
                    return Applied(balancer, is_finished=False, refused_targets=refused)
            elif isinstance(step, DeleteGroup):
                await self._balancers.delete_group(step.balancer_id, step.name, deadline=deadline)
                await self._observed.reread(step.balancer_id, deadline=deadline)
            else:
                balancer, lost = await self._write(step, deadline)
                refused = (*refused, *lost)
                if isinstance(step, Modify) and step.tags.get(CLUSTER_TAG) == "":
                    # Let go on purpose: no listing of ours shows it from now on.
                    self._observed.forget(balancer.id)
                else:
                    self._observed.note(balancer)
        return Applied(balancer, refused_targets=refused)

    async def _delete(self, step: Delete, uid: str, deadline: float) -> bool:
        """Delete and look; only a definite "not there" counts.

        What was known may be old: a write of another service whose answer was lost, or one of another cluster. So what
        others have on it is looked at right before, and what they use stays.
        """
        there = await self._observed.reread(step.balancer_id, deadline=deadline)
        others = () if there is None else tuple(group.name for group in there.groups if group.name != uid)
        if others:
            log.info("load balancer %s is not deleted: %s uses it by now", step.balancer_id, others[0])
            return False
        await self._balancers.delete(step.balancer_id, guard=step.guard, deadline=deadline)
        return await self._observed.reread(step.balancer_id, deadline=deadline) is None

    async def _write(self, step: Create | Modify | PutGroup, deadline: float) -> tuple[Balancer, Sequence[str]]:
        """Take a step, without the targets that the platform refuses: one bad node must not hold up the others."""
        refused: list[str] = []
        while True:
            try:
                return await self._send(step, deadline), refused
            except CloudError as failure:
                named = failure.details.get("instance_id", "") if failure.cause is Cause.REFUSED else ""
                rest = _without(step, named)
                if rest is None or len(refused) == _MAX_REFUSED:
                    raise
                refused.append(named)
                step = rest

    async def _send(self, step: Create | Modify | PutGroup, deadline: float) -> Balancer:
        match step:
            case Create():
                return await self._balancers.create(step.new, deadline=deadline)
            case Modify():
                return await self._balancers.modify(
                    step.balancer_id, name=step.name, size=step.size, tags=step.tags, deadline=deadline
                )
            case PutGroup():
                return await self._balancers.put_group(
                    step.balancer_id, step.name, listeners=step.listeners, targets=step.targets, deadline=deadline
                )


def is_targets_only(steps: Sequence[Step]) -> bool:
    """Say whether only targets are written."""
    return all(isinstance(one, PutGroup) and one.listeners is None for one in steps)


def makes(steps: Sequence[Step]) -> bool:
    """Say whether a load balancer is made."""
    return any(isinstance(one, Create) for one in steps)


def is_usable(balancer: Balancer) -> bool:
    """Say whether the platform says that it works."""
    return balancer.state is BalancerState.ACTIVE


def _without(step: Create | Modify | PutGroup, instance_id: str) -> Create | PutGroup | None:
    """Give the step without a target; None when that is not in it."""
    if isinstance(step, Create):
        kept = _rest(step.new.group.targets, instance_id)
        group = None if kept is None else replace(step.new.group, targets=kept)
        return None if group is None else Create(replace(step.new, group=group))
    if isinstance(step, PutGroup) and step.targets is not None:
        kept = _rest(step.targets, instance_id)
        return None if kept is None else replace(step, targets=kept)
    return None


def _rest(targets: tuple[Target, ...], instance_id: str) -> tuple[Target, ...] | None:
    kept = tuple(one for one in targets if one.instance_id != instance_id)
    return kept if instance_id and len(kept) < len(targets) else None
