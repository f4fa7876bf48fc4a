"""How long to wait after something went wrong again."""

import random
from collections.abc import Callable


class Backoff:
    """Pauses that double from `first_s` to `longest_s`, each longer by up to `jitter` times itself.

    They begin anew when nothing has gone wrong for `reset_s`. `clock` gives seconds, `chance` numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        first_s: float = 0.8,
        longest_s: float = 30.0,
        reset_s: float = 120.0,
        jitter: float = 1.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._first_s = first_s
        self._longest_s = longest_s
        self._reset_s = reset_s
        self._jitter = jitter
        self._chance = chance
        self._next_s = first_s
        self._quiet_from = 0.0

    def next_s(self) -> float:
        """Note that it went wrong, and say how long to wait."""
        now = self._clock()
        if now - self._quiet_from > self._reset_s:
            self._next_s = self._first_s
        pause_s = min(self._longest_s, self._next_s * (1 + self._jitter * self._chance()))
        self._next_s = min(self._longest_s, self._next_s * 2)
        # The pause itself is not a time in which it went well.
        self._quiet_from = now + pause_s
        return pause_s
