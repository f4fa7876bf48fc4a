"""The rules of evidence by themselves."""

import pytest

from ccm.controllers.absence import Expected, Limit, Proof, Series, continued, why_doubted, why_stopped
from ccm.model import Fleet, Instance, InstanceState

PROOF = Proof(answers=3, over_s=30.0, gap_s=90.0)


def series(*times: float, holds: bool = True, instance_id: str = "a") -> Series | None:
    found: Series | None = None
    for at in times:
        found = continued(found, instance_id, holds=holds, at=at, proof=PROOF)
    return found


def fleet(*ids: str) -> Fleet:
    instances = tuple(Instance(id=one, name=one, state=InstanceState.RUNNING) for one in ids)
    return Fleet(instances, 0.0, {one.id: one for one in instances})


@pytest.mark.parametrize(
    ("times", "is_proved"),
    [
        ((0, 15, 30), True),
        ((0, 30), False),
        ((0, 1, 2), False),
        ((0, 10, 20, 29.9), False),
        ((0, 90, 180), True),
        ((0, 91, 110), False),
        ((0, 15, 10), False),
        ((0, 15, -1e9, 30), False),
        ((0, 15, 1e9), False),
        ((0, 200, 215, 230), True),
    ],
)
def test_enough_answers_over_enough_time_without_a_gap(times: tuple[float, ...], is_proved: bool) -> None:
    found = series(*times)
    assert found is not None
    assert found.is_proved(PROOF) is is_proved


def test_another_answer_ends_a_series_and_another_instance_begins_one() -> None:
    before = series(0, 15)
    assert continued(before, "a", holds=False, at=30, proof=PROOF) is None
    assert continued(before, "b", holds=True, at=30, proof=PROOF) == Series("b", 30, 30)


def test_the_next_question_is_due_so_that_the_proof_is_as_quick_as_it_may_be() -> None:
    found = series(100)
    assert found is not None
    assert [found.is_due(at, PROOF) for at in (100, 114.9, 115, 99)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("listed", "ready", "others", "is_doubted"),
    [
        ((), ("a",), ("a",), True),
        (("x", "y"), (), ("a",), True),
        (("x", "a"), (), ("a",), False),
        (("a", "b"), ("a", "b", "c"), ("a", "b", "c"), False),
        (("a",), ("a", "b", "c"), ("a", "b", "c"), True),
        (tuple("abcdefgh"), tuple("abcdefghij"), tuple("abcdefghij"), False),
        (tuple("abcdefg"), tuple("abcdefghij"), tuple("abcdefghij"), True),
    ],
)
def test_a_listing_has_to_show_what_lives(
    listed: tuple[str, ...], ready: tuple[str, ...], others: tuple[str, ...], is_doubted: bool
) -> None:
    assert bool(why_doubted(fleet(*listed), Expected(ready=ready, others=others), Limit())) is is_doubted


@pytest.mark.parametrize(
    ("lost", "recent", "nodes", "is_stopped"),
    [
        (1, 0, 1, False),
        (1, 0, 3, False),
        (2, 0, 3, True),
        (2, 0, 10, False),
        (3, 0, 10, True),
        (1, 1, 9, False),
        (2, 1, 9, True),
        (0, 1, 0, False),
        (20, 0, 100, False),
        (21, 0, 100, True),
    ],
)
def test_losses_at_once_are_limited(lost: int, recent: int, nodes: int, is_stopped: bool) -> None:
    names = [f"n{number}" for number in range(lost)]
    assert bool(why_stopped(names, recent, nodes, Limit())) is is_stopped


def test_the_text_names_some_and_counts_all() -> None:
    text = why_stopped([f"n{number}" for number in range(8)], 2, 20, Limit())
    assert text == (
        "10 of 22 nodes seem to have lost their instance (n0, n1, n2, n3, n4, …; 2 deleted shortly before), "
        "more than 4 at once"
    )
