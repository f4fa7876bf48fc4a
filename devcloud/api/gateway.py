"""The ASGI application: from a request to its handler and from the handler's result to an answer.

Belongs here: the order of steps that all requests pass (request id, rate limit, route, caller, faults, body, handler,
envelope). Does not: what any route does.
"""

import logging
import time
import uuid
from collections.abc import Mapping

import msgspec
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from devcloud import ratelimit
from devcloud.api import admin, auth, quirks, routes, trouble
from devcloud.api.call import NOTHING, Call, Reply, Route
from devcloud.api.envelope import (
    BareEnvelope,
    Envelope,
    ErrorBody,
    ErrorEnvelope,
    decode,
    meta,
    plain,
    render,
)
from devcloud.cloud import Cloud
from devcloud.cloud import Scope as CallScope
from devcloud.errors import BodyError, CloudError
from devcloud.faults import Fault, Kind
from devcloud.identity import Accounts
from devcloud.ratelimit import RateLimiter

_log = logging.getLogger(__name__)
_AUTH_LIMITED = frozenset({"/auth/register", "/auth/login"})
_MAX_BODY_BYTES = 1 << 20
_LOST = frozenset({Kind.LOST_ANSWER, Kind.TRUNCATED_BODY})


class Gateway:
    """Answers HTTP requests for one platform."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._accounts = Accounts(cloud)
        settings = cloud.settings
        self._limiter = RateLimiter(settings.rate_limit_rps, 2 * settings.rate_limit_rps)
        per_min = settings.auth_rate_limit_per_min if settings.rate_limit_rps else 0.0
        self._auth_limiter = RateLimiter(per_min / 60, per_min)
        self._served = tuple(route for route in routes.ROUTES if route.is_served(strict=cloud.is_strict))
        self._patterns = [(compile_path(route.path)[0], route) for route in self._served]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        request_id = request.headers.get("x-request-id") or str(uuid.uuid4())
        started_at = time.perf_counter()
        route, params = self._match(request.method, request.url.path)
        refusal = self._refuse_early(request)
        if refusal is not None or route is None:
            await _send(refusal or self._answer_unknown(request), request_id, scope, receive, send)
            return
        status = "lost"
        is_counted = not route.path.startswith(admin.PREFIX)
        if is_counted:
            self._cloud.calls.began(route.method, route.path, started_at)
        try:
            fired = await self._fire(request, route, params)
            answer = await self._answer(request, route, params, fired, request_id)
            status = str(answer.status_code)
            if (lost := next((fault for fault in fired if fault.kind in _LOST), None)) is None:
                await _send(answer, request_id, scope, receive, send)
            elif lost.kind is Kind.LOST_ANSWER:
                status = "lost"
                await trouble.lose_answer(scope, receive)
            else:
                await trouble.truncate_answer(answer, scope, receive, send)
        except ClientDisconnect:
            _log.info("%s: the caller went away", route.name)
        finally:
            if is_counted:
                self._cloud.calls.ended(route.method, route.path, status, time.perf_counter() - started_at)

    def _refuse_early(self, request: Request) -> Response | None:
        """Answer what needs no route: preflight requests and what the rate limits refuse."""
        if request.method == "OPTIONS":
            return Response(status_code=204)
        if request.url.path.startswith(admin.PREFIX):
            return None
        host = request.client.host if request.client else ""
        allowed = self._limiter.allows(ratelimit.bucket_of(request.headers.get("x-api-key", ""), host))
        if allowed and request.url.path in _AUTH_LIMITED:
            allowed = self._auth_limiter.allows(ratelimit.bucket_of("", host))
        return None if allowed else render(429, trouble.RATE_LIMITED_BODY)

    def _match(self, method: str, path: str) -> tuple[Route | None, Mapping[str, str]]:
        for pattern, route in self._patterns:
            if route.method == method and (found := pattern.match(path)) is not None:
                return route, found.groupdict()
        return None, {}

    def _answer_unknown(self, request: Request) -> Response:
        """Redirect a path that is only a trailing slash away from a route; anything else is no page."""
        path = request.url.path
        other = path.rstrip("/") if path.endswith("/") else path + "/"
        if path != "/" and self._match(request.method, other)[0] is not None:
            return RedirectResponse(str(request.url.replace(path=other)), 301 if request.method == "GET" else 307)
        return plain(404, quirks.NO_PAGE)

    async def _fire(self, request: Request, route: Route, params: Mapping[str, str]) -> tuple[Fault, ...]:
        """Give the faults that this call gets; devcloud's own routes get none."""
        if route.path.startswith(admin.PREFIX) or not self._cloud.faults.active:
            return ()
        values = {**_scalars(await request.body()), **request.query_params, **params}
        return tuple(self._cloud.faults.fire(route.method, route.path, values))

    async def _answer(
        self,
        request: Request,
        route: Route,
        params: Mapping[str, str],
        fired: tuple[Fault, ...],
        request_id: str,
    ) -> Response:
        """Run the call, between the faults that come before and after it."""
        answer = await trouble.answer_before(fired, request_id)
        if answer is not None:
            return answer
        try:
            answer = await self._run(request, route, params, fired, request_id)
        except CloudError as error:
            answer = self._render_error(error, request_id)
        except (ClientDisconnect, trouble.AnswerLostError):
            raise
        except Exception:  # noqa: BLE001
            # The boundary of the process: whatever a handler did not expect is a panic of the platform.
            _log.exception("%s failed, request %s", route.name, request_id)
            answer = Response(status_code=500) if self._cloud.is_strict else trouble.raw_error(request_id)
        return await trouble.answer_after(fired, answer, request_id)

    async def _run(
        self,
        request: Request,
        route: Route,
        params: Mapping[str, str],
        fired: tuple[Fault, ...],
        request_id: str,
    ) -> Response:
        actor = await auth.identify(self._accounts, request.headers, route)
        copy = self._cloud.faults.stale_copy(route.method, route.path) if route.method == "GET" else None
        call = Call(
            cloud=self._cloud,
            accounts=self._accounts,
            scope=CallScope(actor, copy),
            params=params,
            query=request.query_params,
            headers=Headers(raw=request.headers.raw),
            request_id=request_id,
            fired=fired,
            served=self._served,
        )
        body = await self._read_body(request, route)
        reply = await route.handler(call, body)
        return reply if isinstance(reply, Response) else self._render_reply(reply, request_id)

    async def _read_body(self, request: Request, route: Route) -> object:
        wanted = route.body if self._cloud.is_strict else route.extended_body or route.body
        if wanted is None:
            return None
        body = await request.body()
        if len(body) > _MAX_BODY_BYTES:
            raise route.body_error(f"the body has {len(body)} bytes; at most {_MAX_BODY_BYTES} are allowed")
        try:
            return decode(body or b"{}" if route.body_optional else body, wanted)
        except BodyError as error:
            raise route.body_error(str(error)) from error

    def _render_reply(self, reply: Reply, request_id: str) -> Response:
        if reply.status == 204:  # noqa: PLR2004
            return Response(status_code=204)
        if reply.data is NOTHING:
            return render(reply.status, BareEnvelope(meta(request_id)))
        data = None if self._cloud.is_strict and reply.data == [] else reply.data
        return render(reply.status, Envelope(data, meta(request_id)), headers=dict(reply.headers))

    def _render_error(self, error: CloudError, request_id: str) -> Response:
        found = quirks.answer_of(error, strict=self._cloud.is_strict)
        if found.is_bare:
            return render(found.status, {"error": found.message})
        body = ErrorBody(found.type, found.message, found.type, found.details)
        return render(found.status, ErrorEnvelope(body, meta(request_id)))


async def _send(answer: Response, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
    answer.headers["X-Request-ID"] = request_id
    answer.headers["X-Content-Type-Options"] = "nosniff"
    await answer(scope, receive, send)


def _scalars(body: bytes) -> dict[str, str]:
    """Give the texts and numbers at the top of a JSON body, for faults that match values."""
    try:
        found = msgspec.json.decode(body or b"{}")
    except msgspec.DecodeError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: str(value) for key, value in found.items() if isinstance(value, str | int | float)}
