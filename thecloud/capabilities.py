"""What the platform offers, asked once in a while (docs/platform-api.md, Discovery).

Belongs here: discovery and its cache. Does not belong here: what a caller does without a feature.
"""

import asyncio
from dataclasses import dataclass

from thecloud.call import Call, Exchange, Repeat, decoder_of, read_object
from thecloud.errors import Misrouted
from thecloud.flight import Flight
from thecloud.wire import Capabilities

ROUTE = "/capabilities"
STRICT = "strict"

_CAPABILITIES = decoder_of(Capabilities)
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Features:
    """The extensions that the platform offers."""

    names: frozenset[str] = frozenset()
    tier: str = STRICT

    def has(self, name: str) -> bool:
        """Whether the platform offers the feature."""
        return name in self.names


async def discover(exchange: Exchange, *, deadline: float) -> Features:
    """Ask the platform what it offers.

    A 404 in plain text, and only that, means the strict tier. Raises PlatformError for everything else.
    """
    call = Call(method="GET", route=ROUTE, path=ROUTE, deadline=deadline, repeat=Repeat.SAFE)
    try:
        answer = await exchange.send(call)
    except Misrouted as error:
        if error.status == _NOT_FOUND:
            return Features()
        raise
    capabilities = read_object(_CAPABILITIES, call, answer)
    return Features(frozenset(capabilities.features), capabilities.tier)


class Discovery:
    """The platform's features: asked once for all callers, and again when the answer is older than `refresh_s`.

    A failure is no answer: it is raised to everybody who waits, and the next caller asks again.
    """

    def __init__(self, exchange: Exchange, *, refresh_s: float) -> None:
        self._exchange = exchange
        self._refresh_s = refresh_s
        self._known: Features | None = None
        self._known_until = 0.0
        self._flight: Flight[Features] | None = None

    async def get(self, deadline: float) -> Features:
        """Give the features; raises PlatformError when the platform does not say."""
        if self._known is not None and asyncio.get_running_loop().time() < self._known_until:
            return self._known
        if self._flight is None or self._flight.is_over:
            self._flight = Flight(self._ask(), name=f"GET {ROUTE}")
        return await self._flight.join(deadline=deadline)

    async def aclose(self) -> None:
        """End what is under way."""
        if self._flight is not None:
            await self._flight.aclose()

    async def _ask(self) -> Features:
        loop = asyncio.get_running_loop()
        # Those who wait have their own deadlines and end this when the last of them leaves.
        self._known = await discover(self._exchange, deadline=loop.time() + self._refresh_s)
        self._known_until = loop.time() + self._refresh_s
        return self._known
