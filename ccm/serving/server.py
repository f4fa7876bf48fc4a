"""HTTPS for health checks, metrics and the settings in use, to those whom Kubernetes lets.

Belongs here: HTTP, TLS and the limits of both. Does not belong here: who may read (`ccm.serving.access`), what is well
(`ccm.serving.health`).
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from ccm.serving.access import Access, ReviewError, Reviews, Verdict
from ccm.serving.certificate import CertificateError, ServingCertificate
from ccm.serving.health import Health, Page
from process.address import TcpEndpoint
from process.metrics import CONTENT_TYPE

LOG = logging.getLogger("ccm.serving.server")

MAX_CONNECTIONS = 64
MAX_LINE_BYTES = 8 * 1024
HANDSHAKE_LIMIT_S = 5.0
CONNECTION_LIMIT_S = 30.0
"""Longest life of a connection; each takes one request."""
REVIEW_LIMIT_S = 10.0
SHUTDOWN_LIMIT_S = 2.0
REFRESH_PAUSE_S = 60.0
"""Between two looks whether certificates or authorities have changed."""
_TEXTS = {
    Verdict.UNKNOWN_USER: "this page needs a token that Kubernetes knows, or a client certificate\n",
    Verdict.FORBIDDEN: "the user may not read this page: Kubernetes' role needs this path as a nonResourceURL\n",
    Verdict.UNAVAILABLE: "Kubernetes did not say in time who may read this page\n",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ListenError(Exception):
    """The address cannot be listened on; the text says why."""


class SecureServer:
    """Serves the pages as an async context manager; `address` has the real port once entered."""

    def __init__(
        self,
        address: TcpEndpoint,
        certificate: ServingCertificate,
        access: Access,
        health: Health,
        *,
        metrics: Callable[[], bytes],
        config: Mapping[str, object],
    ) -> None:
        """`config` is what /configz shows; it must hold no secret."""
        self.address = address
        self._certificate = certificate
        self._access = access
        self._health = health
        self._metrics = metrics
        self._config = json.dumps({"tc-ccm": config}, indent=1, sort_keys=True)
        self._runner = web.AppRunner(
            self._application(),
            handle_signals=False,
            access_log=None,
            shutdown_timeout=SHUTDOWN_LIMIT_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
        )
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen. Raises ListenError when the port cannot be had."""
        await self._runner.setup()
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._connection,
                self.address.host,
                self.address.port,
                ssl=self._certificate.context,
                ssl_handshake_timeout=HANDSHAKE_LIMIT_S,
                ssl_shutdown_timeout=SHUTDOWN_LIMIT_S,
            )
        except OSError as error:
            await self._runner.cleanup()
            reason = error.strerror or str(error)
            raise ListenError(
                f"--bind-address and --secure-port {self.address.authority}: cannot listen there: {reason}"
            ) from error
        self.address = TcpEndpoint(self.address.host, self._server.sockets[0].getsockname()[1])
        LOG.info("health and metrics", extra={"fields": {"address": self.address.authority}})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the port, and let answers end that are under way."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=1)
        for page in Page:
            application.router.add_get(page.value, self._page(page))
            application.router.add_get(page.value + "/{name}", self._one_check(page))
        application.router.add_get("/metrics", self._show_metrics)
        application.router.add_get("/configz", self._show_config)
        return application

    def _connection(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or len(server.connections) >= MAX_CONNECTIONS:
            return _Refused()
        handler = server()

        def end() -> None:
            if handler.transport is not None:
                handler.transport.close()

        asyncio.get_running_loop().call_later(CONNECTION_LIMIT_S, end)
        return handler

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Let only those through who may read the path; a path that is not there is no exception."""
        verdict = await self._access.verdict(
            method=request.method,
            path=request.path,
            token=_token(request),
            certificate=_client_certificate(request),
            deadline=asyncio.get_running_loop().time() + REVIEW_LIMIT_S,
        )
        if verdict is Verdict.ALLOWED:
            try:
                answer = await handler(request)
            except web.HTTPException as refusal:
                answer = web.Response(status=refusal.status, text=f"{refusal.reason}\n", headers=_allowed_of(refusal))
        else:
            answer = web.Response(status=verdict.value, text=_TEXTS[verdict])
            if verdict is Verdict.UNKNOWN_USER:
                answer.headers["WWW-Authenticate"] = "Bearer"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Cache-Control"] = "no-store"
        answer.force_close()
        return answer

    def _page(self, page: Page) -> _Handler:
        async def show(request: web.Request) -> web.StreamResponse:
            report = self._health.report(page, excluded=request.query.getall("exclude", []))
            text = "ok" if report.is_good and "verbose" not in request.query else report.text
            return web.Response(status=200 if report.is_good else 500, text=text)

        return show

    def _one_check(self, page: Page) -> _Handler:
        async def show(request: web.Request) -> web.StreamResponse:
            report = self._health.one(page, request.match_info["name"])
            if report is None:
                raise web.HTTPNotFound
            return web.Response(status=200 if report.is_good else 500, text=report.text)

        return show

    async def _show_metrics(self, _: web.Request) -> web.StreamResponse:
        return web.Response(body=self._metrics(), headers={"Content-Type": CONTENT_TYPE})

    async def _show_config(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text=self._config, content_type="application/json")


class Renewal:
    """Keeps the certificate and the authorities of client certificates up to date."""

    def __init__(
        self,
        certificate: ServingCertificate,
        reviews: Reviews,
        *,
        authorities_file: Path | None,
        asks_cluster: bool,
        pause_s: float = REFRESH_PAUSE_S,
    ) -> None:
        """Take the authorities from a file, or else, when `asks_cluster`, from Kubernetes."""
        self._certificate = certificate
        self._reviews = reviews
        self._authorities_file = authorities_file
        self._asks_cluster = asks_cluster
        self._pause_s = pause_s
        self._problems: dict[str, str] = {}

    async def keep(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(self._pause_s)

    async def look(self) -> None:
        """Look once. What cannot be had is logged when it changes, and what was there before goes on to be used."""
        try:
            if await asyncio.to_thread(self._certificate.refresh):
                LOG.info("the server's certificate was renewed")
            self._tell("certificate", "")
        except CertificateError as error:
            self._tell("certificate", f"the server's certificate cannot be renewed: {error}")
        try:
            authorities = await self._authorities()
            if authorities is not None and self._certificate.trust(authorities):
                LOG.info("the authorities of client certificates were renewed")
            self._tell("authorities", "")
        except (CertificateError, ReviewError, OSError, ValueError) as error:
            self._tell("authorities", f"the authorities of client certificates cannot be had: {error}")

    async def _authorities(self) -> str | None:
        if self._authorities_file is not None:
            return await asyncio.to_thread(self._authorities_file.read_text)
        if self._asks_cluster:
            deadline = asyncio.get_running_loop().time() + REVIEW_LIMIT_S
            return await self._reviews.client_authorities(deadline=deadline)
        return None

    def _tell(self, about: str, problem: str) -> None:
        if problem and problem != self._problems.get(about):
            LOG.warning("%s", problem)
        self._problems[about] = problem


class _Refused(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _token(request: web.Request) -> str:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _client_certificate(request: web.Request) -> bytes | None:
    connection = request.get_extra_info("ssl_object")
    return connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLObject) else None


def _allowed_of(refusal: web.HTTPException) -> dict[str, str]:
    return {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
