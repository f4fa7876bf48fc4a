"""The life of one gRPC server: bind, serve, drain.

Used for CSI itself and for the kubelet's registration socket. Which services are served is the caller's choice.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import grpc.aio

from csi.endpoint import Endpoint, EndpointError, SocketFile, UnixEndpoint
from csi.interceptor import Interceptor
from process.address import TcpEndpoint

LOG = logging.getLogger("csi.server")

MAX_REQUEST_BYTES = 4 * 1024 * 1024
MAX_HEADER_BYTES = 16 * 1024
ROLLBACK_S = 10.0
"""Time that cancelled calls get to undo what they did, after the grace time."""

AddService = Callable[[grpc.aio.Server], None]


class RpcServer:
    """A gRPC server as an async context manager: entering serves, leaving drains.

    Leaving stops accepting, gives running calls `grace_s` to end, cancels the rest, and waits until those have cleaned
    up. `place` is what `csi.endpoint.claimed` gives; it is the caller's to release, when everything has ended.
    """

    def __init__(
        self,
        place: SocketFile | TcpEndpoint,
        services: Sequence[AddService],
        interceptor: Interceptor,
        *,
        grace_s: float,
    ) -> None:
        self._place = place
        self._interceptor = interceptor
        self._grace_s = grace_s
        self._server = grpc.aio.server(interceptors=[interceptor], options=_options())
        for add in services:
            add(self._server)

    @property
    def endpoint(self) -> Endpoint:
        """Where it serves; once entered, with the real port."""
        return UnixEndpoint(self._place.path) if isinstance(self._place, SocketFile) else self._place

    async def __aenter__(self) -> Self:
        """Serve. Raises EndpointError when the address is taken or cannot be bound."""
        try:
            await self._start()
        except BaseException:
            await self._server.stop(None)
            if isinstance(self._place, SocketFile):
                self._place.hide()
            raise
        LOG.info("serving", extra={"fields": {"endpoint": str(self.endpoint)}})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain."""
        if isinstance(self._place, SocketFile):
            # First of all, so that new clients fail at once and do not wait for a server that only drains.
            self._place.hide()
        await self._server.stop(self._grace_s)
        deadline = asyncio.get_running_loop().time() + ROLLBACK_S
        left = await self._interceptor.wait_idle(deadline=deadline)
        if left:
            LOG.error("calls did not end after they were cancelled", extra={"fields": {"calls": left}})
            if isinstance(self._place, SocketFile):
                # They go on until the process is gone, and nobody else may work on their objects before.
                self._place.keep()
        LOG.info("stopped serving", extra={"fields": {"endpoint": str(self.endpoint)}})

    async def _start(self) -> None:
        if isinstance(self._place, SocketFile):
            self._bind(f"unix:{self._place.private_path}")
            await self._listen()
            self._place.publish()
        else:
            port = self._bind(self._place.authority)
            self._place = TcpEndpoint(self._place.host, port)
            await self._listen()

    async def _listen(self) -> None:
        # A gRPC server that is cancelled while it starts can neither serve nor be stopped; the start takes no time.
        start = asyncio.ensure_future(self._server.start())
        try:
            await asyncio.shield(start)
        except asyncio.CancelledError:
            await asyncio.wait({start})
            raise

    def _bind(self, address: str) -> int:
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise EndpointError(f"{self.endpoint}: cannot listen there; is the address free and ours?") from error


def _options() -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", MAX_HEADER_BYTES),
        # Without this a second instance would share the TCP port silently and get half of the calls.
        ("grpc.so_reuseport", 0),
    ]
