"""What is tried again, and what must never be."""

import asyncio
from itertools import pairwise

import pytest

from tests.unit.thecloud.virtual_time import now, virtual
from thecloud.call import Answer, Call, Repeat
from thecloud.errors import (
    Conflict,
    DeadlineExceeded,
    GuardMismatch,
    Misrouted,
    Missing,
    NotSent,
    PlatformError,
    QuotaExceeded,
    RateLimited,
    Refused,
    Unauthorized,
    UnknownOutcome,
    Unsupported,
)
from thecloud.retry import RULES, RetryingExchange, rule_for

DONE = Answer(200, b"{}")


class Inner:
    def __init__(self, *results):
        self.results = list(results)
        self.sent_at = []

    async def send(self, call):
        self.sent_at.append(now())
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result


def call(repeat=Repeat.UNSENT_ONLY, method="POST", deadline=1000.0):
    return Call(method=method, route="/volumes", path="/volumes", deadline=deadline, repeat=repeat)


async def send(inner, *, jitter=0.0, **fields):
    return await RetryingExchange(inner, jitter=lambda: jitter).send(call(**fields))


@virtual
async def test_a_post_of_unknown_outcome_is_sent_once():
    inner = Inner(UnknownOutcome("lost"), DONE)
    with pytest.raises(UnknownOutcome, match="lost"):
        await send(inner)
    assert len(inner.sent_at) == 1


@virtual
async def test_a_call_that_may_be_repeated_is():
    inner = Inner(UnknownOutcome("lost"), UnknownOutcome("lost"), DONE)
    assert await send(inner, repeat=Repeat.SAFE) is DONE
    assert len(inner.sent_at) == 3


@virtual
@pytest.mark.parametrize("error", [NotSent("refused"), RateLimited("slow"), Unauthorized("key?")])
async def test_what_was_certainly_not_done_is_tried_again_for_every_method(error):
    inner = Inner(error, DONE)
    assert await send(inner) is DONE
    assert len(inner.sent_at) == 2


@virtual
@pytest.mark.parametrize(
    "kind",
    [Conflict, DeadlineExceeded, GuardMismatch, Misrouted, Missing, QuotaExceeded, Refused, Unsupported, PlatformError],
)
async def test_a_definite_answer_is_final(kind):
    inner = Inner(kind("no"), DONE)
    with pytest.raises(kind):
        await send(inner, repeat=Repeat.SAFE)
    assert len(inner.sent_at) == 1


@virtual
@pytest.mark.parametrize(("kind", "attempts"), [(NotSent, 6), (RateLimited, 8), (Unauthorized, 3), (UnknownOutcome, 4)])
async def test_attempts_are_counted(kind, attempts):
    inner = Inner(kind("again"))
    with pytest.raises(kind):
        await send(inner, repeat=Repeat.SAFE)
    assert len(inner.sent_at) == attempts


@virtual
async def test_pauses_grow_by_full_jitter_above_a_floor():
    inner = Inner(*[RateLimited("slow")] * 4, DONE)
    await send(inner, jitter=0.5)
    pauses = [round(b - a, 6) for a, b in pairwise(inner.sent_at)]
    assert pauses == [0.2, 0.3, 0.5, 0.9]


@virtual
async def test_a_pause_that_the_platform_asks_for_is_kept():
    inner = Inner(RateLimited("slow", retry_after_s=7.0), DONE)
    await send(inner)
    assert inner.sent_at == [0, 7.0]


@virtual
async def test_no_pause_goes_beyond_the_deadline():
    inner = Inner(RateLimited("slow", retry_after_s=7.0), DONE)
    with pytest.raises(RateLimited):
        await send(inner, deadline=5.0)
    assert now() == 0


@virtual
@pytest.mark.parametrize("last", [NotSent("refused"), RateLimited("slow"), Unauthorized("key?")])
async def test_not_done_now_says_nothing_about_an_attempt_whose_answer_was_lost(last):
    inner = Inner(UnknownOutcome("answer lost", request_id="r1", method="POST", route="/volumes"), last)
    with pytest.raises(UnknownOutcome, match="answer lost; then ") as caught:
        await send(inner, repeat=Repeat.SAFE)
    assert caught.value.request_id == "r1"
    assert caught.value.__cause__ is last


@virtual
async def test_cancel_in_a_pause_ends_it():
    inner = Inner(RateLimited("slow", retry_after_s=50.0), DONE)
    task = asyncio.create_task(send(inner))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner.sent_at == [0]


def test_every_class_of_the_tree_finds_a_rule():
    def walk(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from walk(child)

    for kind in walk(PlatformError):
        assert rule_for(call(), kind("x")).attempts >= 1
    kinds = [kind for kind, _ in RULES]
    for position, kind in enumerate(kinds):
        assert not any(issubclass(kind, earlier) for earlier in kinds[:position]), f"{kind} is never reached"
