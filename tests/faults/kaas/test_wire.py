"""A platform whose answers go wrong, under the real driver, in both tiers: there is one cluster, and then none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devcloud.faults import Kind
from kaas.domain.states import ClusterStatus
from tests.faults.kaas.platform import Ground, Trouble, platform

TIERS = ("extended", "strict")
KINDS = (
    Kind.LOST_ANSWER,
    Kind.ERROR_BEFORE,
    Kind.ERROR_AFTER,
    Kind.EMPTY_500_AFTER,
    Kind.TRUNCATED_BODY,
    Kind.RATE_LIMITED,
    Kind.NOT_FOUND_PLAIN,
)
SLOW = (Kind.SLOW, Kind.SLOW_AFTER)
WHICH_TIER = "/capabilities"
"""A plain 404 is an answer here: it means the strict tier."""


def each_route_once(kind: Kind, methods: tuple[str, ...] = ()) -> Trouble:
    """Let the first call of each route go wrong."""
    met: set[tuple[str, str]] = set()

    def trouble(_: int, method: str, route: str) -> Kind | None:
        if (method, route) in met or (kind is Kind.NOT_FOUND_PLAIN and route == WHICH_TIER):
            return None
        met.add((method, route))
        return kind if not methods or method in methods else None

    return trouble


def nth(number: int, kind: Kind) -> Trouble:
    """Let one call go wrong."""

    def trouble(call: int, _: str, route: str) -> Kind | None:
        return kind if call == number and not (kind is Kind.NOT_FOUND_PLAIN and route == WHICH_TIER) else None

    return trouble


async def made_and_taken_away(ground: Ground, again: Callable[[], Trouble]) -> None:
    """Create and delete a cluster in such weather: it runs with one of each, and then nothing is left."""
    before, wanted = await ground.there(), {"instances": 3, "ssh_keys": 1, "security_groups": 1, "api_keys": 2}
    cluster_id = await ground.create()
    ground.trouble = again()
    await ground.rig.succeed(cluster_id)
    ground.trouble = lambda *_: None
    there = await ground.there()
    assert {name: len(there[name]) for name in wanted} == wanted, ground.hit
    assert len(set(there["instances"])) == len(there["instances"]), ground.hit
    assert len(there["balancers"]) <= 1, ground.hit
    snapshot = await ground.rig.snapshot(cluster_id)
    assert snapshot.cluster.status is ClusterStatus.RUNNING
    calls = len(ground.calls)
    ground.trouble = again()
    await ground.rig.delete(cluster_id)
    await ground.rig.succeed(cluster_id)
    ground.trouble = lambda *_: None
    assert await ground.there() == before, ground.hit
    assert len(ground.calls) > calls


def alternating(kinds: tuple[Kind, ...]) -> list[Any]:
    """Give each kind on both tiers, of which one is enough every time."""
    return [
        pytest.param(kind, tier, marks=() if (number + place) % 2 else pytest.mark.thorough)
        for number, kind in enumerate(kinds)
        for place, tier in enumerate(TIERS)
    ]


@pytest.mark.parametrize(("kind", "tier"), alternating(KINDS))
async def test_each_kind_of_call_goes_wrong_once(tmp_path: Path, tier: str, kind: Kind) -> None:
    async with platform(tmp_path, tier) as ground:
        await made_and_taken_away(ground, lambda: each_route_once(kind))
        assert len(ground.hit) > 20, ground.hit


@pytest.mark.parametrize(("kind", "tier"), alternating(SLOW))
async def test_answers_that_do_not_come_in_time(tmp_path: Path, tier: str, kind: Kind) -> None:
    async with platform(tmp_path, tier, on_socket=True) as ground:
        await made_and_taken_away(ground, lambda: each_route_once(kind, ("POST", "PUT", "DELETE")))
        assert len(ground.hit) > 5, ground.hit


@pytest.mark.thorough
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", KINDS)
async def test_every_single_call_goes_wrong_once(tmp_path: Path, tier: str, kind: Kind) -> None:
    number = met = 0
    while met == number:
        number += 1
        async with platform(tmp_path / str(number), tier) as ground:
            await made_and_taken_away(ground, lambda number=number: nth(len(ground.calls) + number, kind))
            met += bool(ground.hit) or (kind is Kind.NOT_FOUND_PLAIN and number < 20)
    assert met > 20
