"""Serving the platform on a socket with uvicorn, so that faults can close connections and streams end at the stop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator, Sequence
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from devcloud.api.trouble import CONNECTION
from devcloud.app import App

_GRACE_S = 5
_BACKLOG = 1024


class _Protocol(H11Protocol):
    """Puts the connection's transport where the fault injection finds it."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        inner = cast("ASGIApp", self.app)

        async def with_connection(scope: Scope, receive: Receive, send: Send) -> None:
            await inner({**scope, "extensions": {CONNECTION: transport}}, receive, send)

        self.app = cast("Any", with_connection)


class Server(uvicorn.Server):
    """One platform on one socket; the caller holds `app.running()`."""

    def __init__(self, app: App, *, handles_signals: bool = True) -> None:
        super().__init__(
            uvicorn.Config(
                cast("Any", app),
                http=_Protocol,
                ws="none",
                lifespan="off",
                loop="asyncio",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._app = app
        self._handles_signals = handles_signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, unless the signals belong to somebody else in this process."""
        if not self._handles_signals:
            yield
            return
        # The library's own way ends the process by the signal again; a stop that was asked for is a success.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the event streams first: they would keep their connections open for the whole grace time."""
        self._app.state.cloud.hub.close()
        await super().shutdown(sockets)


def open_socket(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 takes a free one. Raises OSError naming the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off on accepted connections; otherwise every answer
    # waits 40 ms for an acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listening


def url_of(listening: Sequence[socket.socket] | socket.socket) -> str:
    """Give the URL of a listening socket."""
    first = listening if isinstance(listening, socket.socket) else listening[0]
    host, port = first.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
