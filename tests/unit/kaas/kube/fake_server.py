"""An API server of a test: real TLS and HTTP, answers that the test gives."""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from kaas.domain.ports import KubeAccess
from tests.support.cluster_access import LOOPBACK, Authority

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    client: str


@dataclass
class FakeServer:
    """Answers each request by `answer`, and remembers it."""

    access: KubeAccess
    answer: Answer
    seen: list[Seen] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)

    def paths(self, method: str) -> list[str]:
        return [one.path for one in self.seen if one.method == method]


def status(code: int, reason: str, message: str = "", **more: Any) -> web.Response:
    """An answer by which the API says no."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, **more}
    return web.json_response(body, status=code)


def missing() -> web.Response:
    return status(404, "NotFound", "it is not there")


def items(*objects: Any, following: str = "") -> web.Response:
    """A page of a list."""
    return web.json_response({"metadata": {"continue": following}, "items": list(objects)})


@contextlib.asynccontextmanager
async def serving(
    answer: Answer, folder: Path, *, authority: Authority, shows: Authority | None = None, address: str = LOOPBACK
) -> AsyncIterator[FakeServer]:
    """Run a server that shows a certificate for `address`, signed by `shows`, and asks for one of `authority`."""
    certificate, key = (shows or authority).server(address)
    file = folder / "server.pem"
    file.write_bytes(certificate + key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(file)
    holder: list[FakeServer] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        server = holder[0]
        text = await request.text()
        assert request.transport is not None
        peer = request.transport.get_extra_info("peercert")
        client = next(value for part in peer["subject"] for name, value in part if name == "organizationName")
        server.connections.add(request.transport)
        body = json.loads(text) if text else None
        server.seen.append(Seen(request.method, request.path, dict(request.query), dict(request.headers), body, client))
        return await server.answer(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, LOOPBACK, 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        holder.append(FakeServer(authority.access(f"https://{LOOPBACK}:{port}"), answer))
        yield holder[0]
    finally:
        await runner.cleanup()
