"""What a failed call to the platform means to a step: one table."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from kaas.domain.errors import Code, StepError
from thecloud.errors import (
    Conflict,
    GuardMismatch,
    KeyUnusable,
    Missing,
    NotSent,
    PlatformError,
    QuotaExceeded,
    RateLimited,
    Refused,
    Unauthorized,
    UnknownOutcome,
    Unsupported,
)

CODES: tuple[tuple[type[PlatformError], Code], ...] = (
    (KeyUnusable, Code.PLATFORM_AUTH),
    (Unauthorized, Code.PLATFORM_AUTH),
    (RateLimited, Code.PLATFORM_THROTTLED),
    (QuotaExceeded, Code.PLATFORM_QUOTA),
    (Unsupported, Code.NOT_OFFERED),
    (Missing, Code.PLATFORM_REFUSED),
    (Conflict, Code.PLATFORM_REFUSED),
    (GuardMismatch, Code.PLATFORM_REFUSED),
    (Refused, Code.PLATFORM_REFUSED),
    (NotSent, Code.PLATFORM_UNAVAILABLE),
    (UnknownOutcome, Code.PLATFORM_UNAVAILABLE),
    (PlatformError, Code.PLATFORM_UNAVAILABLE),
)
"""The first row whose class fits counts. 5xx, time-outs and plain-text 404 say nothing, so they are never "gone"."""

_ADVICE: Mapping[Code, str] = MappingProxyType(
    {
        Code.PLATFORM_AUTH: "check the API key of this service, and what its user may do in the tenant",
        Code.PLATFORM_QUOTA: "delete what is not needed, or have the tenant's quota raised",
    }
)


def code_of(error: PlatformError) -> Code:
    """Give the code of a failure of the platform."""
    return next(code for kind, code in CODES if isinstance(error, kind))


@contextmanager
def translated(doing: str, *, read: Callable[[PlatformError], Code] = code_of) -> Iterator[None]:
    """Raise StepError for every PlatformError of the block: what was being done, what was seen, what to do.

    `doing` says what the block does, on which object; `read` gives the code where a call's errors mean something else.
    """
    try:
        yield
    except PlatformError as error:
        code = read(error)
        advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
        raise StepError(code, f"{doing}: {error}{advice}", retry_after_s=error.retry_after_s) from error
