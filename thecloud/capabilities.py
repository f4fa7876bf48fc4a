"""What the platform offers, asked once in a while (docs/platform-api.md, Discovery).

Belongs here: discovery and its cache. Does not belong here: what a caller does without a feature.
"""

import asyncio
from dataclasses import dataclass

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_done, read_object
from thecloud.errors import NoRoute, NotSent, PlatformError, RateLimited, Unauthorized, UnknownOutcome
from thecloud.flight import Flight
from thecloud.wire import Capabilities

ROUTE = "/capabilities"
CHECK_ROUTE = "/instance-types"
"""Every platform has it; it is cheap and needs the key."""
STRICT = "strict"
ASK_AGAIN_S = 10.0
"""Pause after an answer that is not believed: a failed refresh, or the first one that takes the extensions away."""
REFRESH_LIMIT_S = 30.0
"""Time of one refresh; nobody waits for it."""

_CAPABILITIES = decoder_of(Capabilities)


@dataclass(frozen=True, slots=True)
class Features:
    """The extensions that the platform offers."""

    names: frozenset[str] = frozenset()
    tier: str = STRICT

    def has(self, name: str) -> bool:
        """Whether the platform offers the feature."""
        return name in self.names


async def check_platform(exchange: Exchange, *, deadline: float) -> None:
    """Ask something that only the platform answers; raises PlatformError when it is away or refuses the key."""
    # A queue of creations is no reason to be called unready.
    call = _read(CHECK_ROUTE, deadline, Lane.ATTACH)
    read_done(call, await exchange.send(call))


async def discover(exchange: Exchange, *, deadline: float) -> Features:
    """Ask the platform what it offers.

    "No such route" means the strict tier, if the platform then answers another route itself: routers before it use the
    same words when they have lost it. Raises NotSent, RateLimited, Unauthorized or UnknownOutcome for everything else,
    never an error that speaks of an object: nobody asked for one.
    """
    call = _read(ROUTE, deadline, Lane.READ)
    try:
        answer = await exchange.send(call)
    except NoRoute:
        await check_platform(exchange, deadline=deadline)
        return Features()
    except (NotSent, RateLimited, Unauthorized, UnknownOutcome):
        raise
    except PlatformError as error:
        raise UnknownOutcome(
            f"the platform does not say what it offers: {error.message}",
            request_id=error.request_id,
            status=error.status,
            method=error.method,
            route=error.route,
        ) from error
    capabilities = read_object(_CAPABILITIES, call, answer)
    return Features(frozenset(capabilities.features), capabilities.tier)


class Discovery:
    """The platform's features: asked once for all callers, and again when the answer is older than `refresh_s`.

    Until there is an answer, a failure is raised to everybody who waits and the next caller asks again. From then on
    nobody waits: what is known holds while it is asked for anew, and stays when that fails. Extensions are given up
    only when two refreshes in a row say so.
    """

    def __init__(self, exchange: Exchange, *, refresh_s: float) -> None:
        self._exchange = exchange
        self._refresh_s = refresh_s
        self._known: Features | None = None
        self._known_until = 0.0
        self._is_doubted = False
        self._first: Flight[Features] | None = None
        self._refresh: asyncio.Task[None] | None = None

    async def get(self, deadline: float) -> Features:
        """Give the features; raises PlatformError when the platform has not said yet and does not say now."""
        if self._known is None:
            if self._first is None or self._first.is_over:
                self._first = Flight(self._ask_first(), name=f"GET {ROUTE}")
            return await self._first.join(deadline=deadline)
        is_running = self._refresh is not None and not self._refresh.done()
        if not is_running and asyncio.get_running_loop().time() >= self._known_until:
            self._refresh = asyncio.create_task(self._ask_again(self._known), name=f"GET {ROUTE}")
        return self._known

    async def aclose(self) -> None:
        """End what is under way."""
        if self._first is not None:
            await self._first.aclose()
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.wait([self._refresh])

    async def _ask_first(self) -> Features:
        # Those who wait have their own deadlines and end this when the last of them leaves.
        found = await discover(self._exchange, deadline=asyncio.get_running_loop().time() + self._refresh_s)
        self._keep(found, good_for_s=self._refresh_s)
        return found

    async def _ask_again(self, known: Features) -> None:
        try:
            found = await discover(self._exchange, deadline=asyncio.get_running_loop().time() + REFRESH_LIMIT_S)
        except PlatformError:
            # Whatever is wrong shows in the calls that need the platform; this one says nothing about its features.
            self._keep(known, good_for_s=ASK_AGAIN_S)
            return
        takes_away = bool(known.names) and not found.names
        if takes_away and not self._is_doubted:
            self._is_doubted = True
            self._keep(known, good_for_s=ASK_AGAIN_S)
            return
        self._is_doubted = False
        self._keep(found, good_for_s=self._refresh_s)

    def _keep(self, features: Features, *, good_for_s: float) -> None:
        self._known = features
        self._known_until = asyncio.get_running_loop().time() + min(good_for_s, self._refresh_s)


def _read(route: str, deadline: float, lane: Lane) -> Call:
    return Call(method="GET", route=route, path=route, deadline=deadline, lane=lane, repeat=Repeat.SAFE)
