"""Locks by key: order, bounds, and nothing left behind."""

import asyncio

import pytest

from devcloud.errors import TimedOutError
from devcloud.locks import KeyedLocks


async def test_holders_of_one_key_go_one_after_the_other() -> None:
    locks = KeyedLocks(10.0)
    inside = 0

    async def work() -> None:
        nonlocal inside
        async with locks.hold("a"):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(10)))
    assert not locks._locks
    assert not locks._wanted


async def test_several_keys_in_any_order_never_block_each_other() -> None:
    locks = KeyedLocks(10.0)

    async def work(*keys: str) -> None:
        async with locks.hold(*keys):
            await asyncio.sleep(0)

    await asyncio.gather(*(work("a", "b") if number % 2 else work("b", "a", "a") for number in range(20)))


async def test_waiting_ends_by_time_and_leaves_no_lock() -> None:
    locks = KeyedLocks(0.01)
    async with locks.hold("b"):
        with pytest.raises(TimedOutError, match="a, b"):
            async with locks.hold("a", "b"):
                raise AssertionError("held twice")
        async with locks.hold("a"):
            assert set(locks._locks) == {"a", "b"}
    assert locks._locks == {}


async def test_cancelled_waiter_leaves_no_lock() -> None:
    locks = KeyedLocks(10.0)
    async with locks.hold("a"):
        waiting = asyncio.create_task(locks.hold("a").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert locks._locks == {}
