"""The envelope of answers, and reading bodies the way the platform's decoder does.

Belongs here: bytes in, structs out, and back. Does not: which error is which answer (`quirks.py`).
"""

import functools
import json
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import msgspec
from starlette.responses import Response

from devcloud.errors import BodyError

S = TypeVar("S")
JSON = "application/json; charset=utf-8"
_MAX_INT = 2**63 - 1


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


class Meta(msgspec.Struct, frozen=True):
    """What every enveloped answer carries."""

    request_id: str
    timestamp: str


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The error object; `details` exists in the extended tier only."""

    type: str
    message: str
    code: str
    details: dict[str, str] = {}


class Envelope(msgspec.Struct, frozen=True):
    """A success with a payload."""

    data: Any
    meta: Meta


class BareEnvelope(msgspec.Struct, frozen=True):
    """A success without a payload."""

    meta: Meta


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """A failure."""

    error: ErrorBody
    meta: Meta


def meta(request_id: str) -> Meta:
    """Give the meta object of an answer made now."""
    return Meta(request_id, datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"))


def render(status: int, body: object, *, headers: dict[str, str] | None = None) -> Response:
    """Give a JSON answer."""
    return Response(msgspec.json.encode(body), status, headers=headers, media_type=JSON)


def plain(status: int, text: str) -> Response:
    """Give an answer in plain text."""
    return Response(text, status, media_type="text/plain")


def decode(body: bytes, wanted: type[S]) -> S:
    """Read a request body into a struct: unknown fields ignored, field names in any case, null as absent.

    Raises BodyError for anything else than a fitting JSON object.
    """
    try:
        # The platform's decoder stops after the first value and replaces what is no UTF-8.
        value, _ = _DECODER.raw_decode(body.decode(errors="replace").lstrip(" \t\r\n"))
        if not isinstance(value, dict):
            raise BodyError("a JSON object is needed")
        known = _spellings(wanted)  # type: ignore[arg-type]
        named = {known[key.lower()]: _clean(item) for key, item in value.items() if key.lower() in known}
        return msgspec.convert({key: item for key, item in named.items() if item is not None}, wanted)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise BodyError(str(error)) from error


@functools.cache
def _spellings(wanted: Any) -> dict[str, str]:
    """Give the field names of a struct by their lower-case spelling."""
    return {field.encode_name.lower(): field.encode_name for field in msgspec.structs.fields(wanted)}


def _clean(value: Any) -> Any:
    """Replace what is no Unicode and refuse integers of more than 64 bits, as the platform's decoder does."""
    if isinstance(value, int) and abs(value) > _MAX_INT:
        raise ValueError("a number is too large")
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
