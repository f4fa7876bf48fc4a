"""Finds where a service's ports are on the platform, and where they shall be."""

from collections.abc import Sequence

from ccm.controllers.cleanup import named_ids
from ccm.controllers.observed import Observed
from ccm.desired.wanted import Wanted
from ccm.kube.model import Service
from ccm.model import Balancer, BalancerState
from ccm.plan import Place, place
from ccm.ports import CloudBalancers


class Places:
    """Looks in what is known; what is not known is asked for before anything is made because of that."""

    def __init__(self, balancers: CloudBalancers, observed: Observed) -> None:
        self._balancers = balancers
        self._observed = observed

    async def of(self, service: Service, wanted: Wanted, *, deadline: float) -> Place:
        """Find the place of a service. Raises CloudError."""
        since = self._observed.now()
        where = place(wanted, await self._candidates(service, wanted, None, deadline))
        if where.home is None and not wanted.adopt_id:
            # "Nowhere" is only believed of a listing that begins now.
            where = place(wanted, await self._candidates(service, wanted, since, deadline))
        if where.home is not None and where.home.state is not BalancerState.ACTIVE and not wanted.adopt_id:
            await self._observed.reread(where.home.id, deadline=deadline)
            where = place(wanted, await self._candidates(service, wanted, None, deadline))
        return where

    def latest(self, wanted: Wanted, where: Place) -> Place:
        """Give a place that was found a while ago as it is known by now: others may have written to it meanwhile."""
        known = (self._observed.latest(one) for one in where.all)
        return place(wanted, tuple(one for one in known if one is not None))

    async def _candidates(
        self, service: Service, wanted: Wanted, since: int | None, deadline: float
    ) -> Sequence[Balancer]:
        found = {one.id: one for one in await self._observed.of(wanted.service_uid, since=since, deadline=deadline)}
        if wanted.host_uid:
            hosts = await self._observed.of(wanted.host_uid, since=since, deadline=deadline)
            found |= {one.id: one for one in hosts}
        for named in dict.fromkeys((wanted.adopt_id, *named_ids(service))):
            if named and named not in found:
                other = await self._balancers.get(named, deadline=deadline)
                if other is not None:
                    found[named] = other
        return tuple(found.values())
