"""The rate budget: the rate holds, lanes have their order, no token and no waiter is ever lost."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.thecloud.virtual_time import VirtualTimeLoop, now, virtual
from thecloud.budget import FAIR_SHARE, Budget, BudgetedExchange
from thecloud.call import Answer, Call, Lane
from thecloud.errors import DeadlineExceeded, RateLimited

FOREVER = 1e6


async def drained(*, rate_per_s=10.0, burst=1):
    budget = Budget(rate_per_s=rate_per_s, burst=burst)
    for _ in range(burst):
        await budget.take(Lane.READ, deadline=FOREVER)
    return budget


@virtual
async def test_a_burst_passes_at_once_and_the_rest_at_the_rate():
    budget = Budget(rate_per_s=10, burst=3)
    taken_at = []
    for _ in range(6):
        await budget.take(Lane.READ, deadline=FOREVER)
        taken_at.append(round(now(), 6))
    assert taken_at == [0, 0, 0, 0.1, 0.2, 0.3]


@virtual
async def test_lanes_go_in_their_order_and_first_come_first_served_within():
    budget = await drained()
    order = []

    async def take(lane, name):
        await budget.take(lane, deadline=FOREVER)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        for lane, name in [
            (Lane.READ, "r1"),
            (Lane.CREATE, "c1"),
            (Lane.DELETE, "d1"),
            (Lane.ATTACH, "a1"),
            (Lane.DELETE, "d2"),
        ]:
            group.create_task(take(lane, name))
    assert order == ["d1", "d2", "a1", "c1", "r1"]


@virtual
async def test_a_stream_of_deletes_does_not_starve_a_read():
    budget = await drained()
    granted = []

    async def take(lane):
        await budget.take(lane, deadline=FOREVER)
        granted.append(lane)

    async with asyncio.TaskGroup() as group:
        group.create_task(take(Lane.READ))
        await asyncio.sleep(0)
        for _ in range(5 * FAIR_SHARE):
            group.create_task(take(Lane.DELETE))
    assert granted.index(Lane.READ) < FAIR_SHARE


@virtual
async def test_a_waiter_whose_deadline_passes_costs_nobody_a_turn():
    budget = await drained(rate_per_s=1)
    late = asyncio.create_task(budget.take(Lane.DELETE, deadline=0.5))
    patient = asyncio.create_task(budget.take(Lane.READ, deadline=FOREVER))
    with pytest.raises(TimeoutError):
        await late
    await patient
    assert now() == pytest.approx(1)
    assert budget.waiting == 0


@virtual
async def test_a_waiter_cancelled_after_its_grant_gives_the_token_back():
    budget = await drained(rate_per_s=1)
    first = asyncio.create_task(budget.take(Lane.READ, deadline=FOREVER))
    second = asyncio.create_task(budget.take(Lane.READ, deadline=FOREVER))
    await asyncio.sleep(0)
    # At 1.0 the timer grants the first waiter; it is cancelled before it has run again.
    asyncio.get_running_loop().call_at(1.0, first.cancel)
    await second
    assert now() == pytest.approx(1)
    assert first.cancelled()


@virtual
async def test_a_waiter_cancelled_in_the_moment_of_a_grant_does_not_get_it():
    budget = await drained(rate_per_s=1)
    first = asyncio.create_task(budget.take(Lane.READ, deadline=FOREVER))
    second = asyncio.create_task(budget.take(Lane.READ, deadline=FOREVER))
    await asyncio.sleep(0)
    # Within the clock's resolution, so in the same turn of the loop as the grant, and before it.
    asyncio.get_running_loop().call_at(1.0 - 5e-10, first.cancel)
    await second
    assert now() == pytest.approx(1)
    assert first.cancelled()


@virtual
async def test_a_refusal_spends_what_was_saved_and_pauses_everybody():
    budget = Budget(rate_per_s=10, burst=5)
    await budget.take(Lane.READ, deadline=FOREVER)
    budget.hold_back(2.0)
    await budget.take(Lane.DELETE, deadline=FOREVER)
    assert now() == pytest.approx(2)
    budget.hold_back(0.0)
    before = now()
    await budget.take(Lane.READ, deadline=FOREVER)
    assert now() - before == pytest.approx(0.1)


@virtual
async def test_a_pause_holds_for_those_who_wait_already():
    budget = await drained(rate_per_s=10)
    waiting = asyncio.create_task(budget.take(Lane.READ, deadline=FOREVER))
    await asyncio.sleep(0)
    budget.hold_back(3.0)
    await waiting
    assert now() == pytest.approx(3)


class Inner:
    def __init__(self, *results):
        self.results = list(results)

    async def send(self, call):
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def call(deadline, lane=Lane.READ):
    return Call(method="GET", route="/volumes", path="/volumes", deadline=deadline, lane=lane)


@virtual
async def test_no_turn_in_time_is_a_deadline_and_nothing_is_sent():
    inner = Inner()
    exchange = BudgetedExchange(inner, await drained(rate_per_s=1))
    with pytest.raises(DeadlineExceeded, match=r"GET /volumes: .*rate budget"):
        await exchange.send(call(0.2))


@virtual
async def test_the_platforms_refusal_slows_the_whole_client():
    exchange = BudgetedExchange(
        Inner(RateLimited("slow", retry_after_s=4.0), Answer(200, b"{}")), Budget(rate_per_s=10, burst=10)
    )
    with pytest.raises(RateLimited):
        await exchange.send(call(FOREVER))
    await exchange.send(call(FOREVER))
    assert now() == pytest.approx(4)


arrivals = st.lists(
    st.tuples(
        st.floats(0, 5),  # when it asks
        st.sampled_from(Lane),
        st.floats(0.01, 3) | st.none(),  # patience; None waits for ever
        st.floats(0, 3) | st.none(),  # when it is cancelled after asking
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(arrivals=arrivals, rate=st.floats(0.5, 20), burst=st.integers(1, 4))
def test_no_waiter_is_lost_and_the_rate_holds_whoever_leaves(arrivals, rate, burst):
    granted_at = []

    async def one(budget, at, lane, patience, cancelled_after):
        await asyncio.sleep(at)
        task = asyncio.create_task(budget.take(lane, deadline=FOREVER if patience is None else now() + patience))
        if cancelled_after is not None:
            asyncio.get_running_loop().call_later(cancelled_after, task.cancel)
        try:
            await task
        except TimeoutError:
            return "late"
        except asyncio.CancelledError:
            return "cancelled"
        granted_at.append(now())
        return "granted"

    async def scenario():
        budget = Budget(rate_per_s=rate, burst=burst)
        ends = await asyncio.gather(*(one(budget, *arrival) for arrival in arrivals))
        for end, (_, _, patience, cancelled_after) in zip(ends, arrivals, strict=True):
            assert end != "late" or patience is not None
            assert end != "cancelled" or cancelled_after is not None
        assert budget.waiting == 0
        # Nothing leaked in either direction: a full bucket holds exactly its burst.
        await asyncio.sleep(burst / rate + 1)
        quiet = now()
        for _ in range(burst):
            await budget.take(Lane.READ, deadline=FOREVER)
        assert now() == quiet
        await budget.take(Lane.READ, deadline=FOREVER)
        assert now() > quiet

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())
    granted_at.sort()
    for start in range(len(granted_at)):
        for end in range(start, len(granted_at)):
            span_s = granted_at[end] - granted_at[start]
            assert end - start + 1 <= burst + span_s * rate + 1e-3
