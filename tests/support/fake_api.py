"""A Kubernetes API server for tests of controllers: real HTTP on loopback, in the test's own event loop.

It keeps what the real one promises: resource versions, pages, watches with bookmarks and streamed lists, merge patches
with their rules (`fake_api_objects`). Everything asked is on record, and everything may be made to fail
(`fake_api_faults`). All its times are the loop's, so that it can run on virtual time.
"""

import asyncio
import contextlib
import copy
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.fake_api_faults import Fault, Request, Trouble
from tests.support.fake_api_objects import RESOURCES, Objects, RefusalError, Resource, Wire
from tests.support.fake_api_watch import Watch

_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_DEFAULT_REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired"}
_DEFAULT_REASONS |= {422: "Invalid", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}


class FakeApi:
    """The server: what is stored, what was asked, and what goes wrong."""

    def __init__(self) -> None:
        self.url = ""
        self.objects = Objects()
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.watches: list[Watch] = []
        """Those that are open."""
        self.bookmark_every_s = 60.0
        self.has_watch_list = True
        """Whether it streams lists; without, it refuses as a server does whose feature is off."""
        self.token = ""
        """The only bearer token that is taken; empty: anybody may ask."""
        self.before: Callable[[Request], None] = lambda request: None
        """Called with each request before it is carried out."""
        self.answers: dict[tuple[str, str], Callable[[Any], Any]] = {}
        """Own answers by method and path, such as for a TokenReview: from the body to the body of a 201."""

    # The cluster's life

    def put(self, wire: Wire) -> Wire:
        """Make or replace an object (it needs `kind` and `metadata.name`), without the rules for clients."""
        return copy.deepcopy(self.objects.put(wire))

    def get(self, plural: str, name: str, namespace: str = "") -> Wire | None:
        """An object as it is stored, or None."""
        found = self.objects.kept.get((plural, self._namespace(plural, namespace), name))
        return copy.deepcopy(found)

    def all_of(self, plural: str, namespace: str = "") -> list[Wire]:
        """All objects of a kind."""
        return copy.deepcopy(self.objects.all_of(plural, namespace))

    def delete(self, plural: str, name: str, namespace: str = "") -> None:
        """Take an object away at once, whatever holds it; `going` deletes as a client does."""
        self.objects.remove(plural, name, self._namespace(plural, namespace))

    def going(self, plural: str, name: str, namespace: str = "") -> None:
        """Delete an object as `kubectl delete` does: finalizers hold it."""
        self.objects.delete(RESOURCES[plural], self._namespace(plural, namespace), name, {})

    def patch(self, plural: str, name: str, body: Wire, namespace: str = "", subresource: str = "") -> Wire:
        """Merge-patch an object as another client does."""
        return self.objects.patch(RESOURCES[plural], self._namespace(plural, namespace), name, subresource, body)

    def compact(self) -> None:
        """Forget the history: an older watch or page gets 410."""
        self.objects.compact()

    @staticmethod
    def _namespace(plural: str, namespace: str) -> str:
        return (namespace or "default") if RESOURCES[plural].is_namespaced else ""

    # What was asked

    @property
    def writes(self) -> list[Request]:
        """Requests that change something, events and leases left out."""
        plain = (one for one in self.requests if one.method in _WRITES)
        return [one for one in plain if "/events" not in one.path and "/leases" not in one.path]

    @property
    def events(self) -> list[Wire]:
        """The events that controllers have recorded."""
        return self.all_of("events")

    def count(self, method: str, path: str = "/", *, watch: bool | None = None) -> int:
        """How many requests came with this method and start of a path."""
        fitting = (one for one in self.requests if one.method == method and one.path.startswith(path))
        return sum(watch in (None, one.is_watch) for one in fitting)

    # What goes wrong

    def fail(
        self,
        method: str = "",
        path: str = "/",
        *,
        watch: bool | None = None,
        status: int = 0,
        reason: str = "",
        message: str = "made to fail",
        retry_after_s: int | None = None,
        trouble: Trouble | None = None,
        delay_s: float = 0.0,
        times: int | None = 1,
    ) -> Fault:
        """Let the next requests of this method (empty: any) and start of a path go wrong; `times=None`: all of them.

        By `status`, by `trouble`, or with neither only late by `delay_s`.
        """
        reason = reason or _DEFAULT_REASONS.get(status, "")
        fault = Fault(method, path, watch, status, reason, message, retry_after_s, trouble, delay_s, times)
        self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self.faults.clear()

    def end_watches(self) -> None:
        """End every open watch properly, as the server does at their time limit."""
        for watch in tuple(self.watches):
            watch.end()

    def cut_watches(self) -> None:
        """Cut the connection of every open watch."""
        for watch in tuple(self.watches):
            watch.cut()

    def freeze_watches(self) -> None:
        """Send nothing any more on the watches that are open now, and keep them open: a peer that has died."""
        for watch in tuple(self.watches):
            watch.freeze()

    def send_line(self, plural: str, line: bytes) -> None:
        """Put a line into every open watch of a kind, whatever it is."""
        for watch in tuple(self.watches):
            if watch.resource.plural == plural:
                watch.send(line)

    # Requests

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Answer a request."""
        text = await http.read()
        now = asyncio.get_running_loop().time()
        body = _json(text)
        request = Request(http.method, http.path, dict(http.query), body, dict(http.headers), now)
        self.requests.append(request)
        self.before(request)
        fault = next((one for one in self.faults if one.takes(request)), None)
        if fault is not None:
            await asyncio.sleep(fault.delay_s)
            if fault.status:
                refusal = RefusalError(fault.status, fault.reason, fault.message)
                return _answer(fault.status, refusal.body, retry_after_s=fault.retry_after_s)
            if fault.trouble is not None:
                return await self._trouble(fault.trouble, http, request)
        return await self._respond(http, request)

    async def _trouble(self, trouble: Trouble, http: web.Request, request: Request) -> web.StreamResponse:
        match trouble:
            case Trouble.HANG:
                await asyncio.Event().wait()
            case Trouble.EMPTY_STREAM:
                return _answer(200, b"")
            case Trouble.GARBAGE:
                return _answer(200, b"<html>not what you asked for</html>\n")
            case Trouble.HALF:
                response = web.StreamResponse(headers={"Content-Length": "1000"})
                await response.prepare(http)
                await response.write(b'{"kind": "')
            case Trouble.LOST:
                await self._respond(http, request)
        if http.transport is not None:
            http.transport.abort()
        return web.Response()

    async def _respond(self, http: web.Request, request: Request) -> web.StreamResponse:
        try:
            if request.is_watch:
                self._admit(request)
                resource, namespace, *_ = parse(request.path)
                return await Watch(self, resource, namespace, request.query).serve(http)
            return _answer(*self._carry_out(request))
        except RefusalError as refusal:
            return _answer(refusal.status, refusal.body)

    def _admit(self, request: Request) -> None:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise RefusalError(401, "Unauthorized", "Unauthorized")

    def _carry_out(self, request: Request) -> tuple[int, Any]:
        self._admit(request)
        method, path = request.method, request.path
        if (own := self.answers.get((method, path))) is not None:
            return 201 if method == "POST" else 200, own(request.body)
        if path in ("/healthz", "/livez", "/readyz"):
            return 200, b"ok"
        if path == "/version":
            return 200, {"major": "1", "minor": "36", "gitVersion": "v1.36.3"}
        resource, namespace, name, subresource = parse(path)
        if name:
            return self._object(request, resource, namespace, name, subresource)
        if method == "POST":
            return 201, self.objects.create(resource, namespace, _mapping(request.body))
        if method != "GET":
            raise _not_allowed()
        return 200, self._page(resource, namespace, request.query)

    def _object(self, request: Request, *at: Any) -> tuple[int, Wire]:
        resource, namespace, name, subresource = at
        match request.method:
            case "GET":
                return 200, self.objects.get(resource.plural, name, namespace)
            case "PUT":
                return 200, self.objects.replace(resource, namespace, name, subresource, _mapping(request.body))
            case "PATCH":
                if request.headers.get("Content-Type") != "application/merge-patch+json":
                    raise RefusalError(415, "UnsupportedMediaType", "this server takes application/merge-patch+json")
                return 200, self.objects.patch(resource, namespace, name, subresource, _mapping(request.body))
            case "DELETE":
                return 200, self.objects.delete(resource, namespace, name, request.body or {})
        raise _not_allowed()

    def _page(self, resource: Resource, namespace: str, query: Mapping[str, str]) -> Wire:
        self.check_version(query.get("resourceVersion", ""))
        found = self.objects.all_of(resource.plural, namespace)
        version, start = self.objects.version, 0
        if query.get("continue"):
            version, start = (int(part) for part in query["continue"].split("-"))
            if version < self.objects.compacted:
                raise RefusalError(410, "Expired", "The provided continue parameter is too old")
        limit = int(query.get("limit", "0"))
        # As the real one, a listing that may be old comes from memory and whole.
        stop = start + limit if limit and query.get("resourceVersion") != "0" else len(found)
        meta = {"resourceVersion": str(version)}
        if stop < len(found):
            meta["continue"] = f"{version}-{stop}"
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": meta}
        return {**head, "items": found[start:stop]}

    def check_version(self, version: str) -> None:
        """Refuse a version that this server has not reached."""
        if version and not version.isdigit():
            raise RefusalError(400, "BadRequest", f"Invalid value: {version!r}")
        if version and int(version) > self.objects.version:
            text = f"Timeout: Too large resource version: {version}, current: {self.objects.version}"
            raise RefusalError(504, "Timeout", text, cause="ResourceVersionTooLarge")


def parse(path: str) -> tuple[Resource, str, str, str]:
    """Take a path apart: resource, namespace, name, subresource. Raises RefusalError for one that is not served."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else ("/".join(parts[1:2]), parts[3:])
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *more = (*rest, "", "", "")
    resource = RESOURCES.get(plural)
    is_known = parts[0] in ("api", "apis") and resource is not None and resource.group == group
    if resource is None or not is_known or subresource not in ("", "status") or any(more):
        raise RefusalError(404, "NotFound", "the server could not find the requested resource")
    return resource, namespace, name, subresource


def _not_allowed() -> RefusalError:
    return RefusalError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def _json(text: bytes) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _mapping(body: Any) -> Wire:
    if not isinstance(body, dict):
        raise RefusalError(400, "BadRequest", "the body is no object")
    return body


def _answer(status: int, body: Any, *, retry_after_s: int | None = None) -> web.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return web.Response(status=status, body=content, content_type="application/json", headers=headers)


@contextlib.asynccontextmanager
async def fake_api(certificate: Path | None = None) -> AsyncIterator[FakeApi]:
    """Serve on a free port of 127.0.0.1 until the block ends; over TLS with a folder that holds `ca.crt` and `key`."""
    api = FakeApi()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05)
    await runner.setup()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "ca.crt", certificate / "key")
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    host, port = runner.addresses[0][:2]
    api.url = f"{'https' if context else 'http'}://{host}:{port}"
    try:
        yield api
    finally:
        api.end_watches()
        await runner.cleanup()
