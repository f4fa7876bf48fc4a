"""Exceptions to answers, in one place."""

import logging
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException

from kaas.api.envelope import INTERNAL_MESSAGE, SHAPES, TOO_LARGE, UNEXPECTED, Shape, error_answer
from kaas.domain.errors import Code, KaasError, Problem, RequestError, StoreUnavailableError
from process.request import request_id

LOG = logging.getLogger("kaas.api")
NO_PAGE = "404 page not found"
_NO_ROUTE = frozenset({404, 405})
_TOO_LARGE = 413
_WORDS = {
    "extra_forbidden": "there is no such field",
    "missing": "it is needed",
    "json_invalid": "this is no JSON",
    "string_type": "a text is needed",
    "int_type": "a whole number is needed",
    "bool_type": "true or false is needed",
    "list_type": "a list is needed",
    "dict_type": "an object is needed",
    "model_attributes_type": "a JSON object is needed",
    "model_type": "a JSON object is needed",
}


def register(app: FastAPI) -> None:
    """Answer every exception of the application in the envelope."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(KaasError, _refused)
    app.add_exception_handler(StoreUnavailableError, _unavailable)
    app.add_exception_handler(HTTPException, _http)


def code_of(error: Exception) -> Code | None:
    """Tell what a request was refused with; None for faults of ours."""
    if isinstance(error, RequestValidationError):
        return Code.INVALID
    return error.code if isinstance(error, RequestError) else None


def problems_of(error: RequestValidationError) -> tuple[Problem, ...]:
    """Give what is wrong with the form of a request, one problem for each field."""
    found: dict[str, str] = {}
    for entry in error.errors():
        field = _path(entry["loc"])
        text = _WORDS.get(entry["type"]) or f"{entry['msg'][:1].lower()}{entry['msg'][1:]}"
        found.setdefault(field, text)
    return tuple(Problem(field, message) for field, message in found.items())


async def _invalid(_: Request, error: Exception) -> Response:
    problems = problems_of(error) if isinstance(error, RequestValidationError) else ()
    first = f": {problems[0].field}: {problems[0].message}" if problems else ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return _answer(SHAPES[Code.INVALID], f"invalid request{first}{more}", Code.INVALID.value, problems)


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, RequestError) and error.code in SHAPES:
        return _answer(SHAPES[error.code], error.message, error.code.value, error.problems)
    code = error.code.value if isinstance(error, KaasError) else ""
    LOG.error("a request failed", exc_info=error, extra={"fields": {"code": code}})
    return _answer(UNEXPECTED, INTERNAL_MESSAGE)


async def _unavailable(_: Request, error: Exception) -> Response:
    LOG.error("the tables do not answer: %s", error)
    return _answer(
        SHAPES[Code.PLATFORM_UNAVAILABLE],
        "the service cannot reach its database; try again",
        Code.PLATFORM_UNAVAILABLE.value,
    )


async def _http(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else UNEXPECTED.status
    if status in _NO_ROUTE:
        # The platform's own words for it: a 404 in the envelope would say that an object is missing.
        return PlainTextResponse(NO_PAGE, 404)
    if status == _TOO_LARGE:
        return _answer(Shape(status, TOO_LARGE), str(getattr(error, "detail", "")))
    return _answer(SHAPES[Code.INVALID], "invalid request body", Code.INVALID.value)


def _answer(shape: Shape, message: str, code: str = "", problems: tuple[Problem, ...] = ()) -> Response:
    return error_answer(shape, message, request_id=request_id.get(), code=code, problems=problems)


def _path(loc: tuple[Any, ...]) -> str:
    place, rest = loc[0], loc[1:]
    if place in {"path", "query", "header"}:
        return str(rest[0]) if rest else str(place)
    # The position in a text that is no JSON is no field.
    return "".join(_parts(rest)).removeprefix(".") if rest and isinstance(rest[0], str) else "body"


def _parts(loc: tuple[Any, ...]) -> Iterator[str]:
    for part in loc:
        yield f"[{part}]" if isinstance(part, int) else f".{part[:80]}"
