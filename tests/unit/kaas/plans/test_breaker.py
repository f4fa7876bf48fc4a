"""When a fleet has lost so much that nothing is replaced: tables of numbers, and what becomes of a decision."""

from dataclasses import replace

import pytest

from kaas.domain.breaker import Breaker, by_hand, suspended, why_suspended
from kaas.domain.repair import Limits, decide
from kaas.domain.states import OperationKind
from kaas.domain.store import Change, Losses
from tests.unit.kaas.plans.test_repair import SICK, cluster, look, unhealthy, with_nodes

MANY = Losses(losing=300, running=1000)


@pytest.mark.parametrize(
    ("losing", "running", "breaker", "holds"),
    [
        (1, 1, Breaker(), False),
        (2, 2, Breaker(), False),
        (3, 3, Breaker(), True),
        (2, 10, Breaker(), False),
        (3, 10, Breaker(), True),
        (3, 15, Breaker(), False),
        (200, 1000, Breaker(), False),
        (201, 1000, Breaker(), True),
        (201, 1000, Breaker(share=0.5), False),
        (1000, 1000, Breaker(share=1.0), False),
        (2, 4, Breaker(floor=2), True),
        (9, 10, Breaker(floor=10), False),
    ],
)
def test_more_than_a_share_and_not_fewer_than_the_floor(
    losing: int, running: int, breaker: Breaker, holds: bool
) -> None:
    assert bool(why_suspended(Losses(losing, running), breaker)) is holds


def test_the_reason_says_what_was_seen_and_what_to_do() -> None:
    reason = why_suspended(MANY, Breaker())
    assert "300 of 1000 clusters" in reason
    assert "cloud k8s repair" in reason


def test_what_is_suspended_begins_nothing_keeps_what_was_seen_and_is_told_once() -> None:
    snapshot = with_nodes(cluster(), pool_1=unhealthy())
    decision = decide(snapshot, look(snapshot, pool_1=SICK), Limits())
    assert decision.change is not None
    held = suspended(snapshot, decision, why_suspended(MANY, Breaker()))
    assert held.change is None
    assert [event.code for event in held.events] == ["REPAIR_SUSPENDED"]
    assert "dev-default-pool-1" in held.health.message
    later = replace(snapshot, cluster=replace(snapshot.cluster, health=held.health))
    fewer = why_suspended(Losses(losing=299, running=1000), Breaker())
    assert suspended(later, decision, fewer).events == ()


def test_by_hand_what_is_held_back_is_replaced_as_carefully_as_by_itself() -> None:
    sick = with_nodes(cluster(), pool_1=unhealthy(), pool_2=unhealthy())
    asked = Change(OperationKind.REPAIR, sick.cluster.spec, deadline_s=60)
    assert by_hand(sick, asked) == asked
    health = replace(sick.cluster.health, message=why_suspended(MANY, Breaker()))
    held = replace(sick, cluster=replace(sick.cluster, health=health))
    change = by_hand(held, asked)
    assert change.leave == ("id-dev-default-pool-1",)
    assert [(new.group, new.role) for new in change.add] == [("default-pool", "worker")]
    assert by_hand(held, replace(asked, leave=change.leave)).leave == change.leave


def test_by_hand_a_control_plane_is_kept_without_a_quorum_beside_it() -> None:
    sick = with_nodes(cluster(), plane_0=unhealthy())
    health = replace(sick.cluster.health, message=why_suspended(MANY, Breaker()))
    held = replace(sick, cluster=replace(sick.cluster, health=health))
    asked = Change(OperationKind.REPAIR, sick.cluster.spec, deadline_s=60)
    assert by_hand(held, asked) == asked
