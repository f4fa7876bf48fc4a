"""What failures of the platform's client mean to the rules, and what a person can do about them.

One table gives each error its cause; a test walks all of them. Not here: what a cause means to Kubernetes (`ports`).
"""

from controller.ports import Cause, CloudError
from thecloud import errors

CAUSE_OF_ERROR: dict[type[errors.PlatformError], Cause] = {
    errors.NotSent: Cause.NOT_SENT,
    errors.DeadlineExceeded: Cause.TIMEOUT,
    errors.KeyUnusable: Cause.NOT_SENT,
    errors.Untrusted: Cause.NOT_SENT,
    errors.Unsupported: Cause.UNSUPPORTED,
    errors.Unauthorized: Cause.UNAUTHORIZED,
    errors.RateLimited: Cause.RATE_LIMITED,
    errors.QuotaExceeded: Cause.QUOTA,
    errors.Missing: Cause.MISSING,
    errors.Conflict: Cause.CONFLICT,
    errors.GuardMismatch: Cause.GUARD,
    errors.Refused: Cause.REFUSED,
    errors.UnknownOutcome: Cause.UNKNOWN,
    errors.Misrouted: Cause.UNKNOWN,
    errors.NoRoute: Cause.UNKNOWN,
}
CAUSE_OF_CONFLICT: dict[str, Cause] = {
    "name_taken": Cause.NAME_TAKEN,
    "key_reused": Cause.KEY_REUSED,
    "attached": Cause.ATTACHED,
    "not_holder": Cause.NOT_HOLDER,
    "busy": Cause.BUSY,
    "in_group": Cause.IN_GROUP,
}
"""Conflicts that the platform names; any other one stays a CONFLICT."""

HINT_OF_ERROR: dict[type[errors.PlatformError], str] = {
    errors.NotSent: (
        "the platform cannot be reached; if that stays, check --platform-url, its name in the DNS, and what lies "
        "between this cluster and it"
    ),
    errors.Untrusted: (
        "the platform's certificate is not trusted; give --ca-file the authority that signed it (in the shipped "
        "manifests `ca.crt` in the Secret thecloud-api-credentials), or correct --platform-url"
    ),
    errors.QuotaExceeded: (
        "a quota or a limit of the platform is reached; ask for less, delete what is not needed any more, or have it "
        "raised"
    ),
    errors.Unauthorized: (
        "the platform refuses the API key or what it may do; if that stays, give this controller a valid key (in the "
        "shipped manifests `api-key` in the Secret thecloud-api-credentials)"
    ),
}
"""What a person can do about failures that no call is to blame for."""

NOT_THE_END = frozenset({None, 408, 502, 503, 504})
"""What is no end of the call at the platform: no answer, a time-out, or a proxy's word that it did not wait for one."""


def cloud_error(error: errors.PlatformError, doing: str) -> CloudError:
    """Translate an error of the client; `doing` names the work and the object for the reader."""
    cause = CAUSE_OF_ERROR[type(error)]
    if hint := HINT_OF_ERROR.get(type(error)):
        doing += f": {hint}"
    resource = instance_id = ""
    if isinstance(error, errors.Conflict):
        cause = CAUSE_OF_CONFLICT.get(error.reason, cause)
        instance_id = error.instance_id
    elif isinstance(error, errors.Missing):
        resource = error.resource
    return CloudError(
        cause,
        f"{doing}: {error}",
        resource=resource,
        instance_id=instance_id,
        is_answered=error.status not in NOT_THE_END,
    )
