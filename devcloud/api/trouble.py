"""How injected faults look on the wire.

Belongs here: faults that decide the answer of a call, before or after its work. Does not: which calls they hit
(`devcloud/faults.py`).
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from devcloud.api.envelope import ErrorBody, ErrorEnvelope, meta, plain, render
from devcloud.api.quirks import INTERNAL, NO_PAGE, RAW_MESSAGE
from devcloud.faults import Fault, Kind

CONNECTION = "devcloud.connection"
"""Key of the ASGI scope's extensions under which devcloud's own server puts the transport of the connection."""
_CLOSE_WAIT_S = 5.0

RATE_LIMITED_BODY = {"error": "rate limit exceeded"}


class AnswerLostError(Exception):
    """The answer of a call was lost on purpose, and this server cannot close the connection; the caller stands in."""

    def __init__(self, sent: Response | None) -> None:
        super().__init__("answer lost by fault injection")
        self.sent = sent
        """The answer of which a part was sent; None: nothing was."""


async def answer_before(faults: Iterable[Fault], request_id: str) -> Response | None:
    """Wait as told, and give the answer that keeps the call from having an effect, if one is told."""
    answer = None
    for fault in faults:
        if fault.kind is Kind.SLOW:
            await asyncio.sleep(fault.seconds)
        elif answer is None:
            answer = _refuse(fault, request_id)
    return answer


async def answer_after(faults: Iterable[Fault], answer: Response, request_id: str) -> Response:
    """Wait as told, and give the answer that hides the real one, if one is told."""
    for fault in faults:
        if fault.kind is Kind.SLOW_AFTER:
            await asyncio.sleep(fault.seconds)
        elif fault.kind is Kind.ERROR_AFTER:
            answer = raw_error(request_id)
        elif fault.kind is Kind.EMPTY_500_AFTER:
            answer = Response(status_code=500)
    return answer


def raw_error(request_id: str) -> Response:
    """Give the platform's answer to everything that it does not understand."""
    return render(500, ErrorEnvelope(ErrorBody(INTERNAL, RAW_MESSAGE, INTERNAL), meta(request_id)))


async def lose_answer(scope: Scope, receive: Receive) -> None:
    """Close the connection without an answer; raises AnswerLostError where the server gives no access to it."""
    connection = _connection_of(scope)
    if connection is None:
        raise AnswerLostError(None)
    connection.abort()
    await _wait_for_disconnect(receive)


async def truncate_answer(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send head and half of the body, then close; raises AnswerLostError where that cannot be done."""
    connection = _connection_of(scope)
    if connection is None:
        raise AnswerLostError(answer)
    body = bytes(getattr(answer, "body", b""))
    await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    connection.close()
    await _wait_for_disconnect(receive)


def _refuse(fault: Fault, request_id: str) -> Response | None:
    make = _REFUSALS.get(fault.kind)
    return None if make is None else make(fault, request_id)


def _rate_limited(fault: Fault, request_id: str) -> Response:
    del request_id
    headers = {"Retry-After": str(math.ceil(fault.seconds))} if fault.kind is Kind.RATE_LIMITED_RETRY_AFTER else None
    return render(429, RATE_LIMITED_BODY, headers=headers)


def _enveloped(status: int, kind: str, message: str) -> Callable[[Fault, str], Response]:
    return lambda _, request_id: render(status, ErrorEnvelope(ErrorBody(kind, message, kind), meta(request_id)))


_REFUSALS: dict[Kind, Callable[[Fault, str], Response]] = {
    Kind.ERROR_BEFORE: _enveloped(500, INTERNAL, RAW_MESSAGE),
    Kind.EMPTY_500: lambda _, __: Response(status_code=500),
    Kind.RATE_LIMITED: _rate_limited,
    Kind.RATE_LIMITED_RETRY_AFTER: _rate_limited,
    Kind.QUOTA_EXCEEDED: _enveloped(429, "QUOTA_EXCEEDED", "quota exceeded for storage"),
    Kind.UNAUTHORIZED: _enveloped(401, "UNAUTHORIZED", "invalid API key"),
    Kind.NOT_FOUND_PLAIN: lambda _, __: plain(404, NO_PAGE),
}


def _connection_of(scope: Scope) -> Any:
    return scope.get("extensions", {}).get(CONNECTION)


async def _wait_for_disconnect(receive: Receive) -> None:
    async with asyncio.timeout(_CLOSE_WAIT_S):
        while (await receive())["type"] != "http.disconnect":
            continue
