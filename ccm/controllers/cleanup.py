"""Takes away what the platform has for a service that goes, or that does not want a load balancer any more.

Found by tag in a listing that begins now, and by the ids that the service's annotations name, so that neither a lost
answer nor a listing that is behind hides one. Every step may be repeated; what is gone already is a success.
"""

from collections.abc import Callable, Sequence

from ccm.annotations.parsing import parse
from ccm.annotations.table import ADOPT_ID, ID, POLICY
from ccm.controllers.apply import Applier
from ccm.controllers.locks import BalancerLocks
from ccm.controllers.observed import Observed, uids_of
from ccm.kube.model import Service
from ccm.model import Balancer, BalancerState
from ccm.plan import Plan, removal
from ccm.ports import CloudBalancers


class Cleanup:
    """Leaves nothing of a service on the platform. The last one out of a load balancer that is shared deletes it."""

    def __init__(
        self,
        balancers: CloudBalancers,
        observed: Observed,
        applier: Applier,
        *,
        cluster_id: str,
        locks: BalancerLocks,
    ) -> None:
        self._balancers = balancers
        self._observed = observed
        self._applier = applier
        self._cluster_id = cluster_id
        self._locks = locks

    async def run(self, service: Service, *, begins: Callable[[Plan], None], deadline: float) -> bool:
        """Take away what is there; False when the platform has not let go of it yet, and it must be looked at again.

        `begins` is called before the first write. Raises CloudError.
        """
        found = await self._find(service, deadline=deadline)
        async with self._locks.held((one.id for one in found), deadline=deadline):
            # Others may have come or gone while they were waited for.
            latest = (self._observed.latest(one) for one in found)
            return await self._remove(service, [one for one in latest if one is not None], begins, deadline)

    async def _remove(
        self, service: Service, found: Sequence[Balancer], begins: Callable[[Plan], None], deadline: float
    ) -> bool:
        uid = service.metadata.uid
        values, _ = parse(service.annotations)
        plan = removal(uid, self._cluster_id, values.get(POLICY), found)
        if not plan.is_empty:
            begins(plan)
        applied = await self._applier.run(plan, uid, deadline=deadline)
        # What the platform deletes slowly has to be forgotten before the service is.
        return applied.is_finished and all(one.state is not BalancerState.GOING for one in found)

    async def _find(self, service: Service, *, deadline: float) -> Sequence[Balancer]:
        uid = service.metadata.uid
        listed = await self._observed.of(uid, since=self._observed.now(), deadline=deadline)
        found = {one.id: one for one in listed}
        for named in named_ids(service):
            if named not in found:
                other = await self._balancers.get(named, deadline=deadline)
                if other is not None and uid in uids_of(other):
                    found[named] = other
        return tuple(found.values())


def named_ids(service: Service) -> tuple[str, ...]:
    """Give the ids of load balancers that a service names: the one that it had last, and the one to be adopted."""
    # The annotation may have been changed by hand: what has nothing of the service is left alone by everybody.
    ids = (service.annotations.get(row.name(), "").strip() for row in (ID, ADOPT_ID))
    return tuple(dict.fromkeys(one for one in ids if one))
