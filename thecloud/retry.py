"""Which failures are tried again, how often, and after which pause.

Belongs here: the one table of that. Does not belong here: what a failure is (`thecloud.errors`), and repetitions that
need a decision of the caller, such as looking for an object by name before creating it again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from thecloud.call import Answer, Call, Exchange, Repeat
from thecloud.errors import (
    DeadlineExceeded,
    Misrouted,
    NotSent,
    PlatformError,
    RateLimited,
    Unauthorized,
    UnknownOutcome,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """How one kind of failure is tried again: pauses are `floor_s` plus full jitter below a doubling bound."""

    attempts: int
    """All attempts, the first one included."""
    floor_s: float = 0.0
    first_bound_s: float = 0.2
    last_bound_s: float = 2.0

    def pause_s(self, failures: int, *, jitter: float, retry_after_s: float | None) -> float:
        """Give the pause after so many failures; never shorter than what the platform asked for."""
        bound_s = min(self.last_bound_s, self.first_bound_s * 2.0 ** (failures - 1))
        return max(self.floor_s, retry_after_s or 0.0) + jitter * bound_s


NEVER = Rule(attempts=1)

RULES: tuple[tuple[type[PlatformError], Rule], ...] = (
    (DeadlineExceeded, NEVER),
    (Misrouted, NEVER),
    (NotSent, Rule(attempts=6, first_bound_s=0.05)),
    (RateLimited, Rule(attempts=8, floor_s=0.1, last_bound_s=5.0)),
    # A database fault of the platform looks like a bad key for a moment (platform contract 2.1).
    (Unauthorized, Rule(attempts=3, floor_s=0.1)),
    # The floor keeps a repeated listing within one listing per window.
    (UnknownOutcome, Rule(attempts=4, floor_s=0.1)),
    (PlatformError, NEVER),
)
"""The first row whose class fits counts."""


def rule_for(call: Call, error: PlatformError) -> Rule:
    """Give the rule for a failed call; a call of unknown outcome is repeated only if twice is as good as once."""
    if isinstance(error, UnknownOutcome) and call.repeat is not Repeat.SAFE:
        return NEVER
    return next(rule for kind, rule in RULES if isinstance(error, kind))


class RetryingExchange:
    """Makes a call again where that is safe and the deadline leaves time for it."""

    def __init__(self, inner: Exchange, *, jitter: Callable[[], float]) -> None:
        self._inner = inner
        self._jitter = jitter

    async def send(self, call: Call) -> Answer:
        """Make the call; raises the last failure.

        A failure that proves nothing for an earlier attempt is raised as UnknownOutcome: "not sent" after a lost answer
        does not mean that nothing happened.
        """
        failures = 0
        lost: UnknownOutcome | None = None
        while True:
            try:
                return await self._inner.send(call)
            except PlatformError as error:
                failures += 1
                rule = rule_for(call, error)
                pause_s = rule.pause_s(failures, jitter=self._jitter(), retry_after_s=error.retry_after_s)
                ends = asyncio.get_running_loop().time() + pause_s >= call.deadline
                if failures >= rule.attempts or ends:
                    if lost is not None and isinstance(error, NotSent | RateLimited | Unauthorized):
                        raise _still_unknown(lost, error) from error
                    raise
                if isinstance(error, UnknownOutcome):
                    lost = error
            await asyncio.sleep(pause_s)


def _still_unknown(lost: UnknownOutcome, last: PlatformError) -> UnknownOutcome:
    return UnknownOutcome(
        f"{lost.message}; then {last.message}",
        request_id=lost.request_id,
        status=lost.status,
        method=lost.method,
        route=lost.route,
        details=lost.details,
        error_type=lost.error_type,
        retry_after_s=last.retry_after_s,
    )
