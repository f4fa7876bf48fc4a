"""How a call of the Kubernetes API fails. The texts are for people and hold no credentials."""

# ruff: noqa: N818 -- the names say what happened; that it is an error, the base class says

import msgspec


class KubeError(Exception):
    """The API server did not do what was asked, or did not say whether it did."""


class ApiError(KubeError):
    """An answer that is no success."""

    def __init__(
        self, message: str, *, status: int, reason: str = "", detail: str = "", retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status."""
        self.reason = reason
        """The server's word for it, such as `Conflict` or `AlreadyExists`; empty if something else answered."""
        self.message = detail
        """The server's text."""
        self.retry_after_s = retry_after_s
        """How long the server asks to wait; 0 when it does not say."""

    @property
    def is_conflict(self) -> bool:
        """Whether a precondition did not hold."""
        return self.status == HTTP_CONFLICT and self.reason != "AlreadyExists"

    @property
    def is_missing(self) -> bool:
        """Whether the API itself says that the object is not there; a proxy's 404 says nothing about it."""
        return self.status == HTTP_NOT_FOUND and self.reason == "NotFound"

    @property
    def is_expired(self) -> bool:
        """Whether the resource version asked for is one that the server has forgotten, or has not reached."""
        return self.status == HTTP_GONE or "Too large resource version" in self.message


class Unusable(KubeError):
    """The access to the cluster is not configured in a way that can be used."""


class Unreachable(KubeError):
    """No answer, or none that can be read: whether the request was carried out is unknown."""


class NotLeading(KubeError):
    """The request was not sent, because this process may not write (any more)."""


HTTP_UNAUTHORIZED = 401
HTTP_NOT_FOUND = 404
HTTP_CONFLICT = 409
HTTP_GONE = 410
HTTP_UNPROCESSABLE = 422
HTTP_TOO_MANY_REQUESTS = 429
_LONGEST_TEXT = 500


class Status(msgspec.Struct, frozen=True):
    """The object `Status` with which the API says no, in an answer or in a watch."""

    kind: str = ""
    status: str | None = ""
    reason: str | None = ""
    message: str | None = ""
    code: int | None = 0


_DECODER = msgspec.json.Decoder(Status)


def error_of(what: str, status: int, body: bytes, *, retry_after_s: float = 0.0) -> ApiError:
    """Make the error for an answer; `what` says what was asked, such as `PATCH /api/v1/nodes/a`."""
    try:
        found = _DECODER.decode(body)
    except msgspec.MsgspecError:
        found = Status()
    if found.kind == "Status":
        reason, detail = found.reason or "", found.message or ""
    else:
        # A proxy, or a server that does not know the path at all.
        reason, detail = "", body[:_LONGEST_TEXT].decode(errors="replace").strip()
    status = status or found.code or 0
    text = f"{what}: the API server answered {status} {reason}".rstrip() + (f": {detail}" if detail else "")
    return ApiError(text[: 2 * _LONGEST_TEXT], status=status, reason=reason, detail=detail, retry_after_s=retry_after_s)
