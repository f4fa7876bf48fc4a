"""Private networks: typed calls and no policy (platform contract 7)."""

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_object
from thecloud.network_wire import Vpc
from thecloud.presence import Gone
from thecloud.resource import FeaturesSource, Resource, body_of, key_header

_VPC = decoder_of(Vpc)
_VPCS = decoder_of(tuple[Vpc, ...])


class Vpcs(Resource[Vpc]):
    """The private networks of the tenant. Every method takes `deadline` (loop time) and raises PlatformError.

    There is no delete on purpose: the platform cuts the network off before it finds out that it is in use (platform
    contract 7.1), so that deleting needs a proof of emptiness which no single call can give.
    """

    kind = "vpc"
    route = "/vpcs"
    filter_feature = ""
    missing_is_unknown = False

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_VPC, many=_VPCS, listing_window_s=listing_window_s)

    async def create(self, *, name: str, idempotency_key: str, deadline: float, cidr_block: str = "") -> Vpc:
        """Make a network; with a key tried again while its outcome is unknown.

        A name that is taken anywhere on the platform is an UnknownOutcome in the strict tier, like any fault.
        """
        call = Call(
            method="POST",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.CREATE,
            repeat=Repeat.SAFE if idempotency_key else Repeat.UNSENT_ONLY,
            body=body_of(name=name, cidr_block=cidr_block),
            headers=key_header(idempotency_key),
        )
        return read_object(_VPC, call, await self.send(call))

    async def get(self, vpc_id: str, *, deadline: float, lane: Lane = Lane.READ) -> Vpc | Gone:
        """Give the network, or say that it is gone."""
        return await self.look_up(vpc_id, deadline=deadline, lane=lane)

    async def list(self, *, deadline: float, lane: Lane = Lane.READ) -> tuple[Vpc, ...]:
        """Give all networks; as fresh as the question."""
        return await self.listed((), deadline=deadline, lane=lane)
