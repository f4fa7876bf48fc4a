"""Instances: typed calls and no policy (platform contract 4, 25.2; docs/platform-api.md, Instances)."""

from thecloud.call import Exchange, Lane, decoder_of
from thecloud.presence import Gone
from thecloud.resource import FeaturesSource, Resource
from thecloud.wire import Instance

_INSTANCE = decoder_of(Instance)
_INSTANCES = decoder_of(tuple[Instance, ...])


class Instances(Resource[Instance]):
    """The machines of the tenant.

    Every method takes `deadline` (loop time) and raises PlatformError. Names are not unique, nor need they be the host
    name; which instance a node is, is the caller's to decide.
    """

    kind = "instance"
    route = "/instances"
    filter_feature = "instance.filter"
    missing_is_unknown = False
    keeps_listing = True

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_INSTANCE, many=_INSTANCES, listing_window_s=listing_window_s)

    async def get(self, instance_id: str, *, deadline: float, lane: Lane = Lane.READ) -> Instance | Gone:
        """Give the instance, or say that it is gone: only on a 404 in the platform's own form.

        Who deletes something because of it asks twice, and lists (platform contract 25.2).
        """
        return await self.look_up(instance_id, deadline=deadline, lane=lane)

    async def read(self, instance_id: str, *, deadline: float, lane: Lane = Lane.READ) -> Instance:
        """Give the instance as its own address answers; unlike `get`, no listing is ever taken for an answer.

        Raises Missing for a 404 in the platform's form, where `error_type` and `resource` tell about what.
        """
        return await self._get(self.id_of(instance_id), deadline=deadline, lane=lane, is_precise=True)

    async def list(self, *, deadline: float, lane: Lane = Lane.READ) -> tuple[Instance, ...]:
        """Give all instances of the tenant; as fresh as the question, newest first."""
        return await self.listed((), deadline=deadline, lane=lane)
