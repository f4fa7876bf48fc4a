"""The outermost layer: the id of the request, the size of its body, one log line and one figure for each."""

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kaas.api.envelope import INTERNAL_MESSAGE, TOO_LARGE, UNEXPECTED, Shape, error_answer
from process.request import request_id

LOG = logging.getLogger("kaas.api")
REQUEST_ID = "X-Request-ID"
_GOOD_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""What may stand in log lines and rows; anything else gets a new id."""
_QUIET = ("/health/live", "/health/ready", "/metrics")
Observe = Callable[[str, str, int, float], None]
"""Told of each request: method, template of the route, status, seconds."""


class Edge:
    """ASGI middleware around the whole application; what escapes the application is answered here."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, observe: Observe) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        identity = given if _GOOD_ID.fullmatch(given) else str(uuid.uuid4())
        token = request_id.set(identity)
        began = time.monotonic()
        sent = _Sent(send, identity)
        try:
            await self._serve(scope, receive, sent, headers)
        finally:
            self._tell(scope, sent.status, time.monotonic() - began)
            request_id.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, sent: "_Sent", headers: Headers) -> None:
        length = headers.get("content-length", "")
        too_long = f"the body may have {self._max_body_bytes} bytes"
        if length.isdigit() and int(length[:19]) > self._max_body_bytes:
            shape = Shape(413, TOO_LARGE)
            await error_answer(shape, too_long, request_id=sent.identity)(scope, receive, sent)
            return
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body_bytes:
                raise HTTPException(413, too_long)
            return message

        try:
            await self._app(scope, limited, sent)
        except Exception:  # the edge of the program: everything becomes a log line and an answer
            LOG.exception("a request failed")
            if sent.status:
                raise
            await error_answer(UNEXPECTED, INTERNAL_MESSAGE, request_id=sent.identity)(scope, receive, sent)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = template_of(scope)
        self._observe(scope["method"], route, status, seconds)
        if route not in _QUIET:
            LOG.info(
                "request served",
                extra={
                    "fields": {
                        "method": scope["method"],
                        "route": route,
                        "status": status,
                        "seconds": seconds,
                        "tenant": scope.get("state", {}).get("tenant", ""),
                    }
                },
            )


def template_of(scope: Any) -> str:
    """Give the template of the route that served a request; the path itself could be anything."""
    return str(getattr(scope.get("route"), "path", "(none)"))


class _Sent:
    """Passes an answer on, with the id of its request."""

    def __init__(self, send: Send, identity: str) -> None:
        self._send = send
        self.identity = identity
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID] = self.identity
        await self._send(message)
