"""Public addresses of the tenant: typed calls and no policy (platform contract 11; docs/platform-network.md)."""

from collections.abc import Mapping

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_object
from thecloud.network_wire import ElasticIp
from thecloud.presence import Gone
from thecloud.resource import FeaturesSource, Resource, body_of, key_header, tag_param

TAGS = "address.tags"

_ADDRESS = decoder_of(ElasticIp)
_ADDRESSES = decoder_of(tuple[ElasticIp, ...])


class ElasticIps(Resource[ElasticIp]):
    """The public addresses of the tenant. Every method takes `deadline` (loop time) and raises PlatformError."""

    kind = "elastic_ip"
    route = "/elastic-ips"
    filter_feature = TAGS
    missing_is_unknown = False

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_ADDRESS, many=_ADDRESSES, listing_window_s=listing_window_s)

    async def allocate(
        self, *, deadline: float, name: str = "", tags: Mapping[str, str] | None = None, idempotency_key: str = ""
    ) -> ElasticIp:
        """Take an address.

        With `idempotency_key` and the feature `address.tags` the call is tried again while its outcome is unknown;
        without the feature the key is not sent, and a lost answer leaves an address that nobody knows of.
        """
        features = await self.features(deadline)
        if name or tags:
            self.need(features, TAGS)
        keyed = bool(idempotency_key) and features.has(TAGS)
        call = Call(
            method="POST",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.CREATE,
            repeat=Repeat.SAFE if keyed else Repeat.UNSENT_ONLY,
            body=body_of(name=name, tags=tags) if features.has(TAGS) else None,
            headers=key_header(idempotency_key if keyed else ""),
        )
        return read_object(_ADDRESS, call, await self.send(call))

    async def get(self, address_id: str, *, deadline: float, lane: Lane = Lane.READ) -> ElasticIp | Gone:
        """Give the address, or say that it is gone."""
        return await self.look_up(address_id, deadline=deadline, lane=lane)

    async def list(
        self, *, deadline: float, tag: tuple[str, str] | None = None, lane: Lane = Lane.READ
    ) -> tuple[ElasticIp, ...]:
        """Give all, or those with a tag where the platform has tags; as fresh as the question."""
        return await self.listed(() if tag is None else (tag_param(tag),), deadline=deadline, lane=lane)

    async def associate(self, address_id: str, instance_id: str, *, deadline: float) -> ElasticIp:
        """Give the address to an instance; the same pair again is a success. Raises Conflict for another user."""
        body = {"instance_id": self.id_of(instance_id, kind="instance")}
        call = self._step(address_id, "associate", deadline, body=body)
        return read_object(_ADDRESS, call, await self.send(call))

    async def disassociate(self, address_id: str, *, deadline: float) -> ElasticIp:
        """Take the address from whoever has it; raises Refused when nobody has."""
        call = self._step(address_id, "disassociate", deadline)
        return read_object(_ADDRESS, call, await self.send(call))

    async def release(self, address_id: str, *, deadline: float) -> None:
        """Give the address back; raises Conflict while it is associated, Missing when it is gone."""
        await self.remove(address_id, deadline=deadline, guard_tag=None, feature="")

    def _step(self, address_id: str, step: str, deadline: float, body: Mapping[str, str] | None = None) -> Call:
        return Call(
            method="POST",
            route=f"{self.route}/{{id}}/{step}",
            path=f"{self.path_of(address_id)}/{step}",
            deadline=deadline,
            lane=Lane.ATTACH,
            # To associate the same pair twice is a success; a second disassociate would be refused.
            repeat=Repeat.SAFE if step == "associate" else Repeat.UNSENT_ONLY,
            body=body,
        )
