"""What storage can be had, and where: capacity and zones (docs/platform-api.md)."""

from thecloud.call import Call, Exchange, Lane, Params, Repeat, decoder_of, read_list, read_object
from thecloud.errors import Unsupported
from thecloud.flight import Flight
from thecloud.resource import FeaturesSource, loop_time
from thecloud.wire import Capacity, Zone

ZONES_LIMIT_S = 60.0
"""Time of one listing of zones; each of those who wait for it has a deadline of its own."""
_NEVER = float("-inf")

_CAPACITY = decoder_of(Capacity)
_ZONES = decoder_of(tuple[Zone, ...])


class StorageCapacity:
    """What storage can be had. Every method takes `deadline` (loop time) and raises PlatformError."""

    def __init__(self, exchange: Exchange, features: FeaturesSource) -> None:
        self._exchange = exchange
        self._features = features
        self._asking: Flight[tuple[Zone, ...]] | None = None
        self._asking_since = _NEVER
        self._zones: tuple[Zone, ...] = ()
        self._zones_as_of = _NEVER

    async def aclose(self) -> None:
        """Stop a listing that is under way."""
        if self._asking is not None:
            await self._asking.aclose()

    async def get(self, *, deadline: float, zone: str = "", performance_class: str = "") -> Capacity:
        """Give what is left, in one zone and class or in all."""
        await self._need("volume.capacity", deadline)
        asked = (("zone", zone), ("performance_class", performance_class))
        call = _read("/capacity", deadline, tuple((name, value) for name, value in asked if value))
        return read_object(_CAPACITY, call, await self._exchange.send(call))

    async def zones(self, *, deadline: float, max_age_s: float = 0.0) -> tuple[Zone, ...]:
        """Give the places as of at most `max_age_s` ago; callers at one time share one listing."""
        await self._need("instance.zone", deadline)
        oldest = loop_time() - max_age_s
        if self._zones_as_of > oldest:
            return self._zones
        if self._asking is None or self._asking.is_over or self._asking_since <= oldest:
            self._asking_since = loop_time()
            self._asking = Flight(self._ask_zones(self._asking_since), name="GET /zones")
        return await self._asking.join(deadline=deadline)

    async def _ask_zones(self, since: float) -> tuple[Zone, ...]:
        # Those who wait have their own deadlines and end this when the last of them leaves.
        call = _read("/zones", since + ZONES_LIMIT_S, lane=Lane.CREATE)
        found = read_list(_ZONES, call, await self._exchange.send(call))
        if since >= self._zones_as_of:
            self._zones, self._zones_as_of = found, since
        return found

    async def _need(self, feature: str, deadline: float) -> None:
        features = await self._features(deadline)
        if not features.has(feature):
            raise Unsupported(
                f"the platform ({features.tier} tier) does not offer {feature}", details={"feature": feature}
            )


def _read(path: str, deadline: float, params: Params = (), *, lane: Lane = Lane.READ) -> Call:
    return Call(method="GET", route=path, path=path, deadline=deadline, lane=lane, repeat=Repeat.SAFE, params=params)
