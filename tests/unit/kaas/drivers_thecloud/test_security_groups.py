"""Security groups: told by their description, with rules that follow the machines, written completely or not ready."""

from pathlib import Path
from typing import Any

import pytest

from devcloud.faults import Kind as Trouble
from devcloud.network_rows import GROUP_MEMBERS, SECURITY_GROUPS, SECURITY_RULES, SecurityRule
from kaas.domain.errors import Code, StepError
from kaas.domain.ports import Condition, External, Kind, MachineFacts, Rule, SecurityGroupWish
from kaas.drivers.thecloud.options import DriverOptions
from tests.unit.kaas.drivers_thecloud.conftest import (
    CLUSTER,
    GROUP,
    OTHER,
    TIERS,
    Site,
    machine,
    running,
    security_group,
    soon,
)

EVERYBODY = "0.0.0.0/0"
SEED = {
    ("tcp", 6443, 6443, EVERYBODY),
    ("tcp", 30000, 32767, EVERYBODY),
    ("udp", 30000, 32767, EVERYBODY),
    ("arp", 0, 0, EVERYBODY),
}
INSIDE = {("udp", 4789, 4789), ("tcp", 179, 179), ("tcp", 10250, 10250), ("tcp", 2379, 2380)}


def said(rules: list[SecurityRule]) -> set[tuple[str, int, int, str]]:
    found = [(rule.protocol, rule.port_min, rule.port_max, rule.cidr) for rule in rules]
    assert len(found) == len(set(found)), found
    assert {rule.direction for rule in rules} == {"ingress"}
    return set(found)


def inside(*addresses: str) -> set[tuple[str, int, int, str]]:
    return {(*ports, f"{address}/32") for ports in INSIDE for address in addresses}


async def rules(site: Site) -> set[tuple[str, int, int, str]]:
    return said(await site.rows(SECURITY_RULES))


async def found(site: Site, name: str = GROUP) -> list[External]:
    return list(await site.driver.find(Kind.SECURITY_GROUP, CLUSTER, name=name, deadline=soon()))


def address(one: External) -> str:
    assert isinstance(one.facts, MachineFacts)
    return one.facts.address


async def test_it_has_the_documented_rules_and_the_cluster_in_its_description(both: Site) -> None:
    made = await both.driver.create(CLUSTER, security_group(), deadline=soon())

    (row,) = await both.rows(SECURITY_GROUPS)
    assert (row.id, row.name, row.vpc_id) == (made.id, GROUP, await both.vpc_id())
    assert CLUSTER in row.description
    assert await rules(both) == SEED
    assert await found(both) == await found(both, "") == [made]
    assert (made.condition, made.cluster_id) == (Condition.READY, CLUSTER)
    assert await found(both, "sg-other") == []


async def test_rules_for_the_cluster_s_own_machines_follow_them(both: Site) -> None:
    first, second = await both.launch("dev-control-plane-0"), await both.launch("dev-default-pool-0")
    await both.driver.create(OTHER, machine("dev-default-pool-0"), deadline=soon())
    made = await both.driver.create(CLUSTER, security_group(), deadline=soon())
    assert await rules(both) == SEED | inside(address(first), address(second))

    await both.driver.delete(second, deadline=soon())
    third = await both.launch("dev-default-pool-1")
    await both.driver.update(made, security_group(), deadline=soon())

    assert await rules(both) == SEED | inside(address(first), address(third))


async def test_every_machine_that_runs_has_it_and_every_rule_counts(both: Site) -> None:
    first = await both.launch("dev-control-plane-0")
    made = await both.driver.create(CLUSTER, security_group(), deadline=soon())
    second = await both.launch("dev-default-pool-0")
    both.machines.may_boot.clear()
    await both.driver.create(CLUSTER, machine("dev-default-pool-1"), deadline=soon())

    for _ in range(2):
        await both.driver.update(made, security_group(api=("10.1.0.0/16",)), deadline=soon())

    assert {row.instance_id for row in await both.rows(GROUP_MEMBERS)} == {first.id, second.id}
    assert all(rule.in_force for rule in await both.rows(SECURITY_RULES))
    both.machines.may_boot.set()


async def test_narrowing_shuts_out_everybody_but_those_named_and_the_cluster_itself(tmp_path: Path) -> None:
    options = DriverOptions(conductor_sources=("10.9.0.7/32",), balancer_sources=("10.8.0.0/24",))
    async with running(tmp_path, "strict", options) as site:
        one = await site.launch("dev-control-plane-0")
        made = await site.driver.create(CLUSTER, security_group(), deadline=soon())
        narrow = security_group(api=("192.0.2.0/24",), node_ports=("198.51.100.0/24",))
        await site.driver.update(made, narrow, deadline=soon())

        own = f"{address(one)}/32"
        assert await rules(site) == {
            *(("tcp", 6443, 6443, cidr) for cidr in ("192.0.2.0/24", own, "10.9.0.7/32", "10.8.0.0/24")),
            *(
                (protocol, 30000, 32767, cidr)
                for protocol in ("tcp", "udp")
                for cidr in ("198.51.100.0/24", own, "10.8.0.0/24")
            ),
            ("tcp", 22, 22, "10.9.0.7/32"),
            ("arp", 0, 0, EVERYBODY),
            *inside(address(one)),
        }


async def test_the_documented_profile_opens_the_node_network_to_everybody(extended: Site) -> None:
    await extended.launch("dev-control-plane-0")
    await extended.driver.create(CLUSTER, security_group(open_node_network=True), deadline=soon())

    opened = {(protocol, low, high) for protocol, low, high, cidr in await rules(extended) if cidr == EVERYBODY}
    assert {("udp", 4789, 4789), ("tcp", 179, 179), ("tcp", 10250, 10250)} <= opened
    assert ("tcp", 2379, 2380) not in opened


async def test_what_is_so_already_is_not_written_again(both: Site) -> None:
    await both.launch("dev-control-plane-0")
    made = await both.driver.create(CLUSTER, security_group(), deadline=soon())
    before = await both.rows(SECURITY_RULES)
    await both.call("DELETE", "/_devcloud/calls")

    await both.driver.update(made, security_group(), deadline=soon())

    assert [rule.id for rule in await both.rows(SECURITY_RULES)] == [rule.id for rule in before]
    written = {name for name in await both.call("GET", "/_devcloud/calls") if not name.startswith("GET ")}
    # Where the platform does not tell who has a group, it is given again.
    assert written == ({"POST /security-groups/attach"} if both.is_strict else set())


async def test_foreign_and_double_ingress_rules_go_and_egress_stays(both: Site) -> None:
    made = await both.driver.create(CLUSTER, security_group(), deadline=soon())
    foreign: dict[str, Any] = {"protocol": "tcp", "port_min": 25, "port_max": 25, "cidr": EVERYBODY}
    path = f"/security-groups/{made.id}/rules"
    for body in (
        {**foreign, "direction": "ingress"},
        {**foreign, "direction": "egress"},
        {**foreign, "direction": "ingress", "port_min": 6443, "port_max": 6443, "priority": 7},
    ):
        await both.call("POST", path, **body)

    await both.driver.update(made, security_group(), deadline=soon())

    kept = await both.rows(SECURITY_RULES)
    assert said([rule for rule in kept if rule.direction == "ingress"]) == SEED
    assert [rule.port_min for rule in kept if rule.direction == "egress"] == [25]


async def test_a_name_that_somebody_else_has_is_refused_and_left_alone(both: Site) -> None:
    vpc = await both.vpc_id()
    theirs = await both.call("POST", "/security-groups", vpc_id=vpc, name=GROUP, description="mine, do not touch")

    with pytest.raises(StepError, match=r"mine, do not touch.*rename or delete it") as refused:
        await both.driver.create(CLUSTER, security_group(), deadline=soon())
    assert (refused.value.code, refused.value.retryable) == (Code.PLATFORM_REFUSED, False)
    assert await found(both) == []
    recorded = External(Kind.SECURITY_GROUP, theirs["id"], GROUP, Condition.READY)
    for attempt in (
        both.driver.delete(recorded, deadline=soon()),
        both.driver.update(recorded, security_group(), deadline=soon()),
    ):
        with pytest.raises(StepError, match="left as it is"):
            await attempt

    assert [row.id for row in await both.rows(SECURITY_GROUPS)] == [theirs["id"]]
    assert await both.rows(SECURITY_RULES) == []


async def test_the_group_of_another_cluster_is_not_deleted_under_this_one_s_name(both: Site) -> None:
    made = await both.driver.create(OTHER, security_group(), deadline=soon())

    with pytest.raises(StepError, match=CLUSTER):
        await both.driver.delete(
            External(Kind.SECURITY_GROUP, made.id, GROUP, Condition.READY, cluster_id=CLUSTER), deadline=soon()
        )
    with pytest.raises(StepError, match="called"):
        await both.driver.delete(External(Kind.SECURITY_GROUP, made.id, "sg-x", Condition.READY), deadline=soon())

    assert len(await both.rows(SECURITY_GROUPS)) == 1


@pytest.mark.parametrize("lost", range(5))
async def test_whatever_answer_is_lost_the_next_try_completes_the_same_group(both: Site, lost: int) -> None:
    if lost == 0:
        both.trouble(Trouble.LOST_ANSWER, "/security-groups")
    else:
        both.trouble(Trouble.ERROR_AFTER, "/security-groups/{id}/rules", after=lost - 1, count=4)
    with pytest.raises(StepError) as unknown:
        await both.driver.create(CLUSTER, security_group(), deadline=soon())
    assert unknown.value.code is Code.PLATFORM_UNAVAILABLE
    both.calm()
    if lost < 4:
        # The last rule, by which a group is known to be whole, is not there: three others come before it.
        (half,) = await found(both)
        assert (half.condition, half.message) == (Condition.PENDING, "its rules are not all written yet")

    await both.driver.create(CLUSTER, security_group(), deadline=soon())

    assert len(await both.rows(SECURITY_GROUPS)) == 1
    assert await rules(both) == SEED
    assert [one.condition for one in await found(both)] == [Condition.READY]


async def test_a_group_that_a_listing_did_not_show_is_completed(extended: Site) -> None:
    extended.trouble(Trouble.STALE_READ, "/security-groups", "GET", count=None, seconds=600.0)
    await extended.driver.create(CLUSTER, security_group(), deadline=soon())
    with pytest.raises(StepError) as taken:
        await extended.driver.create(CLUSTER, security_group(), deadline=soon())
    assert taken.value.code is Code.PLATFORM_REFUSED
    extended.calm()

    await extended.driver.create(CLUSTER, security_group(), deadline=soon())

    assert len(await extended.rows(SECURITY_GROUPS)) == 1


@pytest.mark.parametrize(
    "rule",
    [
        Rule("sctp", 1, 1, EVERYBODY),
        Rule("tcp", 0, 1, EVERYBODY),
        Rule("tcp", 2, 1, EVERYBODY),
        Rule("tcp", 1, 65536, EVERYBODY),
        Rule("arp", 1, 1, EVERYBODY),
        Rule("tcp", 1, 1, "2001:db8::/32"),
        Rule("tcp", 1, 1, "everybody"),
    ],
)
async def test_rules_that_the_platform_would_keep_and_not_understand_are_refused(strict: Site, rule: Rule) -> None:
    wish = SecurityGroupWish(GROUP, "", (rule,))

    with pytest.raises(StepError, match="cannot be kept") as wrong:
        await strict.driver.create(CLUSTER, wish, deadline=soon())

    assert wrong.value.code is Code.INVALID
    assert await strict.rows(SECURITY_RULES) == []


async def test_it_can_lie_in_another_vpc_and_goes_once(both: Site) -> None:
    vpc = await both.call("POST", "/vpcs", name="net", cidr_block="10.9.0.0/16")
    made = await both.driver.create(CLUSTER, security_group(vpc["id"]), deadline=soon())
    assert [row.vpc_id for row in await both.rows(SECURITY_GROUPS)] == [vpc["id"]]
    assert await found(both) == [made]

    await both.driver.delete(External(Kind.SECURITY_GROUP, made.id, GROUP, Condition.READY), deadline=soon())
    await both.driver.delete(made, deadline=soon())

    assert await found(both) == []
    with pytest.raises(StepError, match="gone"):
        await both.driver.update(made, security_group(), deadline=soon())


async def test_another_cluster_of_the_name_is_refused_in_every_vpc(both: Site) -> None:
    vpc = await both.call("POST", "/vpcs", name="net", cidr_block="10.9.0.0/16")
    await both.driver.create(OTHER, security_group(vpc["id"]), deadline=soon())
    await both.call("POST", "/security-groups", vpc_id=vpc["id"], name="sg-else", description="somebody's")
    with pytest.raises(StepError, match="give the cluster another name") as refused:
        await both.driver.create(CLUSTER, security_group(), deadline=soon())
    assert not refused.value.retryable
    assert await found(both) == []


@pytest.mark.parametrize("tier", TIERS)
async def test_a_machine_that_goes_while_it_is_given_the_group_is_no_error(
    tmp_path: Path, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, tier) as site:
        one = await site.launch("dev-default-pool-0")
        attach = type(site.client.security_groups).attach

        async def too_late(groups: Any, group_id: str, instance_id: str, *, deadline: float) -> None:
            await site.call("DELETE", f"/instances/{instance_id}")
            await attach(groups, group_id, instance_id, deadline=deadline)

        monkeypatch.setattr(type(site.client.security_groups), "attach", too_late)
        await site.driver.create(CLUSTER, security_group(), deadline=soon())

        assert await site.driver.find(Kind.MACHINE, CLUSTER, name=one.name, deadline=soon()) == ()
