"""Load balancers of the strict tier are changed and deleted in spite of every quirk."""

import asyncio
from dataclasses import replace

import pytest

from ccm.model import Algorithm, BalancerState, Group, Target
from ccm.names import CLUSTER_TAG, SERVICE_TAG, SERVICE_UID_TAG
from ccm.ports import Cause, CloudError
from tests.unit.ccm.cloud.fake_platform import uuid_of
from tests.unit.ccm.cloud.parts import API, CLUSTER, MARK, OTHER_UID, UID, WEB, cloud_on, new, strict, targets
from tests.unit.ccm.cloud.strict_parts import LOST, alive, put_row, sent_to
from tests.unit.thecloud.scripted import Reply, failure, plain_404, raw_500, soon
from tests.unit.thecloud.virtual_time import now, virtual


class TestPut:
    @virtual
    async def test_what_is_as_it_should_be_is_not_written(self):
        platform = strict()
        one = platform.add_instance(1)
        wanted = new(WEB, API, targets=targets(one))
        async with platform.client() as client:
            await cloud_on(client).balancers.create(wanted, deadline=soon())
            platform.requests.clear()
            # Another process, which does not know what was asked for.
            balancers = cloud_on(client).balancers
            (seen,) = await balancers.mine(max_age_s=0.0, deadline=soon())
            assert {(one.port, one.target_port) for one in seen.group(UID).listeners} == {(80, 30080), (8080, 30090)}
            assert seen.tags == {CLUSTER_TAG: CLUSTER, SERVICE_UID_TAG: UID}
            put = await balancers.put_group(
                UID, UID, listeners=wanted.group.listeners, targets=wanted.group.targets, deadline=soon()
            )
            named = await balancers.modify(UID, name=wanted.name, tags={SERVICE_TAG: "default/web"}, deadline=soon())
        assert put.group(UID) == named.group(UID) == wanted.group
        assert (named.tags, named.name) == (wanted.tags, wanted.name)
        assert platform.writes() == []

    @virtual
    async def test_targets_are_compared_by_port_and_weight_too(self):
        platform = strict()
        one, two, three = (platform.add_instance(number) for number in (1, 2, 3))
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(targets=targets(one, two)), deadline=soon())
            platform.requests.clear()
            moved = replace(WEB, target_port=30081)
            put = await balancers.put_group(UID, UID, listeners=(moved,), deadline=soon())
            assert put.group(UID) == Group(name=UID, listeners=(moved,), targets=targets(one, two))
            assert sent_to(platform, 80) == {one: (30081, 1), two: (30081, 1)}
            put = await balancers.put_group(UID, UID, targets=(Target(one, 5), Target(three)), deadline=soon())
            assert put.group(UID).targets == (Target(one, 5), Target(three))
        assert sent_to(platform, 80) == {one: (30081, 5), three: (30081, 1)}
        assert platform.calls("POST").count("POST /lb") == 0
        # New ones come before old ones go.
        writes = platform.writes()[4:]
        assert writes[-1].endswith(two)

    @virtual
    async def test_another_algorithm_is_another_load_balancer_once_the_old_one_is_forgotten(self):
        platform = strict()
        one = platform.add_instance(1)
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(WEB, API, targets=targets(one)), deadline=soon())
            before = alive(platform)
            changed = replace(WEB, algorithm=Algorithm.LEAST_CONN)
            put = await balancers.put_group(UID, UID, listeners=(changed, API), deadline=soon())
            assert now() >= platform.purge_after_s
        after = alive(platform)
        assert put.group(UID) == Group(name=UID, listeners=(changed, API), targets=targets(one))
        assert after[f"{CLUSTER}.{UID}.80"]["algorithm"] == "least-conn"
        assert after[f"{CLUSTER}.{UID}.80"]["id"] != before[f"{CLUSTER}.{UID}.80"]["id"]
        assert after[f"{CLUSTER}.{UID}.8080"] == before[f"{CLUSTER}.{UID}.8080"]
        assert len(platform.balancers) == 2

    @virtual
    async def test_ports_come_and_go(self):
        platform = strict()
        one = platform.add_instance(1)
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(targets=targets(one)), deadline=soon())
            put = await balancers.put_group(UID, UID, listeners=(API,), deadline=soon())
            assert put.group(UID) == Group(name=UID, listeners=(API,), targets=targets(one))
            assert list(alive(platform)) == [f"{CLUSTER}.{UID}.8080"]
            last = await balancers.put_group(UID, UID, listeners=(), deadline=soon())
            assert (last.state, last.groups) == (BalancerState.GOING, ())
            assert await balancers.mine(max_age_s=60.0, deadline=soon()) == ()
            with pytest.raises(CloudError) as caught:
                await balancers.put_group(UID, UID, listeners=(WEB,), deadline=soon())
        assert (caught.value.cause, caught.value.resource) == (Cause.MISSING, "load_balancer")

    @virtual
    async def test_ports_that_differ_in_their_targets_are_shown_as_to_be_written(self):
        platform = strict()
        one, two = platform.add_instance(1), platform.add_instance(2)
        wanted = new(WEB, API, targets=targets(one))
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(wanted, deadline=soon())
            platform.targets[alive(platform)[f"{CLUSTER}.{UID}.80"]["id"]][two] = {"instance_id": two, "port": 30080}
            (seen,) = await balancers.mine(max_age_s=0.0, deadline=soon())
            assert seen.group(UID) != wanted.group
            await balancers.put_group(UID, UID, targets=targets(one), deadline=soon())
            platform.targets[alive(platform)[f"{CLUSTER}.{UID}.8080"]["id"]].clear()
            (seen,) = await balancers.mine(max_age_s=0.0, deadline=soon())
            # The targets look right, the listeners do not.
            assert seen.group(UID).targets == targets(one)
            assert seen.group(UID).listeners != wanted.group.listeners
            await balancers.put_group(UID, UID, listeners=wanted.group.listeners, deadline=soon())
            (seen,) = await balancers.mine(max_age_s=0.0, deadline=soon())
        assert seen.group(UID) == wanted.group
        assert sent_to(platform, 80) == {one: (30080, 1)}
        assert sent_to(platform, 8080) == {one: (30090, 1)}

    @virtual
    async def test_a_second_one_of_the_same_port_is_taken_away(self):
        platform = strict()
        one = platform.add_instance(1)
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(targets=targets(one)), deadline=soon())
            put_row(platform, f"{CLUSTER}.{UID}.80", number=0x9000)
            (seen,) = await balancers.mine(max_age_s=0.0, deadline=soon())
            assert seen.group(UID).listeners != (WEB,)
            await balancers.put_group(UID, UID, listeners=(WEB,), targets=targets(one), deadline=soon())
            (seen,) = await balancers.mine(max_age_s=0.0, deadline=soon())
        assert seen.group(UID).listeners == (WEB,)
        assert platform.balancers.get(uuid_of(0x9000), {"status": "DELETED"})["status"] == "DELETED"
        assert sent_to(platform, 80) == {one: (30080, 1)}

    @virtual
    async def test_where_nothing_tells_the_target_port_the_listeners_are_asked_for(self):
        platform = strict()
        one = platform.add_instance(1)
        async with platform.client() as client:
            await cloud_on(client).balancers.create(new(), deadline=soon())
            balancers = cloud_on(client).balancers
            with pytest.raises(CloudError, match="80") as caught:
                await balancers.put_group(UID, UID, targets=targets(one), deadline=soon())
            assert caught.value.cause is Cause.REFUSED
            (seen,) = await balancers.mine(max_age_s=0.0, deadline=soon())
            assert seen.group(UID).listeners[0].target_port == 0
            await balancers.put_group(UID, UID, listeners=(WEB,), targets=targets(one), deadline=soon())
        assert sent_to(platform, 80) == {one: (30080, 1)}

    @virtual
    @pytest.mark.parametrize("reply", [LOST, raw_500(), Reply(500)])
    async def test_a_target_whose_answer_was_lost_is_looked_for(self, reply):
        platform = strict()
        one = platform.add_instance(1)
        platform.fail("POST", "/lb/.*/targets", reply, after=True)
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(targets=targets(one)), deadline=soon())
            assert sent_to(platform, 80) == {one: (30080, 1)}
            two = platform.add_instance(2)
            platform.fail("POST", "/lb/.*/targets", reply)
            with pytest.raises(CloudError) as caught:
                await balancers.put_group(UID, UID, targets=targets(one, two), deadline=soon())
        assert caught.value.cause is Cause.UNKNOWN

    @virtual
    async def test_an_instance_that_is_gone_is_refused_as_in_the_other_tier(self):
        platform = strict()
        one = platform.add_instance(1)
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(targets=targets(one)), deadline=soon())
            with pytest.raises(CloudError) as caught:
                await balancers.put_group(UID, UID, targets=targets(uuid_of(9), one), deadline=soon())
            assert (caught.value.cause, caught.value.details["instance_id"]) == (Cause.REFUSED, uuid_of(9))
            platform.fail("POST", "/lb/.*/targets", failure(404, "LB_NOT_FOUND"))
            with pytest.raises(CloudError) as caught:
                await balancers.put_group(UID, UID, targets=(Target(one, 2),), deadline=soon())
        assert (caught.value.cause, caught.value.resource) == (Cause.MISSING, "load_balancer")

    @virtual
    async def test_nobody_shares(self):
        platform = strict()
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(), deadline=soon())
            with pytest.raises(CloudError) as caught:
                await balancers.put_group(UID, OTHER_UID, listeners=(API,), deadline=soon())
            assert caught.value.cause is Cause.UNSUPPORTED
            await balancers.delete_group(UID, OTHER_UID, deadline=soon())
        assert len(alive(platform)) == 1


class TestDelete:
    @virtual
    async def test_it_returns_when_the_platform_has_forgotten(self):
        platform = strict()
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(WEB, API), deadline=soon())
            await balancers.create(new(uid=OTHER_UID), deadline=soon())
            await balancers.delete(UID, guard=MARK, deadline=soon())
            assert now() >= platform.purge_after_s
            assert [row["name"] for row in platform.balancers.values()] == [f"{CLUSTER}.{OTHER_UID}.80"]
            await balancers.delete(UID, guard=(SERVICE_UID_TAG, UID), deadline=soon())
            assert await balancers.get(UID, deadline=soon()) is None
            await balancers.delete_group(OTHER_UID, OTHER_UID, deadline=soon())
        assert platform.balancers == {}

    @virtual
    async def test_a_worker_that_is_down_costs_the_callers_time_and_no_more(self):
        platform = strict()
        platform.purge_after_s = 100.0
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(), deadline=soon())
            with pytest.raises(CloudError, match="not yet forgotten") as caught:
                await balancers.delete(UID, guard=MARK, deadline=soon(10.0))
            assert caught.value.cause is Cause.UNKNOWN
            assert now() <= 10.0
            # What is deleted is not shown, and a second try waits for it as well.
            assert await balancers.mine(max_age_s=0.0, deadline=soon()) == ()
            await asyncio.sleep(85)
            await balancers.delete(UID, guard=MARK, deadline=soon(30.0))
        assert platform.balancers == {}

    @virtual
    @pytest.mark.parametrize("reply", [plain_404(), raw_500(), LOST])
    async def test_only_the_platforms_own_404_ends_the_wait(self, reply):
        platform = strict()
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            await balancers.create(new(), deadline=soon())
            platform.fail("GET", "/lb/.*", reply, times=99)
            with pytest.raises(CloudError) as caught:
                await balancers.delete(UID, guard=MARK, deadline=soon())
        assert caught.value.cause is Cause.UNKNOWN

    @virtual
    async def test_without_our_name_nothing_is_shown_or_touched(self):
        platform = strict()
        names = ("web", f"other.{UID}.80", f"x{CLUSTER}.{UID}.80", f"{CLUSTER}.{UID}", f"{CLUSTER}.{UID}.80.1", UID)
        for number, name in enumerate(names):
            put_row(platform, name, number=number)
        # Ours by name, but another port than the name says: somebody else made it.
        put_row(platform, f"{CLUSTER}.{UID}.81", number=0x99)
        async with platform.client() as client:
            balancers = cloud_on(client).balancers
            assert await balancers.mine(max_age_s=0.0, deadline=soon()) == ()
            for ref in (UID, *platform.balancers):
                assert await balancers.get(ref, deadline=soon()) is None
                await balancers.delete(ref, guard=None, deadline=soon())
                await balancers.delete_group(ref, ref, deadline=soon())
            with pytest.raises(CloudError) as caught:
                await balancers.delete(UID, guard=(CLUSTER_TAG, "other"), deadline=soon())
            assert caught.value.cause is Cause.GUARD
        assert platform.writes() == []
