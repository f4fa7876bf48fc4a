"""Load balancers of the extended tier, without a data path."""

from typing import Any

import pytest

from devcloud.balancing.worker import Worker
from devcloud.errors import BackendError
from devcloud.faults import Kind
from tests.unit.devcloud.conftest import Site

NOWHERE = "7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11"
TCP = {"name": "l", "protocol": "tcp", "port": 80, "target_port": 30080}


async def make(site: Site, *listeners: dict[str, Any], key: str = "", **more: Any) -> Any:
    group = {"name": "g", "listeners": [*listeners], "targets": [{"instance_id": site.node_a}]}
    headers = {"Idempotency-Key": key} if key else {}
    return await site.data("POST", "/lb", json={"name": "web", "groups": [group], **more}, headers=headers)


async def put(site: Site, made: Any, name: str = "g", **body: Any) -> Any:
    return await site.data("PUT", f"/lb/{made['id']}/groups/{name}", json=body)


async def test_load_balancer_has_its_address_at_once_and_becomes_active(extended: Site) -> None:
    made = await make(extended, TCP, tags={"k": "v", "none": ""})
    await Worker(extended.inside.cloud).run_once()
    found = await extended.data("GET", "/lb/web")

    assert (made["status"], found["status"], made["version"], found["version"]) == ("CREATING", "ACTIVE", 1, 1)
    assert found["addresses"] == made["addresses"] == [{"address": "10.0.255.1", "family": "ipv4"}]
    assert (found["size"], found["families"], found["internal"], found["tags"]) == (
        "small",
        ["ipv4"],
        False,
        {"k": "v"},
    )
    (target,) = found["groups"][0]["targets"]
    assert target == {
        "instance_id": extended.node_a,
        "weight": 1,
        "address": "10.0.0.5",
        "health": {"l": "unknown"},
    }
    assert found["vpc_id"] == (await extended.data("GET", "/vpcs"))[0]["id"]


async def test_key_gives_the_same_load_balancer_and_refuses_another_request(extended: Site) -> None:
    made = await make(extended, TCP, key="k")

    assert (await make(extended, TCP, key="k"))["id"] == made["id"]
    headers = {"Idempotency-Key": "k"}
    error = await extended.error(409, "POST", "/lb", json={"name": "other"}, headers=headers)
    assert error["details"]["reason"] == "key_reused"
    await extended.data("DELETE", f"/lb/{made['id']}")
    assert (await make(extended, TCP, key="k"))["id"] != made["id"]


async def test_groups_are_replaced_one_apart_from_the_other(extended: Site) -> None:
    made = await make(extended, TCP)
    other = {**TCP, "port": 81}
    both = await put(extended, made, "h", listeners=[other])
    kept = await put(extended, made, targets=[{"instance_id": extended.node_b, "weight": 7}])
    same = await put(extended, made, targets=[{"instance_id": extended.node_b, "weight": 7}])
    left = await extended.data("DELETE", f"/lb/{made['id']}/groups/h")
    again = await extended.data("DELETE", f"/lb/{made['id']}/groups/h")

    assert [group["name"] for group in both["groups"]] == ["g", "h"]
    assert kept["groups"][0]["listeners"] == both["groups"][0]["listeners"]
    assert [target["weight"] for target in kept["groups"][0]["targets"]] == [7]
    versions = [row["version"] for row in (made, both, kept, same, left, again)]
    assert versions == [1, 2, 3, 3, 4, 4]


async def test_port_belongs_to_one_listener_of_a_transport(extended: Site) -> None:
    made = await make(extended, TCP)
    await put(extended, made, "u", listeners=[{**TCP, "protocol": "udp"}])

    path = f"/lb/{made['id']}/groups/h"
    error = await extended.error(409, "PUT", path, json={"listeners": [{**TCP, "protocol": "http"}]})
    assert {key: error["details"][key] for key in ("reason", "group", "port")} == {
        "reason": "port_taken",
        "group": "g",
        "port": "80",
    }
    assert [group["name"] for group in (await extended.data("GET", "/lb/web"))["groups"]] == ["g", "u"]


async def test_version_guards_a_group(extended: Site) -> None:
    made = await make(extended, TCP)
    await put(extended, made, listeners=[], version=1)

    error = await extended.error(409, "PUT", f"/lb/{made['id']}/groups/g", json={"targets": [], "version": 1})
    assert (error["details"]["reason"], error["details"]["version"]) == ("version", "2")


@pytest.mark.parametrize(
    "more",
    [
        {"protocol": "https"},
        {"protocol": "sctp"},
        {"port": 0},
        {"target_port": 65536},
        {"certificate_ids": [NOWHERE]},
        {"protocol": "tls", "certificate_ids": [NOWHERE]},
        {"redirect_port": 443},
        {"protocol": "udp", "proxy_protocol": "v1"},
        {"proxy_protocol": "v3"},
        {"transparent": True},
        {"sticky": {"mode": "cookie"}},
        {"protocol": "http", "sticky": {"mode": "cookie", "cookie_name": "a b"}},
        {"allowed_sources": ["10.0.0.1/8"]},
        {"denied_sources": ["everyone"]},
        {"idle_timeout_s": 0},
        {"name": "a b"},
        {"name": "l\n"},
        {"health_check": {"protocol": "http", "port": 1, "path": "/a b"}},
        {"health_check": {"protocol": "http", "port": 1, "path": "/x\nuser root"}},
        {"health_check": {"protocol": "http", "port": 1, "host": "a;b"}},
        {"health_check": {"protocol": "http", "port": 1, "codes": "200-299 or true"}},
        {"health_check": {"protocol": "udp", "port": 1}},
    ],
)
async def test_listeners_that_cannot_be_are_refused(extended: Site, more: dict[str, Any]) -> None:
    made = await make(extended, TCP)
    body = {"listeners": [{**TCP, **more}]}

    error = await extended.error(400, "PUT", f"/lb/{made['id']}/groups/g", json=body)
    assert error["type"] == "INVALID_INPUT"
    assert (await extended.data("GET", "/lb/web"))["version"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {"name": "web", "port": 80},
        {"name": "web", "families": ["ipv6"]},
        {"name": "web", "static_addresses": ["10.0.255.9"]},
        {"name": ""},
        {"name": "web", "size": "huge"},
        {"name": "web", "groups": [{"name": "g"}, {"name": "g"}]},
        {"name": "web", "groups": [{"name": "g", "listeners": [TCP, {**TCP, "port": 81}]}]},
    ],
)
async def test_load_balancers_that_cannot_be_are_refused(extended: Site, body: dict[str, Any]) -> None:
    await extended.error(400, "POST", "/lb", json=body)

    assert await extended.data("GET", "/lb") == []


async def test_instance_that_is_gone_or_elsewhere_is_no_target(extended: Site) -> None:
    made = await make(extended, TCP)
    vpc = (await extended.data("POST", "/vpcs", json={"name": "v2"}))["id"]
    elsewhere = await extended.data("POST", "/instances", json={"name": "i", "image": "x", "vpc_id": vpc})

    for instance_id in (NOWHERE, elsewhere["id"]):
        body = {"targets": [{"instance_id": extended.node_a}, {"instance_id": instance_id}]}
        error = await extended.error(400, "PUT", f"/lb/{made['id']}/groups/g", json=body)
        assert (error["type"], error["details"]) == ("INVALID_INPUT", {"instance_id": instance_id})
    twice = {"targets": [{"instance_id": extended.node_a}] * 2}
    await extended.error(400, "PUT", f"/lb/{made['id']}/groups/g", json=twice)


async def test_deleted_instance_leaves_every_group(extended: Site) -> None:
    made = await make(extended, TCP)
    await extended.data("DELETE", "/instances/node-a")
    found = await extended.data("GET", f"/lb/{made['id']}")

    assert (found["groups"][0]["targets"], found["version"]) == ([], 2)


async def test_patch_merges_tags_and_what_changes_nothing_has_no_version(extended: Site) -> None:
    made = await make(extended, TCP, tags={"a": "1", "b": "2"})
    path = f"/lb/{made['id']}"
    changed = await extended.data("PATCH", path, json={"size": "large", "tags": {"a": "", "c": "3"}})
    same = await extended.data("PATCH", path, json={"tags": {"c": "3"}})

    assert (changed["name"], changed["size"], changed["tags"]) == ("web", "large", {"b": "2", "c": "3"})
    assert (changed["version"], same["version"]) == (2, 2)


async def test_list_filters_and_delete_is_guarded(extended: Site) -> None:
    first = await make(extended, TCP, tags={"k": "v"})
    second = await make(extended, TCP, name="other")

    assert [row["id"] for row in await extended.data("GET", "/lb?tag=k:v")] == [first["id"]]
    assert [row["id"] for row in await extended.data("GET", "/lb?name=other")] == [second["id"]]
    await extended.error(412, "DELETE", f"/lb/{second['id']}?tag=k:v")
    await extended.data("DELETE", f"/lb/{first['id']}?tag=k:v")
    assert [row["id"] for row in await extended.data("GET", "/lb")] == [second["id"]]
    error = await extended.error(404, "GET", f"/lb/{first['id']}")
    assert (error["type"], error["details"]["resource"]) == ("NOT_FOUND", "load_balancer")


async def test_addresses_are_given_once_and_come_back(extended: Site) -> None:
    made = [(await make(extended, TCP))["addresses"][0]["address"] for _ in range(3)]
    kept = await extended.data("POST", "/elastic-ips")
    for row in await extended.data("GET", "/lb"):
        await extended.data("DELETE", f"/lb/{row['id']}")
    again = (await make(extended, TCP))["addresses"][0]["address"]

    assert len({*made, kept["public_ip"]}) == 4
    assert again == made[0]


async def test_static_address_is_associated_until_the_load_balancer_goes(extended: Site) -> None:
    kept = await extended.data("POST", "/elastic-ips", json={"name": "kept", "tags": {"k": "v"}})
    made = await make(extended, TCP, static_addresses=[kept["public_ip"]])
    path = f"/elastic-ips/{kept['id']}"
    found = await extended.data("GET", path)
    body = {"name": "second", "static_addresses": [kept["public_ip"]]}
    error = await extended.error(409, "POST", "/lb", json=body)
    refused = await extended.error(409, "DELETE", path)
    await extended.error(409, "POST", f"{path}/disassociate")

    assert made["addresses"] == [{"address": kept["public_ip"], "family": "ipv4", "elastic_ip_id": kept["id"]}]
    assert (found["status"], found["lb_id"], found["name"], found["tags"]) == (
        "associated",
        made["id"],
        "kept",
        {"k": "v"},
    )
    assert error["details"] == {
        "reason": "attached",
        "resource": "elastic_ip",
        "id": kept["id"],
        "lb_id": made["id"],
    }
    assert refused["details"]["reason"] == "attached"
    await extended.data("DELETE", f"/lb/{made['id']}")
    assert "lb_id" not in await extended.data("GET", path)
    await extended.data("DELETE", path)


async def test_data_path_that_cannot_be_made_is_an_error_that_heals(
    extended: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> None:
        raise BackendError("no proxies here")

    worker = Worker(extended.inside.cloud)
    with monkeypatch.context() as broken:
        broken.setattr(extended.inside.cloud.path, "apply", refuse)
        made = await make(extended, TCP)
        await worker.run_once()
        found = await extended.data("GET", f"/lb/{made['id']}")
    assert (found["status"], found["status_reason"]) == ("ERROR", "no proxies here")
    await Worker(extended.inside.cloud).run_once()

    healed = await extended.data("GET", f"/lb/{made['id']}")
    assert (healed["status"], healed["status_reason"], healed["version"]) == ("ACTIVE", "", 1)


async def test_lists_are_not_sent_twice(extended: Site) -> None:
    await make(extended, TCP)
    await Worker(extended.inside.cloud).run_once()
    for path in ("/lb", "/instances"):
        first = await extended.call("GET", path)
        headers = {"If-None-Match": f'"other", {first.headers["etag"]}'}
        same = await extended.call("GET", path, headers=headers)
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", first.headers["etag"])
    await extended.data("PATCH", "/lb/web", json={"size": "large"})
    changed = await extended.call("GET", "/lb", headers={"If-None-Match": "*"})
    assert changed.status_code == 200


async def test_faults_work_on_the_new_routes(extended: Site) -> None:
    extended.trouble(Kind.ERROR_AFTER, "/lb", "POST")
    await extended.error(500, "POST", "/lb", json={"name": "web"})

    assert [row["name"] for row in await extended.data("GET", "/lb")] == ["web"]


async def test_strict_routes_of_targets_are_not_there(extended: Site) -> None:
    made = await make(extended, TCP)

    assert (await extended.call("GET", f"/lb/{made['id']}/targets")).status_code == 404


async def test_events_tell_of_every_change(extended: Site) -> None:
    made = await make(extended, TCP)
    await put(extended, made, listeners=[])
    await extended.data("DELETE", f"/lb/{made['id']}")

    rows = await extended.inside.cloud.store.read(
        lambda db: db.execute("SELECT kind FROM events WHERE resource_id = ? ORDER BY seq", (made["id"],)).fetchall()
    )
    kinds = [kind for (kind,) in rows if kind != "lb.active"]
    assert kinds == ["lb.created", "lb.modified", "lb.deleted"]
    assert {item["action"] for item in await extended.data("GET", "/events")} >= {"LB_CREATE", "LB_DELETE"}
