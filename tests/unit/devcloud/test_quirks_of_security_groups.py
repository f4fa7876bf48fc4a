"""The quirks of the published platform's security groups, by the number that each has in `devcloud.api.quirks`."""

from typing import Any

from devcloud.network_rows import SECURITY_RULES
from tests.unit.devcloud.conftest import Site
from tests.unit.devcloud.test_quirks import NOWHERE, RAW, log_in_another
from tests.unit.devcloud.test_security_groups import RULE, make, rules_of, vpc_of


async def add(site: Site, group: Any, **more: Any) -> Any:
    return await site.data("POST", f"/security-groups/{group['id']}/rules", json={**RULE, **more})


async def in_force(site: Site) -> list[bool]:
    """Tell of each rule, the oldest first, whether the network knows of it."""
    return [rule.in_force for rule in reversed(await site.inside.cloud.store.read(SECURITY_RULES.all))]


async def test_q45_what_does_not_fit_is_refused_with_a_text(strict: Site) -> None:
    group = await make(strict)
    refused = [
        await strict.call("POST", "/security-groups", json={"name": "no-vpc"}),
        await strict.call("POST", "/security-groups", json={"vpc_id": "mine", "name": "sg"}),
        await strict.call("GET", "/security-groups"),
        await strict.call("GET", "/security-groups?vpc_id=mine"),
        await strict.call("DELETE", "/security-groups/mine"),
        await strict.call("POST", "/security-groups/mine/rules", json=RULE),
        await strict.call("POST", f"/security-groups/{group['id']}/rules", json={**RULE, "port_min": "1"}),
        await strict.call("DELETE", "/security-groups/rules/mine"),
        await strict.call("POST", "/security-groups/attach", json={"group_id": group["id"]}),
    ]

    assert {answer.status_code for answer in refused} == {400}
    assert all(isinstance(answer.json()["error"], str) and "meta" not in answer.json() for answer in refused)


async def test_q46_answer_to_making_one_lists_two_arp_rules_that_are_not_there(strict: Site) -> None:
    group = await make(strict)

    assert [rule["protocol"] for rule in group["rules"]] == ["arp", "arp"]
    assert "rules" not in await strict.data("GET", f"/security-groups/{group['id']}")


async def test_q47_taken_name_and_missing_vpc_are_500(strict: Site) -> None:
    group = await make(strict)
    body = {"vpc_id": group["vpc_id"], "name": "sg-one"}

    assert await strict.error(500, "POST", "/security-groups", json=body) == RAW
    assert await strict.error(500, "POST", "/security-groups", json={**body, "vpc_id": NOWHERE}) == RAW


async def test_q48_list_is_of_one_vpc_and_shows_no_rules(strict: Site) -> None:
    assert await strict.data("GET", f"/security-groups?vpc_id={NOWHERE}") is None
    group = await make(strict)
    await add(strict, group)

    (listed,) = await strict.data("GET", f"/security-groups?vpc_id={await vpc_of(strict)}")

    assert not {"rules", "instance_ids"} & set(listed)


async def test_q49_rule_s_empty_id_is_400_and_the_rest_only_the_database_checks(strict: Site) -> None:
    group = await make(strict)
    path = f"/security-groups/{group['id']}/rules"

    assert (await strict.call("POST", path, json={**RULE, "id": ""})).status_code == 400
    assert await strict.error(500, "POST", path, json={**RULE, "direction": "sideways"}) == RAW
    assert await strict.error(500, "POST", path, json={**RULE, "cidr": "255.255.255.255/255"}) == RAW
    assert (await add(strict, group, id=NOWHERE))["id"] != NOWHERE
    assert (await add(strict, group, cidr="nonsense", port_min=9, port_max=-1))["cidr"] == "nonsense"


async def test_q50_the_same_rule_is_stored_again(strict: Site) -> None:
    group = await make(strict)
    await add(strict, group)
    await add(strict, group)

    assert len(await rules_of(strict, group)) == 2


async def test_q51_new_rule_counts_from_the_next_attach_or_rule(strict: Site) -> None:
    group = await make(strict)
    await add(strict, group)
    assert await in_force(strict) == [False]
    await add(strict, group)
    assert await in_force(strict) == [True, False]

    pair = {"group_id": group["id"], "instance_id": strict.node_a}
    await strict.data("POST", "/security-groups/attach", json=pair)

    assert await in_force(strict) == [True, True]


async def test_q52_detaching_one_instance_ends_the_rules_for_all(strict: Site) -> None:
    group = await make(strict)
    await add(strict, group)
    pairs = [{"group_id": group["id"], "instance_id": one} for one in (strict.node_a, strict.node_b)]
    for pair in pairs:
        await strict.data("POST", "/security-groups/attach", json=pair)

    await strict.data("POST", "/security-groups/detach", json=pairs[0])
    assert await in_force(strict) == [False]
    await strict.data("POST", "/security-groups/attach", json=pairs[1])

    assert await in_force(strict) == [True]


async def test_q53_deleting_what_is_not_there_is_204(strict: Site) -> None:
    assert (await strict.call("DELETE", f"/security-groups/{NOWHERE}")).status_code == 204


async def test_q54_attaching_what_belongs_to_another_tenant_is_403(strict: Site) -> None:
    group = await make(strict)
    async with await log_in_another(strict, role=None) as other:
        pair = {"group_id": group["id"], "instance_id": strict.node_a}
        answers = [await other.post(f"/security-groups/{step}", json=pair) for step in ("attach", "detach")]

    assert [answer.status_code for answer in answers] == [403, 403]
    missing = {"group_id": NOWHERE, "instance_id": strict.node_a}
    await strict.error(404, "POST", "/security-groups/attach", json=missing)
