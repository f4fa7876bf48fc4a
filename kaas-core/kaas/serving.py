"""Listening: sockets of our own or handed over by whoever started us, and servers that end when the program says so."""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from kaas.option_kinds import Descriptor, Place

API, PHONE_HOME = "api", "phone-home"
_FIRST_DESCRIPTOR = 3
_BACKLOG = 1024
_GRACE_S = 5
MOST_CONNECTIONS = 512
"""Of one listener; further ones are closed at once."""
REQUEST_S = 30.0
"""From the first look at a connection, or the first byte of a later request, to the end of the request's body."""
_ARRIVING = (h11.IDLE, h11.SEND_BODY)
_NAMELESS = (API, PHONE_HOME)
"""What sockets without a name are for, in their order."""


class ListenError(Exception):
    """There is nothing to listen on; the text says where, and why."""


def handed_over(environ: Mapping[str, str], *, pid: int) -> dict[str, int]:
    """Give the descriptors of sockets that were handed over as systemd does it, by name (LISTEN_FDS, LISTEN_FDNAMES).

    They are ours when LISTEN_PID says so, or is not there: not every parent knows our number beforehand. Raises
    ListenError.
    """
    count = environ.get("LISTEN_FDS", "")
    if not count or environ.get("LISTEN_PID", str(pid)) != str(pid):
        return {}
    if not (count.isascii() and count.isdigit() and len(count) < len("999")):
        raise ListenError(f"LISTEN_FDS is {count[:40]!r}, which is no number of sockets")
    names = environ.get("LISTEN_FDNAMES", "").split(":") if environ.get("LISTEN_FDNAMES") else list(_NAMELESS)
    found = {}
    for number, name in zip(range(int(count)), names, strict=False):
        if name not in _NAMELESS or name in found:
            raise ListenError(f"LISTEN_FDNAMES: {name[:40]!r} is not one of {', '.join(_NAMELESS)}, each once")
        found[name] = _FIRST_DESCRIPTOR + number
    return found


def open_socket(place: Place) -> socket.socket:
    """Listen on an address (port 0 takes a free one), or take a socket that listens. Raises ListenError."""
    if isinstance(place, Descriptor):
        return _taken(place.number)
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off on what is accepted.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((place.host, place.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ListenError(f"cannot listen on {place.authority}: {error.strerror or error}") from error
    return listening


def address_of(listening: socket.socket) -> str:
    """Give where a socket listens, as `host:port`."""
    name = listening.getsockname()
    if not isinstance(name, tuple):
        return str(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class BoundedProtocol(H11Protocol):
    """A connection of uvicorn's that is closed when a request does not arrive in time, or when there are too many.

    Machines of all tenants reach the listeners, and the process may have so many files open. Those
    that are quiet between two requests are closed by uvicorn itself.
    """

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(cast("Any", transport))
        if len(self.connections) > MOST_CONNECTIONS:
            self.transport.abort()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request, and go on waiting while it is not whole."""
        super().data_received(data)
        if self.conn.their_state in _ARRIVING:
            self._watch()
        else:
            self._rest()

    def _watch(self) -> None:
        if self._limit is None:
            self._limit = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _rest(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


class Server(uvicorn.Server):
    """An application on one socket; with `tls`, files of a certificate and its key. Signals are the program's."""

    def __init__(self, app: ASGIApp, *, tls: tuple[Path, Path] | None = None) -> None:
        certificate, key = tls or (None, None)
        super().__init__(
            uvicorn.Config(
                cast("Any", app),
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                loop="asyncio",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                ssl_certfile=certificate,
                ssl_keyfile=key,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield

    async def run_on(self, listening: socket.socket, end: asyncio.Event) -> None:
        """Serve until `end` is set, and then what was begun before."""
        serving = asyncio.ensure_future(self.serve(sockets=[listening]))
        ending = asyncio.ensure_future(end.wait())
        try:
            await asyncio.wait((serving, ending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            self.should_exit = True
            await serving


def _taken(number: int) -> socket.socket:
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            raise ListenError(f"descriptor {number} is no socket")
        os.set_inheritable(number, False)  # noqa: FBT003 - as the library has it
        listening = socket.socket(fileno=number)
    except OSError as error:
        raise ListenError(f"descriptor {number} was not handed over: {error.strerror or error}") from error
    if listening.type != socket.SOCK_STREAM or not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listening.detach()
        raise ListenError(f"descriptor {number} is no stream socket that listens")
    return listening
