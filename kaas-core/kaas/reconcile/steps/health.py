"""The look at a cluster that runs, and what follows from it (`kaas.domain.repair` decides)."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from kaas.domain.breaker import Breaker, suspended, why_suspended
from kaas.domain.errors import Code, StepError
from kaas.domain.model import Node, Role
from kaas.domain.ports import Condition, External, Kind, KubeNode
from kaas.domain.repair import Decision, Limits, Look, Machine, Seen, decide
from kaas.reconcile.step import NOTHING, Result, Work
from kaas.reconcile.steps import presence
from kaas.reconcile.steps.access import kube_access
from kaas.reconcile.steps.base import BaseStep

_log = logging.getLogger(__name__)

_LOOK_S = 10.0
_MOST_ASKED = 20
"""So many machines of a cluster are asked for by id in one look; with more than these lost, nothing is replaced."""
_ALIVE = frozenset({Condition.READY, Condition.PENDING})


class RepairObserver(Protocol):
    """Is told what became of repairs that begin by themselves."""

    def repair_suspended(self) -> None:
        """Count a look after which nodes would have been replaced, if the fleet had not lost too many."""
        ...


class NoRepairObserver:
    """Takes no note."""

    def repair_suspended(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLook(BaseStep):
    """It is known how the cluster is, and what has to be repaired is on its way."""

    limits: Limits
    breaker: Breaker = field(default_factory=Breaker)
    observer: RepairObserver = field(default_factory=NoRepairObserver)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def apply(self, work: Work) -> None:
        """Look, decide, write; a repair begins only if nothing else has begun meanwhile."""
        look = await self._look(work)
        decision = await self._beside_fleet(work, decide(work.snapshot, look, self.limits), look)
        _log.info("cluster %s: %s", work.lease.cluster_id, decision.reason)
        await _write(work, decision)

    async def _beside_fleet(self, work: Work, decision: Decision, look: Look) -> Decision:
        """Give the decision, without its replacement when too many clusters have lost nodes as well."""
        if decision.change is None or not decision.change.leave:
            return decision
        leave = decision.change.leave
        since = [node.unhealthy_since for node in work.snapshot.nodes if node.id in leave and node.unhealthy_since]
        losses = await work.tools.store.losses(max(since, default=look.at), window=self.breaker.window)
        reason = why_suspended(losses, self.breaker)
        if not reason:
            return decision
        self.observer.repair_suspended()
        return suspended(work.snapshot, decision, reason)

    async def _look(self, work: Work) -> Look:
        deadline = min(work.deadline, asyncio.get_running_loop().time() + _LOOK_S)
        nodes: Mapping[str, KubeNode] = {}
        api_server = True
        try:
            access = await kube_access(work)
            nodes = {node.name: node for node in await work.tools.kube.nodes(access, deadline=deadline)}
        except StepError as error:
            if error.code is not Code.API_SERVER_DOWN:
                raise
            api_server = False
        known = [node for node in work.snapshot.nodes if node.instance_id]
        machines: Mapping[str, Machine] = {}
        # The platform is asked only about what is not well, since most clusters are, most of the time.
        if api_server:
            doubted = [node for node in known if node.name not in nodes or not nodes[node.name].ready]
        else:
            doubted = [node for node in known if node.role is Role.CONTROL_PLANE]
        if doubted:
            machines = await self._machines(work, doubted)
        seen = {node.name: _seen(nodes.get(node.name), machines.get(node.name, Machine.UNKNOWN)) for node in known}
        # By the clock that what is compared with it is written by, whichever conductor looks.
        return Look(work.snapshot.read_at or self.now(), api_server, seen)

    async def _machines(self, work: Work, doubted: Sequence[Node]) -> Mapping[str, Machine]:
        """Give what the platform says of machines; nothing of those that it says nothing definite of."""
        try:
            found = await work.tools.driver.find(Kind.MACHINE, work.lease.cluster_id, deadline=work.deadline)
        except StepError as error:
            _log.info("cluster %s: the platform says nothing of its machines: %s", work.lease.cluster_id, error.message)
            return {}
        told: dict[str, External | None] = {}
        listed = {one.id: one for one in found}
        lacking = []
        for node in doubted:
            one = listed.get(node.instance_id)
            if one is None or one.condition is Condition.FAILED:
                lacking.append(node)
            else:
                told[node.name] = one
        # What a cluster cannot do without is asked for first.
        lacking.sort(key=lambda node: node.role is not Role.CONTROL_PLANE)
        told.update(await presence.among(work, lacking[:_MOST_ASKED]))
        return {
            name: Machine.RUNS if one is not None and one.condition in _ALIVE else Machine.DEAD
            for name, one in told.items()
        }

    async def verify(self, work: Work) -> Result:
        """Nothing is waited for; the next look comes by itself."""
        return NOTHING


async def _write(work: Work, decision: Decision) -> None:
    store, lease = work.tools.store, work.lease
    await store.update_cluster(lease, health=decision.health)
    for node_id, update in decision.updates.items():
        await store.update_node(lease, node_id, update)
    if decision.change is not None:
        begun = await store.start_operation(lease, decision.change, requested_by="repair")
        if begun is None:
            return
    for event in decision.events:
        await store.add_event(lease, event)


def _seen(node: KubeNode | None, machine: Machine) -> Seen:
    if node is None:
        return Seen(ready=False, machine=machine, message="it has no Node object")
    return Seen(ready=node.ready, machine=machine, message=node.message, version=node.version)
