"""From a caller's time limit to the absolute moments that a call works towards.

A deadline is a value of the running loop's clock. The caller's own limit is not used up to its end: an answer that
leaves at the last moment arrives too late, and the caller then reads "deadline exceeded" in place of the precise text.
"""

import asyncio
from typing import Any, Protocol

ANSWER_SHARE = 0.05
MAX_ANSWER_S = 0.5


class TimeLimited(Protocol):
    """The part of grpc.aio's ServicerContext that knows the caller's limit."""

    def time_remaining(self) -> Any:
        """Give the seconds until the caller stops waiting, or None when it waits for ever."""
        ...


def deadline_of(context: TimeLimited, *, default_s: float) -> float:
    """Give the loop time by which the work of this call has to end.

    It lies a little before the caller's own limit, so that the answer arrives. `default_s` counts for a caller without
    a limit.
    """
    remaining_s = _remaining_s(context, default_s)
    return asyncio.get_running_loop().time() + remaining_s - _answer_s(remaining_s)


def cutoff_of(context: TimeLimited, *, default_s: float) -> float:
    """Give the loop time at which work that missed its deadline is cancelled; half of the answer time is left."""
    remaining_s = _remaining_s(context, default_s)
    return asyncio.get_running_loop().time() + remaining_s - _answer_s(remaining_s) / 2


def _remaining_s(context: TimeLimited, default_s: float) -> float:
    remaining = context.time_remaining()
    return default_s if remaining is None else float(remaining)


def _answer_s(remaining_s: float) -> float:
    return min(MAX_ANSWER_S, remaining_s * ANSWER_SHARE)
