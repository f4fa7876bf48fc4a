"""Shared listings: never older than the question, never two at once, never two within a window."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.thecloud.virtual_time import VirtualTimeLoop, now, virtual
from thecloud.call import Lane
from thecloud.errors import DeadlineExceeded, UnknownOutcome
from thecloud.listing import Listing


class Collection:
    """A collection that grows; a listing shows what there is when it starts."""

    def __init__(self, *, takes_s=0.0):
        self.objects = []
        self.listings = []
        self.running = 0
        self.takes_s = takes_s
        self.error = None

    async def fetch(self, params, lane, deadline):
        self.listings.append((now(), params, lane, deadline))
        assert not self.running, "two listings at once"
        self.running += 1
        try:
            seen = tuple(self.objects)
            await asyncio.sleep(self.takes_s)
            if self.error is not None:
                raise self.error
            return seen
        finally:
            self.running -= 1


def listing_of(collection, window_s=0.1):
    return Listing(collection.fetch, window_s=window_s, name="GET /volumes")


async def ask(listing, question=(), deadline=60.0, lane=Lane.READ):
    return await listing.get(question, deadline=deadline, lane=lane)


@virtual
async def test_fifty_questions_at_once_are_one_listing():
    collection = Collection()
    listing = listing_of(collection)
    await asyncio.gather(*(ask(listing) for _ in range(50)))
    assert len(collection.listings) == 1


@virtual
async def test_a_question_during_a_listing_gets_the_next_one():
    collection = Collection(takes_s=0.05)
    listing = listing_of(collection)
    first = asyncio.create_task(ask(listing))
    await asyncio.sleep(0.01)
    collection.objects.append("mine")
    assert await ask(listing) == ("mine",)
    assert await first == ()
    assert len(collection.listings) == 2


@virtual
async def test_a_lone_question_waits_for_nothing():
    listing = listing_of(Collection())
    await ask(listing)
    assert now() == 0


@virtual
async def test_one_question_is_filtered_and_several_different_ones_are_not():
    collection = Collection()
    listing = listing_of(collection)
    a, b = (("name", "a"),), (("name", "b"),)
    await ask(listing, a)
    await asyncio.gather(ask(listing, b), ask(listing, b))
    await asyncio.gather(ask(listing, a), ask(listing, b))
    assert [params for _, params, _, _ in collection.listings] == [a, b, ()]


@virtual
async def test_the_listing_goes_in_the_lane_and_time_of_who_needs_it_most():
    collection = Collection()
    listing = listing_of(collection)
    await asyncio.gather(ask(listing, deadline=5), ask(listing, deadline=9, lane=Lane.DELETE), ask(listing, deadline=7))
    assert collection.listings == [(0, (), Lane.DELETE, 9)]


@virtual
async def test_a_failure_is_told_to_all_and_the_next_question_asks_again():
    collection = Collection()
    collection.error = UnknownOutcome("500")
    listing = listing_of(collection)
    results = await asyncio.gather(ask(listing), ask(listing), return_exceptions=True)
    assert [type(result) for result in results] == [UnknownOutcome] * 2
    collection.error = None
    assert await ask(listing) == ()


@virtual
async def test_a_hanging_listing_costs_a_caller_his_own_deadline_only():
    collection = Collection(takes_s=100)
    listing = listing_of(collection)
    with pytest.raises(DeadlineExceeded):
        await ask(listing, deadline=2)
    assert now() == 2
    collection.takes_s = 0
    assert await ask(listing, deadline=3) == ()


@virtual
async def test_who_leaves_before_the_start_leaves_no_listing_behind():
    collection = Collection()
    listing = listing_of(collection)
    await ask(listing)
    leaver = asyncio.create_task(ask(listing))
    await asyncio.sleep(0.01)
    leaver.cancel()
    await asyncio.sleep(1)
    assert len(collection.listings) == 1
    assert not listing._flights


@virtual
async def test_closing_ends_the_running_and_the_waiting_listing():
    collection = Collection(takes_s=50)
    listing = listing_of(collection)
    running = asyncio.create_task(ask(listing))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(ask(listing))
    await asyncio.sleep(0.01)
    await listing.aclose()
    results = await asyncio.gather(running, waiting, return_exceptions=True)
    assert all("closed" in str(result) for result in results)
    assert len(collection.listings) == 1


questions = st.lists(
    st.tuples(st.floats(0, 2), st.sampled_from([(), (("name", "a"),)]), st.floats(0, 1) | st.none()),
    min_size=1,
    max_size=20,
)


@settings(max_examples=100, deadline=None)
@given(questions=questions, takes_s=st.floats(0, 0.5))
def test_everybody_reads_his_own_writes_within_the_rate(questions, takes_s):
    async def one(collection, listing, number, arrival):
        at, question, cancelled_after = arrival
        await asyncio.sleep(at)
        collection.objects.append(number)
        task = asyncio.create_task(ask(listing, question, deadline=1000))
        if cancelled_after is not None:
            asyncio.get_running_loop().call_later(cancelled_after, task.cancel)
        try:
            assert number in await task
        except asyncio.CancelledError:
            assert cancelled_after is not None

    async def scenario():
        collection = Collection(takes_s=takes_s)
        listing = listing_of(collection)
        await asyncio.gather(*(one(collection, listing, number, arrival) for number, arrival in enumerate(questions)))
        starts = [listed[0] for listed in collection.listings]
        assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(starts))
        await asyncio.sleep(1)
        assert not listing._flights

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())
