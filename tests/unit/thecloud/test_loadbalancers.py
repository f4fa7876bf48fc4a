"""Load balancers of the extended tier: what is sent, what the answers mean, what is tried again."""

import json

import pytest

from tests.unit.thecloud.scripted import INSTANCE_ID, OTHER_ID, Platform, broken, failure, ok, soon, too_many
from tests.unit.thecloud.virtual_time import virtual
from thecloud.errors import Conflict, GuardMismatch, Missing, Refused, UnknownOutcome, Unsupported
from thecloud.lean_httpx import httpx
from thecloud.network_wire import HealthCheck, Listener, LoadBalancerStatus, Target, TargetGroup
from thecloud.presence import Gone

LB_ID = "4f1c2d3e-0000-4000-8000-0000000000dd"
PATH = f"/lb/{LB_ID}"
GROUP = f"{PATH}/groups/uid-1"
LOST = broken(httpx.ReadError("lost"))
FEATURES = ("lb.listeners", "lb.targets-put", "lb.address", "lb.tags")
WEB = Listener(name="web", protocol="tcp", port=80, target_port=30080)


def extended():
    return Platform(features=FEATURES)


def balancer(**fields):
    return {"id": LB_ID, "name": "web", "status": "ACTIVE", "groups": []} | fields


def sent(request):
    return json.loads(request.content)


@virtual
async def test_a_create_is_repeated_with_its_key_while_nobody_knows():
    platform = extended().on("POST", "/lb", LOST, too_many(), ok(balancer(status="CREATING"), 202))
    group = TargetGroup(name="uid-1", listeners=(WEB,), targets=(Target(instance_id=INSTANCE_ID, weight=2),))
    async with platform.client() as cloud:
        made = await cloud.load_balancers.create(
            name="web", idempotency_key="k", tags={"a": "b"}, groups=(group,), internal=True, deadline=soon()
        )
    assert made.status is LoadBalancerStatus.CREATING
    assert [request.headers["Idempotency-Key"] for request in platform.asked()] == ["k"] * 3
    assert sent(platform.asked()[2]) == {
        "name": "web",
        "internal": True,
        "tags": {"a": "b"},
        "groups": [
            {
                "name": "uid-1",
                "listeners": [{"name": "web", "protocol": "tcp", "port": 80, "target_port": 30080}],
                "targets": [{"instance_id": INSTANCE_ID, "weight": 2}],
            }
        ],
    }


@virtual
async def test_without_a_key_a_lost_create_is_not_repeated():
    platform = extended().on("POST", "/lb", LOST)
    async with platform.client() as cloud:
        with pytest.raises(UnknownOutcome):
            await cloud.load_balancers.create(name="web", idempotency_key="", deadline=soon())
    assert len(platform.asked()) == 1


@virtual
async def test_a_group_is_put_in_parts_and_empty_is_not_the_same_as_left_out():
    platform = extended().on("PUT", GROUP, LOST, ok(balancer()))
    async with platform.client() as cloud:
        await cloud.load_balancers.put_group(LB_ID, "uid-1", targets=(), deadline=soon())
        await cloud.load_balancers.put_group(LB_ID, "uid-1", listeners=(), deadline=soon())
    assert [sent(request) for request in platform.asked()] == [{"targets": []}, {"targets": []}, {"listeners": []}]


@virtual
async def test_a_listener_comes_back_as_it_was_sent():
    check = HealthCheck(protocol="http", port=10256, path="/healthz", codes="200-299", interval_s=7)
    listener = Listener(
        name="web", protocol="https", port=443, target_port=30443, certificate_ids=(OTHER_ID,), health_check=check,
        allowed_sources=("10.0.0.0/8",), forwarded_for=False,
    )  # fmt: skip

    def echo(request):
        return ok(balancer(groups=[{"name": "uid-1", "targets": None} | sent(request)]))

    platform = extended().on("PUT", GROUP, echo)
    async with platform.client() as cloud:
        put = await cloud.load_balancers.put_group(LB_ID, "uid-1", listeners=(listener,), deadline=soon())
    assert put.groups == (TargetGroup(name="uid-1", listeners=(listener,)),)


@virtual
async def test_nulls_read_as_empty_and_unknown_words_as_unknown():
    nulls = dict.fromkeys(("certificate_ids", "allowed_sources", "denied_sources", "sticky"))
    listener = {"name": "q", "protocol": "quic", "port": 443, "target_port": 1, **nulls}
    groups = [{"name": "g", "listeners": [listener], "targets": None}]
    platform = extended().on("GET", "/lb", ok([balancer(status="MELTING", groups=groups, tags=None, addresses=None)]))
    async with platform.client() as cloud:
        (found,) = await cloud.load_balancers.list(tag=("k", "v"), deadline=soon())
    assert found.status is LoadBalancerStatus.UNKNOWN
    assert (found.tags, found.addresses) == ({}, ())
    assert found.groups[0].listeners[0] == Listener(name="q", protocol="quic", port=443, target_port=1)
    assert platform.calls() == ["GET /lb?tag=k%3Av"]


@virtual
async def test_without_its_groups_an_answer_is_none():
    short = {"id": LB_ID, "name": "web", "status": "ACTIVE"}
    platform = extended().on("GET", PATH, ok(short))
    async with platform.client() as cloud:
        with pytest.raises(UnknownOutcome):
            await cloud.load_balancers.get(LB_ID, deadline=soon())


@virtual
async def test_gone_and_what_a_delete_means():
    platform = (
        extended()
        .on("GET", PATH, failure(404, "NOT_FOUND", resource="load_balancer", id=LB_ID))
        .on("DELETE", PATH, failure(412, "PRECONDITION_FAILED"), ok({}), failure(404, "NOT_FOUND"), LOST)
        .on("DELETE", GROUP, LOST, ok({}))
    )
    async with platform.client() as cloud:
        balancers = cloud.load_balancers
        assert await balancers.get(LB_ID, deadline=soon()) == Gone("load_balancer", LB_ID)
        with pytest.raises(GuardMismatch):
            await balancers.delete(LB_ID, guard_tag=("k", "v"), deadline=soon())
        await balancers.delete(LB_ID, deadline=soon())
        for kind in (Missing, UnknownOutcome):
            with pytest.raises(kind):
                await balancers.delete(LB_ID, deadline=soon())
        await balancers.delete_group(LB_ID, "uid-1", deadline=soon())
    assert platform.calls()[1] == f"DELETE {PATH}?tag=k%3Av"
    assert len(platform.asked("DELETE", PATH)) == 4
    assert len(platform.asked("DELETE", GROUP)) == 2


@virtual
async def test_conflicts_say_which():
    platform = extended().on("PUT", GROUP, failure(409, "CONFLICT", reason="port_taken", group="other", port="80"))
    async with platform.client() as cloud:
        with pytest.raises(Conflict) as caught:
            await cloud.load_balancers.put_group(LB_ID, "uid-1", listeners=(WEB,), deadline=soon())
    assert (caught.value.reason, caught.value.details["group"]) == ("port_taken", "other")


@virtual
@pytest.mark.parametrize("name", ["", "..", "a/b", "a?b", "x" * 129])
async def test_what_cannot_name_a_group_becomes_no_path(name):
    platform = extended()
    async with platform.client() as cloud:
        with pytest.raises(Refused):
            await cloud.load_balancers.delete_group(LB_ID, name, deadline=soon())
    assert platform.asked() == []


@virtual
async def test_what_is_no_id_is_not_sent():
    platform = extended()
    async with platform.client() as cloud:
        assert await cloud.load_balancers.get("web", deadline=soon()) == Gone("load_balancer", "web")
        with pytest.raises(Missing) as caught:
            await cloud.load_balancers.put_group(LB_ID, "g", targets=(Target(instance_id="node-a"),), deadline=soon())
    assert caught.value.resource == "instance"
    assert platform.asked() == []


@virtual
async def test_a_change_is_merged_and_repeated():
    platform = extended().on("PATCH", PATH, LOST, ok(balancer(size="large")))
    async with platform.client() as cloud:
        await cloud.load_balancers.modify(LB_ID, size="large", tags={"a": ""}, deadline=soon())
    assert sent(platform.asked()[1]) == {"size": "large", "tags": {"a": ""}}


@virtual
@pytest.mark.parametrize("platform", [Platform(features=None), Platform(features=("lb.tags",))])
async def test_where_there_are_none_nothing_is_asked(platform):
    async with platform.client() as cloud:
        balancers = cloud.load_balancers
        for attempt in (
            balancers.create(name="n", idempotency_key="k", deadline=soon()),
            balancers.list(deadline=soon()),
            balancers.get(LB_ID, deadline=soon()),
            balancers.put_group(LB_ID, "g", listeners=(), deadline=soon()),
            balancers.delete_group(LB_ID, "g", deadline=soon()),
            balancers.modify(LB_ID, name="n", deadline=soon()),
            balancers.delete(LB_ID, deadline=soon()),
        ):
            with pytest.raises(Unsupported):
                await attempt
    assert platform.asked() == []
