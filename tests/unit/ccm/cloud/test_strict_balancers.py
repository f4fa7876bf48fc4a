"""Load balancers of the strict tier behind the port: one model, in spite of every quirk."""

from dataclasses import replace

import pytest

from ccm.model import Algorithm, BalancerAddress, BalancerState, Group, Protocol, Shape, Sticky, StickyMode
from ccm.ports import Cause, CloudError
from tests.unit.ccm.cloud.fake_platform import OTHER_VPC_ID, VPC_ID, uuid_of
from tests.unit.ccm.cloud.parts import API, CLUSTER, OTHER_UID, UID, WEB, cloud_on, new, strict, targets
from tests.unit.ccm.cloud.strict_parts import LOST, alive, put_row, sent_to
from tests.unit.thecloud.scripted import Reply, ok, soon
from tests.unit.thecloud.virtual_time import virtual


class TestCreate:
    @virtual
    async def test_one_for_each_port_shown_as_one(self):
        platform = strict()
        one, two = platform.add_instance(1), platform.add_instance(2)
        wanted = new(WEB, replace(API, algorithm=Algorithm.LEAST_CONN), targets=targets(one, two), size="")
        async with platform.client() as client:
            balancers = cloud_on(client, address="198.51.100.4").balancers
            made = await balancers.create(wanted, deadline=soon())
            assert list(await balancers.mine(max_age_s=60.0, deadline=soon())) == [made]
            assert await balancers.get(UID, deadline=soon()) == made
        assert sorted(alive(platform)) == [f"{CLUSTER}.{UID}.80", f"{CLUSTER}.{UID}.8080"]
        assert sent_to(platform, 80) == {one: (30080, 1), two: (30080, 1)}
        assert sent_to(platform, 8080) == {one: (30090, 1), two: (30090, 1)}
        assert made.id == UID
        assert made.group(UID) == wanted.group
        assert made.tags == wanted.tags
        assert made.addresses == (BalancerAddress("198.51.100.4"),)
        assert (made.state, made.shape, made.name) == (BalancerState.CREATING, Shape(vpc_id=VPC_ID), wanted.name)

    @virtual
    async def test_it_is_active_when_all_ports_are(self):
        platform = strict()
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(WEB, API), deadline=soon())
            states = []
            for row in platform.balancers.values():
                row["status"] = "ACTIVE"
                states.append((await balancers.get(UID, deadline=soon())).state)
            row["status"] = "ON FIRE"
            states.append((await balancers.get(UID, deadline=soon())).state)
        assert states == [BalancerState.CREATING, BalancerState.ACTIVE, BalancerState.UNKNOWN]

    @virtual
    async def test_a_lost_answer_makes_no_second_one(self):
        platform = strict()
        one = platform.add_instance(1)
        platform.fail("POST", "/lb", LOST, times=9, after=True)
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            with pytest.raises(CloudError) as caught:
                await balancers.create(new(targets=targets(one)), deadline=soon())
            assert caught.value.cause is Cause.UNKNOWN
            platform._faults.clear()
            await balancers.create(new(targets=targets(one)), deadline=soon())
        assert len(platform.balancers) == 1
        assert sent_to(platform, 80) == {one: (30080, 1)}

    @virtual
    async def test_a_replay_of_a_deleted_one_is_never_taken(self):
        platform = strict()
        platform.purge_after_s = 1000.0
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            for _ in range(3):
                await balancers.create(new(), deadline=soon())
                # Deleted behind our back, and the listing does not tell the key.
                (row,) = alive(platform).values()
                row["status"] = "DELETED"
                key, row["name"] = row["name"], "renamed"
                assert await balancers.mine(max_age_s=0.0, deadline=soon()) == ()
                row["name"] = key
            made = await balancers.create(new(), deadline=soon())
        assert made.group(UID).listeners == (WEB,)
        keys = [row["idempotency_key"] for row in platform.balancers.values()]
        assert len(set(keys)) == len(keys) == 4
        assert len({key.rpartition("-")[0] for key in keys}) == 1

    @virtual
    async def test_nor_of_one_that_the_listing_does_not_show(self):
        platform = strict()
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(), deadline=soon())
            (dead,) = platform.balancers.values()
            dead["status"] = "DELETED"
            # A copy that lags behind.
            platform.fail("GET", "/lb", ok(None))
            made = await balancers.create(new(), deadline=soon())
        (row,) = alive(platform).values()
        assert row["idempotency_key"] != dead["idempotency_key"]
        assert made.state is BalancerState.CREATING
        assert len(platform.balancers) == 2

    @virtual
    async def test_when_the_platform_never_forgets_it_is_said(self):
        platform = strict()
        dead = dict(put_row(platform, "x", status="DELETED") and platform.balancers[uuid_of(0x900)])
        platform.fail("POST", "/lb", ok(dead, 202), times=99)
        async with platform.client() as client:
            with pytest.raises(CloudError, match="forget") as caught:
                await cloud_on(client).balancers.create(new(), deadline=soon())
        assert caught.value.cause is Cause.CONFLICT

    @virtual
    async def test_the_network_is_that_of_most_targets(self):
        platform = strict()
        platform.vpcs.append(OTHER_VPC_ID)
        one, two = platform.add_instance(1), platform.add_instance(2)
        stray = platform.add_instance(3, vpc_id=OTHER_VPC_ID)
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            with pytest.raises(CloudError) as caught:
                await balancers.create(new(targets=targets(one, two, stray)), deadline=soon())
            assert (caught.value.cause, caught.value.reason) == (Cause.REFUSED, "LB_CROSS_VPC")
            assert caught.value.details["instance_id"] == stray
            # One instance that cannot be had keeps nobody else out.
            assert sent_to(platform, 80) == {one: (30080, 1), two: (30080, 1)}
            await balancers.create(
                new(uid=OTHER_UID, shape=Shape(vpc_id=OTHER_VPC_ID), targets=targets(stray)), deadline=soon()
            )
        assert alive(platform)[f"{CLUSTER}.{OTHER_UID}.80"]["vpc_id"] == OTHER_VPC_ID

    @virtual
    async def test_without_targets_it_is_the_only_network_or_nobodys_guess(self):
        platform = strict()
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            made = await balancers.create(new(), deadline=soon())
            assert made.group(UID) == Group(name=UID, listeners=(WEB,))
            platform.vpcs.append(OTHER_VPC_ID)
            with pytest.raises(CloudError) as caught:
                await balancers.create(new(uid=OTHER_UID), deadline=soon())
        assert (caught.value.cause, caught.value.resource) == (Cause.CONFLICT, "vpc")

    @virtual
    @pytest.mark.parametrize(
        "wanted",
        [
            new(replace(WEB, protocol=Protocol.TCP)),
            new(replace(WEB, allowed_sources=("10.0.0.0/8",))),
            new(replace(WEB, denied_sources=("10.0.0.0/8",))),
            new(replace(WEB, proxy_protocol="v2")),
            new(replace(WEB, transparent=True)),
            new(replace(WEB, redirect_port=443)),
            new(replace(WEB, max_connections=5)),
            new(replace(WEB, algorithm=Algorithm.SOURCE)),
            new(replace(WEB, sticky=Sticky(mode=StickyMode.SOURCE_IP))),
            new(shape=Shape(internal=True)),
            new(shape=Shape(families=("ipv6",))),
            new(shape=Shape(static_addresses=("203.0.113.9",))),
        ],
    )
    async def test_what_it_cannot_do_is_refused_before_anything_is_made(self, wanted):
        platform = strict()
        async with platform.client() as client:
            with pytest.raises(CloudError) as caught:
                await cloud_on(client).balancers.create(wanted, deadline=soon())
        assert caught.value.cause is Cause.UNSUPPORTED
        assert platform.writes() == []


@virtual
async def test_a_part_of_the_listing_is_no_listing():
    platform = strict()
    async with platform.client() as client:
        balancers = cloud_on(client).balancers
        await balancers.create(new(WEB, API), deadline=soon())
        for path, torn in (("/lb", b'{"data": [{"id": 1}]}'), ("/lb/.*/targets", b""), ("/lb/.*/targets", b"{}")):
            platform.fail("GET", path, Reply(200, torn), times=4)
            with pytest.raises(CloudError) as caught:
                await balancers.mine(max_age_s=0.0, deadline=soon())
            assert caught.value.cause is Cause.UNKNOWN
            platform._faults.clear()
        assert len(await balancers.mine(max_age_s=60.0, deadline=soon())) == 1


@virtual
async def test_what_is_offered_is_http_and_an_address_if_somebody_knows_one():
    async with strict().client() as client:
        offer = await cloud_on(client, address="198.51.100.4").balancers.offer(deadline=soon())
        assert (offer.protocols, offer.has_addresses) == ({"http"}, True)
        lacking = (offer.has_source_ranges, offer.has_certificates, offer.has_shared, offer.has_health_checks)
        assert not offer.has_listener_options
        assert lacking == (False,) * 4
        assert not (await cloud_on(client).balancers.offer(deadline=soon())).has_addresses
