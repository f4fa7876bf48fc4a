"""The quirks of the published platform's networks, by the number that each has in `devcloud.api.quirks`.

The worker of these platforms never looks by itself: a test that wants a pass makes one.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcloud.balancing.worker import Worker
from devcloud.rows import ZERO_UUID
from tests.support.devcloud import devcloud_app
from tests.unit.devcloud.conftest import Site
from tests.unit.devcloud.test_quirks import NOWHERE, RAW, log_in_another


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Site]:
    async with devcloud_app(tmp_path, tier="strict", lb_tick_s=3600.0) as inside, inside.client() as client:
        yield Site(inside, client)


async def tick(site: Site) -> None:
    await Worker(site.inside.cloud).run_once()


async def vpc_of(site: Site) -> str:
    return str((await site.data("GET", "/vpcs"))[0]["id"])


async def post(site: Site, *, key: str | None = None, client: httpx.AsyncClient | None = None, **body: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    wanted = {"name": "web", "vpc_id": await vpc_of(site), "port": 80, **body}
    return await (client or site.client).post("/lb", json=wanted, headers=headers)


async def make(site: Site, key: str = "k1", **body: Any) -> Any:
    answer = await post(site, key=key, **body)
    assert answer.status_code == 202, answer.text
    return answer.json()["data"]


async def test_load_balancer_is_made_by_the_worker_and_sends_to_targets(strict: Site) -> None:
    made = await make(strict, algorithm="least-conn")
    body = {"instance_id": strict.node_a, "port": 30080}
    await strict.data("POST", f"/lb/{made['id']}/targets", json=body)
    await tick(strict)

    found = await strict.data("GET", "/lb/web")
    assert (made["status"], found["status"], found["algorithm"]) == ("CREATING", "ACTIVE", "least-conn")
    (target,) = await strict.data("GET", f"/lb/{made['id']}/targets")
    assert (target["instance_id"], target["port"], target["weight"], target["health"]) == (
        strict.node_a,
        30080,
        1,
        "unknown",
    )
    await strict.data("DELETE", f"/lb/{made['id']}/targets/{strict.node_a}")
    assert await strict.data("GET", f"/lb/{made['id']}/targets") is None
    await strict.error(404, "DELETE", f"/lb/{made['id']}/targets/{strict.node_a}")


@pytest.mark.parametrize("more", [{"port": 0}, {"port": 65536}, {"vpc_id": "no-uuid"}, {"name": ""}])
async def test_wrong_load_balancers_are_refused(strict: Site, more: dict[str, Any]) -> None:
    assert (await post(strict, key="k", **more)).status_code == 400


async def test_q33_body_of_a_vpc_is_refused_with_a_text(strict: Site) -> None:
    answer = await strict.call("POST", "/vpcs", content=b"{}")

    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)
    assert await strict.error(500, "PATCH", "/vpcs/default", content=b"{}") == RAW
    assert (await strict.error(400, "POST", "/vpcs", json={"name": "v", "cidr_block": "x"}))["type"] == "INVALID_INPUT"


async def test_q34_keys_replay_and_belong_to_one_user(strict: Site) -> None:
    made = await make(strict)

    assert (await make(strict, name="other", port=81))["id"] == made["id"]
    assert (await post(strict, key="k" * 65)).json()["error"] == RAW
    other = await log_in_another(strict)
    assert (await post(strict, key="k1", client=other)).json()["error"] == RAW
    first = await strict.call("POST", "/vpcs", json={"name": "v1"}, headers={"Idempotency-Key": "v"})
    again = await strict.call("POST", "/vpcs", json={"name": "v2"}, headers={"Idempotency-Key": "v"})
    assert (again.status_code, again.json()["data"]["id"]) == (201, first.json()["data"]["id"])
    await other.aclose()


async def test_q35_second_load_balancer_without_a_key_is_500(strict: Site) -> None:
    first, second = await post(strict), await post(strict, name="other", port=81)

    assert (first.status_code, second.status_code, second.json()["error"]) == (202, 500, RAW)


async def test_q36_deleted_load_balancer_is_shown_and_replayed_until_the_next_tick(strict: Site) -> None:
    made = await make(strict)
    for _ in range(2):
        answer = await strict.data("DELETE", f"/lb/{made['id']}")
        assert answer == {"message": "load balancer deletion initiated"}

    assert [(row["id"], row["status"]) for row in await strict.data("GET", "/lb")] == [(made["id"], "DELETED")]
    assert (await make(strict))["status"] == "DELETED"
    body = {"instance_id": strict.node_a, "port": 80}
    await strict.data("POST", f"/lb/{made['id']}/targets", json=body)
    await tick(strict)
    assert await strict.data("GET", "/lb") is None
    assert (await strict.error(404, "GET", f"/lb/{made['id']}"))["type"] == "LB_NOT_FOUND"
    assert (await make(strict))["id"] != made["id"]


async def test_q37_load_balancers_are_the_user_s_and_targets_everybody_s(strict: Site) -> None:
    made = await make(strict)
    await strict.data("POST", f"/lb/{made['id']}/targets", json={"instance_id": strict.node_a, "port": 80})
    other = await log_in_another(strict)

    assert (await other.get("/lb")).json()["data"] is None
    assert (await other.get(f"/lb/{made['id']}")).json()["error"]["type"] == "LB_NOT_FOUND"
    assert len((await other.get(f"/lb/{made['id']}/targets")).json()["data"]) == 1
    assert (await other.get(f"/lb/{NOWHERE}/targets")).json()["data"] is None
    await other.aclose()


async def test_q38_target_that_is_there_is_500(strict: Site) -> None:
    made = await make(strict)
    body = {"instance_id": strict.node_a, "port": 80}
    await strict.data("POST", f"/lb/{made['id']}/targets", json=body)

    assert await strict.error(500, "POST", f"/lb/{made['id']}/targets", json={**body, "port": 81}) == RAW
    assert (await strict.error(404, "POST", f"/lb/{NOWHERE}/targets", json=body))["type"] == "LB_NOT_FOUND"
    gone = {"instance_id": NOWHERE, "port": 80}
    assert (await strict.error(404, "POST", f"/lb/{made['id']}/targets", json=gone))["type"] == "NOT_FOUND"


async def test_q39_instance_of_another_vpc_or_none_is_refused(strict: Site) -> None:
    made = await make(strict)
    body = {"name": "v2", "cidr_block": "10.9.0.0/16"}
    other = (await strict.data("POST", "/vpcs", json=body))["id"]
    for more in ({}, {"vpc_id": other}):
        launched = await strict.data("POST", "/instances", json={"name": "i", "image": "x", **more})
        target = {"instance_id": launched["id"], "port": 80}
        error = await strict.error(400, "POST", f"/lb/{made['id']}/targets", json=target)
        assert error["type"] == "LB_CROSS_VPC"


async def test_q40_load_balancer_whose_port_is_taken_stays_creating(strict: Site) -> None:
    first = await make(strict, "k1")
    await tick(strict)
    second = await make(strict, "k2", name="other")
    await tick(strict)
    assert (await strict.data("GET", f"/lb/{second['id']}"))["status"] == "CREATING"
    await strict.data("DELETE", f"/lb/{first['id']}")
    await tick(strict)

    assert (await strict.data("GET", f"/lb/{second['id']}"))["status"] == "ACTIVE"


async def test_q41_load_balancer_has_no_address_and_hides_its_tenant(strict: Site) -> None:
    made = await make(strict)
    found = await strict.data("GET", f"/lb/{made['id']}")

    assert found["tenant_id"] == ZERO_UUID != made["tenant_id"]
    assert "ip" not in found
    assert "addresses" not in found


async def test_q42_vpc_s_taken_name_and_host_bits_are_500(strict: Site) -> None:
    assert await strict.error(500, "POST", "/vpcs", json={"name": "default"}) == RAW
    assert await strict.error(500, "POST", "/vpcs", json={"name": "v", "cidr_block": "10.0.0.1/16"}) == RAW


async def test_q43_vpc_that_something_lies_in_is_500(strict: Site) -> None:
    vpc = await vpc_of(strict)
    made = await make(strict)
    assert (await strict.error(409, "DELETE", f"/vpcs/{vpc}"))["type"] == "CONFLICT"
    await strict.data("DELETE", f"/lb/{made['id']}")

    assert await strict.error(500, "DELETE", f"/vpcs/{vpc}") == RAW
    await tick(strict)
    assert await strict.error(500, "DELETE", f"/vpcs/{vpc}") == RAW
    for name in ("node-a", "node-b"):
        await strict.data("DELETE", f"/instances/{name}")
    await strict.data("DELETE", f"/vpcs/{vpc}")


async def test_q44_terminated_instance_leaves_its_elastic_ip_associated(strict: Site) -> None:
    made = await strict.data("POST", "/elastic-ips")
    associated = await strict.data("POST", f"/elastic-ips/{made['id']}/associate", json={"instance_id": strict.node_a})
    await strict.data("DELETE", "/instances/node-a")
    found = await strict.data("GET", f"/elastic-ips/{made['id']}")

    assert made["public_ip"].startswith("100.64.")
    assert (associated["status"], associated["instance_id"]) == ("associated", strict.node_a)
    assert found["status"] == "associated"
    assert "instance_id" not in found
    await strict.error(409, "DELETE", f"/elastic-ips/{made['id']}")
    await strict.data("POST", f"/elastic-ips/{made['id']}/disassociate")
    await strict.error(400, "POST", f"/elastic-ips/{made['id']}/disassociate")
    await strict.data("DELETE", f"/elastic-ips/{made['id']}")
