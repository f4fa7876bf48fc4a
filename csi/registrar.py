"""The life of our socket in the kubelet's plugin registry folder.

The kubelet asks a plugin when its socket appears, and when it starts itself. So the socket has to be there as long as
this process serves, also when the folder was made anew, and has to appear again when the kubelet shall ask again: after
a refusal, of which older kubelets think no more, and when NodeGetInfo would now tell something else.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from csi.endpoint import EndpointError, SocketFile, UnixEndpoint, claimed
from csi.registration import Registration, RegistrationError
from csi.server import ROLLBACK_S, RpcServer

LOG = logging.getLogger("csi.registrar")

GRACE_S = 1.0
"""Time that calls of the kubelet get to end."""
LOOK_S = 2.0
"""Pause between two looks whether the socket is there. One look is one call of the kernel."""
FIRST_PAUSE_S = 2.0
LAST_PAUSE_S = 60.0
"""Pauses between a refusal and the next offer; each refusal doubles them."""

MakeServer = Callable[[SocketFile], RpcServer]


class Registrar:
    """Serves a registration as an async context manager; `keep` is its background work.

    Entering raises EndpointError when the socket cannot be made.
    """

    def __init__(self, registration: Registration, make_server: MakeServer, *, look_s: float = LOOK_S) -> None:
        self._registration = registration
        self._make_server = make_server
        self._look_s = look_s
        self._place: SocketFile | None = None
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Put the socket there."""
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the socket away; the kubelet then knows that the plugin is gone."""
        await self._close()

    async def keep(self) -> None:
        """Keep the socket there, and offer it anew when the kubelet shall ask again.

        Raises RegistrationError when no socket of this process can be seen by the kubelet any more.
        """
        loop = asyncio.get_running_loop()
        seen_refusals, offer_at = 0, float("inf")
        while True:
            await asyncio.sleep(self._look_s)
            refusals = self._registration.refusals
            if refusals != seen_refusals:
                # A kubelet that asks again by itself moves the next offer away each time.
                seen_refusals = refusals
                offer_at = loop.time() + pause_s(refusals) if refusals else float("inf")
            if self._place is None or not self._place.is_present():
                await self._open_anew()
            elif self._registration.take_renewal() or loop.time() >= offer_at:
                self._offer_again(self._place)
                offer_at = loop.time() + pause_s(refusals + 1) if refusals else float("inf")

    def _offer_again(self, place: SocketFile) -> None:
        try:
            place.publish_again()
        except EndpointError as error:
            # The next look finds the socket gone and makes another one.
            self._registration.note_unserved(str(error))

    async def _open_anew(self) -> None:
        await self._close()
        folder = self._registration.socket.parent
        if is_removed(folder):
            raise RegistrationError(
                f"the kubelet's plugin registry folder {folder} was removed, and this container still has the removed "
                "one mounted; it has to start anew to get the one that the kubelet uses now"
            )
        try:
            await self._open()
        except EndpointError as error:
            self._registration.note_unserved(str(error))
        else:
            LOG.warning("the registration socket was gone and is there again")

    async def _open(self) -> None:
        async with AsyncExitStack() as exits:
            endpoint = UnixEndpoint(self._registration.socket)
            place = await exits.enter_async_context(claimed(endpoint, wait_s=GRACE_S + ROLLBACK_S))
            if not isinstance(place, SocketFile):
                raise TypeError("a unix endpoint gives a socket file")
            await exits.enter_async_context(self._make_server(place))
            self._place = place
            self._registration.note_served()
            self._exits = exits.pop_all()

    async def _close(self) -> None:
        self._place = None
        await self._exits.aclose()


def pause_s(refusals: int) -> float:
    """Give the pause after so many refusals without a success between them."""
    return min(FIRST_PAUSE_S * 2.0 ** min(refusals - 1, 10), LAST_PAUSE_S)


def is_removed(folder: Path) -> bool:
    """Whether a folder that can still be looked at was deleted, as behind a mount of it."""
    try:
        return folder.stat().st_nlink == 0
    except OSError:
        return False
