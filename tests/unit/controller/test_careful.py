"""Pairs of a strict platform: what a lost answer, a slow write or an old read must never lead to."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from controller.careful import CarefulPairs
from controller.model import Volume
from controller.ports import Cause, CloudError
from controller.written import REMEMBER_S, UNANSWERED_S, Written
from csi.errors import CsiError, ErrorKind
from tests.unit.controller.strict_platform import NOBODY, VOLUME, StrictPlatform, unanswered

A, B = "a-instance", "b-instance"


class Pairs:
    """The pairs under test on their platform."""

    def __init__(self, **state: str) -> None:
        self.platform = StrictPlatform(**state)  # type: ignore[arg-type]
        self._pairs = CarefulPairs(self.platform, clock=self.platform.clock)  # type: ignore[arg-type]

    def publish(self, instance_id: str) -> Awaitable[Volume]:
        return self._pairs.attach(VOLUME, instance_id, read_only=False, deadline=0.0)

    def unpublish(self, instance_id: str) -> Awaitable[None]:
        async def is_meant(holder: str) -> bool:
            return holder == instance_id

        return self._pairs.detach(VOLUME, is_meant, deadline=0.0)

    def wait(self, seconds: float) -> None:
        self.platform.now += seconds


async def unknown(call: Awaitable[object]) -> str:
    """Await a call that has to ask for another try; gives its text."""
    with pytest.raises(CsiError) as caught:
        await call
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME, caught.value.message
    return caught.value.message


LOST = [StrictPlatform.lose_answer, StrictPlatform.fail_after]
lost = pytest.mark.parametrize("lose", LOST)


@lost
async def test_an_attachment_learned_from_a_read_is_not_taken_away_by_an_old_read(
    lose: Callable[[StrictPlatform], None],
):
    pairs = Pairs(holder=A)
    lose(pairs.platform)
    pairs.platform.shown = A
    await unknown(pairs.unpublish(A))
    pairs.wait(UNANSWERED_S)
    lose(pairs.platform)
    await unknown(pairs.publish(B))
    pairs.platform.shown = None
    assert (await pairs.publish(B)).instance_id == B
    pairs.platform.shown = A
    await unknown(pairs.unpublish(A))
    assert pairs.platform.holder == B


@lost
async def test_an_attach_in_doubt_keeps_an_old_read_from_detaching_its_instance(
    lose: Callable[[StrictPlatform], None],
):
    """The process knew nothing before, and could not look afterwards."""
    pairs = Pairs(holder=NOBODY)
    lose(pairs.platform)
    pairs.platform.reads_fail = unanswered("the network is away")
    await unknown(pairs.publish(B))
    pairs.platform.reads_fail = None
    pairs.platform.shown = A
    assert "does not ask which" in await unknown(pairs.unpublish(A))
    assert pairs.platform.holder == B


async def test_an_attachment_of_an_earlier_process_is_not_taken_away_by_an_old_read():
    """This process only saw it: the platform refused the attach as taken, and showed by whom."""
    pairs = Pairs(holder=B)
    await pairs.publish(B)
    pairs.platform.shown = A
    await unknown(pairs.unpublish(A))
    assert pairs.platform.holder == B


@pytest.mark.parametrize("error", [unanswered(), asyncio.CancelledError()])
async def test_a_detach_is_no_success_while_an_attach_may_still_come(error: BaseException):
    pairs = Pairs()
    carry_out = pairs.platform.delay(error)
    with pytest.raises((CsiError, asyncio.CancelledError)):
        await pairs.publish(A)
    assert "under way" in await unknown(pairs.unpublish(A))
    pairs.wait(UNANSWERED_S - 1)
    assert "under way" in await unknown(pairs.unpublish(A))
    carry_out()
    await pairs.unpublish(A)
    assert pairs.platform.holder == NOBODY


async def test_an_attach_that_never_came_is_forgotten_after_the_platforms_own_limit():
    pairs = Pairs()
    pairs.platform.delay()
    with pytest.raises(CloudError):
        await pairs.publish(A)
    await unknown(pairs.unpublish(A))
    pairs.wait(UNANSWERED_S)
    await pairs.unpublish(A)
    await pairs.publish(B)


async def test_no_other_instance_gets_the_volume_while_an_attach_may_still_come():
    pairs = Pairs()
    carry_out = pairs.platform.delay()
    with pytest.raises(CloudError):
        await pairs.publish(A)
    assert f"attach to instance {A}" in await unknown(pairs.publish(B))
    assert "attach b-instance" not in pairs.platform.log
    carry_out()
    assert (await pairs.publish(A)).instance_id == A


@pytest.mark.parametrize("error", [unanswered(), asyncio.CancelledError()])
@pytest.mark.parametrize("node", [A, B])
async def test_nobody_gets_the_volume_while_a_detach_may_still_come(error: BaseException, node: str):
    """A second detach is a success, but the first would take the volume from whoever has it then."""
    pairs = Pairs(holder=A)
    carry_out = pairs.platform.delay(error)
    with pytest.raises((CsiError, asyncio.CancelledError)):
        await pairs.unpublish(A)
    await pairs.unpublish(A)
    assert "a detach" in await unknown(pairs.publish(node))
    carry_out()
    pairs.wait(UNANSWERED_S)
    assert (await pairs.publish(node)).instance_id == node


async def test_a_call_that_was_answered_is_over():
    pairs = Pairs()
    pairs.platform.fail_before()
    with pytest.raises(CloudError):
        await pairs.publish(A)
    await pairs.unpublish(A)
    await pairs.publish(B)


async def test_a_lost_answer_holds_nothing_up_once_the_platform_shows_what_came_of_it():
    pairs = Pairs(holder=A)
    pairs.platform.lose_answer()
    await pairs.unpublish(A)
    pairs.wait(REMEMBER_S + 1)
    pairs.platform.lose_answer()
    await pairs.publish(B)
    pairs.wait(1)
    await pairs.unpublish(B)
    await pairs.publish(A)


async def test_a_clear_detach_is_two_calls():
    """The look after it could only repeat the platform's own answer, or be older."""
    pairs = Pairs(holder=A)
    await pairs.unpublish(A)
    assert pairs.platform.log == ["read", "detach"]


async def test_a_free_volume_and_another_holder_are_one_call():
    pairs = Pairs()
    await pairs.unpublish(A)
    pairs.platform.holder = B
    await pairs.unpublish(A)
    assert pairs.platform.log == ["read", "read"]
    assert pairs.platform.holder == B


async def test_an_instance_that_had_the_volume_a_moment_ago_is_not_believed_to_have_it_again():
    pairs = Pairs(holder=A)
    await pairs.unpublish(A)
    pairs.platform.fail_before()
    pairs.platform.shown = A
    assert "before the last detach" in await unknown(pairs.publish(A))
    pairs.platform.shown = None
    assert (await pairs.publish(A)).instance_id == A
    assert pairs.platform.holder == A


async def test_an_unclear_attach_is_told_when_looking_fails():
    pairs = Pairs()
    pairs.platform.lose_answer()
    pairs.platform.reads_fail = CloudError(Cause.TIMEOUT, "reading volume: no time was left to send")
    with pytest.raises(CsiError) as caught:
        await pairs.publish(A)
    assert caught.value.kind is ErrorKind.TIMEOUT
    for words in (f"attach to instance {A} may or may not have happened", "no answer", "no time was left"):
        assert words in caught.value.message


async def test_an_attach_that_is_done_is_told_when_looking_fails():
    pairs = Pairs()
    pairs.platform.reads_fail = unanswered("the network is away")
    assert f"attach to instance {A} is done" in await unknown(pairs.publish(A))


async def test_a_refusal_to_detach_proves_nothing_and_its_words_are_told():
    pairs = Pairs()
    await pairs.publish(A)
    pairs.platform.refuse("400 the volume is being backed up")
    assert "being backed up" in await unknown(pairs.unpublish(A))
    await pairs.unpublish(A)
    assert pairs.platform.holder == NOBODY


async def test_a_refused_detach_of_a_volume_that_an_old_read_shows_free_keeps_the_words():
    pairs = Pairs()
    await pairs.publish(A)
    pairs.platform.refuse("400 the volume is being backed up")
    original = pairs.platform.detach

    async def detach_then_lag(*args: object, **kwargs: object) -> None:
        pairs.platform.shown = NOBODY
        await original(*args, **kwargs)  # type: ignore[arg-type]

    pairs.platform.detach = detach_then_lag  # type: ignore[method-assign]
    assert "being backed up" in await unknown(pairs.unpublish(A))


async def test_a_volume_that_is_gone_is_detached_and_cannot_be_attached():
    pairs = Pairs()
    pairs.platform.is_there = False
    pairs.platform.fail_before()
    with pytest.raises(CsiError) as caught:
        await pairs.publish(A)
    assert caught.value.kind is ErrorKind.NOT_FOUND
    pairs.wait(REMEMBER_S + 1)
    await pairs.unpublish(A)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("controller.written._MAX_REMEMBERED", 10)
    written = Written(clock=lambda: 0.0)
    for number in range(100):
        written.confirm(str(number), A, before=NOBODY)
    assert len(written._known) == 10
    assert {written.see(str(number), B) for number in range(90, 100)} == {frozenset({A})}
