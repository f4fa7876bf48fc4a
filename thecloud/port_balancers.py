"""Load balancers of the strict tier: typed calls and no policy (platform contract 9).

Each has one HTTP port and cannot be changed. Names are not unique; those that are DELETED are listed until the platform
has purged them.
"""

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_done, read_list, read_object
from thecloud.network_wire import PortBalancer, PortTarget
from thecloud.presence import Gone
from thecloud.resource import FeaturesSource, Resource, body_of, key_header

_BALANCER = decoder_of(PortBalancer)
_BALANCERS = decoder_of(tuple[PortBalancer, ...])
_TARGETS = decoder_of(tuple[PortTarget, ...])


class PortBalancers(Resource[PortBalancer]):
    """Load balancers of one port each.

    Every method takes `deadline` (loop time) and raises PlatformError. Only this user's are seen (platform contract
    1.10).
    """

    kind = "load_balancer"
    route = "/lb"
    filter_feature = "lb.tags"
    missing_is_unknown = False

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_BALANCER, many=_BALANCERS, listing_window_s=listing_window_s)

    async def create(
        self, *, name: str, vpc_id: str, port: int, algorithm: str, idempotency_key: str, deadline: float
    ) -> PortBalancer:
        """Make one; tried again while its outcome is unknown.

        The key is needed: one platform holds a single load balancer without. The same key gives the same load
        balancer, **whatever was asked for, and also one that is DELETED**; the caller compares. Raises ValueError for
        an unusable key.
        """
        headers = key_header(idempotency_key)
        if not headers:
            raise ValueError("a load balancer of the strict tier needs an idempotency key")
        call = Call(
            method="POST",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.CREATE,
            repeat=Repeat.SAFE,
            body=body_of(name=name, vpc_id=self.id_of(vpc_id, kind="vpc"), port=port, algorithm=algorithm),
            headers=headers,
        )
        return read_object(_BALANCER, call, await self.send(call))

    async def get(self, balancer_id: str, *, deadline: float, lane: Lane = Lane.READ) -> PortBalancer | Gone:
        """Give it, DELETED or not, or say that it is gone."""
        return await self.look_up(balancer_id, deadline=deadline, lane=lane)

    async def list(self, *, deadline: float, lane: Lane = Lane.READ) -> tuple[PortBalancer, ...]:
        """Give all, the DELETED ones as well; as fresh as the question."""
        return await self.listed((), deadline=deadline, lane=lane)

    async def delete(self, balancer_id: str, *, deadline: float) -> None:
        """Mark it DELETED; it is gone when `get` says so. Repeating does no harm. Raises Missing when it is gone."""
        await self.remove(balancer_id, deadline=deadline, guard_tag=None, feature="")

    async def targets(self, balancer_id: str, *, deadline: float, lane: Lane = Lane.READ) -> tuple[PortTarget, ...]:
        """Give its targets; none for a load balancer that does not exist, too."""
        call = Call(
            method="GET",
            route=self.route + "/{id}/targets",
            path=f"{self.path_of(balancer_id)}/targets",
            deadline=deadline,
            lane=lane,
            repeat=Repeat.SAFE,
        )
        return read_list(_TARGETS, call, await self.send(call))

    async def add_target(
        self, balancer_id: str, instance_id: str, *, port: int, deadline: float, weight: int = 1
    ) -> None:
        """Send to a port of an instance as well.

        Raises Missing (`LB_NOT_FOUND`, or `NOT_FOUND` for the instance), Refused (`LB_CROSS_VPC`). An instance that is
        a target already is an UnknownOutcome like any fault: list the targets then.
        """
        call = Call(
            method="POST",
            route=self.route + "/{id}/targets",
            path=f"{self.path_of(balancer_id)}/targets",
            deadline=deadline,
            lane=Lane.ATTACH,
            body={"instance_id": self.id_of(instance_id, kind="instance"), "port": port, "weight": weight},
        )
        read_done(call, await self.send(call))

    async def remove_target(self, balancer_id: str, instance_id: str, *, deadline: float) -> None:
        """Send to an instance no more; raises Missing when it is no target, or the load balancer is gone."""
        call = Call(
            method="DELETE",
            route=self.route + "/{id}/targets/{instance_id}",
            path=f"{self.path_of(balancer_id)}/targets/{self.id_of(instance_id, kind='instance')}",
            deadline=deadline,
            lane=Lane.DELETE,
        )
        read_done(call, await self.send(call))
