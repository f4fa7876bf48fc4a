"""What can go wrong with a call to the platform, and the one table that reads it from an HTTP answer.

PlatformError
├── NotSent             nothing reached the platform: connection refused, no free connection, bad address
│   ├── DeadlineExceeded    the caller's time ran out before anything was sent
│   ├── KeyUnusable         there is no API key to send
│   └── Untrusted           nobody who is trusted here vouches for the platform's certificate
├── Unsupported         the platform does not offer what the call needs; nothing was sent
├── Unauthorized        the platform refuses the API key; says nothing about any object
├── RateLimited         too many requests; refused before anything was done
├── QuotaExceeded       a quota or a limit of an object is reached
├── Missing             the object is definitely not there
├── Conflict            the object's state or name forbids it; `reason` says which
├── GuardMismatch       the object does not carry the tag that the call demanded
├── Refused             any other definite "no": the request is wrong
└── UnknownOutcome      it may or may not have happened: 5xx, time-out, broken connection, unreadable answer
    └── Misrouted           something else than the platform answered: redirect, foreign body
        └── NoRoute             the plain-text 404 of the platform, which others use as well

Everything but `UnknownOutcome` is definite: the platform did not do what was asked. Nothing may be concluded about an
object from `UnknownOutcome` or `Unauthorized`. Texts never hold the API key. Which of them are tried again is decided
in `thecloud.retry`, what they mean to Kubernetes by the caller.
"""
# ruff: noqa: N818 -- the names say what happened; that it is an error, the base class says

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import msgspec

_NO_DETAILS: Mapping[str, str] = MappingProxyType({})
_MAX_TEXT = 300
_CLIENT_ERRORS = range(400, 500)
_SERVER_ERRORS = range(500, 600)
_RATE_LIMIT_STATUS = 429


class PlatformError(Exception):
    """A call to the platform failed.

    `message` is for a person and names the call; `request_id` is what the platform logged; `status` is None when there
    was no answer; `route` is the template (`/volumes/{id}`), never a full address; `error_type` is the platform's own
    word (`NOT_FOUND`); `retry_after_s` is set when the answer asked for a pause.
    """

    outcome: ClassVar[str] = "error"
    """Short name for metrics."""

    def __init__(
        self,
        message: str,
        *,
        request_id: str = "",
        status: int | None = None,
        method: str = "",
        route: str = "",
        details: Mapping[str, str] = _NO_DETAILS,
        error_type: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self.status = status
        self.method = method
        self.route = route
        self.details = MappingProxyType(dict(details))
        self.error_type = error_type
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        where = f"{self.method} {self.route}: " if self.route else ""
        by = f" (request {self.request_id})" if self.request_id else ""
        return f"{where}{self.message}{by}"


class NotSent(PlatformError):
    """Nothing reached the platform; the same call may be made again."""

    outcome = "not_sent"


class DeadlineExceeded(NotSent):
    """The caller's time ran out before anything was sent."""

    outcome = "deadline"


class KeyUnusable(NotSent):
    """There is no API key to send: its file cannot be read, is empty, or holds something that is no key."""

    outcome = "no_key"


class Untrusted(NotSent):
    """The certificate that the other side showed is not vouched for by an authority that is trusted here."""

    outcome = "untrusted"


class Unsupported(PlatformError):
    """The platform does not offer the feature that the call needs; `details["feature"]` names it. Nothing was sent."""

    outcome = "unsupported"


class Unauthorized(PlatformError):
    """The platform refused the API key (401, 403).

    May be a passing fault of the platform (platform contract 2.1); it was tried a few times. Says nothing about any
    object.
    """

    outcome = "unauthorized"


class RateLimited(PlatformError):
    """Too many requests (429 in its string form); refused before anything was done. It was tried a few times."""

    outcome = "rate_limited"


class QuotaExceeded(PlatformError):
    """A quota, or a limit such as disks per instance, is reached (429 in its object form)."""

    outcome = "quota"


class Missing(PlatformError):
    """An object is definitely not there: 404 in the platform's own form.

    `resource` says which kind of object (`volume`, `instance` …) where the platform tells, else it is empty.
    """

    outcome = "missing"

    @property
    def resource(self) -> str:
        """Kind of the missing object, or an empty text."""
        return self.details.get("resource", "")

    @property
    def object_id(self) -> str:
        """Id of the missing object, or an empty text."""
        return self.details.get("id", "")


class Conflict(PlatformError):
    """The object's state or name forbids the call (409)."""

    outcome = "conflict"

    @property
    def reason(self) -> str:
        """`name_taken`, `key_reused`, `attached`, `not_holder`, `busy`, `in_group`, `port_taken`, `in_use` and so on.

        Empty in the strict tier.
        """
        return self.details.get("reason", "")

    @property
    def instance_id(self) -> str:
        """The instance that holds the volume (reasons `attached` and `not_holder`), or an empty text."""
        return self.details.get("instance_id", "")


class GuardMismatch(PlatformError):
    """The object does not carry the tag that the call demanded (412); nothing was changed."""

    outcome = "guard_mismatch"


class Refused(PlatformError):
    """The platform will not do it as asked (400 and other definite 4xx); asking again gives the same answer."""

    outcome = "refused"


class UnknownOutcome(PlatformError):
    """It may or may not have happened; nothing may be concluded about any object."""

    outcome = "unknown"


class Misrouted(UnknownOutcome):
    """Something else than the platform's API answered: look at the base URL and at proxies in between."""

    outcome = "misrouted"


class NoRoute(Misrouted):
    """The platform's own words for a route that it does not have (platform contract 1.1).

    Routers before it may use the same words, so that by itself this is no statement about the platform.
    """


class _ErrorBody(msgspec.Struct, frozen=True):
    type: str = ""
    code: str = ""
    message: str = ""
    details: dict[str, object] | None = None


class _Meta(msgspec.Struct, frozen=True):
    request_id: str = ""


class _ErrorEnvelope(msgspec.Struct, frozen=True):
    error: _ErrorBody | str
    meta: _Meta | None = None


_ENVELOPE = msgspec.json.Decoder(_ErrorEnvelope)

OF_STATUS_WITH_OBJECT: Mapping[int, type[PlatformError]] = MappingProxyType(
    {
        400: Refused,
        401: Unauthorized,
        403: Unauthorized,
        404: Missing,
        408: UnknownOutcome,
        409: Conflict,
        412: GuardMismatch,
        429: QuotaExceeded,
    }
)
"""Answers whose body is `{"error": {…}}` (platform contract 1.3); other 4xx are `Refused`."""

OF_STATUS_WITH_TEXT: Mapping[int, type[PlatformError]] = MappingProxyType(
    {
        400: Refused,
        401: Unauthorized,
        403: Unauthorized,
        404: Misrouted,
        408: UnknownOutcome,
        409: Conflict,
        412: GuardMismatch,
        429: RateLimited,
    }
)
"""Answers whose body is `{"error": "…"}` (platform contract 1.4); other 4xx are `Refused`."""

OF_STATUS_FOREIGN: Mapping[int, type[PlatformError]] = MappingProxyType(
    {401: Unauthorized, 403: Unauthorized, 408: UnknownOutcome, 429: RateLimited}
)
"""Answers without an error in a form of the platform; other 3xx and 4xx are `Misrouted`."""

_NOT_FOUND = 404
_NOT_FOUND_SUFFIX = "NOT_FOUND"
_NO_ROUTE_BODY = b"404 page not found"
_HIDDEN = "***"


def error_of_answer(
    *,
    status: int,
    body: bytes,
    method: str,
    route: str,
    request_id: str,
    location: str = "",
    retry_after_s: float | None = None,
    secret: str = "",
) -> PlatformError:
    """Read the error that an answer other than 2xx means; the only place that does.

    `location` is the target of a redirect; redirects are never followed, they mean a wrong base URL. `secret` is what
    was sent and must not come back in a text: debugging pages of proxies show the request's headers.
    """
    envelope = _decode_error(body)
    error = envelope.error if envelope is not None else None
    meta = envelope.meta if envelope is not None else None
    reader = _Texts(secret)
    return _class_of(status, error, body)(
        reader.message(status, error, body, location),
        request_id=(meta.request_id if meta is not None else "") or request_id,
        status=status,
        method=method,
        route=route,
        details=reader.details(error),
        error_type=error.type or error.code if isinstance(error, _ErrorBody) else "",
        retry_after_s=retry_after_s,
    )


def _class_of(status: int, error: _ErrorBody | str | None, body: bytes) -> type[PlatformError]:
    if status in _SERVER_ERRORS:
        return UnknownOutcome
    if isinstance(error, _ErrorBody):
        # A 404 of another type is no statement of the platform about an object (platform contract 1.1, 1.12).
        if status == _NOT_FOUND and not error.type.endswith(_NOT_FOUND_SUFFIX):
            return Misrouted
        return OF_STATUS_WITH_OBJECT.get(status, Refused if status in _CLIENT_ERRORS else Misrouted)
    if isinstance(error, str):
        return OF_STATUS_WITH_TEXT.get(status, Refused if status in _CLIENT_ERRORS else Misrouted)
    if status == _NOT_FOUND and body.strip() == _NO_ROUTE_BODY:
        return NoRoute
    return OF_STATUS_FOREIGN.get(status, Misrouted)


def _decode_error(body: bytes) -> _ErrorEnvelope | None:
    try:
        return _ENVELOPE.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class _Texts:
    """Takes texts for people out of an answer, short and without the secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def details(self, error: _ErrorBody | str | None) -> Mapping[str, str]:
        """Give those details that are texts."""
        if not isinstance(error, _ErrorBody) or not error.details:
            return _NO_DETAILS
        return {key: hide(value, self._secret) for key, value in error.details.items() if isinstance(value, str)}

    def message(self, status: int, error: _ErrorBody | str | None, body: bytes, location: str) -> str:
        """Say what came."""
        if isinstance(error, _ErrorBody):
            return f"HTTP {status} {self._short(error.type)}: {self._short(error.message)}"
        if isinstance(error, str):
            return f"HTTP {status}: {self._short(error)}"
        if location:
            target = self._short(location.partition("?")[0])
            return f"HTTP {status}: redirected to {target}; set the base URL to that address"
        if not body:
            return f"HTTP {status} with an empty body"
        start = body.replace(self._secret.encode(), _HIDDEN.encode()) if self._secret else body
        text = start[:_MAX_TEXT].decode("utf-8", "replace")
        return f"HTTP {status} with a body that is not the platform's: {self._short(text)}"

    def _short(self, text: str) -> str:
        # The secret goes first: cutting could leave a part of it.
        line = " ".join(hide(text, self._secret).split())
        return line if len(line) <= _MAX_TEXT else line[: _MAX_TEXT - 1] + "…"


def hide(text: str, secret: str) -> str:
    """Give the text without the secret, which may be empty."""
    return text.replace(secret, _HIDDEN) if secret else text
