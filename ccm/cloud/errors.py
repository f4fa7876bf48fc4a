"""What a failed call to the platform means to a controller: one table."""

from collections.abc import Iterator
from contextlib import contextmanager

from ccm.ports import Cause, CloudError
from thecloud.errors import (
    Conflict,
    GuardMismatch,
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

CAUSES: tuple[tuple[type[PlatformError], Cause], ...] = (
    (Missing, Cause.MISSING),
    (Refused, Cause.REFUSED),
    (Conflict, Cause.CONFLICT),
    (GuardMismatch, Cause.GUARD),
    (QuotaExceeded, Cause.QUOTA),
    (RateLimited, Cause.RATE_LIMITED),
    (Unauthorized, Cause.UNAUTHORIZED),
    (Unsupported, Cause.UNSUPPORTED),
    (NotSent, Cause.NOT_SENT),
    (UnknownOutcome, Cause.UNKNOWN),
    (PlatformError, Cause.UNKNOWN),
)
"""The first row whose class fits counts."""

_RESOURCE_OF_TYPE = {"LB_NOT_FOUND": "load_balancer"}
"""The strict tier says which kind of object is missing in its error type, where it says it at all."""


def cloud_error(error: PlatformError) -> CloudError:
    """Give the same failure in the words of the ports."""
    reason = error.reason if isinstance(error, Conflict) else error.error_type
    return CloudError(
        next(cause for kind, cause in CAUSES if isinstance(error, kind)),
        str(error),
        reason=reason,
        resource=error.details.get("resource", "") or _RESOURCE_OF_TYPE.get(error.error_type, ""),
        details=error.details,
        retry_after_s=error.retry_after_s or 0.0,
    )


@contextmanager
def translated() -> Iterator[None]:
    """Raise CloudError for every PlatformError of the block."""
    try:
        yield
    except PlatformError as error:
        raise cloud_error(error) from error
