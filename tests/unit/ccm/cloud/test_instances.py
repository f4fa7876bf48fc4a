"""The fleet is one shared listing; "gone" is said by one kind of answer only."""

import asyncio

import pytest

from ccm.cloud.instances import Instances
from ccm.model import InstanceState
from ccm.ports import Cause, CloudError
from tests.unit.ccm.cloud.fake_platform import FakePlatform, uuid_of
from tests.unit.thecloud.scripted import Reply, broken, failure, ok, plain_404, raw_500, soon, too_many
from tests.unit.thecloud.virtual_time import now, virtual
from thecloud.lean_httpx import httpx

ONE = uuid_of(1)


def listings(platform):
    return platform.calls().count("GET /instances")


class TestFleet:
    @virtual
    async def test_all_who_ask_at_one_time_share_a_request(self):
        platform = FakePlatform()
        platform.add_instance(1)
        platform.fail("GET", "/instances", Reply(200, ok(list(platform.instances.values())).content, pause_s=2.0))
        async with platform.client() as client:
            instances = Instances(client)
            asked = [instances.fleet(max_age_s=age, deadline=soon()) for age in (60.0, 30.0) * 50]
            fleets = await asyncio.gather(*asked)
        assert listings(platform) == 1
        assert {id(fleet) for fleet in fleets} == {id(fleets[0])}
        assert (fleets[0].taken_at, list(fleets[0].by_id)) == (0.0, [ONE])

    @virtual
    async def test_it_is_kept_for_its_age_and_conditional_afterwards(self):
        platform = FakePlatform()
        platform.add_instance(1)
        async with platform.client() as client:
            instances = Instances(client)
            first = await instances.fleet(max_age_s=60.0, deadline=soon())
            await asyncio.sleep(59)
            assert await instances.fleet(max_age_s=60.0, deadline=soon()) is first
            await asyncio.sleep(2)
            second = await instances.fleet(max_age_s=60.0, deadline=soon())
            assert listings(platform) == 2
            assert platform.requests[1].headers["If-None-Match"]
            assert second.taken_at == 61.0
            # 304: nothing was read again.
            assert second.instances is first.instances
            platform.add_instance(2)
            third = await instances.fleet(max_age_s=0.0, deadline=soon())
        assert sorted(third.by_id) == [ONE, uuid_of(2)]

    @virtual
    async def test_nobody_gets_a_listing_that_began_before_he_asked_when_he_says_so(self):
        platform = FakePlatform()
        old = ok([])
        platform.fail("GET", "/instances", Reply(200, old.content, pause_s=2.0))
        async with platform.client() as client:
            instances = Instances(client)
            slow = asyncio.create_task(instances.fleet(max_age_s=60.0, deadline=soon()))
            await asyncio.sleep(1)
            platform.add_instance(1)
            fresh = await instances.fleet(max_age_s=0.0, deadline=soon())
            assert list(fresh.by_id) == [ONE]
            assert list((await slow).by_id) == []
            # The older answer does not replace the newer one.
            assert await instances.fleet(max_age_s=60.0, deadline=soon()) is fresh

    @virtual
    async def test_who_runs_out_of_time_leaves_the_others_alone(self):
        platform = FakePlatform()
        platform.fail("GET", "/instances", Reply(200, ok([]).content, pause_s=5.0))
        async with platform.client() as client:
            instances = Instances(client)
            patient = asyncio.create_task(instances.fleet(max_age_s=60.0, deadline=soon()))
            await asyncio.sleep(0)
            with pytest.raises(CloudError) as caught:
                await instances.fleet(max_age_s=60.0, deadline=soon(1.0))
            assert now() == 1.0
            assert (await patient).instances == ()
        assert caught.value.cause is Cause.NOT_SENT
        assert listings(platform) == 1

    @virtual
    async def test_a_failure_is_told_and_the_next_one_asks_again(self):
        platform = FakePlatform()
        platform.fail("GET", "/instances", raw_500(), times=4)
        async with platform.client() as client:
            instances = Instances(client)
            with pytest.raises(CloudError) as caught:
                await instances.fleet(max_age_s=60.0, deadline=soon())
            assert caught.value.cause is Cause.UNKNOWN
            assert (await instances.fleet(max_age_s=60.0, deadline=soon())).instances == ()

    @virtual
    @pytest.mark.parametrize("torn", [b'{"meta": {}}', b'{"data": [{"id": "x"}]}', b'{"data": [', b"", b"[]"])
    async def test_a_part_of_a_listing_is_no_listing(self, torn):
        platform = FakePlatform()
        platform.fail("GET", "/instances", Reply(200, torn), times=9)
        async with platform.client() as client:
            with pytest.raises(CloudError) as caught:
                await Instances(client).fleet(max_age_s=60.0, deadline=soon())
        assert caught.value.cause is Cause.UNKNOWN

    @virtual
    async def test_addresses_are_valid_and_canonical_or_not_there(self):
        platform = FakePlatform(tier="strict")
        texts = ("10.0.1.5/32", "FD00:0::5/128", "nonsense", "0.0.0.0", "", None, "10.0.1.999", "224.0.0.1")
        for number, text in enumerate(texts):
            platform.add_instance(number, private_ip=text, status="PAUSED" if number else "HIBERNATING")
        async with platform.client() as client:
            fleet = await Instances(client).fleet(max_age_s=0.0, deadline=soon())
        assert [one.private_addresses for one in fleet.instances] == [("10.0.1.5",), ("fd00::5",), *[()] * 6]
        assert {one.state for one in fleet.instances[1:]} == {InstanceState.PAUSED}
        assert fleet.instances[0].state is InstanceState.UNKNOWN


class TestLookUp:
    async def look_up(self, platform, instance_id=ONE):
        async with platform.client() as client:
            return await Instances(client).look_up(instance_id, deadline=soon())

    @virtual
    async def test_what_is_there_with_all_that_is_told(self):
        platform = FakePlatform()
        platform.add_instance(
            1, hostname="h", zone="z", region="r", instance_type="t", private_ip="10.0.0.1", public_ip="203.0.113.1",
            labels={"a": "b"},
        )  # fmt: skip
        found = await self.look_up(platform)
        assert (found.id, found.name, found.hostname, found.zone, found.region) == (ONE, "node-1", "h", "z", "r")
        assert (found.instance_type, found.public_addresses, found.labels) == ("t", ("203.0.113.1",), {"a": "b"})

    @virtual
    @pytest.mark.parametrize("tier", ["strict", "extended"])
    async def test_gone(self, tier):
        platform = FakePlatform(tier=tier)
        assert await self.look_up(platform) is None
        assert platform.calls() == [f"GET /instances/{ONE}"]

    @virtual
    @pytest.mark.parametrize(
        ("reply", "cause"),
        [
            (plain_404(), Cause.UNKNOWN),
            (Reply(404), Cause.UNKNOWN),
            (Reply(404, b'{"error": "instance not found"}'), Cause.UNKNOWN),
            (Reply(404, b"<html>404 not found</html>"), Cause.UNKNOWN),
            (failure(404, "NOT_FOUND", resource="tenant"), Cause.UNKNOWN),
            (failure(404, "OBJECT_NOT_FOUND"), Cause.UNKNOWN),
            (failure(404, "ROUTE_UNKNOWN"), Cause.UNKNOWN),
            (failure(410, "NOT_FOUND"), Cause.REFUSED),
            (raw_500(), Cause.UNKNOWN),
            (failure(500, "NOT_FOUND"), Cause.UNKNOWN),
            (Reply(500), Cause.UNKNOWN),
            (Reply(200), Cause.UNKNOWN),
            (ok(None), Cause.UNKNOWN),
            (ok({"id": uuid_of(2), "name": "another", "status": "RUNNING"}), Cause.UNKNOWN),
            (failure(401, "UNAUTHORIZED"), Cause.UNAUTHORIZED),
            (failure(403, "FORBIDDEN", "not found 404"), Cause.UNAUTHORIZED),
            (too_many(), Cause.RATE_LIMITED),
            (Reply(301, b"", {"Location": "http://elsewhere.test/"}), Cause.UNKNOWN),
            (broken(httpx.ReadError("reset")), Cause.UNKNOWN),
            (broken(httpx.ConnectError("refused")), Cause.NOT_SENT),
            (Reply(200, b"{}", pause_s=100.0), Cause.UNKNOWN),
        ],
    )
    async def test_nothing_else_means_gone(self, reply, cause):
        platform = FakePlatform()
        platform.fail("GET", f"/instances/{ONE}", reply, times=99)
        with pytest.raises(CloudError) as caught:
            await self.look_up(platform)
        assert caught.value.cause is cause
        # An empty listing beside it changes nothing: it is never asked.
        assert listings(platform) == 0

    @virtual
    @pytest.mark.parametrize("text", ["", "node-1", "../instances", ONE + "x", "thecloud://" + ONE])
    async def test_what_is_no_id_is_not_called_gone(self, text):
        platform = FakePlatform()
        with pytest.raises(CloudError) as caught:
            await self.look_up(platform, text)
        assert caught.value.cause is Cause.REFUSED
        assert platform.requests == []
