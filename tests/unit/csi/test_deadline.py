import asyncio
from dataclasses import dataclass

import pytest

from csi.deadline import MAX_ANSWER_S, cutoff_of, deadline_of


@dataclass
class Caller:
    remaining_s: float | None

    def time_remaining(self) -> float | None:
        return self.remaining_s


@pytest.mark.parametrize("remaining_s", [0.0, 0.1, 1.0, 60.0])
async def test_work_ends_before_the_cutoff_and_the_cutoff_before_the_caller_leaves(remaining_s: float) -> None:
    now = asyncio.get_running_loop().time()
    deadline = deadline_of(Caller(remaining_s), default_s=7.0)
    cutoff = cutoff_of(Caller(remaining_s), default_s=7.0)
    later = asyncio.get_running_loop().time()
    assert now <= deadline <= cutoff <= later + remaining_s
    assert deadline >= now + remaining_s - MAX_ANSWER_S


async def test_a_caller_without_a_limit_gets_the_default() -> None:
    now = asyncio.get_running_loop().time()
    assert now < deadline_of(Caller(None), default_s=100.0) <= asyncio.get_running_loop().time() + 100.0
    assert deadline_of(Caller(None), default_s=100.0) >= now + 99.5
