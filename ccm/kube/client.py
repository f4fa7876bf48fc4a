"""Requests to the API server: deadlines, turns, what an answer means, and decoding.

The official `kubernetes` package gives authentication, TLS and connections (`ccm.kube.access`). Its generated API is
not used: its models cost ten times the time and four times the memory of the partial structs here. Nor is its
`ApiClient`: the layer below it hands out aiohttp's response itself, which a watch needs to see each byte arrive, to
notice a dead peer, and to read lines of any length.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec

from ccm.kube.access import Access, open_access
from ccm.kube.errors import (
    HTTP_TOO_MANY_REQUESTS,
    HTTP_UNAUTHORIZED,
    ApiError,
    KubeError,
    NotLeading,
    Unreachable,
    Unusable,
    error_of,
)
from ccm.kube.kinds import Kind
from ccm.kube.limit import TokenBucket
from ccm.kube.lines import LineReader
from ccm.kube.model import O

__all__ = ["ApiError", "KubeClient", "KubeError", "NotLeading", "Unreachable", "Unusable", "open_client"]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
_CONNECT_S = 10.0


class RequestObserver(Protocol):
    """Is told of each request as it was answered; it must neither wait nor raise."""

    def __call__(self, *, method: str, host: str, status: int, duration_s: float) -> None:
        """Take a request; status 0: no answer. The time is that until the head of the answer, also for a watch."""
        ...


class KubeClient:
    """Asks one API server. Made by `open_client`; an async context manager that closes the connections.

    Every method takes `deadline`, an absolute time of the running loop's clock, and returns or raises before it. They
    raise ApiError for an answer that is no success, Unreachable when there is none that can be read, and NotLeading
    for a write that `may_write` forbids. An answer of 429 with a time to wait is waited for within the deadline.
    """

    def __init__(
        self,
        access: Access,
        *,
        user_agent: str,
        bucket: TokenBucket | None = None,
        may_write: Callable[[], bool] | None = None,
        observer: RequestObserver | None = None,
    ) -> None:
        self._access = access
        self._observer = observer
        self._user_agent = user_agent
        self._bucket = bucket
        self._may_write = may_write

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, those of all clients made from this one too."""
        await self._access.close()

    def guarded(self, may_write: Callable[[], bool]) -> "KubeClient":
        """Give a client on the same connections that asks `may_write` right before each write is sent.

        A write that waits for a connection when the process is stopped is given up when it goes on. What is left is the
        instant between the question and the kernel: patches of lists carry a resource version for that.
        """
        return KubeClient(
            self._access,
            user_agent=self._user_agent,
            bucket=self._bucket,
            may_write=may_write,
            observer=self._observer,
        )

    def unlimited(self) -> "KubeClient":
        """Give a client on the same connections without turns and without a guard: the one that keeps a lease."""
        return KubeClient(self._access, user_agent=self._user_agent, observer=self._observer)

    # Objects

    async def get(self, kind: Kind[O], name: str, namespace: str = "", *, deadline: float) -> O | None:
        """Read an object; None when the API says that it is not there."""
        body = await self._unless_missing("GET", kind.path(name, namespace), deadline=deadline)
        return None if body is None else decode(kind.type, body, f"GET {kind.path(name, namespace)}")

    async def patch(
        self,
        kind: Kind[O],
        name: str,
        namespace: str = "",
        *,
        subresource: str = "",
        body: Mapping[str, Any],
        deadline: float,
    ) -> O | None:
        """Apply a JSON merge patch and give the result; None when the object is not there.

        ApiError with `is_conflict` when the `resourceVersion` in the patch is no longer that of the object.
        """
        path = kind.path(name, namespace, subresource)
        found = await self._unless_missing("PATCH", path, body=body, content_type=MERGE_PATCH, deadline=deadline)
        return None if found is None else decode(kind.type, found, f"PATCH {path}")

    async def create(self, kind: Kind[O], body: Mapping[str, Any], namespace: str = "", *, deadline: float) -> O:
        """Create an object; ApiError with the reason `AlreadyExists` when there is one of its name."""
        path = kind.path(namespace=namespace)
        return decode(kind.type, await self.request("POST", path, body=body, deadline=deadline), f"POST {path}")

    async def replace(
        self, kind: Kind[O], name: str, namespace: str = "", *, body: Mapping[str, Any], deadline: float
    ) -> O | None:
        """Replace a whole object; None when it is not there, ApiError with `is_conflict` when it has changed."""
        path = kind.path(name, namespace)
        found = await self._unless_missing("PUT", path, body=body, deadline=deadline)
        return None if found is None else decode(kind.type, found, f"PUT {path}")

    async def delete(self, kind: Kind[O], name: str, namespace: str = "", *, uid: str, deadline: float) -> bool:
        """Delete an object if it has this uid; False when it is not there, ApiError when it is another one."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        path = kind.path(name, namespace)
        return await self._unless_missing("DELETE", path, body=options, deadline=deadline) is not None

    # Raw

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = JSON,
        deadline: float,
    ) -> bytes:
        """Make a request and give the body of its success; a body to send is sent as JSON."""
        what = f"{method} {path}"
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    response = await self._send(
                        method, path, query, body, content_type, timeout=_NO_LIMITS, deadline=deadline
                    )
                    async with response:
                        content = await response.read()
                    if response.status < HTTPStatus.MULTIPLE_CHOICES:
                        return content
                    error = error_of(what, response.status, content, retry_after_s=_retry_after_s(response))
                    if not await self._wait_as_told(error, deadline):
                        raise error
        except TimeoutError as error:
            raise Unreachable(f"{what}: no answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(what, error) from error

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], deadline: float, idle_s: float
    ) -> AsyncIterator[LineReader]:
        """Open a watch until `deadline`, and read it as long as bytes come at least every `idle_s` seconds."""
        what = f"WATCH {path}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=idle_s)
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._send("GET", path, query, None, JSON, timeout=timeout, deadline=deadline)
                if response.status != HTTPStatus.OK:
                    async with response:
                        content = await response.read()
                    raise error_of(what, response.status, content, retry_after_s=_retry_after_s(response))
        except TimeoutError as error:
            raise Unreachable(f"{what}: no answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(what, error) from error
        try:
            yield LineReader(_Body(response, what))
        finally:
            # Not given back for the next request: the stream may not be at its end.
            response.close()

    async def _unless_missing(self, method: str, path: str, **fields: Any) -> bytes | None:
        try:
            return await self.request(method, path, **fields)
        except ApiError as error:
            if error.is_missing:
                return None
            raise

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        content_type: str,
        *,
        timeout: aiohttp.ClientTimeout,
        deadline: float,
    ) -> aiohttp.ClientResponse:
        url = self._access.host + path + (f"?{urlencode(query)}" if query else "")
        while True:
            if self._bucket is not None:
                await self._bucket.take(deadline=deadline)
            authorization = await self._access.authorization()
            # Compressing costs both sides more time than it saves on the network of a control plane.
            headers = {"Accept": JSON, "Accept-Encoding": "identity", "User-Agent": self._user_agent}
            headers |= {"Content-Type": content_type} | ({"Authorization": authorization} if authorization else {})
            # As late as can be: whoever was stopped for a while anywhere above must not write when it goes on.
            if method != "GET" and self._may_write is not None and not self._may_write():
                raise NotLeading(f"{method} {path}: not sent, because this process does not hold the lease (any more)")
            limits = _GUARDED if method != "GET" and self._may_write is not None else timeout
            response = await self._observed(method, url, headers, body, limits)
            if response.status != HTTP_UNAUTHORIZED or not await self._has_replacement(response, authorization):
                return response

    async def _observed(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """Send a request once, and tell the observer what became of it."""
        clock, status = asyncio.get_running_loop().time, 0
        began = clock()
        try:
            sent = await self._access.rest.request(method, url, headers, body, _request_timeout=limits)
            response: aiohttp.ClientResponse = sent.response
            status = response.status
            return response
        finally:
            if self._observer is not None:
                host = urlsplit(url).netloc.rpartition("@")[2]
                self._observer(method=method, host=host, status=status, duration_s=clock() - began)

    async def _has_replacement(self, response: aiohttp.ClientResponse, refused: str) -> bool:
        """Whether the request may be made again with credentials that were replaced in the meantime."""
        try:
            is_replaced = await self._access.replacement(refused)
        except BaseException:
            response.close()
            raise
        if is_replaced:
            response.close()
        return is_replaced

    @staticmethod
    async def _wait_as_told(error: ApiError, deadline: float) -> bool:
        """After a 429 wait as long as it asks for; False when it does not say or the deadline comes first."""
        is_told = error.status == HTTP_TOO_MANY_REQUESTS and error.retry_after_s > 0
        if not is_told or asyncio.get_running_loop().time() + error.retry_after_s >= deadline:
            return False
        await asyncio.sleep(error.retry_after_s)
        return True


_NO_LIMITS = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
"""The deadline limits the whole; a host that does not answer at all is known sooner."""


_GUARDED = aiohttp.ClientTimeout(total=None, connect=4.0)
"""A guard that says yes promises some seconds (`LeaderElector`: lease less renew deadline); no write may wait longer.

The timer of a process that was stopped runs out before the connection that it waited for is used.
"""


class _Body:
    """The bytes of a watch as they come."""

    def __init__(self, response: aiohttp.ClientResponse, what: str) -> None:
        self._response = response
        self._what = what

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except TimeoutError as error:
            raise Unreachable(f"{self._what}: no byte for too long, the peer seems to be gone") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(self._what, error) from error


def decode(kind: type[O], body: bytes, what: str) -> O:
    """Read an object; raises Unreachable for a success whose body is none: what it did is unknown."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Unreachable(f"{what}: the answer cannot be read: {error}") from error


def _unreachable(what: str, error: Exception) -> Unreachable:
    return Unreachable(f"{what}: {str(error) or type(error).__name__}")


def _retry_after_s(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


async def open_client(
    kubeconfig: Path | None = None,
    *,
    master: str = "",
    user_agent: str = "cloud-controller-manager",
    qps: float = 0.0,
    burst: int = 0,
    observer: RequestObserver | None = None,
) -> KubeClient:
    """Make a client from a kubeconfig, from `master` alone (a URL; no credentials), or from the pod's service account.

    `master` overrides the kubeconfig's server. At most `qps` requests a second on average (0: no limit) and `burst` at
    once. `observer` is told of every request, also of those of clients made from this one. Nothing is asked yet.
    Raises Unusable.
    """
    access = await open_access(kubeconfig, master=master)
    clock = asyncio.get_running_loop().time
    bucket = TokenBucket(qps, max(1, burst), clock=clock) if qps > 0 else None
    return KubeClient(access, user_agent=user_agent, bucket=bucket, observer=observer)
