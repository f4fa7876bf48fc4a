"""How a call of a cluster's API fails, as a StepError; the texts are for people and hold no credentials."""

import ssl

import aiohttp
import msgspec

from kaas.domain.errors import Code, StepError

UNAUTHORIZED = 401
NOT_FOUND = 404
CONFLICT = 409
GONE = 410
TOO_MANY_REQUESTS = 429
_LONGEST_TEXT = 500
_LONGEST_DETAIL = 8000
_AWAY = frozenset({502, 503, 504, TOO_MANY_REQUESTS})
"""Answers of a server that is overloaded or is not there behind its load balancer."""


class _Cause(msgspec.Struct, frozen=True):
    field: str | None = ""


class _Details(msgspec.Struct, frozen=True):
    causes: tuple[_Cause, ...] | None = ()


class _Status(msgspec.Struct, frozen=True):
    kind: str = ""
    reason: str | None = ""
    message: str | None = ""
    details: _Details | None = None


_DECODER = msgspec.json.Decoder(_Status)


class RefusedError(StepError):
    """An answer that is no success. ADDON_FAILED when the API itself says no, API_SERVER_DOWN when it is not there."""

    def __init__(
        self, code: Code, message: str, *, status: int, reason: str, detail: str, retry_after_s: float | None
    ) -> None:
        super().__init__(code, message, retry_after_s=retry_after_s)
        self.status = status
        self.reason = reason
        """The server's word for it, such as `NotFound`; empty if something else answered."""
        self.detail = detail
        """The server's own text; empty where it may quote a secret."""

    @property
    def is_missing(self) -> bool:
        """Whether the API itself says that the object is not there; a proxy's 404 says nothing about it."""
        return self.status == NOT_FOUND and self.reason == "NotFound"


def refused(
    what: str, status: int, body: bytes, *, retry_after_s: float | None = None, is_secret: bool = False
) -> RefusedError:
    """Make the error for an answer; `what` says what was asked and of whom.

    `is_secret`: the server's text may quote what was sent, and is left out but for the names of fields.
    """
    try:
        found = _DECODER.decode(body)
    except msgspec.MsgspecError:
        found = _Status()
    is_own = found.kind == "Status"
    reason = (found.reason or "") if is_own else ""
    if is_secret:
        causes = (found.details.causes or ()) if found.details else ()
        detail = ", ".join(cause.field for cause in causes if cause.field)
    else:
        detail = (found.message or "") if is_own else body[:_LONGEST_DETAIL].decode(errors="replace").strip()
    is_away = status in _AWAY or (status >= 500 and not is_own)  # noqa: PLR2004 - the class of server errors
    text = f"{what}: the API server answered {status} {reason}".rstrip()
    return RefusedError(
        Code.API_SERVER_DOWN if is_away else Code.ADDON_FAILED,
        text + (f": {detail[:_LONGEST_TEXT]}" if detail else ""),
        status=status,
        reason=reason,
        detail=detail[:_LONGEST_DETAIL],
        retry_after_s=retry_after_s,
    )


def is_distrust(error: StepError) -> bool:
    """Tell whether one side did not take the certificate of the other for one of the cluster's."""
    if isinstance(error, RefusedError):
        return error.status == UNAUTHORIZED
    return isinstance(error.__cause__, aiohttp.ClientSSLError | ssl.SSLError)


def down(what: str, seen: str) -> StepError:
    """Make the error for an API server that gave no answer, or none that can be read."""
    return StepError(Code.API_SERVER_DOWN, f"{what}: {seen}")
