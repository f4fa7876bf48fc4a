"""Security groups: what is sent, what is repeated, and what means "gone"."""

import json

import pytest

from tests.unit.thecloud.scripted import (
    INSTANCE_ID,
    OTHER_ID,
    Platform,
    broken,
    failure,
    ok,
    plain_404,
    raw_500,
    soon,
)
from tests.unit.thecloud.virtual_time import virtual
from thecloud.errors import Conflict, Misrouted, Missing, Refused, UnknownOutcome
from thecloud.lean_httpx import httpx
from thecloud.presence import Gone

LOST = broken(httpx.ReadError("lost"))
ID = "4f1c2d3e-0000-4000-8000-0000000000ee"
VPC = "4f1c2d3e-0000-4000-8000-0000000000ff"
PATH = f"/security-groups/{ID}"
DETAILS = ("security-group.details",)


def row(**fields):
    return {"id": ID, "name": "sg-dev", "vpc_id": VPC, "description": "of dev"} | fields


def rule(**fields):
    return {"id": OTHER_ID, "group_id": ID, "direction": "ingress", "protocol": "tcp", "cidr": "0.0.0.0/0"} | fields


def sent(request):
    return json.loads(request.content)


@virtual
async def test_a_group_is_made_once_since_there_is_no_key_for_it():
    platform = Platform(features=None).on("POST", "/security-groups", LOST)
    async with platform.client() as cloud:
        with pytest.raises(UnknownOutcome):
            await cloud.security_groups.create(vpc_id=VPC, name="sg-dev", description="of dev", deadline=soon())
    (request,) = platform.asked("POST", "/security-groups")
    assert sent(request) == {"vpc_id": VPC, "name": "sg-dev", "description": "of dev"}


@virtual
async def test_a_name_that_the_vpc_has_is_a_conflict_where_the_platform_says_so():
    taken = failure(409, "CONFLICT", reason="name_taken")
    platform = Platform(features=DETAILS).on("POST", "/security-groups", taken)
    async with platform.client() as cloud:
        with pytest.raises(Conflict) as caught:
            await cloud.security_groups.create(vpc_id=VPC, name="sg-dev", description="", deadline=soon())
        with pytest.raises(Missing):
            await cloud.security_groups.create(vpc_id="no-uuid", name="sg-dev", description="", deadline=soon())
    assert caught.value.reason == "name_taken"
    assert len(platform.asked("POST")) == 1


@virtual
async def test_it_is_read_in_both_forms():
    whole = row(rules=[rule(port_min=6443, port_max=6443, priority=100)], instance_ids=[INSTANCE_ID])
    platform = (
        Platform(features=None)
        .on("GET", "/security-groups", raw_500(), ok([row(), row(id=OTHER_ID, rules=None)]), ok(None))
        .on("GET", PATH, ok(whole), failure(404, "NOT_FOUND"), plain_404())
    )
    async with platform.client() as cloud:
        groups = cloud.security_groups
        first, second = await groups.in_vpc(VPC, deadline=soon())
        assert (first.rules, first.instance_ids, second.rules) == ((), None, ())
        assert await groups.in_vpc(VPC, deadline=soon()) == ()
        found = await groups.get(ID, deadline=soon())
        assert (found.rules[0].port_max, found.rules[0].cidr) == (6443, "0.0.0.0/0")
        assert found.instance_ids == (INSTANCE_ID,)
        assert await groups.get(ID, deadline=soon()) == Gone("security_group", ID)
        with pytest.raises(Misrouted):
            await groups.get(ID, deadline=soon())
    assert platform.calls()[0] == f"GET /security-groups?vpc_id={VPC}"


@virtual
async def test_a_rule_never_carries_an_id_and_ports_only_where_there_are_any():
    platform = Platform(features=None).on("POST", f"{PATH}/rules", ok(rule(), 201))
    async with platform.client() as cloud:
        groups = cloud.security_groups
        await groups.add_rule(ID, protocol="tcp", cidr="10.0.0.0/8", port_min=1, port_max=2, deadline=soon())
        await groups.add_rule(ID, protocol="arp", cidr="0.0.0.0/0", deadline=soon())
    assert [sent(request) for request in platform.asked("POST")] == [
        {
            "direction": "ingress",
            "protocol": "tcp",
            "port_min": 1,
            "port_max": 2,
            "cidr": "10.0.0.0/8",
            "priority": 100,
        },
        {"direction": "ingress", "protocol": "arp", "cidr": "0.0.0.0/0", "priority": 100},
    ]


@virtual
@pytest.mark.parametrize(("features", "tries"), [(None, 1), (DETAILS, 2)])
async def test_a_rule_is_added_again_only_where_it_would_stay_one(features, tries):
    platform = Platform(features=features).on("POST", f"{PATH}/rules", LOST, ok(rule(), 201))
    async with platform.client() as cloud:
        attempt = cloud.security_groups.add_rule(ID, protocol="tcp", cidr="0.0.0.0/0", deadline=soon())
        if tries == 1:
            with pytest.raises(UnknownOutcome):
                await attempt
        else:
            assert (await attempt).id == OTHER_ID
    assert len(platform.asked("POST")) == tries


@virtual
async def test_to_attach_is_repeated_and_to_delete_is_not():
    platform = (
        Platform(features=None)
        .on("POST", "/security-groups/attach", LOST, ok({"message": "attached"}), failure(404, "NOT_FOUND"))
        .on("DELETE", f"/security-groups/rules/{OTHER_ID}", LOST)
        .on("DELETE", PATH, failure(400, "INVALID_INPUT"))
    )
    async with platform.client() as cloud:
        groups = cloud.security_groups
        await groups.attach(ID, INSTANCE_ID, deadline=soon())
        with pytest.raises(Missing):
            await groups.attach(ID, INSTANCE_ID, deadline=soon())
        with pytest.raises(UnknownOutcome):
            await groups.remove_rule(OTHER_ID, deadline=soon())
        with pytest.raises(Refused):
            await groups.delete(ID, deadline=soon())
        for attempt in (
            groups.remove_rule("attach", deadline=soon()),
            groups.delete("rules", deadline=soon()),
            groups.attach("", INSTANCE_ID, deadline=soon()),
        ):
            with pytest.raises(Missing):
                await attempt
    assert sent(platform.asked("POST")[0]) == {"group_id": ID, "instance_id": INSTANCE_ID}
    assert len(platform.asked()) == 5
