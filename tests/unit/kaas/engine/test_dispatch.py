"""Each cluster once at one time, so many at one time, and no wake-up forgotten."""

import asyncio
import logging

import pytest

from kaas.engine.dispatch import Dispatcher
from process.request import request_id
from tests.unit.thecloud.virtual_time import now, virtual


class Handler:
    """Takes a while for each cluster."""

    def __init__(self, takes_s=10.0):
        self.takes_s = takes_s
        self.began: list[tuple[str, float]] = []
        self.active: list[str] = []
        self.most = 0
        self.ended: list[str] = []

    async def __call__(self, cluster_id):
        assert cluster_id not in self.active
        self.began.append((cluster_id, now()))
        self.active.append(cluster_id)
        self.most = max(self.most, len(self.active))
        try:
            await asyncio.sleep(self.takes_s)
            self.ended.append(cluster_id)
        finally:
            self.active.remove(cluster_id)


@virtual
async def test_clusters_are_worked_on_together_up_to_the_bound():
    handler = Handler()
    dispatcher = Dispatcher(handler, concurrency=2)
    await asyncio.gather(*(dispatcher.wake(each) for each in "abcd"))
    assert handler.most == 2
    assert handler.began == [("a", 0), ("b", 0), ("c", 10), ("d", 10)]


@virtual
async def test_woken_while_it_waits_it_comes_once():
    handler = Handler()
    dispatcher = Dispatcher(handler, concurrency=1)
    dispatcher.wake("a")
    assert dispatcher.wake("b") is dispatcher.wake("b")
    await dispatcher.wake("b")
    assert handler.ended == ["a", "b"]


@virtual
async def test_woken_while_it_is_worked_on_it_comes_again():
    handler = Handler()
    dispatcher = Dispatcher(handler, concurrency=5)
    dispatcher.wake("a")
    await asyncio.sleep(5)
    await dispatcher.wake("a")
    assert handler.began == [("a", 0), ("a", 10)]


@virtual
async def test_room_counts_those_that_wait():
    dispatcher = Dispatcher(Handler(), concurrency=3)
    assert dispatcher.room == 3
    for each in "abcd":
        dispatcher.wake(each)
    assert dispatcher.room == 0
    assert dispatcher.knows("d")
    assert not dispatcher.knows("e")
    await asyncio.sleep(10.5)
    assert dispatcher.room == 2
    await dispatcher.end(grace_s=30)


def test_an_error_is_logged_and_stops_nothing(caplog):
    @virtual
    async def check():
        async def fails(cluster_id):
            raise ValueError(cluster_id)

        dispatcher = Dispatcher(fails, concurrency=1)
        await dispatcher.wake("a")
        await dispatcher.wake("b")
        await dispatcher.end(grace_s=0)

    with caplog.at_level(logging.ERROR):
        check()
    assert [record.message for record in caplog.records] == [
        "the work on cluster a ended on an error",
        "the work on cluster b ended on an error",
    ]
    assert "ValueError" in caplog.text


@virtual
async def test_the_end_waits_for_what_runs_and_forgets_what_waits():
    handler = Handler()
    dispatcher = Dispatcher(handler, concurrency=1)
    running, waiting = dispatcher.wake("a"), dispatcher.wake("b")
    await dispatcher.end(grace_s=30)
    assert handler.ended == ["a"]
    assert running.done()
    assert waiting.done()
    assert dispatcher.wake("c").done()
    assert len(handler.began) == 1


@virtual
async def test_after_the_grace_the_rest_is_cancelled_and_has_ended():
    handler = Handler(takes_s=100)
    dispatcher = Dispatcher(handler, concurrency=2)
    future = dispatcher.wake("a")
    await asyncio.sleep(0)
    await dispatcher.end(grace_s=30)
    assert now() == 30
    assert handler.active == []
    assert handler.ended == []
    assert future.done()


@virtual
async def test_an_end_that_is_cancelled_leaves_no_handler_behind():
    handler = Handler(takes_s=100)
    dispatcher = Dispatcher(handler, concurrency=2)
    dispatcher.wake("a")
    await asyncio.sleep(1)
    ending = asyncio.ensure_future(dispatcher.end(grace_s=1000))
    await asyncio.sleep(1)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert handler.active == []


@virtual
async def test_the_work_does_not_go_on_in_the_name_of_the_request_that_woke_it():
    seen = []

    async def handler(cluster_id):
        seen.append(request_id.get())

    request_id.set("of the request")
    await Dispatcher(handler, concurrency=1).wake("a")
    assert seen == [""]


def test_nothing_at_one_time_is_a_wrong_setting():
    with pytest.raises(ValueError, match="at least one"):
        Dispatcher(Handler(), concurrency=0)
