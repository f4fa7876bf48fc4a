"""What storage can be had, and where: capacity, performance classes, zones (docs/platform-api.md)."""

from typing import TypeVar

from thecloud.call import Call, Decoder, Exchange, Params, Repeat, decoder_of, read_list, read_object
from thecloud.errors import Unsupported
from thecloud.resource import FeaturesSource
from thecloud.wire import Capacity, PerformanceClass, Zone

T = TypeVar("T")

_CAPACITY = decoder_of(Capacity)
_CLASSES = decoder_of(tuple[PerformanceClass, ...])
_ZONES = decoder_of(tuple[Zone, ...])


class StorageCapacity:
    """What storage can be had. Every method takes `deadline` (loop time) and raises PlatformError."""

    def __init__(self, exchange: Exchange, features: FeaturesSource) -> None:
        self._exchange = exchange
        self._features = features

    async def get(self, *, deadline: float, zone: str = "", performance_class: str = "") -> Capacity:
        """Give what is left, in one zone and class or in all."""
        await self._need("volume.capacity", deadline)
        asked = (("zone", zone), ("performance_class", performance_class))
        call = _read("/capacity", deadline, tuple((name, value) for name, value in asked if value))
        return read_object(_CAPACITY, call, await self._exchange.send(call))

    async def performance_classes(self, *, deadline: float) -> tuple[PerformanceClass, ...]:
        """Give the kinds of storage."""
        return await self._list("/performance-classes", "volume.modify", _CLASSES, deadline)

    async def zones(self, *, deadline: float) -> tuple[Zone, ...]:
        """Give the places."""
        return await self._list("/zones", "instance.zone", _ZONES, deadline)

    async def _list(self, path: str, feature: str, decoder: Decoder[tuple[T, ...]], deadline: float) -> tuple[T, ...]:
        await self._need(feature, deadline)
        call = _read(path, deadline)
        return read_list(decoder, call, await self._exchange.send(call))

    async def _need(self, feature: str, deadline: float) -> None:
        features = await self._features(deadline)
        if not features.has(feature):
            raise Unsupported(
                f"the platform ({features.tier} tier) does not offer {feature}", details={"feature": feature}
            )


def _read(path: str, deadline: float, params: Params = ()) -> Call:
    return Call(method="GET", route=path, path=path, deadline=deadline, repeat=Repeat.SAFE, params=params)
