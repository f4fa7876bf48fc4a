"""The envelope of all answers (platform contract 1.2, 1.3), and which error is which answer.

Beyond the platform's own: `code` is our finer word for the same error, and `problems` has everything that is wrong with
a request, by field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from fastapi.responses import Response
from pydantic import BaseModel

from kaas.domain.errors import Code, Problem

T = TypeVar("T")
JSON = "application/json; charset=utf-8"
INTERNAL = "INTERNAL"
INTERNAL_MESSAGE = "An unexpected error occurred"
TOO_LARGE = "OBJECT_TOO_LARGE"
RETRY_AFTER_S = "5"


class Meta(BaseModel):
    """What every enveloped answer carries."""

    request_id: str
    timestamp: str
    """UTC, to the second."""


class Envelope(BaseModel, Generic[T]):
    """A success with a payload."""

    data: T
    meta: Meta


class Bare(BaseModel):
    """A success without a payload."""

    meta: Meta


class ProblemView(BaseModel):
    """One thing that is wrong with a request."""

    field: str
    """Its path in the request, such as `node_groups[0].desired_size`."""
    message: str


class ErrorBody(BaseModel):
    """What went wrong."""

    type: str
    """The platform's word."""
    message: str
    code: str
    """Our word: the same in operations and events."""
    problems: list[ProblemView] = []
    """Only in answers to requests that are wrong."""


class ErrorEnvelope(BaseModel):
    """A failure."""

    error: ErrorBody
    meta: Meta


@dataclass(frozen=True, slots=True)
class Shape:
    """How an error is answered."""

    status: int
    type: str


UNEXPECTED = Shape(500, INTERNAL)
SHAPES: Mapping[Code, Shape] = {
    Code.INVALID: Shape(400, "INVALID_INPUT"),
    Code.UNAUTHENTICATED: Shape(401, "UNAUTHORIZED"),
    Code.FORBIDDEN: Shape(403, "FORBIDDEN"),
    Code.NOT_FOUND: Shape(404, "NOT_FOUND"),
    Code.NAME_TAKEN: Shape(409, "CONFLICT"),
    Code.WRONG_STATE: Shape(409, "CONFLICT"),
    Code.KEY_REUSED: Shape(409, "CONFLICT"),
    Code.STALE: Shape(412, "PRECONDITION_FAILED"),
    Code.QUOTA: Shape(429, "QUOTA_EXCEEDED"),
    Code.NOT_OFFERED: Shape(501, "NOT_OFFERED"),
    Code.KEY_MISSING: Shape(503, "UNAVAILABLE"),
    Code.PLATFORM_UNAVAILABLE: Shape(503, "UNAVAILABLE"),
}
"""All codes that a request can be refused with; any other is a fault of ours."""


def meta(request_id: str) -> Meta:
    """Give the meta object of an answer made now."""
    return Meta(request_id=request_id, timestamp=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"))


def render(status: int, body: BaseModel, headers: Mapping[str, str] | None = None) -> Response:
    """Give a JSON answer; fields that nobody set are left out."""
    content = body.model_dump_json(exclude_unset=True)
    return Response(content, status, headers=dict(headers or {}), media_type=JSON)


def error_answer(
    shape: Shape, message: str, *, request_id: str, code: str = "", problems: tuple[Problem, ...] = ()
) -> Response:
    """Give the answer of an error."""
    fields: dict[str, Any] = {"type": shape.type, "message": message, "code": code or shape.type}
    if problems:
        fields["problems"] = [ProblemView(field=problem.field, message=problem.message) for problem in problems]
    body = ErrorEnvelope(error=ErrorBody(**fields), meta=meta(request_id))
    headers = {"Retry-After": RETRY_AFTER_S} if shape.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return render(shape.status, body, headers)


Responses = dict[int | str, dict[str, Any]]


def documented(status: int, payload: Any, *codes: Code, plan: Any = None) -> dict[str, Any]:
    """Give what a route says of its answers: the success, a plan where it has one, and its own errors.

    Those that every route of a known caller may answer are added.
    """
    found: dict[int, list[Code]] = {}
    common = (Code.INVALID, Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.PLATFORM_UNAVAILABLE)
    for code in (*codes, *common):
        if code not in found.setdefault(SHAPES[code].status, []):
            found[SHAPES[code].status].append(code)
    responses: Responses = {
        number: {"model": ErrorEnvelope, "description": f"Refused: {', '.join(code.value for code in known)}"}
        for number, known in sorted(found.items())
    }
    responses["default"] = {"model": ErrorEnvelope, "description": "Any other error; nothing was changed"}
    if plan is not None:
        responses[200] = {"model": plan, "description": "With `dry_run=plan`: what would happen; nothing is written"}
    model = Bare if payload is None else Envelope[payload]
    if status in responses:
        responses[200] = {"model": model | plan, "description": "Done; with `dry_run=plan` a plan instead"}
    else:
        responses[status] = {"model": model, "description": HTTPStatus(status).phrase}
    return {"status_code": status, "responses": responses, "response_model": None}
