"""The driver over HTTP: a whole cluster's things from their making to their end, through every fault in both tiers."""

from pathlib import Path
from typing import Any

import pytest

from devcloud.faults import Kind as Trouble
from kaas.domain.errors import Code, StepError
from kaas.domain.ports import Condition, EndpointFacts, External, Kind, MachineFacts, Wish
from kaas.drivers.thecloud.driver import TheCloudDriver
from tests.unit.kaas.drivers_thecloud.conftest import (
    CLUSTER,
    TIERS,
    Site,
    credential,
    endpoint,
    key_pair,
    machine,
    running,
    security_group,
    soon,
)

ROUTES = {
    Kind.MACHINE: "/instances",
    Kind.ENDPOINT: "/lb",
    Kind.SECURITY_GROUP: "/security-groups",
    Kind.KEY_PAIR: "/ssh-keys",
    Kind.CREDENTIAL: "/auth/keys",
}
WISHES: dict[Kind, Wish] = {
    Kind.MACHINE: machine(),
    Kind.ENDPOINT: endpoint(),
    Kind.SECURITY_GROUP: security_group(),
    Kind.KEY_PAIR: key_pair(),
    Kind.CREDENTIAL: credential(),
}
DONE = {Trouble.LOST_ANSWER, Trouble.ERROR_AFTER, Trouble.EMPTY_500_AFTER, Trouble.TRUNCATED_BODY}
"""Faults behind which the work is done."""
CODES = {
    Trouble.LOST_ANSWER: Code.PLATFORM_UNAVAILABLE,
    Trouble.ERROR_BEFORE: Code.PLATFORM_UNAVAILABLE,
    Trouble.ERROR_AFTER: Code.PLATFORM_UNAVAILABLE,
    Trouble.EMPTY_500: Code.PLATFORM_UNAVAILABLE,
    Trouble.EMPTY_500_AFTER: Code.PLATFORM_UNAVAILABLE,
    Trouble.TRUNCATED_BODY: Code.PLATFORM_UNAVAILABLE,
    Trouble.NOT_FOUND_PLAIN: Code.PLATFORM_UNAVAILABLE,
    Trouble.QUOTA_EXCEEDED: Code.PLATFORM_QUOTA,
    Trouble.UNAUTHORIZED: Code.PLATFORM_AUTH,
}
KINDS = [(tier, kind) for tier in TIERS for kind in ROUTES if (tier, kind) != ("strict", Kind.ENDPOINT)]


async def all_of(site: Site, kind: Kind) -> list[External]:
    return list(await site.driver.find(kind, CLUSTER, deadline=soon()))


@pytest.mark.parametrize(("tier", "kind"), KINDS)
async def test_whatever_goes_wrong_with_making_it_in_the_end_there_is_one(
    tmp_path: Path, tier: str, kind: Kind
) -> None:
    async with running(tmp_path, tier, on_socket=True) as site:
        wish = WISHES[kind]
        for trouble, code in CODES.items():
            site.trouble(trouble, ROUTES[kind], count=None)
            with pytest.raises(StepError) as raised:
                await site.driver.create(CLUSTER, wish, deadline=soon())
            assert raised.value.code is code, trouble
            site.calm()
            assert len(await all_of(site, kind)) == (trouble in DONE), trouble

            made = await site.driver.create(CLUSTER, wish, deadline=soon())
            assert [one.id for one in await all_of(site, kind)] == [made.id], trouble
            await site.driver.delete(made, deadline=soon())
            assert await all_of(site, kind) == [], trouble


async def test_a_rate_limit_that_stays_is_told_as_such_and_nothing_was_made(strict: Site) -> None:
    strict.trouble(Trouble.RATE_LIMITED, "/instances", count=None)

    with pytest.raises(StepError) as raised:
        await strict.driver.create(CLUSTER, machine(), deadline=soon())

    assert (raised.value.code, raised.value.retryable) == (Code.PLATFORM_THROTTLED, True)
    assert await all_of(strict, Kind.MACHINE) == []


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("trouble", [Trouble.EMPTY_500, Trouble.NOT_FOUND_PLAIN, Trouble.ERROR_BEFORE])
async def test_no_fault_makes_anything_gone(tmp_path: Path, tier: str, trouble: Trouble) -> None:
    async with running(tmp_path, tier) as site:
        wishes = [wish for kind, wish in WISHES.items() if (tier, kind) != ("strict", Kind.ENDPOINT)]
        made = [await site.driver.create(CLUSTER, wish, deadline=soon()) for wish in wishes]
        site.trouble(trouble, "*", "*", count=None)

        for one in made:
            for attempt in (
                site.driver.find(one.kind, CLUSTER, name=one.name, deadline=soon(0.15)),
                site.driver.delete(one, deadline=soon(0.15)),
            ):
                with pytest.raises(StepError) as raised:
                    await attempt
                assert raised.value.code is Code.PLATFORM_UNAVAILABLE
        site.calm()

        assert {one.id for kind in ROUTES for one in await all_of(site, kind)} == {one.id for one in made}


@pytest.mark.parametrize("tier", TIERS)
async def test_the_things_of_a_cluster_from_their_making_to_their_end(tmp_path: Path, tier: str) -> None:
    async with running(tmp_path, tier, on_socket=True) as site:
        driver = site.driver
        vpc_id = await site.vpc_id()
        group = await driver.create(CLUSTER, security_group(vpc_id), deadline=soon())
        pair = await driver.create(CLUSTER, key_pair(), deadline=soon())
        key = await driver.create(CLUSTER, credential(), deadline=soon())
        balancer = None
        if await driver.offers_endpoint(deadline=soon()):
            balancer = await driver.create(CLUSTER, endpoint(vpc_id=vpc_id), deadline=soon())
        wishes = [
            machine(name, vpc_id=vpc_id, key_pair_id=pair.id, security_group_id=group.id, user_data=("true",))
            for name in ("dev-control-plane-0", "dev-default-pool-0", "dev-default-pool-1")
        ]
        for wish in wishes:
            await driver.create(CLUSTER, wish, deadline=soon())
        machines = [await site.ready(Kind.MACHINE, wish.name) for wish in wishes]
        await driver.update(group, security_group(vpc_id), deadline=soon())
        if balancer is not None:
            balancer = await driver.update(balancer, endpoint(targets=(machines[0].id,)), deadline=soon())
            assert isinstance(balancer.facts, EndpointFacts)
            assert balancer.facts.targets == (machines[0].id,)

        async def addresses() -> set[str]:
            found = await all_of(site, Kind.MACHINE)
            return {one.facts.address for one in found if isinstance(one.facts, MachineFacts)}

        assert len(await addresses()) == 3
        assert {one.name for one in (pair, key)} == {pair.name}
        for kind in Kind:
            for one in await all_of(site, kind):
                # As it would be put together from a record.
                await driver.delete(External(one.kind, one.id, one.name, Condition.PENDING), deadline=soon())
            assert await all_of(site, kind) == []
        left: dict[str, Any] = {
            path: await site.call("GET", path) for path in ("/lb", "/ssh-keys", f"/security-groups?vpc_id={vpc_id}")
        }
        assert not any(left.values())
        assert [row["name"] for row in await site.call("GET", "/instances")] == ["node-a"]
        assert [row["name"] for row in await site.call("GET", "/auth/keys")] == ["Default Key"]


async def test_what_makes_no_sense_is_a_bug_and_touches_nothing(extended: Site) -> None:
    driver: TheCloudDriver = extended.driver
    pair = await driver.create(CLUSTER, key_pair(), deadline=soon())

    for attempt in (
        driver.update(pair, endpoint(), deadline=soon()),
        driver.find(Kind.MACHINE, "", deadline=soon()),
        driver.create("", machine(), deadline=soon()),
    ):
        with pytest.raises(StepError) as raised:
            await attempt
        assert raised.value.code is Code.BUG
    assert driver.name == "thecloud"
