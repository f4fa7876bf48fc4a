import asyncio
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csi.errors import CsiError, ErrorKind
from csi.locks import KeyLocks


def test_a_second_holder_is_refused_at_once_and_told_the_key() -> None:
    locks = KeyLocks()
    with locks.hold("volume-1"), pytest.raises(CsiError) as caught, locks.hold("volume-1"):
        pytest.fail("both hold the key")
    assert caught.value.kind is ErrorKind.BUSY
    assert "volume-1" in caught.value.message


def test_a_refused_holder_releases_nothing() -> None:
    locks = KeyLocks()
    with locks.hold("a"):
        with pytest.raises(CsiError), locks.hold("b", "a"):
            pytest.fail("a is held twice")
        with pytest.raises(CsiError), locks.hold("a"):
            pytest.fail("the refusal released a")
        with locks.hold("b"):
            pass


def test_an_error_inside_releases() -> None:
    locks = KeyLocks()
    with pytest.raises(ValueError, match="inside"), locks.hold("a"):
        raise ValueError("inside")
    assert len(locks) == 0


def test_a_key_that_is_named_twice_counts_once() -> None:
    locks = KeyLocks()
    with locks.hold("a", "a"):
        assert len(locks) == 1
    assert len(locks) == 0


def test_a_lock_that_is_made_and_not_entered_holds_nothing() -> None:
    locks = KeyLocks()
    locks.hold("a")
    with locks.hold("a"):
        pass


async def test_a_cancelled_holder_leaves_no_lock() -> None:
    locks = KeyLocks()
    holding = asyncio.Event()

    async def work() -> None:
        with locks.hold("a"):
            holding.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await holding.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with locks.hold("a"):
        pass


keys = st.sets(st.sampled_from("abcd"), min_size=1, max_size=3)
steps = st.lists(
    st.tuples(st.sampled_from(["start", "finish", "cancel", "fail"]), keys, st.integers(0, 7)), max_size=30
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_whatever_ends_a_holder_only_its_own_keys_become_free(plan: list[tuple[str, set[str], int]]) -> None:
    asyncio.run(_play(plan))


async def _play(plan: list[tuple[str, set[str], int]]) -> None:
    locks = KeyLocks()
    running: dict[int, tuple[asyncio.Task[None], asyncio.Future[None], set[str]]] = {}
    numbers = count()

    async def work(wanted: set[str], end: asyncio.Future[None]) -> None:
        with locks.hold(*wanted):
            await end

    for action, wanted, choice in plan:
        held = {key for _, _, theirs in running.values() for key in theirs}
        if action == "start":
            end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(work(wanted, end))
            await asyncio.sleep(0)
            assert task.done() == bool(wanted & held)
            if task.done():
                assert isinstance(task.exception(), CsiError)
            else:
                running[next(numbers)] = (task, end, wanted)
        elif running:
            task, end, _ = running.pop(sorted(running)[choice % len(running)])
            if action == "finish":
                end.set_result(None)
            elif action == "fail":
                end.set_exception(ValueError("work failed"))
            else:
                task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()
        assert len(locks) == len({key for _, _, theirs in running.values() for key in theirs})
    for task, _, _ in running.values():
        task.cancel()
    if running:
        await asyncio.wait({task for task, _, _ in running.values()})
    assert len(locks) == 0
