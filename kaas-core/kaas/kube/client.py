"""Requests to the API servers of many clusters: connections, deadlines, what an answer means.

aiohttp is used as it is: credentials are PEM in memory, so nothing of a Kubernetes client is left to use, and its
generated models cost more time and memory than all else here.
"""

import asyncio
import contextlib
import os
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import msgspec
from yarl import URL

from kaas.domain.errors import Code, StepError
from kaas.domain.names import FIELD_MANAGER
from kaas.domain.ports import KubeAccess
from kaas.kube.errors import GONE, TOO_MANY_REQUESTS, RefusedError, down, refused

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
PAGE_SIZE = 500
REQUEST_S = 30.0
"""A server that hangs is known as down after this, whatever time the caller has."""
_CONNECT_S = 5.0
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""The other side is a tenant's: it shall not fill our memory."""
_CONNECTIONS_PER_CLUSTER = 8
_CHUNK_BYTES = 256 * 1024

T = TypeVar("T")


class _PageMeta(msgspec.Struct, frozen=True):
    continue_: str | None = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw] | None = None
    metadata: _PageMeta = _PageMeta()


class Connection:
    """Asks one API server; made by `Connections`.

    Every method takes `deadline`, a time of the running loop's clock, and ends by then. They raise RefusedError for an
    answer that is no success, and StepError (API_SERVER_DOWN) when there is none that can be read.
    """

    def __init__(self, access: KubeAccess) -> None:
        self._server = access.server.rstrip("/")
        context = _tls(access)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=_CONNECTIONS_PER_CLUSTER),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A proxy of the environment would be meant for the platform, and an answer never sends us elsewhere.
            trust_env=False,
            headers={"User-Agent": FIELD_MANAGER, "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def read(
        self, path: str, kind: type[T], *, query: Mapping[str, str] | None = None, deadline: float
    ) -> T | None:
        """Read an object; None when the API says that it is not there."""
        try:
            body = await self.request("GET", path, query=query, deadline=deadline)
        except RefusedError as error:
            if error.is_missing:
                return None
            raise
        return decode(body, kind, self.what("GET", path))

    async def read_all(
        self,
        path: str,
        kind: type[T],
        *,
        query: Mapping[str, str] | None = None,
        accept: str = JSON,
        deadline: float,
    ) -> list[T]:
        """Read all objects of a collection, page by page."""
        try:
            return await self._pages(path, kind, query or {}, accept, deadline)
        except RefusedError as error:
            if error.status != GONE:
                raise
        # The server has forgotten the state that the pages were of.
        return await self._pages(path, kind, query or {}, accept, deadline)

    async def apply(self, path: str, body: Mapping[str, object], *, what: str, deadline: float) -> bytes:
        """Apply an object on the server's side; what others own of our fields is taken over."""
        return await self.request(
            "PATCH",
            path,
            query={"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"},
            body=body,
            content_type=APPLY_PATCH,
            what=what,
            is_secret=body.get("kind") == "Secret",
            deadline=deadline,
        )

    async def delete(self, path: str, *, uid: str = "", background: bool = False, deadline: float) -> bool:
        """Delete an object, if it has this uid; False when it is not there. Dependents may go later (`background`)."""
        options: dict[str, object] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if background:
            options["propagationPolicy"] = "Background"
        try:
            await self.request("DELETE", path, body=options, deadline=deadline)
        except RefusedError as error:
            if error.is_missing:
                return False
            raise
        return True

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        what: str = "",
        is_secret: bool = False,
        waits_if_told: bool = True,
        deadline: float,
    ) -> bytes:
        """Make a request and give the body of its success.

        An answer of 429 with a time to wait is waited for within the deadline, if `waits_if_told`.
        """
        what = self.what(method, path) if not what else f"{method} {what} at {self._server}"
        while True:
            ask = _Ask(method, path, query or {}, body, {"Content-Type": content_type, "Accept": accept}, what)
            status, headers, content = await self._answer(ask, deadline=deadline)
            if status < HTTPStatus.MULTIPLE_CHOICES:
                return content
            error = refused(what, status, content, retry_after_s=_retry_after_s(headers), is_secret=is_secret)
            if not waits_if_told or not await _wait_as_told(error, deadline):
                raise error

    def what(self, method: str, path: str) -> str:
        """Say what is asked and of whom, for an error."""
        return f"{method} {path} at {self._server}"

    async def _pages(self, path: str, kind: type[T], query: Mapping[str, str], accept: str, deadline: float) -> list[T]:
        found: list[T] = []
        following = ""
        while True:
            more = {"limit": str(PAGE_SIZE)} | ({"continue": following} if following else {})
            body = await self.request("GET", path, query={**query, **more}, accept=accept, deadline=deadline)
            what = self.what("GET", path)
            page = decode(body, _Page, what)
            found += [decode(item, kind, what) for item in page.items or ()]
            following = page.metadata.continue_ or ""
            if not following:
                return found

    async def _answer(self, ask: "_Ask", *, deadline: float) -> tuple[int, Mapping[str, str], bytes]:
        url = URL(self._server + ask.path + (f"?{urlencode(ask.query)}" if ask.query else ""), encoded=True)
        data = None if ask.body is None else msgspec.json.encode(ask.body)
        began = asyncio.get_running_loop().time()
        limit = min(deadline, began + REQUEST_S)
        try:
            async with (
                asyncio.timeout_at(limit),
                self._session.request(
                    ask.method, url, headers=ask.headers, data=data, allow_redirects=False
                ) as response,
            ):
                return response.status, response.headers, await _content(response, ask.what)
        except aiohttp.ConnectionTimeoutError as error:
            raise down(ask.what, f"no connection within {_CONNECT_S:g} s") from error
        except TimeoutError as error:
            raise down(ask.what, f"no answer within {max(0.0, limit - began):.1f} s") from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise down(
                ask.what,
                f"its certificate is not one of this cluster's CA for this address ({error.certificate_error}); "
                "something else answers there, or the server has a certificate of another cluster",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            seen = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            raise down(ask.what, f"no connection: {str(seen) or type(seen).__name__}") from error


@dataclass(frozen=True, slots=True)
class _Ask:
    """A request; `what` says it to a person."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any] | None = field(repr=False)
    headers: Mapping[str, str]
    what: str


class Open(Protocol):
    """Opens a connection."""

    def __call__(self, access: KubeAccess) -> Connection:
        """Make it; nothing is asked yet."""
        ...


@dataclass(slots=True)
class _Slot:
    connection: Connection
    users: int = 0


class Connections:
    """Connections to clusters, the `limit` last used ones kept; one that somebody uses is never closed under them.

    A cluster has one: when another certificate is shown to it, the connection of the one before goes as soon as nobody
    uses it. Whoever shows the same access again gets the same connection.
    """

    def __init__(self, *, limit: int = 64, open_one: Open = Connection) -> None:
        self._limit = limit
        self._open = open_one
        self._slots: OrderedDict[KubeAccess, _Slot] = OrderedDict()

    def __len__(self) -> int:
        return len(self._slots)

    @contextlib.asynccontextmanager
    async def to(self, access: KubeAccess) -> AsyncIterator[Connection]:
        """Give the connection to a cluster for as long as the block lasts. Raises StepError (BUG) for a bad access."""
        slot = self._slots.get(access)
        if slot is None:
            slot = self._slots[access] = _Slot(self._open(access))
        self._slots.move_to_end(access)
        slot.users += 1
        try:
            yield slot.connection
        finally:
            slot.users -= 1
            await self._close_idle()

    async def close(self) -> None:
        """Close all of them."""
        while self._slots:
            _, slot = self._slots.popitem()
            await slot.connection.close()

    async def _close_idle(self) -> None:
        newest = {(access.server, access.ca_pem): access for access in self._slots}
        idle = [access for access, slot in self._slots.items() if not slot.users]
        replaced = [access for access in idle if newest[access.server, access.ca_pem] is not access]
        kept = [access for access in idle if newest[access.server, access.ca_pem] is access]
        too_many = max(0, len(self._slots) - len(replaced) - self._limit)
        for access in (*replaced, *kept[:too_many]):
            # Somebody may have taken it, or closed it, while another one was being closed.
            slot = self._slots.get(access)
            if slot is not None and not slot.users:
                # Gone from the table before the wait, so that nobody takes one that is being closed.
                del self._slots[access]
                await slot.connection.close()


def decode(body: bytes | msgspec.Raw, kind: type[T], what: str) -> T:
    """Read an answer. Raises StepError (API_SERVER_DOWN) when it is none: what the call did is unknown."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise down(what, f"the answer cannot be read: {error}") from error


def path_of(*parts: str) -> str:
    """Put a path together from its parts; empty ones are left out."""
    return "".join("/" + quote(part, safe="") for part in parts if part)


def _tls(access: KubeAccess) -> ssl.SSLContext:
    if urlsplit(access.server).scheme != "https":
        raise StepError(Code.BUG, f"the cluster's API is to be reached at {access.server}, which is no https address")
    try:
        context = ssl.create_default_context(cadata=access.ca_pem.decode("ascii"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _show(context, access.client_cert_pem, access.client_key_pem)
    except (ssl.SSLError, ValueError) as error:
        # The text of the error names no content, but the chain of errors is cut all the same.
        seen = type(error).__name__
        raise StepError(
            Code.BUG, f"the CA or the client certificate for {access.server} cannot be used ({seen})"
        ) from None
    return context


def _show(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Let a context show a client certificate. OpenSSL's binding reads files only: this one is memory, never disk."""
    handle = os.memfd_create("client", os.MFD_CLOEXEC)
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(certificate.rstrip() + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


async def _content(response: aiohttp.ClientResponse, what: str) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        content += chunk
        if len(content) > _MAX_ANSWER_BYTES:
            raise down(what, f"the answer is larger than {_MAX_ANSWER_BYTES // 1024 // 1024} MiB")
    return bytes(content)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


async def _wait_as_told(error: RefusedError, deadline: float) -> bool:
    """After a 429 wait as long as it asks for; False when it does not say or the deadline comes first."""
    if error.status != TOO_MANY_REQUESTS or error.retry_after_s is None:
        return False
    pause_s = max(error.retry_after_s, 0.1)
    if asyncio.get_running_loop().time() + pause_s >= deadline:
        return False
    await asyncio.sleep(pause_s)
    return True
