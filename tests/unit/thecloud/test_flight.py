"""Work that several wait for: nobody ends it for the others, the last one ends it."""

import asyncio

import pytest

from tests.unit.thecloud.virtual_time import now, virtual
from thecloud.errors import DeadlineExceeded, NotSent, RateLimited
from thecloud.flight import Flight


async def work(seconds=5.0, result="done"):
    await asyncio.sleep(seconds)
    return result


@virtual
async def test_all_get_the_one_result():
    flight = Flight(work(), name="listing")
    assert await asyncio.gather(flight.join(deadline=10), flight.join(deadline=20)) == ["done", "done"]
    assert flight.is_over


@virtual
async def test_a_short_deadline_ends_only_its_own_wait():
    flight = Flight(work(), name="listing")
    patient = asyncio.create_task(flight.join(deadline=10))
    with pytest.raises(DeadlineExceeded, match="listing"):
        await flight.join(deadline=1)
    assert now() == 1
    assert await patient == "done"


@virtual
async def test_a_cancelled_waiter_leaves_the_others_alone():
    flight = Flight(work(), name="listing")
    leaver = asyncio.create_task(flight.join(deadline=10))
    stayer = asyncio.create_task(flight.join(deadline=10))
    await asyncio.sleep(1)
    leaver.cancel()
    assert await stayer == "done"
    assert leaver.cancelled()


@virtual
async def test_the_last_to_leave_ends_the_work():
    flight = Flight(work(), name="listing")
    over = []
    flight.when_over(over.append)
    with pytest.raises(DeadlineExceeded):
        await flight.join(deadline=1)
    assert flight.is_over
    await asyncio.sleep(0.1)
    assert over == [flight]
    assert now() < 5


@virtual
async def test_a_failure_reaches_everybody():
    async def fail():
        await asyncio.sleep(1)
        raise RateLimited("slow")

    flight = Flight(fail(), name="listing")
    results = await asyncio.gather(flight.join(deadline=9), flight.join(deadline=9), return_exceptions=True)
    assert [type(result) for result in results] == [RateLimited, RateLimited]


@virtual
async def test_a_time_limit_inside_the_work_is_not_the_waiters_deadline():
    async def fail():
        raise TimeoutError("inner")

    with pytest.raises(TimeoutError, match="inner"):
        await Flight(fail(), name="listing").join(deadline=9)


@virtual
async def test_closing_tells_those_who_wait():
    flight = Flight(work(), name="listing")
    waiter = asyncio.create_task(flight.join(deadline=10))
    await asyncio.sleep(1)
    await flight.aclose()
    with pytest.raises(NotSent, match="closed"):
        await waiter
