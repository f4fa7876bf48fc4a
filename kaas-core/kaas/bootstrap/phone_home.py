"""The listener that machines report their first boot to: one route, for everybody who has a node's token.

Its own application, apart from the API: it is reached from the networks of machines, and knows no users. Served over
TLS by whoever starts it. What a report says is not trusted: it is bounded, cut down, and only ever stored as the
report of the one node whose token came with it.
"""

import asyncio
import base64
import binascii
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kaas.bootstrap.tails import MAX_TAIL_BYTES, tail
from kaas.bootstrap.tokens import BOOT_TOKEN, boot_token_hash
from kaas.bootstrap.userdata import BOOTED, PHASES, REPORT_PATH
from kaas.domain.errors import StoreUnavailableError
from kaas.domain.store import Boots

LOG = logging.getLogger("kaas.phone_home")

MAX_BODY_BYTES = 64 * 1024
_READ_S = 15.0
_STORE_S = 10.0
_BEARER = "bearer"
_HOST_KEY = re.compile(r"ssh-ed25519 ([A-Za-z0-9+/]{68})")
_HOST_KEY_START = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"
_MAX_PEERS = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """How often it may be called; a machine needs one report, or a few when answers are lost."""

    burst: int = 60
    """At once from one address, since many machines may stand behind one."""
    per_s: float = 5.0
    at_once: int = 64
    """Reports that are read and stored at the same time, from everywhere."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a machine says, after all checks."""

    phase: str
    ssh_host_key: str
    log_tail: str


def phone_home(boots: Boots, *, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> Starlette:
    """Make the application."""
    listener = _Listener(boots, limits or Limits(), clock)
    return Starlette(routes=[Route(REPORT_PATH, listener.report, methods=["POST"])])


class BadReportError(Exception):
    """A report that is not one; the text says what is wrong with it."""


def read_report(body: bytes) -> Report:
    """Read and check a report. Raises BadReportError."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise BadReportError("not JSON") from None
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise BadReportError("an object of texts is needed")
    phase, host_key = said.get("phase"), said.get("ssh_host_key", "").strip()
    if phase not in PHASES:
        raise BadReportError(f"phase must be one of {', '.join(sorted(PHASES))}")
    if host_key and not _is_host_key(host_key):
        raise BadReportError("ssh_host_key must be an ed25519 key without a comment")
    if phase == BOOTED and not host_key:
        raise BadReportError("ssh_host_key is missing")
    return Report(phase, host_key, tail(said.get("log_tail", ""), limit_bytes=MAX_TAIL_BYTES))


class _Listener:
    def __init__(self, boots: Boots, limits: Limits, clock: Callable[[], float]) -> None:
        self._boots = boots
        self._rates = _Rates(limits, clock)
        self._places = asyncio.Semaphore(limits.at_once)

    async def report(self, request: Request) -> Response:
        """Take one report. 204: stored; 401: no such token (any more); all others say what is wrong."""
        peer = request.client.host if request.client is not None else ""
        if not self._rates.allows(peer) or self._places.locked():
            return _refusal(429, "too many reports", {"Retry-After": "2"})
        token = _token_of(request)
        if token is None:
            return _refusal(401, "unauthorized")
        async with self._places:
            return await self._taken(request, token)

    async def _taken(self, request: Request, token: str) -> Response:
        try:
            async with asyncio.timeout(_READ_S):
                body = await _body(request)
        except (TimeoutError, ClientDisconnect):
            return _refusal(408, "the report did not arrive")
        if body is None:
            return _refusal(413, f"a report has at most {MAX_BODY_BYTES} bytes", {"Connection": "close"})
        try:
            report = read_report(body)
        except BadReportError as error:
            return _refusal(400, str(error))
        try:
            async with asyncio.timeout(_STORE_S):
                known = await self._boots.report_boot(
                    boot_token_hash(token),
                    phase=report.phase,
                    ssh_host_key=report.ssh_host_key,
                    log_tail=report.log_tail,
                )
        except (TimeoutError, StoreUnavailableError):
            return _refusal(503, "the report could not be stored", {"Retry-After": "2"})
        if not known:
            LOG.info("a boot report with an unknown token", extra={"fields": {"phase": report.phase}})
            return _refusal(401, "unauthorized")
        return Response(status_code=204)


class _Rates:
    """A bucket of calls for each address; addresses that were not seen for longest are forgotten first."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, peer: str) -> bool:
        """Count a call and tell whether it may go on."""
        now = self._clock()
        left, seen_at = self._left.pop(peer, (float(self._limits.burst), now))
        left = min(self._limits.burst, left + (now - seen_at) * self._limits.per_s)
        allowed = left >= 1
        self._left[peer] = (left - 1 if allowed else left, now)
        if len(self._left) > _MAX_PEERS:
            self._left.popitem(last=False)
        return allowed


def _token_of(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == _BEARER and BOOT_TOKEN.fullmatch(token) else None


async def _body(request: Request) -> bytes | None:
    """Read a body; None when it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _is_host_key(text: str) -> bool:
    found = _HOST_KEY.fullmatch(text)
    try:
        return found is not None and base64.b64decode(found[1], validate=True).startswith(_HOST_KEY_START)
    except binascii.Error:
        return False


def _refusal(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=headers)
