import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from csi.errors import CsiError, ErrorKind
from csi.readiness import BAD_FOR_S, GOOD_FOR_S, Readiness, always_ready


class Platform:
    """A check that is answered by the test."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def __call__(self, *, deadline: float) -> None:
        self.asked += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def readiness(platform: Platform, clock: Clock) -> AsyncIterator[Readiness]:
    made = Readiness(platform, limit_s=30.0, now=clock)
    yield made
    await made.aclose()


def soon() -> float:
    return asyncio.get_running_loop().time() + 10.0


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_good_answer_is_remembered_for_its_time(platform: Platform, clock: Clock, readiness: Readiness) -> None:
    assert await readiness.problem(deadline=soon()) == ""
    clock.now_s = GOOD_FOR_S - 0.1
    assert await readiness.problem(deadline=soon()) == ""
    assert platform.asked == 1
    clock.now_s = GOOD_FOR_S
    assert await readiness.problem(deadline=soon()) == ""
    assert platform.asked == 2


async def test_a_bad_answer_is_asked_again_sooner(platform: Platform, clock: Clock, readiness: Readiness) -> None:
    platform.error = CsiError(ErrorKind.UNKNOWN_OUTCOME, "the key is refused")
    assert await readiness.problem(deadline=soon()) == "the key is refused"
    platform.error = None
    assert await readiness.problem(deadline=soon()) == "the key is refused"
    clock.now_s = BAD_FOR_S
    assert await readiness.problem(deadline=soon()) == ""


async def test_many_callers_share_one_check(platform: Platform, readiness: Readiness) -> None:
    platform.answers.clear()
    callers = [asyncio.create_task(readiness.problem(deadline=soon())) for _ in range(20)]
    await asyncio.sleep(0)
    platform.answers.set()
    assert await asyncio.gather(*callers) == [""] * 20
    assert platform.asked == 1


async def test_a_caller_whose_deadline_passes_does_not_end_the_check(platform: Platform, readiness: Readiness) -> None:
    platform.answers.clear()
    assert await readiness.problem(deadline=now()) == "the check has not answered yet"
    platform.answers.set()
    assert await readiness.problem(deadline=soon()) == ""
    assert platform.asked == 1


async def test_a_cancelled_caller_does_not_end_the_check(platform: Platform, readiness: Readiness) -> None:
    platform.answers.clear()
    caller = asyncio.create_task(readiness.problem(deadline=soon()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    platform.answers.set()
    assert await readiness.problem(deadline=soon()) == ""
    assert platform.asked == 1


async def test_a_check_that_never_answers_is_a_problem(platform: Platform) -> None:
    platform.answers.clear()
    readiness = Readiness(platform, limit_s=0.02)
    assert await readiness.problem(deadline=soon()) == "no answer within 0.02 s"
    await readiness.aclose()


async def test_a_defect_in_the_check_reads_as_not_ready(
    platform: Platform, readiness: Readiness, caplog: pytest.LogCaptureFixture
) -> None:
    platform.error = ZeroDivisionError("defect")
    assert "unexpectedly" in await readiness.problem(deadline=soon())
    assert "ZeroDivisionError" in caplog.text


async def test_closing_ends_a_running_check(platform: Platform) -> None:
    platform.answers.clear()
    readiness = Readiness(platform)
    await readiness.problem(deadline=now())
    await readiness.aclose()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "readiness check"] == []
    await readiness.aclose()


async def test_only_changes_are_logged(
    platform: Platform, clock: Clock, readiness: Readiness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    platform.error = CsiError(ErrorKind.UNKNOWN_OUTCOME, "away")
    for _ in range(3):
        await readiness.problem(deadline=soon())
        clock.now_s += BAD_FOR_S
    platform.error = None
    await readiness.problem(deadline=soon())
    assert [record.getMessage() for record in caplog.records] == ["not ready", "ready again"]


async def test_a_program_without_dependencies_is_ready() -> None:
    readiness = Readiness(always_ready)
    assert await readiness.problem(deadline=soon()) == ""
