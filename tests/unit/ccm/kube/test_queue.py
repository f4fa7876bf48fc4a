"""Each key once, never twice at a time, and again after a failure."""

import asyncio

import pytest

from ccm.kube.queue import WorkQueue, work
from tests.support.socket_time import now, on_virtual_time
from tests.unit.ccm.kube.rig import running


class Reconciler:
    def __init__(self, *, takes_s=1.0, results=()):
        self.runs = []
        self.active = set()
        self.most = 0
        self._takes_s = takes_s
        self._results = list(results)

    async def __call__(self, key):
        assert key not in self.active, "one key, two workers"
        self.active.add(key)
        self.most = max(self.most, len(self.active))
        self.runs.append((key, now() - 1000))
        try:
            await asyncio.sleep(self._takes_s)
        finally:
            self.active.discard(key)
        result = self._results.pop(0) if self._results else None
        if isinstance(result, BaseException):
            raise result
        return result

    @property
    def times(self):
        return [at for _, at in self.runs]


def queue(**options):
    return WorkQueue("test", chance=lambda: 0.0, **options)


@on_virtual_time
async def test_a_key_that_waits_is_not_added_twice():
    keys, reconcile = queue(), Reconciler()
    for key in ("a", "b", "a", "a"):
        keys.add(key)
    assert len(keys) == 2
    async with running(work(keys, 1, reconcile)):
        await asyncio.sleep(10)
    assert [key for key, _ in reconcile.runs] == ["a", "b"]
    assert keys.is_idle


@on_virtual_time
async def test_a_key_that_changes_while_it_is_worked_on_comes_again_afterwards():
    keys, reconcile = queue(), Reconciler()
    async with running(work(keys, 3, reconcile)):
        keys.add("a")
        await asyncio.sleep(0.5)
        keys.add("a")
        keys.add("a")
        await asyncio.sleep(10)
    assert reconcile.times == [0, 1]


@on_virtual_time
async def test_other_keys_are_worked_on_at_the_same_time():
    keys, reconcile = queue(), Reconciler()
    async with running(work(keys, 3, reconcile)):
        for key in "abcde":
            keys.add(key)
        await asyncio.sleep(10)
    assert reconcile.most == 3
    assert max(reconcile.times) == 1


@on_virtual_time
async def test_a_failure_comes_again_later_and_later(caplog):
    keys = queue(min_delay_s=5, max_delay_s=15)
    reconcile = Reconciler(takes_s=0, results=[ValueError("broken")] * 4)
    async with running(work(keys, 1, reconcile)):
        keys.add("a")
        await asyncio.sleep(25)
        assert keys.retries("a") == 3
        await asyncio.sleep(100)
        assert keys.retries("a") == 0
    assert reconcile.times == [0, 5, 15, 30, 45]
    assert "test: a failed and is tried again in 5.0 s (failure 1): broken" in caplog.text


@on_virtual_time
async def test_chance_takes_off_up_to_half_of_a_delay():
    keys = WorkQueue(min_delay_s=10, chance=lambda: 1.0)
    assert keys.retry("a") == 5


@on_virtual_time
async def test_a_change_does_not_wait_for_the_next_try():
    keys, reconcile = queue(), Reconciler(takes_s=0, results=[ValueError("broken")])
    async with running(work(keys, 1, reconcile)):
        keys.add("a")
        await asyncio.sleep(1)
        keys.add("a")
        await asyncio.sleep(1)
    assert reconcile.times == [0, 1]


@on_virtual_time
async def test_a_result_says_when_to_look_again():
    keys, reconcile = queue(), Reconciler(takes_s=0, results=[30.0, 60.0])
    async with running(work(keys, 1, reconcile)):
        keys.add("a")
        await asyncio.sleep(500)
    assert reconcile.times == [0, 30, 90]


@on_virtual_time
async def test_of_several_times_the_earliest_counts():
    keys, reconcile = queue(), Reconciler(takes_s=0)
    async with running(work(keys, 1, reconcile)):
        for delay_s in (20, 10, 30):
            keys.add_after("a", delay_s)
        await asyncio.sleep(100)
    assert reconcile.times == [10]


@on_virtual_time
async def test_what_was_asked_for_later_also_happens_later():
    keys, reconcile = queue(), Reconciler(takes_s=0)
    async with running(work(keys, 1, reconcile)):
        keys.add("a")
        keys.add_after("a", 2)
        await asyncio.sleep(100)
    assert reconcile.times == [0, 2]


@on_virtual_time
async def test_cancelling_waits_for_the_work():
    keys, ended = queue(), []

    async def reconcile(key):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(3)
            ended.append(key)

    task = asyncio.ensure_future(work(keys, 2, reconcile))
    keys.add("a")
    keys.add("b")
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["a", "b"]


@on_virtual_time
async def test_metrics_are_told_of_everything():
    told = []

    class Observer:
        def added(self, depth):
            told.append(("added", depth))

        def started(self, depth, waited_s):
            told.append(("started", depth, waited_s))

        def finished(self, worked_s):
            told.append(("finished", worked_s))

        def retried(self):
            told.append(("retried",))

    keys = queue(observer=Observer())
    keys.add("a")
    await asyncio.sleep(2)
    async with running(work(keys, 1, Reconciler(results=[ValueError("broken")]))):
        await asyncio.sleep(2)
    assert told == [("added", 1), ("started", 0, 2.0), ("retried",), ("finished", 1.0)]
