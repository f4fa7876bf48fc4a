"""One HTTP exchange with the platform: headers, total time, and what a failure below HTTP means.

Belongs here: everything that knows httpx. Does not belong here: waiting for a turn (`thecloud.budget`), trying again
(`thecloud.retry`), the meaning of a status (`thecloud.errors`).
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias
from uuid import uuid4

import msgspec

from thecloud import below
from thecloud.call import IF_NONE_MATCH, NOT_MODIFIED, Answer, Call
from thecloud.credentials import KeySource
from thecloud.errors import (
    DeadlineExceeded,
    NotSent,
    PlatformError,
    UnknownOutcome,
    Untrusted,
    error_of_answer,
    hide,
)
from thecloud.lean_httpx import httpx
from thecloud.settings import PlatformSettings

TransportBase: TypeAlias = httpx.AsyncBaseTransport

MAX_BODY_BYTES = 64 << 20
MAX_RETRY_AFTER_S = 60.0
_MAX_REQUEST_ID = 128
_MAX_ETAG = 256
_IDLE_CONNECTIONS = 8
"""Kept open between calls. The library looks through all of them several times per call, so that more cost more."""
_IDLE_S = 30.0
_CONNECTED = "connection.connect_tcp.complete"
_CONNECT_SHARE = 0.9
_SENDING = "http11.send_request_headers.started"

OF_LIBRARY_ERROR: Mapping[type[Exception], type[PlatformError]] = MappingProxyType(
    {
        httpx.ConnectError: NotSent,
        httpx.ConnectTimeout: NotSent,
        httpx.PoolTimeout: NotSent,
        httpx.UnsupportedProtocol: NotSent,
        httpx.InvalidURL: NotSent,
        httpx.ProxyError: UnknownOutcome,
        httpx.ReadTimeout: UnknownOutcome,
        httpx.WriteTimeout: UnknownOutcome,
        httpx.ReadError: UnknownOutcome,
        httpx.WriteError: UnknownOutcome,
        httpx.CloseError: UnknownOutcome,
        httpx.LocalProtocolError: UnknownOutcome,
        httpx.RemoteProtocolError: UnknownOutcome,
        httpx.DecodingError: UnknownOutcome,
        httpx.TooManyRedirects: UnknownOutcome,
        httpx.HTTPStatusError: UnknownOutcome,
        httpx.CookieConflict: UnknownOutcome,
        httpx.RequestNotRead: UnknownOutcome,
        httpx.ResponseNotRead: UnknownOutcome,
        httpx.StreamClosed: UnknownOutcome,
        httpx.StreamConsumed: UnknownOutcome,
    }
)
"""What each failure of the library means when the network does not tell whether the request was under way."""

_LIBRARY_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError, OSError)


class Observer(Protocol):
    """Is told of every HTTP exchange, for metrics."""

    def __call__(self, *, method: str, route: str, outcome: str, seconds: float) -> None:
        """Note one exchange; `outcome` is the HTTP status, or a word of `PlatformError.outcome`, or `cancelled`."""
        ...


def ignore(*, method: str, route: str, outcome: str, seconds: float) -> None:
    """Note nothing."""


def open_http(settings: PlatformSettings, transport: TransportBase | None) -> "httpx.AsyncClient":
    """Give the connections to the platform; nothing is opened yet. Raises OSError for a CA file that cannot be read."""
    if transport is None:
        transport = httpx.AsyncHTTPTransport(
            verify=_tls(settings),
            trust_env=False,
            limits=httpx.Limits(
                max_connections=settings.max_connections,
                max_keepalive_connections=_IDLE_CONNECTIONS,
                keepalive_expiry=_IDLE_S,
            ),
        )
    # A redirect would carry the key to another host and could make a POST a GET; the environment (proxies, netrc) is
    # not where this program takes its settings from.
    return httpx.AsyncClient(base_url=settings.base_url, transport=transport, follow_redirects=False, trust_env=False)


def _tls(settings: PlatformSettings) -> ssl.SSLContext:
    if settings.base_url.startswith("https:"):
        return ssl.create_default_context(cafile=settings.ca_file)
    # Never used; it spares loading the system's authorities, some megabytes.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Closable(Protocol):
    async def aclose(self) -> None: ...


@dataclass(slots=True)
class _Progress:
    """Whether a request has begun to leave this machine; None when the transport does not tell."""

    has_left: bool | None
    in_handshake: _Closable | None = None
    """A new connection that has not carried a request yet."""

    async def note(self, event: str, info: Mapping[str, Any]) -> None:
        """Take an event of the connection."""
        if event == _SENDING:
            self.has_left = True
            self.in_handshake = None
        elif event == _CONNECTED:
            self.in_handshake = info["return_value"]

    async def aclose(self) -> None:
        """Close a connection that was left in its handshake: the library forgets it when the call is cancelled then."""
        if self.in_handshake is not None:
            await self.in_handshake.aclose()


class HttpExchange:
    """Sends a call once."""

    def __init__(
        self,
        http: "httpx.AsyncClient",
        settings: PlatformSettings,
        *,
        key: KeySource,
        request_id: Callable[[], str],
        observer: Observer,
        tells_progress: bool,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._settings = settings
        self._key = key
        self._request_id = request_id
        self._observer = observer
        self._tells_progress = tells_progress
        self._wall_time = wall_time

    async def send(self, call: Call) -> Answer:
        """Send the call and give the success; raises PlatformError for everything else."""
        begun = asyncio.get_running_loop().time()
        outcome = "cancelled"
        try:
            answer = await self._send(call)
            outcome = str(answer.status)
        except PlatformError as error:
            outcome = str(error.status) if error.status is not None else error.outcome
            raise
        else:
            return answer
        finally:
            seconds = asyncio.get_running_loop().time() - begun
            self._observer(method=call.method, route=call.route, outcome=outcome, seconds=seconds)

    async def _send(self, call: Call) -> Answer:
        request_id = _header_text(self._request_id()) or uuid4().hex
        key = await self._key.read()
        headers = self._headers(call, key, request_id)
        now = asyncio.get_running_loop().time()
        if now >= call.deadline:
            raise DeadlineExceeded("no time was left to send", method=call.method, route=call.route)
        if self._http.is_closed:
            raise NotSent("this client was closed", method=call.method, route=call.route)
        limit = call.deadline
        if call.method == "GET":
            limit = min(limit, now + self._settings.read_attempt_s)
        progress = _Progress(False if self._tells_progress else None)
        try:
            async with asyncio.timeout_at(limit):
                status, answer_headers, body = await self._exchange(call, headers, limit - now, progress)
        except TimeoutError as error:
            raise self._late(call, request_id, progress) from error
        except _LIBRARY_ERRORS as error:
            raise _below_http(call, request_id, progress, error, key=key, base_url=self._settings.base_url) from error
        request_id = answer_headers.get("X-Request-ID", request_id)
        if httpx.codes.is_success(status) or (status == NOT_MODIFIED and IF_NONE_MATCH in dict(call.headers)):
            return Answer(status, body, request_id, _etag(answer_headers.get("ETag", "")))
        raise error_of_answer(
            status=status,
            body=body,
            method=call.method,
            route=call.route,
            request_id=request_id,
            location=answer_headers.get("Location", ""),
            retry_after_s=_retry_after_s(answer_headers.get("Retry-After", ""), self._wall_time()),
            secret=key,
        )

    async def _exchange(
        self, call: Call, headers: Mapping[str, str], left_s: float, progress: _Progress
    ) -> "tuple[int, httpx.Headers, bytes]":
        request = self._http.build_request(
            call.method,
            call.path,
            params=call.params or None,
            content=None if call.body is None else msgspec.json.encode(call.body),
            headers=headers,
            timeout=httpx.Timeout(left_s, connect=min(left_s * _CONNECT_SHARE, self._settings.connect_timeout_s)),
            extensions={"trace": progress.note} if self._tells_progress else {},
        )
        try:
            response = await self._http.send(request, stream=True)
        finally:
            await progress.aclose()
        try:
            return response.status_code, response.headers, await _read_body(response)
        finally:
            await response.aclose()

    def _headers(self, call: Call, key: str, request_id: str) -> Mapping[str, str]:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "thecloud-kubernetes",
            "X-API-Key": key,
            "X-Request-ID": request_id,
            **dict(call.headers),
        }
        if self._settings.tenant_id:
            headers["X-Tenant-ID"] = self._settings.tenant_id
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _late(self, call: Call, request_id: str, progress: _Progress) -> PlatformError:
        is_last_moment = asyncio.get_running_loop().time() >= call.deadline
        if progress.has_left is False:
            kind = DeadlineExceeded if is_last_moment else NotSent
            why = f"{self._settings.base_url} cannot be reached: no connection in time"
            return kind(why, method=call.method, route=call.route)
        why = "no answer by the caller's deadline" if is_last_moment else "no answer in the time of one attempt"
        return UnknownOutcome(why, request_id=request_id, method=call.method, route=call.route)


def _below_http(
    call: Call, request_id: str, progress: _Progress, error: Exception, *, key: str, base_url: str
) -> PlatformError:
    kind = class_of_library_error(type(error))
    if progress.has_left is not None:
        # The connection knows better than the name of the error.
        kind = UnknownOutcome if progress.has_left else NotSent
    # The library quotes what it could not read, and a server may have sent anything.
    text = hide(below.reason(error), key)
    if kind is NotSent:
        text = f"{base_url} cannot be reached: {text}"
        if problem := below.certificate_problem(error):
            kind, text = Untrusted, f"the certificate that {base_url} shows is not trusted: {problem}"
    # The platform does not know a request that never reached it, and its id would make each repetition look new.
    known_as = "" if issubclass(kind, NotSent) else request_id
    return kind(text, request_id=known_as, method=call.method, route=call.route)


def class_of_library_error(kind: type[BaseException]) -> type[PlatformError]:
    """Give what a failure of the library means; what is not in the table may have had an effect."""
    for base in kind.__mro__:
        if base in OF_LIBRARY_ERROR:
            return OF_LIBRARY_ERROR[base]
    return UnknownOutcome


async def _read_body(response: "httpx.Response") -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise httpx.DecodingError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _header_text(text: str) -> str:
    return "".join(sign if sign.isascii() and sign.isprintable() else "_" for sign in text.strip())[:_MAX_REQUEST_ID]


def _etag(text: str) -> str:
    return text if len(text) <= _MAX_ETAG and text.isascii() and text.isprintable() else ""


def _retry_after_s(text: str, wall_time: float) -> float | None:
    """Read a pause in seconds, or until a date; None when there is none or it cannot be read."""
    text = text.strip()
    if not text:
        return None
    try:
        wait_s = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - wall_time
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)
