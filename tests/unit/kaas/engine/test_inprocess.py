"""The engine of one process: woken at once, and by the tables otherwise."""

import asyncio
import contextlib

import pytest

from kaas.engine.dispatch import Dispatcher
from kaas.engine.due import DuePoll
from kaas.engine.inprocess import InProcessEngine
from process.life import Stop
from tests.support.kaas_store import MemoryStore
from tests.unit.kaas.engine.test_dispatch import Handler
from tests.unit.thecloud.virtual_time import now, virtual


class Looked(Handler):
    """A handler that gives each cluster back for good."""

    def __init__(self, store, takes_s=0.0):
        super().__init__(takes_s)
        self._store = store

    async def __call__(self, cluster_id):
        lease = await self._store.claim(cluster_id, "one", ttl_s=60)
        await super().__call__(cluster_id)
        await self._store.release(lease, due_in_s=None)


class Noted:
    def __init__(self):
        self.most_running = 0
        self.ages = []

    def running(self, clusters):
        self.most_running = max(self.most_running, clusters)

    def oldest_due(self, age_s):
        self.ages.append(age_s)


@contextlib.asynccontextmanager
async def running(engine, handler, *, concurrency=4):
    stop = Stop()
    task = asyncio.ensure_future(engine.run(handler, concurrency=concurrency, stop=stop))
    await asyncio.sleep(0.01)
    try:
        yield task
    finally:
        stop()
        await task


@virtual
async def test_a_committed_request_is_looked_at_at_once():
    store = MemoryStore()
    handler = Looked(store)
    engine = InProcessEngine(store, poll_s=1000)
    async with running(engine, handler):
        await asyncio.sleep(10)
        store.request("c1")
        engine.committed("c1")
        before = now()
        await asyncio.sleep(0.001)
        assert handler.began == [("c1", before)]


@virtual
async def test_what_is_due_is_found_without_a_wake_up():
    store = MemoryStore()
    handler = Looked(store)
    async with running(InProcessEngine(store), handler):
        await asyncio.sleep(10)
        store.request("c1")
        await asyncio.sleep(2)
        assert handler.ended == ["c1"]


@virtual
async def test_many_due_clusters_do_not_wait_for_a_poll_each():
    store = MemoryStore()
    handler = Looked(store)
    for number in range(200):
        store.request(f"c{number}")
    async with running(InProcessEngine(store), handler, concurrency=4):
        await asyncio.sleep(5)
        assert len(handler.ended) == 200
        assert handler.most == 4


@virtual
async def test_who_is_due_for_longest_does_not_wait_for_the_end_of_all_wake_ups():
    store = MemoryStore()
    handler = Looked(store, takes_s=5)
    dispatcher = Dispatcher(handler, concurrency=1)
    store.request("of-a-dead-conductor")
    await store.claim("of-a-dead-conductor", "dead", ttl_s=7)

    async def wakes_without_end(who):
        for number in range(100):
            store.request(f"{who}{number}")
            await asyncio.shield(dispatcher.wake(f"{who}{number}"))

    tasks = [asyncio.ensure_future(wakes_without_end(who)) for who in "ab"]
    tasks.append(asyncio.ensure_future(DuePoll(store, dispatcher, interval_s=1, spread=True).run()))
    await asyncio.sleep(30)
    assert "of-a-dead-conductor" in handler.ended
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await dispatcher.end(grace_s=0)


@virtual
async def test_the_oldest_due_cluster_is_measured():
    store, noted = MemoryStore(), Noted()
    for number in range(3):
        store.request(f"c{number}")
    async with running(InProcessEngine(store, observer=noted), Looked(store, takes_s=20), concurrency=1):
        await asyncio.sleep(100)
    assert 35 < max(noted.ages) < 42
    assert noted.ages[-1] == 0
    assert noted.most_running == 1


@virtual
async def test_tables_that_are_away_are_asked_again():
    store = MemoryStore()
    handler = Looked(store)
    async with running(InProcessEngine(store), handler):
        store.unavailable = True
        await asyncio.sleep(10)
        store.unavailable = False
        store.request("c1")
        await asyncio.sleep(2)
        assert handler.ended == ["c1"]


@virtual
async def test_a_mistake_in_asking_ends_the_engine_and_its_handlers():
    store = MemoryStore()
    store.request("c1")
    handler = Looked(store, takes_s=1000)
    engine = InProcessEngine(store)
    task = asyncio.ensure_future(engine.run(handler, concurrency=1, stop=Stop()))
    await asyncio.sleep(5)

    async def wrong(*, limit):
        raise ValueError("a mistake")

    store.due = wrong
    with pytest.raises(ExceptionGroup, match="TaskGroup"):
        await task
    assert handler.active == []


@virtual
async def test_asked_to_end_it_waits_for_its_handlers():
    store = MemoryStore()
    store.request("c1")
    handler = Looked(store, takes_s=20)
    async with running(InProcessEngine(store), handler):
        await asyncio.sleep(5)
        store.request("c2")
    assert handler.ended == ["c1"]
    assert 19 < now() < 22


@virtual
async def test_cancelled_it_leaves_no_handler_behind():
    store = MemoryStore()
    store.request("c1")
    handler = Looked(store, takes_s=1000)
    task = asyncio.ensure_future(InProcessEngine(store).run(handler, concurrency=1, stop=Stop()))
    await asyncio.sleep(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handler.active == []
    assert now() < 6


@virtual
async def test_a_wake_up_without_a_conductor_is_no_error():
    store = MemoryStore()
    engine = InProcessEngine(store)
    await engine.enqueue(None, "c1")
    engine.committed("c1")
    store.request("c1")
    handler = Looked(store)
    async with running(engine, handler):
        await asyncio.sleep(1)
    assert handler.ended == ["c1"]
