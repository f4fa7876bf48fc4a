"""Named points at which a test may end the process, so that every boundary is crashed at on purpose."""

from enum import StrEnum
from typing import Protocol


class Point(StrEnum):
    """Boundaries of a step; the name that `Faults.at` is given is `<key of the step>:<point>`."""

    BEFORE_BEGIN = "before-begin"
    AFTER_BEGIN = "after-begin"
    AFTER_CHECK = "after-check"
    AFTER_APPLY = "after-apply"
    AFTER_VERIFY = "after-verify"
    AFTER_END = "after-end"


AFTER_CLAIM = "lease:after-claim"
BEFORE_RELEASE = "lease:before-release"
AFTER_START = "operation:after-start"
BEFORE_OUTCOME = "operation:before-outcome"
AFTER_OPERATION = "operation:after-end"
OPERATION_POINTS = (AFTER_CLAIM, AFTER_START, BEFORE_OUTCOME, AFTER_OPERATION, BEFORE_RELEASE)
"""Boundaries around the steps, in their order."""


class Faults(Protocol):
    """What a test puts in to crash at a point."""

    async def at(self, point: str) -> None:
        """Be told that a boundary is reached."""
        ...


class NoFaults:
    """Goes on at every point."""

    async def at(self, point: str) -> None:
        """Go on."""
