"""Faults on demand: which calls go wrong, and how.

Belongs here: the list of faults and the choice which of them a call gets. Does not: how a fault looks on the wire
(`api/gateway.py`) and inside an operation (the domain modules).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from devcloud.state import FrozenCopy


class Kind(StrEnum):
    """What goes wrong."""

    LOST_ANSWER = "lost_answer"
    """The call has its effect; the connection is closed without an answer."""
    ERROR_BEFORE = "error_before"
    """500 with the generic body; no effect."""
    ERROR_AFTER = "error_after"
    """The call has its effect; 500 with the generic body."""
    EMPTY_500 = "empty_500"
    """500 without a body; no effect."""
    EMPTY_500_AFTER = "empty_500_after"
    """The call has its effect; 500 without a body."""
    RATE_LIMITED = "rate_limited"
    """429 with the string error of the rate limit; no effect."""
    RATE_LIMITED_RETRY_AFTER = "rate_limited_retry_after"
    """The same with a Retry-After header (`seconds`, rounded up)."""
    QUOTA_EXCEEDED = "quota_exceeded"
    """429 with the error object of a quota; no effect."""
    SLOW = "slow"
    """`seconds` of waiting before the work."""
    SLOW_AFTER = "slow_after"
    """`seconds` of waiting between the work and the answer."""
    STALE_READ = "stale_read"
    """For `seconds`, reads answer from the state of the moment when the fault was added; has no count or match."""
    WEDGED_VOLUME = "wedged_volume"
    """The volume of the call, or every volume of a terminated instance, stays IN-USE without an instance."""
    ATTACH_RACE = "attach_race"
    """Another instance (`instance_id`) attaches the volume between check and write."""
    UNAUTHORIZED = "unauthorized"
    """401 `invalid API key`, as a database fault of the platform shows; no effect."""
    NOT_FOUND_PLAIN = "not_found_plain"
    """404 in plain text; no effect."""
    TRUNCATED_BODY = "truncated_body"
    """The call has its effect; the answer ends in the middle of its body."""


DELAYS = frozenset({Kind.SLOW, Kind.SLOW_AFTER})
INNER = frozenset({Kind.WEDGED_VOLUME, Kind.ATTACH_RACE})
"""Faults that operations carry out themselves."""

ANY = "*"


@dataclass(frozen=True, slots=True)
class Fault:
    """One order for trouble: the calls that it is for, and how many of them."""

    kind: Kind
    method: str = ANY
    route: str = ANY
    """A route template such as `/volumes/{ref}/attach`, or `*`."""
    count: int | None = 1
    """How many calls it hits; None: all."""
    after: int = 0
    """How many fitting calls it lets pass first."""
    seconds: float = 0.0
    match: Mapping[str, str] = field(default_factory=dict)
    """Values of path, query or body that a call must have."""
    instance_id: str | None = None
    """The other instance of an attach race; None: any that exists."""


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault with its number and how far it is."""

    number: int
    fault: Fault
    seen: int
    fired: int

    @property
    def is_spent(self) -> bool:
        """Whether it has hit all calls that it was for."""
        return self.fault.count is not None and self.fired >= self.fault.count


class Faults:
    """The faults of one devcloud; the admin routes and tests use the same object."""

    def __init__(self, freeze: Callable[[], FrozenCopy], clock: Callable[[], float] = time.monotonic) -> None:
        self._freeze = freeze
        self._clock = clock
        self._active: dict[int, ActiveFault] = {}
        self._stale: dict[int, tuple[FrozenCopy, float]] = {}
        self._next_number = 1

    def add(self, fault: Fault) -> int:
        """Take a fault into effect and return its number."""
        number = self._next_number
        self._next_number += 1
        self._active[number] = ActiveFault(number, fault, seen=0, fired=0)
        if fault.kind is Kind.STALE_READ:
            self._stale[number] = (self._freeze(), self._clock() + fault.seconds)
        return number

    def clear(self) -> None:
        """Forget all faults."""
        self._active.clear()
        self._stale.clear()

    @property
    def active(self) -> list[ActiveFault]:
        """All faults, spent ones included, oldest first."""
        return list(self._active.values())

    def fire(self, method: str, route: str, values: Mapping[str, str]) -> list[Fault]:
        """Give the faults that this call gets, and count them.

        All fitting waits and inner faults fire; of those that decide the answer only the oldest does.
        """
        fired: list[Fault] = []
        decided = False
        for active in self._fitting(method, route, values):
            decides = active.fault.kind not in DELAYS | INNER
            if decides and decided:
                continue
            hits = active.seen >= active.fault.after and not active.is_spent
            self._active[active.number] = ActiveFault(
                active.number, active.fault, active.seen + 1, active.fired + int(hits)
            )
            if hits:
                fired.append(active.fault)
                decided = decided or decides
        return fired

    def stale_copy(self, method: str, route: str) -> FrozenCopy | None:
        """Give the old state that this read has to answer from, or None."""
        for number, (copy, until) in list(self._stale.items()):
            if self._clock() >= until:
                del self._stale[number]
                continue
            fault = self._active[number].fault
            if fault.method in {ANY, method} and fault.route in {ANY, route}:
                return copy
        return None

    def _fitting(self, method: str, route: str, values: Mapping[str, str]) -> Iterator[ActiveFault]:
        for active in list(self._active.values()):
            if active.fault.kind is not Kind.STALE_READ and _fits(active.fault, method, route, values):
                yield active


def _fits(fault: Fault, method: str, route: str, values: Mapping[str, str]) -> bool:
    return (
        fault.method in {ANY, method}
        and fault.route in {ANY, route}
        and all(values.get(name) == wanted for name, wanted in fault.match.items())
    )
