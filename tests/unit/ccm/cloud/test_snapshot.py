"""A listing that is shared and kept: never older than asked for, never older than the last write."""

import asyncio

import pytest

from ccm.cloud.snapshot import Snapshot
from tests.unit.thecloud.scripted import soon
from tests.unit.thecloud.virtual_time import virtual
from thecloud.errors import UnknownOutcome


class Source:
    """Gives what is there when a listing begins, after a while."""

    def __init__(self, *takes_s: float) -> None:
        self.value = 0
        self.takes_s = list(takes_s)
        self.begun = 0

    async def fetch(self, _deadline: float, _since: float) -> int:
        self.begun += 1
        value = self.value
        await asyncio.sleep(self.takes_s.pop(0) if self.takes_s else 0.0)
        return value


def snapshot_of(source):
    return Snapshot(source.fetch, name="test")


@virtual
async def test_an_older_answer_that_comes_later_replaces_nothing():
    source = Source(10.0, 1.0)
    snapshot = snapshot_of(source)
    slow = asyncio.create_task(snapshot.get(max_age_s=60.0, deadline=soon()))
    await asyncio.sleep(1)
    source.value = 1
    assert await snapshot.get(max_age_s=0.0, deadline=soon()) == 1
    assert await slow == 0
    assert await snapshot.get(max_age_s=60.0, deadline=soon()) == 1
    assert source.begun == 2


@virtual
async def test_nobody_joins_what_was_begun_before_a_write():
    source = Source(5.0, 1.0)
    snapshot = snapshot_of(source)
    before = asyncio.create_task(snapshot.get(max_age_s=60.0, deadline=soon()))
    await asyncio.sleep(1)
    source.value = 1
    snapshot.spoil()
    assert await snapshot.get(max_age_s=60.0, deadline=soon()) == 1
    assert await before == 0
    assert await snapshot.get(max_age_s=60.0, deadline=soon()) == 1
    assert source.begun == 2


@virtual
async def test_a_write_in_the_middle_of_the_only_listing_makes_it_unusable_for_the_next():
    source = Source(5.0)
    snapshot = snapshot_of(source)
    before = asyncio.create_task(snapshot.get(max_age_s=60.0, deadline=soon()))
    await asyncio.sleep(1)
    snapshot.spoil()
    assert await before == 0
    source.value = 1
    assert await snapshot.get(max_age_s=60.0, deadline=soon()) == 1


@virtual
async def test_who_is_cancelled_takes_nobody_along_and_the_last_one_ends_it():
    source = Source(5.0)
    snapshot = snapshot_of(source)
    first, second = (asyncio.create_task(snapshot.get(max_age_s=60.0, deadline=soon())) for _ in range(2))
    await asyncio.sleep(1)
    first.cancel()
    assert await second == 0
    third = asyncio.create_task(snapshot.get(max_age_s=0.0, deadline=soon()))
    await asyncio.sleep(0)
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    assert await snapshot.get(max_age_s=0.0, deadline=soon()) == 0


@virtual
async def test_a_failure_leaves_what_was_known_for_those_who_may_have_it():
    source = Source()
    snapshot = snapshot_of(source)
    assert await snapshot.get(max_age_s=60.0, deadline=soon()) == 0
    await asyncio.sleep(1)

    async def failing(_deadline: float, _since: float) -> int:
        raise UnknownOutcome("500")

    snapshot._fetch = failing
    with pytest.raises(UnknownOutcome):
        await snapshot.get(max_age_s=0.5, deadline=soon())
    assert await snapshot.get(max_age_s=60.0, deadline=soon()) == 0
