"""Security groups: what both tiers do, and what the extended one does better."""

from typing import Any

import pytest

from tests.unit.devcloud.conftest import Site
from tests.unit.devcloud.test_quirks import NOWHERE, log_in_another

RULE = {"direction": "ingress", "protocol": "tcp", "port_min": 6443, "port_max": 6443, "cidr": "0.0.0.0/0"}


async def vpc_of(site: Site) -> str:
    return str((await site.data("GET", "/vpcs"))[0]["id"])


async def make(site: Site, name: str = "sg-one", **more: Any) -> Any:
    return await site.data("POST", "/security-groups", json={"vpc_id": await vpc_of(site), "name": name, **more})


async def rules_of(site: Site, group: Any) -> list[Any]:
    return (await site.data("GET", f"/security-groups/{group['id']}")).get("rules") or []


async def test_group_lives_with_its_rules_and_its_instances(both: Site) -> None:
    vpc = await vpc_of(both)
    group = await make(both, description="of a cluster")
    by_name = await both.data("GET", f"/security-groups/sg-one?vpc_id={vpc}")
    (listed,) = await both.data("GET", f"/security-groups?vpc_id={vpc}")
    assert group["id"] == by_name["id"] == listed["id"]
    assert (listed["vpc_id"], listed["description"]) == (vpc, "of a cluster")

    low = await both.data("POST", f"/security-groups/{group['id']}/rules", json={**RULE, "priority": 1})
    high = await both.data("POST", f"/security-groups/{group['id']}/rules", json={**RULE, "priority": 9})
    assert (low["group_id"], low["port_min"], low["cidr"]) == (group["id"], 6443, "0.0.0.0/0")
    assert [rule["id"] for rule in await rules_of(both, group)] == [high["id"], low["id"]]

    pair = {"group_id": group["id"], "instance_id": both.node_a}
    for step in ("attach", "attach", "detach", "detach"):
        assert "message" in await both.data("POST", f"/security-groups/{step}", json=pair)

    assert (await both.call("DELETE", f"/security-groups/rules/{low['id']}")).status_code == 204
    await both.error(404, "DELETE", f"/security-groups/rules/{low['id']}")
    assert [rule["id"] for rule in await rules_of(both, group)] == [high["id"]]
    assert (await both.call("DELETE", f"/security-groups/{group['id']}")).status_code == 204
    await both.error(404, "GET", f"/security-groups/{group['id']}")
    await both.error(404, "GET", "/security-groups/sg-one")


async def test_group_can_go_while_an_instance_has_it_and_an_instance_while_it_has_groups(both: Site) -> None:
    first, second = await make(both), await make(both, "sg-two")
    for group in (first, second):
        pair = {"group_id": group["id"], "instance_id": both.node_a}
        await both.data("POST", "/security-groups/attach", json=pair)

    assert (await both.call("DELETE", f"/security-groups/{first['id']}")).status_code == 204
    await both.data("DELETE", "/instances/node-a")

    assert (await both.data("GET", f"/security-groups/{second['id']}"))["name"] == "sg-two"
    await both.error(404, "POST", "/security-groups/attach", json={**pair, "group_id": second["id"]})


async def test_groups_of_other_tenants_are_out_of_reach(both: Site) -> None:
    group = await make(both)
    async with await log_in_another(both, role=None) as other:
        assert (await other.get(f"/security-groups/{group['id']}")).status_code == 404
        assert (await other.post(f"/security-groups/{group['id']}/rules", json=RULE)).status_code == 404
        await other.delete(f"/security-groups/{group['id']}")
        listed = (await other.get(f"/security-groups?vpc_id={await vpc_of(both)}")).json()["data"]

    assert not listed
    assert (await both.data("GET", f"/security-groups/{group['id']}"))["name"] == "sg-one"


async def test_a_vpc_takes_its_groups_along(both: Site) -> None:
    vpc = await both.data("POST", "/vpcs", json={"name": "net", "cidr_block": "10.9.0.0/16"})
    group = await both.data("POST", "/security-groups", json={"vpc_id": vpc["id"], "name": "sg"})
    await both.data("POST", f"/security-groups/{group['id']}/rules", json=RULE)

    await both.data("DELETE", f"/vpcs/{vpc['id']}")

    await both.error(404, "GET", f"/security-groups/{group['id']}")


async def test_extended_answers_show_rules_and_instances_everywhere(extended: Site) -> None:
    group = await make(extended)
    assert (group["rules"], group["instance_ids"]) == ([], [])
    await extended.data("POST", f"/security-groups/{group['id']}/rules", json=RULE)
    pair = {"group_id": group["id"], "instance_id": extended.node_b}
    await extended.data("POST", "/security-groups/attach", json=pair)

    (listed,) = await extended.data("GET", f"/security-groups?vpc_id={group['vpc_id']}")

    assert listed == await extended.data("GET", f"/security-groups/{group['id']}")
    assert listed["instance_ids"] == [extended.node_b]
    assert [rule["port_max"] for rule in listed["rules"]] == [6443]


async def test_extended_the_same_rule_is_the_one_that_is_there(extended: Site) -> None:
    group = await make(extended)

    first = await extended.data("POST", f"/security-groups/{group['id']}/rules", json=RULE)

    assert await extended.data("POST", f"/security-groups/{group['id']}/rules", json=RULE) == first
    assert len(await rules_of(extended, group)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"direction": "sideways"},
        {"protocol": "sctp"},
        {"cidr": "10.0.0.1/8"},
        {"cidr": "fd00::/64"},
        {"port_min": 0},
        {"port_min": 7000},
        {"port_max": 65536},
        {"protocol": "arp"},
        {"priority": -1},
    ],
)
async def test_extended_rules_that_cannot_be_are_refused(extended: Site, wrong: dict[str, Any]) -> None:
    group = await make(extended)

    error = await extended.error(400, "POST", f"/security-groups/{group['id']}/rules", json={**RULE, **wrong})

    assert error["type"] == "INVALID_INPUT"
    assert await rules_of(extended, group) == []


async def test_extended_errors_say_what_is_missing_or_taken(extended: Site) -> None:
    group = await make(extended)
    body = {"vpc_id": group["vpc_id"], "name": "sg-one"}

    taken = await extended.error(409, "POST", "/security-groups", json=body)
    missing = await extended.error(404, "DELETE", f"/security-groups/{NOWHERE}")
    nowhere = await extended.error(404, "POST", "/security-groups", json={**body, "vpc_id": NOWHERE})

    assert taken["details"] == {"reason": "name_taken", "resource": "security_group"}
    assert missing["details"] == {"resource": "security_group", "id": NOWHERE}
    assert nowhere["details"]["resource"] == "vpc"
    assert (await extended.error(400, "GET", "/security-groups"))["message"] == "vpc_id is required"
    await extended.error(400, "DELETE", "/security-groups/mine")


async def test_extended_an_instance_of_another_vpc_is_refused(extended: Site) -> None:
    vpc = await extended.data("POST", "/vpcs", json={"name": "net", "cidr_block": "10.9.0.0/16"})
    group = await extended.data("POST", "/security-groups", json={"vpc_id": vpc["id"], "name": "sg"})
    pair = {"group_id": group["id"], "instance_id": extended.node_a}

    await extended.error(400, "POST", "/security-groups/attach", json=pair)

    assert (await extended.data("GET", f"/security-groups/{group['id']}"))["instance_ids"] == []


async def test_extended_changes_are_on_the_stream(extended: Site) -> None:
    group = await make(extended)
    await extended.data("POST", f"/security-groups/{group['id']}/rules", json=RULE)
    await extended.call("DELETE", f"/security-groups/{group['id']}")

    rows = await extended.inside.cloud.store.read(
        lambda db: db.execute("SELECT kind FROM events WHERE resource_id = ? ORDER BY seq", (group["id"],)).fetchall()
    )

    assert [kind for (kind,) in rows] == [f"security_group.{what}" for what in ("created", "modified", "deleted")]
