"""One writer for each load balancer."""

import asyncio

import pytest

from ccm.controllers.locks import BalancerLocks
from ccm.ports import Cause, CloudError

FAR = 1e18


async def step() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_only_those_with_a_load_balancer_in_common_wait_for_each_other() -> None:
    locks, done, end = BalancerLocks(), [], asyncio.Event()

    async def write(name: str, *ids: str) -> None:
        async with locks.held(ids, deadline=FAR):
            done.append(name)
            await end.wait()

    async with asyncio.TaskGroup() as tasks:
        for name, ids in {"first": "ab", "waits": "bc", "waits too": "ca", "free": "d", "none": ""}.items():
            tasks.create_task(write(name, *ids))
        await step()
        assert done == ["first", "free", "none"]
        end.set()
    assert sorted(done[3:]) == ["waits", "waits too"]


async def test_nobody_waits_beyond_the_deadline_and_nothing_is_left() -> None:
    locks = BalancerLocks()
    async with locks.held("b", deadline=FAR):
        with pytest.raises(CloudError, match="load balancer b") as caught:
            async with locks.held("ab", deadline=asyncio.get_running_loop().time()):
                pytest.fail("it is held already")
        assert caught.value.cause is Cause.NOT_SENT
        waiting = asyncio.create_task(locks.held("ab", deadline=FAR).__aenter__())
        await step()
        waiting.cancel()
        await asyncio.wait([waiting])
    async with asyncio.timeout(5), locks.held("ab", deadline=FAR):
        pass
    assert not locks._locks
