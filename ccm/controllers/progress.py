"""How long services have been waiting for the platform, and how long to leave it alone until the next look."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Times in seconds."""

    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    slow_after_s: float = 120.0
    """From then on people are told."""
    hopeless_after_s: float = 900.0
    """From then on a load balancer in ERROR that never had an address is made anew."""


@dataclass(slots=True)
class _Wait:
    since: float
    pauses: int = 0


class Progress:
    """Remembers by service since when it waits."""

    def __init__(self, patience: Patience, *, clock: Callable[[], float]) -> None:
        self._patience = patience
        self._clock = clock
        self._waits: dict[str, _Wait] = {}

    def pause(self, uid: str) -> float:
        """Give the seconds until the next look: more each time."""
        wait = self._waits.setdefault(uid, _Wait(self._clock()))
        pause_s = self._patience.first_pause_s * 2.0 ** min(wait.pauses, 16)
        wait.pauses += 1
        return min(pause_s, self._patience.longest_pause_s)

    @property
    def longest_pause_s(self) -> float:
        """Give the seconds until a look at what does not change by itself."""
        return self._patience.longest_pause_s

    def is_waiting(self, uid: str) -> bool:
        """Say whether a service waits."""
        return uid in self._waits

    def is_slow(self, uid: str) -> bool:
        """Say whether it has waited so long that people should know."""
        return self._has_waited(uid, self._patience.slow_after_s)

    def is_hopeless(self, uid: str) -> bool:
        """Say whether it has waited so long that waiting on makes no sense."""
        return self._has_waited(uid, self._patience.hopeless_after_s)

    def forget(self, uid: str) -> None:
        """Note that a service does not wait any more."""
        self._waits.pop(uid, None)

    def _has_waited(self, uid: str, time_s: float) -> bool:
        wait = self._waits.get(uid)
        return wait is not None and self._clock() >= wait.since + time_s
