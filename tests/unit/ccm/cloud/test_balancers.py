"""Load balancers of the extended tier behind the port."""

import json
from dataclasses import replace

import pytest

from ccm.model import (
    Algorithm,
    BalancerAddress,
    BalancerState,
    Group,
    HealthCheck,
    Listener,
    Protocol,
    Shape,
    Sticky,
    StickyMode,
    Target,
)
from ccm.names import CLUSTER_TAG, SERVICE_TAG, SERVICE_UID_TAG
from ccm.ports import Cause, CloudError
from tests.unit.ccm.cloud.fake_platform import FEATURES, FakePlatform, uuid_of
from tests.unit.ccm.cloud.parts import API, CHECKED, CLUSTER, MARK, OTHER_UID, UID, WEB, cloud_on, new, targets
from tests.unit.thecloud.scripted import broken, failure, plain_404, raw_500, soon
from tests.unit.thecloud.virtual_time import virtual
from thecloud.lean_httpx import httpx

LOST = broken(httpx.ReadError("lost"))


def foreign(platform, *, cluster="other", number=0x777):
    lb_id = uuid_of(number)
    platform.balancers[lb_id] = {
        "id": lb_id, "name": "theirs", "status": "ACTIVE", "groups": [], "tags": {CLUSTER_TAG: cluster},
        "key": "", "body": {},
    }  # fmt: skip
    return lb_id


@virtual
async def test_what_is_made_is_ours_and_reads_as_it_was_asked_for():
    platform = FakePlatform()
    one = platform.add_instance(1)
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        made = await balancers.create(new(CHECKED, targets=(Target(one, 3),), tags={}), deadline=soon())
        (listed,) = await balancers.mine(max_age_s=60.0, deadline=soon())
    assert listed == made
    assert made.group(UID) == Group(name=UID, listeners=(CHECKED,), targets=(Target(one, 3),))
    assert made.addresses == (BalancerAddress("203.0.113.7"),)
    assert made.state is BalancerState.CREATING
    # The mark is not left to the caller.
    assert made.tags[CLUSTER_TAG] == CLUSTER


@virtual
async def test_a_lost_answer_makes_no_second_one():
    platform = FakePlatform()
    platform.fail("POST", "/lb", LOST, times=2, after=True)
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        made = await balancers.create(new(), deadline=soon())
        assert (await balancers.create(new(), deadline=soon())).id == made.id
        with pytest.raises(CloudError) as caught:
            await balancers.create(new(API), deadline=soon())
    assert (caught.value.cause, caught.value.reason) == (Cause.CONFLICT, "key_reused")
    assert len(platform.balancers) == 1


@virtual
async def test_only_ours_are_listed_also_when_the_platform_lists_more():
    platform = FakePlatform(features=tuple(one for one in FEATURES if one != "list.etag"))
    foreign(platform)
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        made = await balancers.create(new(), deadline=soon())
        # A filter that another question takes away, or that a proxy drops.
        for row in platform.balancers.values():
            row["name"] = "theirs"
        _, listed = (
            await client.load_balancers.list(deadline=soon()),
            await balancers.mine(max_age_s=0.0, deadline=soon()),
        )
    assert [one.id for one in listed] == [made.id]
    assert dict(platform.requests[-1].url.params) == {"tag": f"{CLUSTER_TAG}:{CLUSTER}"}


@virtual
async def test_a_listing_is_kept_until_something_is_written():
    platform = FakePlatform()
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        made = await balancers.create(new(), deadline=soon())
        for _ in range(3):
            await balancers.mine(max_age_s=60.0, deadline=soon())
            await balancers.mine(max_age_s=60.0, deadline=soon())
            platform.fail("PUT", "/lb/.*", LOST, times=4, after=True)
            # Nobody knows whether it happened, so that what was listed before is worth nothing.
            with pytest.raises(CloudError) as caught:
                await balancers.put_group(made.id, UID, listeners=(API,), deadline=soon())
            assert caught.value.cause is Cause.UNKNOWN
        (listed,) = await balancers.mine(max_age_s=60.0, deadline=soon())
    assert listed.group(UID).listeners == (API,)
    assert platform.calls().count("GET /lb") == 4


@virtual
async def test_parts_of_a_group_are_written_apart():
    platform = FakePlatform()
    one, two = platform.add_instance(1), platform.add_instance(2)
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        made = await balancers.create(new(targets=targets(one)), deadline=soon())
        await balancers.put_group(made.id, UID, targets=targets(one, two), deadline=soon())
        changed = await balancers.put_group(made.id, UID, listeners=(WEB, API), deadline=soon())
        assert changed.group(UID) == Group(name=UID, listeners=(WEB, API), targets=targets(one, two))
        with pytest.raises(CloudError) as caught:
            await balancers.put_group(made.id, UID, targets=targets(uuid_of(9)), deadline=soon())
    assert (caught.value.cause, caught.value.details["instance_id"]) == (Cause.REFUSED, uuid_of(9))
    assert len(platform.calls("PUT")) == 3


@virtual
async def test_on_an_adopted_one_our_group_and_nothing_else():
    platform = FakePlatform()
    lb_id = foreign(platform)
    platform.balancers[lb_id]["groups"] = [{"name": "theirs", "listeners": [], "targets": []}]
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        assert (await balancers.get(lb_id, deadline=soon())).tags == {CLUSTER_TAG: "other"}
        await balancers.put_group(lb_id, UID, listeners=(WEB,), deadline=soon())
        assert len(platform.balancers[lb_id]["groups"]) == 2
        await balancers.delete_group(lb_id, UID, deadline=soon())
        for attempt in (
            balancers.modify(lb_id, name="mine", deadline=soon()),
            balancers.delete(lb_id, guard=None, deadline=soon()),
            balancers.delete(lb_id, guard=MARK, deadline=soon()),
            balancers.delete(lb_id, guard=(CLUSTER_TAG, "other"), deadline=soon()),
        ):
            with pytest.raises(CloudError) as caught:
                await attempt
            assert caught.value.cause is Cause.GUARD
    assert [one["name"] for one in platform.balancers[lb_id]["groups"]] == ["theirs"]
    assert platform.balancers[lb_id]["name"] == "theirs"


@virtual
async def test_the_mark_can_be_given_up_once_and_not_to_another():
    platform = FakePlatform()
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        made = await balancers.create(new(), deadline=soon())
        kept = await balancers.modify(made.id, tags={CLUSTER_TAG: "other", SERVICE_UID_TAG: ""}, deadline=soon())
        assert kept.tags == {CLUSTER_TAG: CLUSTER, SERVICE_TAG: "default/web"}
        left = await balancers.modify(
            made.id, size="large", tags={CLUSTER_TAG: "", "a": "b", SERVICE_TAG: ""}, deadline=soon()
        )
        assert (left.tags, left.size) == ({"a": "b"}, "large")
        assert await balancers.mine(max_age_s=60.0, deadline=soon()) == ()
        for attempt in (
            balancers.modify(made.id, tags={CLUSTER_TAG: CLUSTER}, deadline=soon()),
            balancers.modify(made.id, name="mine", deadline=soon()),
            balancers.delete(made.id, guard=MARK, deadline=soon()),
        ):
            with pytest.raises(CloudError) as caught:
                await attempt
            assert caught.value.cause is Cause.GUARD
        # The key still gives this one.
        with pytest.raises(CloudError, match=made.id) as caught:
            await balancers.create(new(), deadline=soon())
        assert caught.value.cause is Cause.CONFLICT
    assert platform.balancers[made.id]["tags"] == {"a": "b"}


@virtual
async def test_deleting_twice_is_deleting_once():
    platform = FakePlatform()
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        made = await balancers.create(new(), deadline=soon())
        with pytest.raises(CloudError) as caught:
            await balancers.delete(made.id, guard=(SERVICE_UID_TAG, OTHER_UID), deadline=soon())
        assert caught.value.cause is Cause.GUARD
        await balancers.delete(made.id, guard=(SERVICE_UID_TAG, UID), deadline=soon())
        for guard in (None, MARK, (SERVICE_UID_TAG, UID)):
            await balancers.delete(made.id, guard=guard, deadline=soon())
        await balancers.delete_group(made.id, UID, deadline=soon())
        assert await balancers.get(made.id, deadline=soon()) is None
        assert await balancers.mine(max_age_s=60.0, deadline=soon()) == ()
        with pytest.raises(CloudError) as caught:
            await balancers.put_group(made.id, UID, listeners=(), deadline=soon())
        assert (caught.value.cause, caught.value.resource) == (Cause.MISSING, "load_balancer")
        with pytest.raises(CloudError) as caught:
            await balancers.modify(made.id, name="n", deadline=soon())
        assert caught.value.cause is Cause.MISSING


@virtual
@pytest.mark.parametrize("reply", [plain_404(), raw_500(), failure(404, "NOT_FOUND", resource="tenant"), LOST])
async def test_only_a_definite_answer_ends_a_delete(reply):
    platform = FakePlatform()
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        made = await balancers.create(new(), deadline=soon())
        platform.fail("DELETE", "/lb/.*", reply, times=9)
        with pytest.raises(CloudError):
            await balancers.delete(made.id, guard=MARK, deadline=soon())
    assert made.id in platform.balancers


@virtual
async def test_every_field_survives_the_way_there_and_back():
    full = Listener(
        name="full", protocol=Protocol.HTTPS, port=443, target_port=30443, certificate_ids=(uuid_of(5),),
        tls_policy="modern", forwarded_for=False, algorithm=Algorithm.LEAST_CONN, idle_timeout_s=60,
        sticky=Sticky(mode=StickyMode.COOKIE, cookie_name="c", ttl_s=9), max_connections=7,
        allowed_sources=("10.0.0.0/8",), denied_sources=("10.1.0.0/16",),
        health_check=HealthCheck(
            protocol="https", port=1, path="/p", host="h", codes="200", interval_s=9, timeout_s=8, rise=7, fall=6,
            verify_tls=True,
        ),
    )  # fmt: skip
    udp = Listener(name="udp", protocol=Protocol.UDP, port=53, target_port=30053, algorithm=Algorithm.SOURCE)
    redirect = replace(WEB, redirect_port=443)
    proxied = replace(API, protocol=Protocol.TCP, proxy_protocol="v2", transparent=True)
    wanted = (full, udp, redirect, proxied)
    platform = FakePlatform()
    async with platform.client() as client:
        made = await cloud_on(client).balancers.create(new(*wanted), deadline=soon())
    assert made.group(UID).listeners == wanted


@virtual
async def test_what_the_platform_fills_in_is_no_difference():
    check = HealthCheck(protocol="tcp", port=10256)
    wanted = replace(CHECKED, health_check=check)
    platform = FakePlatform()
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        made = await balancers.create(new(wanted), deadline=soon())
        filled = platform.balancers[made.id]["groups"][0]["listeners"][0]
        filled["tls_policy"] = "intermediate"
        filled["health_check"] |= {"path": "/healthz", "codes": "200-299", "host": ""}
        assert (await balancers.get(made.id, deadline=soon())).group(UID).listeners == (wanted,)


@virtual
async def test_a_listener_that_we_cannot_read_is_shown_as_none_and_hides_no_other():
    platform = FakePlatform()
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        made = await balancers.create(new(WEB, API), deadline=soon())
        platform.balancers[made.id]["groups"][0]["listeners"][0]["protocol"] = "quic"
        (listed,) = await balancers.mine(max_age_s=0.0, deadline=soon())
    assert listed.group(UID).listeners == (API,)


@virtual
async def test_a_static_address_is_known_by_its_elastic_ip():
    platform = FakePlatform()
    shape = Shape(internal=True, families=("ipv6", "ipv4"), static_addresses=("203.0.113.9",), vpc_id=uuid_of(3))
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        made = await balancers.create(new(shape=shape), deadline=soon())
        sent = json.loads(platform.requests[0].content)
        platform.balancers[made.id]["addresses"] = [
            {"address": "203.0.113.9/32", "family": "ipv4", "elastic_ip_id": uuid_of(8)},
            {"address": "2001:DB8::1", "family": "ipv6", "elastic_ip_id": ""},
        ]
        found = await balancers.get(made.id, deadline=soon())
    assert (sent["static_addresses"], sent["families"], sent["internal"]) == (["203.0.113.9"], ["ipv6", "ipv4"], True)
    assert found.addresses == (BalancerAddress("203.0.113.9", is_static=True), BalancerAddress("2001:db8::1"))
    assert found.shape == shape


@virtual
async def test_the_offer_is_what_the_platform_announces():
    async with FakePlatform().client() as client:
        offer = await cloud_on(client).balancers.offer(deadline=soon())
    assert offer.protocols == {"tcp", "udp", "http", "https", "tls"}
    assert (offer.families, offer.has_transparent, offer.has_shared) == ({"ipv4"}, False, True)
    assert offer.has_listener_options
    few = ("lb.listeners", "lb.targets-put", "lb.tags", "lb.transparent")
    async with FakePlatform(features=few).client() as client:
        offer = await cloud_on(client).balancers.offer(deadline=soon())
    assert offer.protocols == {"tcp", "udp", "http"}
    assert (offer.has_addresses, offer.has_health_checks, offer.has_internal) == (False, False, False)
    assert (offer.has_certificates, offer.has_static_addresses, offer.has_transparent) == (False, False, True)
    async with FakePlatform(features=(*FEATURES, "lb.ipv6")).client() as client:
        assert (await cloud_on(client).balancers.offer(deadline=soon())).families == {"ipv4", "ipv6"}
