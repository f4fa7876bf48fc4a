"""Each change of the record happens once, or is reported as open."""

import asyncio
import itertools

import pytest

from ccm.autoscaler.ledger import Ledger
from ccm.autoscaler.ports import AutoscalerError, Problem
from ccm.autoscaler.record import GroupRecord, increased
from tests.unit.ccm.autoscaler.fakes import MemoryStore, group, store_away


def ledger(store: MemoryStore, name: str = "a") -> Ledger:
    numbers = itertools.count()
    return Ledger(store, new_id=lambda: f"{name}{next(numbers)}")


def one_more(record: GroupRecord | None) -> GroupRecord:
    return increased(record or GroupRecord(), group(most=100), 1)


async def add(ledger: Ledger) -> GroupRecord:
    return await ledger.change("pool-a", one_more, deadline=asyncio.get_running_loop().time() + 5)


async def test_a_change_based_on_an_old_version_is_made_again_on_the_new_one() -> None:
    store = MemoryStore()
    first, second = ledger(store, "a"), ledger(store, "b")
    await add(first)
    await add(second)
    assert (await add(first)).target == 3
    assert store.record().slots == ("1", "2", "3")


async def test_a_change_whose_answer_is_lost_is_made_once() -> None:
    store = MemoryStore()
    store.faults.add("put", store_away(), after=True)
    assert (await add(ledger(store))).target == 1
    assert (store.record().target, store.puts) == (1, 1)


async def test_a_change_that_did_not_arrive_is_made_again() -> None:
    store = MemoryStore()
    store.faults.add("put", store_away())
    assert (await add(ledger(store))).target == 1
    assert store.puts == 1


async def test_a_lost_answer_with_another_writer_in_between_stays_open() -> None:
    store = MemoryStore()
    first, second = ledger(store, "a"), ledger(store, "b")
    store.faults.add("put", store_away(), after=True)
    store.faults.add("get", store_away(), times=0)
    original = store.get

    async def get_after_another(*, deadline: float) -> object:
        store.get = original  # type: ignore[method-assign]
        if store.puts == 1:
            await add(second)
        return await original(deadline=deadline)

    await first.read(deadline=0.0)
    store.get = get_after_another  # type: ignore[method-assign,assignment]
    with pytest.raises(AutoscalerError) as caught:
        await add(first)
    assert caught.value.problem is Problem.UNAVAILABLE
    assert store.record().target == 2


async def test_many_at_once_are_all_counted() -> None:
    store = MemoryStore()
    several = [ledger(store, name) for name in "ab"]
    await asyncio.gather(*(add(one) for one in several for _ in range(2)))
    assert store.record().target == 4


async def test_a_cancelled_change_is_read_again() -> None:
    store = MemoryStore()
    one = ledger(store)
    await add(one)
    store.written.clear()
    task = asyncio.ensure_future(add(one))
    await store.written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await one.records(deadline=asyncio.get_running_loop().time() + 5))["pool-a"].target == 2
