"""Snapshots, groups, instances and capacity: what is sent, what the answers mean."""

import asyncio
import json

import pytest

from tests.unit.thecloud.scripted import (
    ALL_FEATURES,
    INSTANCE_ID,
    OTHER_ID,
    VOLUME_ID,
    Platform,
    broken,
    failure,
    ok,
    plain_404,
    raw_500,
    soon,
)
from tests.unit.thecloud.virtual_time import virtual
from thecloud.errors import Conflict, Missing, UnknownOutcome, Unsupported
from thecloud.lean_httpx import httpx
from thecloud.presence import Gone
from thecloud.snapshots import name_of

SNAPSHOT_ID = "4f1c2d3e-0000-4000-8000-0000000000bb"
GROUP_ID = "4f1c2d3e-0000-4000-8000-0000000000cc"
LOST = broken(httpx.ReadError("lost"))


def strict():
    return Platform(features=None)


def extended():
    return Platform(features=ALL_FEATURES)


def snapshot(**fields):
    return {"id": SNAPSHOT_ID, "volume_id": VOLUME_ID, "size_gb": 1, "status": "AVAILABLE"} | fields


def group(**fields):
    return {"id": GROUP_ID, "name": "g", "status": "AVAILABLE", "snapshots": [snapshot(group_id=GROUP_ID)]} | fields


def instance(**fields):
    return {"id": INSTANCE_ID, "name": "n", "status": "RUNNING"} | fields


def sent(request):
    return json.loads(request.content)


class TestSnapshots:
    @virtual
    async def test_a_keyed_create_is_repeated(self):
        platform = extended().on("POST", "/snapshots", LOST, ok(snapshot(status="CREATING"), 201))
        async with platform.client() as cloud:
            made = await cloud.snapshots.create(
                volume_id=VOLUME_ID, name="s", tags={"a": "b"}, idempotency_key="k", deadline=soon()
            )
        assert made.status == "CREATING"
        assert sent(platform.asked()[1]) == {
            "volume_id": VOLUME_ID,
            "name": "s",
            "description": "s",
            "tags": {"a": "b"},
        }

    @virtual
    async def test_strict_a_lost_create_is_not_repeated(self):
        platform = strict().on("POST", "/snapshots", LOST)
        async with platform.client() as cloud:
            with pytest.raises(UnknownOutcome):
                await cloud.snapshots.create(volume_id=VOLUME_ID, name="s", idempotency_key="k", deadline=soon())
            with pytest.raises(Unsupported):
                await cloud.snapshots.create(volume_id=VOLUME_ID, name="s", tags={"a": "b"}, deadline=soon())
        assert len(platform.asked()) == 1

    @virtual
    async def test_a_name_is_found_in_either_tier(self):
        listed = ok([snapshot(description="s"), snapshot(id=OTHER_ID, name="t", description="s")])
        for platform, path in ((strict(), "GET /snapshots"), (extended(), "GET /snapshots?name=s")):
            async with platform.on("GET", "/snapshots", listed).client() as cloud:
                found = await cloud.snapshots.find_by_name("s", deadline=soon())
            assert [one.id for one in found] == [SNAPSHOT_ID]
            assert name_of(found[0]) == "s"
            assert platform.calls() == [path]

    @virtual
    async def test_those_of_one_volume(self):
        platform = strict().on("GET", "/snapshots", ok([snapshot(), snapshot(id=OTHER_ID, volume_id=OTHER_ID)]))
        async with platform.client() as cloud:
            assert [one.id for one in await cloud.snapshots.find_by_volume(VOLUME_ID, deadline=soon())] == [SNAPSHOT_ID]

    @virtual
    async def test_strict_a_500_is_decided_by_a_listing(self):
        platform = strict().on("GET", f"/snapshots/{SNAPSHOT_ID}", raw_500()).on("GET", "/snapshots", ok(None))
        async with platform.client() as cloud:
            assert await cloud.snapshots.get(SNAPSHOT_ID, deadline=soon()) == Gone("snapshot", SNAPSHOT_ID)

    @virtual
    async def test_a_member_of_a_group_is_not_deleted_alone(self):
        platform = extended().on(
            "DELETE", f"/snapshots/{SNAPSHOT_ID}", failure(409, "CONFLICT", reason="in_group"), ok({})
        )
        async with platform.client() as cloud:
            with pytest.raises(Conflict) as caught:
                await cloud.snapshots.delete(SNAPSHOT_ID, guard_tag=("a", "b"), deadline=soon())
            await cloud.snapshots.delete(SNAPSHOT_ID, deadline=soon())
        assert caught.value.reason == "in_group"


class TestGroups:
    @virtual
    async def test_the_whole_life(self):
        path = f"/snapshot-groups/{GROUP_ID}"
        platform = (
            extended()
            .on("POST", "/snapshot-groups", LOST, ok(group(), 201))
            .on("GET", path, ok(group()), failure(404, "NOT_FOUND", resource="snapshot_group"))
            .on("GET", "/snapshot-groups", ok([group(), group(id=OTHER_ID, name="h")]))
            .on("DELETE", path, ok({"message": "deleted"}))
        )
        async with platform.client() as cloud:
            made = await cloud.groups.create(
                name="g", volume_ids=[VOLUME_ID], tags={"a": "b"}, idempotency_key="k", deadline=soon()
            )
            assert made.snapshots[0].group_id == GROUP_ID
            assert (await cloud.groups.get(GROUP_ID, deadline=soon())).name == "g"
            assert [one.id for one in await cloud.groups.find_by_name("g", deadline=soon())] == [GROUP_ID]
            await cloud.groups.delete(GROUP_ID, guard_tag=("a", "b"), deadline=soon())
            assert await cloud.groups.get(GROUP_ID, deadline=soon()) == Gone("snapshot_group", GROUP_ID)
        assert sent(platform.asked()[1]) == {"name": "g", "volume_ids": [VOLUME_ID], "tags": {"a": "b"}}

    @virtual
    async def test_where_there_are_none_nothing_is_asked(self):
        platform = strict()
        async with platform.client() as cloud:
            for attempt in (
                cloud.groups.create(name="g", volume_ids=[VOLUME_ID], deadline=soon()),
                cloud.groups.get(GROUP_ID, deadline=soon()),
                cloud.groups.find_by_name("g", deadline=soon()),
                cloud.groups.delete(GROUP_ID, deadline=soon()),
            ):
                with pytest.raises(Unsupported):
                    await attempt
        assert platform.asked() == []


class TestInstances:
    @virtual
    @pytest.mark.parametrize("platform", [strict(), extended()])
    async def test_gone_needs_the_platforms_own_404(self, platform):
        path = f"/instances/{INSTANCE_ID}"
        platform.on("GET", path, failure(404, "NOT_FOUND"), plain_404())
        async with platform.client() as cloud:
            assert await cloud.instances.get(INSTANCE_ID, deadline=soon()) == Gone("instance", INSTANCE_ID)
            with pytest.raises(UnknownOutcome):
                await cloud.instances.get(INSTANCE_ID, deadline=soon())

    @virtual
    async def test_a_404_about_something_else_is_checked_by_a_listing(self):
        platform = (
            extended()
            .on("GET", f"/instances/{INSTANCE_ID}", failure(404, "NOT_FOUND", resource="tenant"))
            .on("GET", "/instances", ok([instance()]))
        )
        async with platform.client() as cloud:
            assert (await cloud.instances.get(INSTANCE_ID, deadline=soon())).id == INSTANCE_ID


class TestCapacity:
    @virtual
    async def test_capacity_and_zones(self):
        platform = (
            extended()
            .on("GET", "/capacity", ok({"available_bytes": 7, "maximum_volume_size_gb": 16000}))
            .on("GET", "/zones", ok(None))
        )
        async with platform.client() as cloud:
            capacity = await cloud.capacity.get(zone="z1", deadline=soon())
            assert await cloud.capacity.zones(deadline=soon()) == ()
        assert (capacity.available_bytes, capacity.minimum_volume_size_gb) == (7, None)
        assert platform.calls()[0] == "GET /capacity?zone=z1"

    @virtual
    async def test_zones_are_listed_once_for_all_who_ask_and_for_as_long_as_they_may_be_old(self):
        platform = extended().on("GET", "/zones", ok([{"name": "a"}]), ok([{"name": "a"}, {"name": "b"}]))
        async with platform.client() as cloud:

            async def names(max_age_s):
                return [zone.name for zone in await cloud.capacity.zones(deadline=soon(), max_age_s=max_age_s)]

            assert await asyncio.gather(*(names(60.0) for _ in range(20))) == [["a"]] * 20
            assert await names(60.0) == ["a"]
            assert len(platform.asked()) == 1
            assert await names(0.0) == ["a", "b"]
            assert await names(60.0) == ["a", "b"]
        assert len(platform.asked()) == 2

    @virtual
    async def test_where_the_platform_does_not_tell(self):
        platform = strict()
        async with platform.client() as cloud:
            for attempt in (
                cloud.capacity.get(deadline=soon()),
                cloud.capacity.zones(deadline=soon()),
            ):
                with pytest.raises(Unsupported):
                    await attempt
        assert platform.asked() == []

    @virtual
    async def test_a_zone_that_is_not_there(self):
        platform = extended().on("GET", "/capacity", failure(404, "NOT_FOUND", resource="zone", id="z9"))
        async with platform.client() as cloud:
            with pytest.raises(Missing) as caught:
                await cloud.capacity.get(zone="z9", deadline=soon())
        assert (caught.value.resource, caught.value.object_id) == ("zone", "z9")
