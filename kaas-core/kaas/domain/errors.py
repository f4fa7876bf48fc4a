"""What can go wrong, in one table of codes: what a person reads, and whether trying again may help.

KaasError
├── RequestError        the caller is wrong or asks at a wrong moment; nothing was changed
└── StepError           a step of an operation did not do its work
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Reason in a word; the same in API answers, operations, events and metrics."""

    # Requests
    INVALID = "INVALID"
    """What is asked for is wrong and stays wrong; every problem is named, by field."""
    NOT_FOUND = "NOT_FOUND"
    """There is no such object in the caller's tenant."""
    NAME_TAKEN = "NAME_TAKEN"
    """The tenant has an object of that name."""
    WRONG_STATE = "WRONG_STATE"
    """The object is in a state that forbids this now; the text says in which."""
    STALE = "STALE"
    """The cluster has changed since the caller saw it (`If-Match`); look at it again."""
    KEY_REUSED = "KEY_REUSED"
    """The `Idempotency-Key` belongs to another request."""
    UNAUTHENTICATED = "UNAUTHENTICATED"
    """The API key is missing, unknown or revoked."""
    FORBIDDEN = "FORBIDDEN"
    """The caller's role in the tenant does not allow it, or they are no member."""
    QUOTA = "QUOTA"
    """The tenant's quota of this service does not allow it."""
    NOT_OFFERED = "NOT_OFFERED"
    """This service, or the platform below it, cannot do it."""
    KEY_MISSING = "KEY_MISSING"
    """A stored secret is sealed with a key that this service does not have: whoever runs it puts the key back."""
    # Steps
    PLATFORM_UNAVAILABLE = "PLATFORM_UNAVAILABLE"
    """The platform, or this service's database, did not answer, or did not say whether it happened."""
    PLATFORM_THROTTLED = "PLATFORM_THROTTLED"
    """The platform wants fewer requests; the pause that it asks for is kept."""
    PLATFORM_QUOTA = "PLATFORM_QUOTA"
    """A quota of the platform is used up: delete what is not needed, or have it raised, then repair."""
    PLATFORM_AUTH = "PLATFORM_AUTH"
    """The platform refuses this service's API key, or what its user may do; a key that is put right counts at once."""
    PLATFORM_REFUSED = "PLATFORM_REFUSED"
    """The platform refused a call for good; the text has its words."""
    MACHINE_FAILED = "MACHINE_FAILED"
    """Machines failed one after the other, or one died that has to be replaced with care."""
    NODE_SILENT = "NODE_SILENT"
    """Machines start, but none has reported: see their image, and whether they reach `--phone-home-url`."""
    NODE_UNREACHABLE = "NODE_UNREACHABLE"
    """A machine does not answer over SSH."""
    BOOTSTRAP_FAILED = "BOOTSTRAP_FAILED"
    """kubeadm failed on a machine; the end of its log is with the step."""
    API_SERVER_DOWN = "API_SERVER_DOWN"
    """The cluster's API server does not answer."""
    ADDON_FAILED = "ADDON_FAILED"
    """The cluster's API refused a manifest, or has no such kind."""
    NOT_READY = "NOT_READY"
    """What is waited for is not there yet."""
    DEADLINE = "DEADLINE"
    """The time of a step or of the operation is over; the text has what the last try saw."""
    SURVIVORS = "SURVIVORS"
    """Something outside is still there after a deletion, so that the cluster is kept; the text names it."""
    BUG = "BUG"
    """A fault of this service: report it with the text."""


@dataclass(frozen=True, slots=True)
class Nature:
    """What a code of a step means for the operation: tried again until a deadline, and whose matter it is."""

    retryable: bool
    user_can_act: bool


STEP_CODES: Mapping[Code, Nature] = {
    Code.PLATFORM_UNAVAILABLE: Nature(retryable=True, user_can_act=False),
    Code.KEY_MISSING: Nature(retryable=True, user_can_act=False),
    Code.PLATFORM_THROTTLED: Nature(retryable=True, user_can_act=False),
    Code.PLATFORM_QUOTA: Nature(retryable=False, user_can_act=True),
    Code.PLATFORM_AUTH: Nature(retryable=True, user_can_act=True),
    Code.PLATFORM_REFUSED: Nature(retryable=False, user_can_act=True),
    Code.MACHINE_FAILED: Nature(retryable=False, user_can_act=False),
    Code.NODE_SILENT: Nature(retryable=False, user_can_act=False),
    Code.NODE_UNREACHABLE: Nature(retryable=True, user_can_act=False),
    Code.BOOTSTRAP_FAILED: Nature(retryable=True, user_can_act=False),
    Code.API_SERVER_DOWN: Nature(retryable=True, user_can_act=False),
    Code.ADDON_FAILED: Nature(retryable=True, user_can_act=False),
    Code.NOT_READY: Nature(retryable=True, user_can_act=False),
    Code.INVALID: Nature(retryable=False, user_can_act=True),
    Code.NOT_OFFERED: Nature(retryable=False, user_can_act=True),
    Code.DEADLINE: Nature(retryable=False, user_can_act=False),
    Code.SURVIVORS: Nature(retryable=True, user_can_act=False),
    Code.BUG: Nature(retryable=False, user_can_act=False),
}


class KaasError(Exception):
    """Something that a person reads: `message` says what failed, on which object, what was seen and what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request; `field` is its path there, such as `node_groups[0].size`."""

    field: str
    message: str


class RequestError(KaasError):
    """A request that is refused; nothing was changed. `problems` has all of them, not only the first."""

    def __init__(self, code: Code, message: str, *, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(code, message)
        self.problems = problems


class StepError(KaasError):
    """A step that did not do its work; `STEP_CODES` says whether it is tried again.

    `retry_after_s`: the other side asked for so long a pause. `log_tail`: the end of the node's own log.
    """

    def __init__(self, code: Code, message: str, *, retry_after_s: float | None = None, log_tail: str = "") -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s
        self.log_tail = log_tail

    @property
    def retryable(self) -> bool:
        """Whether the same step may succeed later."""
        return STEP_CODES[self.code].retryable


class LeaseLostError(Exception):
    """Another conductor has the cluster; whoever sees this stops at once and writes nothing more."""


class StoreUnavailableError(Exception):
    """The tables do not answer, which says nothing of a cluster: the work on it ends here and is taken up later."""


class OtherHostError(StepError):
    """Something else answers at a machine's address than what the host key belongs to; nothing was sent to it."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.NODE_UNREACHABLE, message)
