"""Load balancers of the strict tier: the platform's quirks reach the caller as what they are."""

import json

import pytest

from tests.unit.thecloud.scripted import INSTANCE_ID, OTHER_ID, Platform, broken, failure, ok, plain_404, raw_500, soon
from tests.unit.thecloud.virtual_time import virtual
from thecloud.errors import Missing, Refused, UnknownOutcome
from thecloud.lean_httpx import httpx
from thecloud.network_wire import LoadBalancerStatus, PortTarget
from thecloud.presence import Gone

LB_ID = "4f1c2d3e-0000-4000-8000-0000000000dd"
PATH = f"/lb/{LB_ID}"
LOST = broken(httpx.ReadError("lost"))


def strict():
    return Platform(features=None)


def balancer(**fields):
    row = {"id": LB_ID, "name": "c.u.80", "port": 80, "algorithm": "round-robin", "status": "CREATING"}
    return row | {"vpc_id": OTHER_ID, "tenant_id": "00000000-0000-0000-0000-000000000000"} | fields


def target(**fields):
    return {"id": OTHER_ID, "lb_id": LB_ID, "instance_id": INSTANCE_ID, "port": 30080, "weight": 1} | fields


async def create(cloud, key="k"):
    return await cloud.port_balancers.create(
        name="c.u.80", vpc_id=OTHER_ID, port=80, algorithm="least-conn", idempotency_key=key, deadline=soon()
    )


@virtual
async def test_a_create_is_repeated_with_its_key():
    platform = strict().on("POST", "/lb", LOST, raw_500(), ok(balancer(), 202))
    async with platform.client() as cloud:
        assert (await create(cloud)).vpc_id == OTHER_ID
    requests = platform.asked()
    assert [request.headers["Idempotency-Key"] for request in requests] == ["k"] * 3
    assert json.loads(requests[0].content) == {
        "name": "c.u.80", "vpc_id": OTHER_ID, "port": 80, "algorithm": "least-conn",
    }  # fmt: skip


@virtual
@pytest.mark.parametrize("key", ["", "k" * 65, "ü"])
async def test_nothing_is_made_without_a_key_that_the_platform_can_store(key):
    platform = strict()
    async with platform.client() as cloud:
        with pytest.raises(ValueError, match="key"):
            await create(cloud, key)
    assert platform.asked() == []


@virtual
async def test_deleted_ones_are_shown_as_such():
    platform = strict().on("GET", "/lb", ok([balancer(status="DELETED", idempotency_key="k"), balancer(status="NEW")]))
    async with platform.client() as cloud:
        found = await cloud.port_balancers.list(deadline=soon())
    assert [one.status for one in found] == [LoadBalancerStatus.DELETED, LoadBalancerStatus.UNKNOWN]
    assert [one.idempotency_key for one in found] == ["k", None]


@virtual
async def test_only_the_platforms_own_404_means_gone():
    platform = strict().on("GET", PATH, failure(404, "LB_NOT_FOUND"), plain_404())
    async with platform.client() as cloud:
        assert await cloud.port_balancers.get(LB_ID, deadline=soon()) == Gone("load_balancer", LB_ID)
        with pytest.raises(UnknownOutcome):
            await cloud.port_balancers.get(LB_ID, deadline=soon())


@virtual
async def test_targets_are_listed_added_and_removed_and_a_lost_answer_is_not_repeated():
    path, one = f"{PATH}/targets", f"{PATH}/targets/{INSTANCE_ID}"
    platform = (
        strict()
        .on("GET", path, ok([target()]), ok(None))
        .on("POST", path, ok({"message": "target added"}, 201), raw_500(), failure(400, "LB_CROSS_VPC"))
        .on("DELETE", one, LOST, failure(404, "NOT_FOUND"), ok({"message": "target removed"}))
    )
    async with platform.client() as cloud:
        balancers = cloud.port_balancers
        assert await balancers.targets(LB_ID, deadline=soon()) == (PortTarget(instance_id=INSTANCE_ID, port=30080),)
        assert await balancers.targets(LB_ID, deadline=soon()) == ()
        await balancers.add_target(LB_ID, INSTANCE_ID, port=30080, weight=3, deadline=soon())
        for kind in (UnknownOutcome, Refused):
            with pytest.raises(kind):
                await balancers.add_target(LB_ID, INSTANCE_ID, port=30080, deadline=soon())
        for kind in (UnknownOutcome, Missing):
            with pytest.raises(kind):
                await balancers.remove_target(LB_ID, INSTANCE_ID, deadline=soon())
        await balancers.remove_target(LB_ID, INSTANCE_ID, deadline=soon())
    added = platform.asked("POST", path)
    assert len(added) == 3
    assert json.loads(added[0].content) == {"instance_id": INSTANCE_ID, "port": 30080, "weight": 3}
    assert len(platform.asked("DELETE", one)) == 3


@virtual
async def test_a_delete_is_made_once():
    platform = strict().on("DELETE", PATH, LOST, ok({"message": "load balancer deletion initiated"}))
    async with platform.client() as cloud:
        with pytest.raises(UnknownOutcome):
            await cloud.port_balancers.delete(LB_ID, deadline=soon())
        await cloud.port_balancers.delete(LB_ID, deadline=soon())
    assert len(platform.asked()) == 2
