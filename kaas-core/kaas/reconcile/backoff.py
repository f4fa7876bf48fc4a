"""How long to wait before a step is tried again."""

import random

FIRST_S = 1.0
LONGEST_S = 60.0
_DOUBLINGS = 16
"""Beyond which the longest pause is reached for sure, and the power only grows."""


class Backoff:
    """Pauses by chance, between nothing and a bound that doubles with each try.

    Clusters that failed together do not come back together.
    """

    def __init__(
        self, *, first_s: float = FIRST_S, longest_s: float = LONGEST_S, chance: random.Random | None = None
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._chance = chance or random.Random()  # noqa: S311 - to spread load, not to keep a secret

    def bound_s(self, attempt: int) -> float:
        """Give the longest pause after the try of this number, counted from 1."""
        return min(self._longest_s, self._first_s * 2.0 ** min(max(attempt, 1) - 1, _DOUBLINGS))

    def pause_s(self, attempt: int) -> float:
        """Give the pause after the try of this number."""
        return self._chance.uniform(0.0, self.bound_s(attempt))
