"""Volumes: what is sent, what the answers mean, in both tiers."""

import asyncio
import json

import pytest

from tests.unit.thecloud.scripted import (
    ALL_FEATURES,
    INSTANCE_ID,
    OTHER_ID,
    VOLUME_ID,
    Platform,
    Reply,
    broken,
    failure,
    ok,
    plain_404,
    raw_500,
    soon,
    volume,
)
from tests.unit.thecloud.virtual_time import virtual
from thecloud.call import Lane
from thecloud.errors import (
    Conflict,
    GuardMismatch,
    Misrouted,
    Missing,
    QuotaExceeded,
    Refused,
    UnknownOutcome,
    Unsupported,
)
from thecloud.lean_httpx import httpx
from thecloud.presence import Gone
from thecloud.volumes import serial_of

PATH = f"/volumes/{VOLUME_ID}"
LOST = broken(httpx.ReadTimeout("lost"))


def strict():
    return Platform(features=None)


def extended():
    return Platform(features=ALL_FEATURES)


def sent(request):
    return json.loads(request.content)


def test_a_serial_is_twenty_digits_of_the_id():
    assert serial_of("4F1C2D3E-0000-4000-8000-0123456789ab") == "4f1c2d3e000040008000"


class TestCreate:
    @virtual
    async def test_everything_asked_for_is_sent(self):
        platform = extended().on("POST", "/volumes", ok(volume(serial="abc"), 201))
        async with platform.client() as cloud:
            made = await cloud.volumes.create(
                name="pv-1",
                size_gb=3,
                tags={"cluster": "c1"},
                performance_class="fast",
                zone="z1",
                snapshot_id=OTHER_ID,
                idempotency_key="k" * 64,
                deadline=soon(),
            )
        (request,) = platform.asked()
        assert sent(request) == {
            "name": "pv-1",
            "size_gb": 3,
            "tags": {"cluster": "c1"},
            "performance_class": "fast",
            "zone": "z1",
            "snapshot_id": OTHER_ID,
        }
        assert request.headers["Idempotency-Key"] == "k" * 64
        assert made.serial == "abc"

    @virtual
    async def test_a_keyed_create_is_repeated_under_its_key_after_a_lost_answer(self):
        platform = extended().on("POST", "/volumes", LOST, raw_500(), ok(volume(), 201))
        async with platform.client() as cloud:
            await cloud.volumes.create(name="pv-1", size_gb=1, idempotency_key="k1", deadline=soon())
        assert [request.headers["Idempotency-Key"] for request in platform.asked()] == ["k1"] * 3

    @virtual
    @pytest.mark.parametrize(
        ("platform", "key"), [(strict(), "k1"), (extended(), ""), (Platform(features=("volume.tags",)), "k1")]
    )
    async def test_without_a_key_that_counts_a_lost_create_is_not_repeated(self, platform, key):
        platform.on("POST", "/volumes", LOST, ok(volume(), 201))
        async with platform.client() as cloud:
            with pytest.raises(UnknownOutcome):
                await cloud.volumes.create(name="pv-1", size_gb=1, idempotency_key=key, deadline=soon())
        (request,) = platform.asked()
        assert "Idempotency-Key" not in request.headers

    @virtual
    @pytest.mark.parametrize(
        ("argument", "feature"),
        [
            ({"tags": {"a": "b"}}, "volume.tags"),
            ({"performance_class": "fast"}, "volume.modify"),
            ({"zone": "z1"}, "instance.zone"),
            ({"snapshot_id": OTHER_ID}, "snapshot.restore"),
            ({"source_volume_id": OTHER_ID}, "volume.clone"),
        ],
    )
    async def test_what_the_platform_would_ignore_is_not_sent(self, argument, feature):
        platform = strict()
        async with platform.client() as cloud:
            with pytest.raises(Unsupported) as caught:
                await cloud.volumes.create(name="pv-1", size_gb=1, deadline=soon(), **argument)
        assert caught.value.details["feature"] == feature
        assert platform.asked() == []

    @virtual
    async def test_conflicts_name_their_reason(self):
        platform = extended().on("POST", "/volumes", failure(409, "CONFLICT", reason="name_taken"))
        async with platform.client() as cloud:
            with pytest.raises(Conflict) as caught:
                await cloud.volumes.create(name="pv-1", size_gb=1, deadline=soon())
        assert caught.value.reason == "name_taken"

    @virtual
    @pytest.mark.parametrize("key", ["k" * 65, "ü", "a\nb"])
    async def test_a_key_that_the_platform_cannot_store_is_an_error_of_the_caller(self, key):
        async with extended().client() as cloud:
            with pytest.raises(ValueError, match="idempotency key"):
                await cloud.volumes.create(name="pv-1", size_gb=1, idempotency_key=key, deadline=soon())

    @virtual
    async def test_a_success_that_cannot_be_read_is_unknown(self):
        platform = strict().on("POST", "/volumes", Reply(201, b'{"data":{"id":"'))
        async with platform.client() as cloud:
            with pytest.raises(UnknownOutcome):
                await cloud.volumes.create(name="pv-1", size_gb=1, deadline=soon())


class TestGet:
    @virtual
    @pytest.mark.parametrize("platform", [strict(), extended()])
    async def test_a_volume_that_is_there(self, platform):
        platform.on("GET", PATH, ok(volume()))
        async with platform.client() as cloud:
            assert (await cloud.volumes.get(VOLUME_ID.upper(), deadline=soon())).id == VOLUME_ID
        assert platform.calls() == [f"GET {PATH}"]

    @virtual
    async def test_strict_a_500_and_absent_from_the_listing_is_gone(self):
        platform = strict().on("GET", PATH, raw_500()).on("GET", "/volumes", ok([volume(id=OTHER_ID)]))
        async with platform.client() as cloud:
            assert await cloud.volumes.get(VOLUME_ID, deadline=soon()) == Gone("volume", VOLUME_ID)
        assert platform.calls() == [f"GET {PATH}", "GET /volumes"]

    @virtual
    @pytest.mark.parametrize("reply", [raw_500(), Reply(500), LOST, plain_404()])
    async def test_strict_a_fault_and_present_in_the_listing_is_there(self, reply):
        platform = strict().on("GET", PATH, reply).on("GET", "/volumes", ok([volume()]))
        async with platform.client() as cloud:
            assert (await cloud.volumes.get(VOLUME_ID, deadline=soon())).name == "pv-1"

    @virtual
    async def test_strict_a_500_and_no_listing_is_unknown(self):
        platform = strict().on("GET", PATH, raw_500()).on("GET", "/volumes", raw_500())
        async with platform.client() as cloud:
            with pytest.raises(UnknownOutcome):
                await cloud.volumes.get(VOLUME_ID, deadline=soon())

    @virtual
    async def test_strict_a_404_without_a_resource_is_not_believed(self):
        platform = strict().on("GET", PATH, failure(404, "NOT_FOUND")).on("GET", "/volumes", ok([volume()]))
        async with platform.client() as cloud:
            assert (await cloud.volumes.get(VOLUME_ID, deadline=soon())).id == VOLUME_ID

    @virtual
    async def test_extended_a_404_for_this_kind_is_gone_with_one_call(self):
        platform = extended().on("GET", PATH, failure(404, "NOT_FOUND", resource="volume", id=VOLUME_ID))
        async with platform.client() as cloud:
            assert await cloud.volumes.get(VOLUME_ID, deadline=soon()) == Gone("volume", VOLUME_ID)
        assert platform.calls() == [f"GET {PATH}"]

    @virtual
    async def test_extended_a_500_stays_unknown_and_asks_for_no_listing(self):
        platform = extended().on("GET", PATH, raw_500())
        async with platform.client() as cloud:
            with pytest.raises(UnknownOutcome):
                await cloud.volumes.get(VOLUME_ID, deadline=soon())
        assert set(platform.calls()) == {f"GET {PATH}"}

    @virtual
    async def test_another_volume_than_asked_for_is_no_answer(self):
        platform = extended().on("GET", PATH, ok(volume(id=OTHER_ID)))
        async with platform.client() as cloud:
            with pytest.raises(UnknownOutcome, match="asked for volume"):
                await cloud.volumes.get(VOLUME_ID, deadline=soon())

    @virtual
    @pytest.mark.parametrize("text", ["", "pv-1", "../instances", f"{VOLUME_ID}/attach", f"{VOLUME_ID}\n", "x" * 99])
    async def test_what_is_no_uuid_never_becomes_an_address(self, text):
        platform = extended()
        async with platform.client() as cloud:
            assert await cloud.volumes.get(text, deadline=soon()) == Gone("volume", text)
            with pytest.raises(Missing):
                await cloud.volumes.delete(text, deadline=soon())
            with pytest.raises(Missing):
                await cloud.volumes.attach(VOLUME_ID, text, deadline=soon())
        assert platform.asked() == []


class TestListing:
    @virtual
    async def test_extended_a_name_is_filtered_by_the_platform_and_again_here(self):
        platform = extended().on("GET", "/volumes", ok([volume(), volume(id=OTHER_ID, name="pv-10")]))
        async with platform.client() as cloud:
            found = await cloud.volumes.find_by_name("pv-1", deadline=soon())
        assert [one.id for one in found] == [VOLUME_ID]
        assert platform.calls() == ["GET /volumes?name=pv-1"]

    @virtual
    async def test_strict_a_name_is_found_in_the_whole_listing(self):
        platform = strict().on("GET", "/volumes", ok([volume(), volume(id=OTHER_ID, name="b")]))
        async with platform.client() as cloud:
            assert [one.id for one in await cloud.volumes.find_by_name("b", deadline=soon())] == [OTHER_ID]
        assert platform.calls() == ["GET /volumes"]

    @virtual
    async def test_many_different_names_at_once_are_one_listing(self):
        listed = [volume(id=f"4f1c2d3e-0000-4000-8000-{number:012}", name=f"pv-{number}") for number in range(30)]
        platform = extended().on("GET", "/volumes", ok(listed))
        async with platform.client() as cloud:
            found = await asyncio.gather(
                *(cloud.volumes.find_by_name(f"pv-{number}", deadline=soon()) for number in range(30))
            )
        assert all(len(one) == 1 for one in found)
        assert platform.calls() == ["GET /volumes"]

    @virtual
    async def test_an_empty_platform(self):
        async with strict().on("GET", "/volumes", ok(None)).client() as cloud:
            assert await cloud.volumes.list(deadline=soon()) == ()

    @virtual
    async def test_a_plain_404_is_no_empty_listing(self):
        async with strict().client() as cloud:
            with pytest.raises(Misrouted):
                await cloud.volumes.list(deadline=soon())


class TestDelete:
    @virtual
    async def test_the_guard_travels_as_a_parameter(self):
        platform = extended().on("DELETE", PATH, ok({"message": "volume deleted"}))
        async with platform.client() as cloud:
            await cloud.volumes.delete(VOLUME_ID, guard_tag=("cluster", "c1"), deadline=soon())
        assert platform.calls() == [f"DELETE {PATH}?tag=cluster%3Ac1"]

    @virtual
    async def test_a_guard_with_signs_is_sent_whole(self):
        platform = extended().on("DELETE", PATH, ok({"message": "volume deleted"}))
        async with platform.client() as cloud:
            await cloud.volumes.delete(VOLUME_ID, guard_tag=("k", "a&b=c:d"), deadline=soon())
        assert platform.asked()[0].url.params["tag"] == "k:a&b=c:d"

    @virtual
    async def test_a_guard_that_the_platform_would_ignore_stops_the_delete(self):
        platform = strict().on("DELETE", PATH, ok({"message": "volume deleted"}))
        async with platform.client() as cloud:
            with pytest.raises(Unsupported):
                await cloud.volumes.delete(VOLUME_ID, guard_tag=("cluster", "c1"), deadline=soon())
        assert platform.asked() == []

    @virtual
    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            (failure(412, "PRECONDITION_FAILED"), GuardMismatch),
            (failure(404, "NOT_FOUND", resource="volume"), Missing),
            (failure(409, "CONFLICT", reason="attached"), Conflict),
            (failure(400, "INVALID_INPUT", "cannot delete volume that is in use"), Refused),
            (raw_500(), UnknownOutcome),
            (Reply(500), UnknownOutcome),
            (LOST, UnknownOutcome),
            (Reply(200, b"<html>"), UnknownOutcome),
        ],
    )
    async def test_each_answer_is_told_and_none_repeated(self, reply, error):
        platform = extended().on("DELETE", PATH, reply)
        async with platform.client() as cloud:
            with pytest.raises(error):
                await cloud.volumes.delete(VOLUME_ID, deadline=soon())
        assert len(platform.asked()) == 1


class TestAttach:
    @virtual
    async def test_extended_the_answer_carries_the_volume(self):
        data = {"message": "ok", "device_path": "/dev/x", "volume": volume(status="IN-USE", instance_id=INSTANCE_ID)}
        platform = extended().on("POST", f"{PATH}/attach", ok(data))
        async with platform.client() as cloud:
            answer = await cloud.volumes.attach(VOLUME_ID, INSTANCE_ID, read_only=True, wait_s=7, deadline=soon())
        assert answer.volume.instance_id == INSTANCE_ID
        body = sent(platform.asked()[0])
        assert (body["instance_id"], body["read_only"], body["wait_s"]) == (INSTANCE_ID, True, 7)

    @virtual
    async def test_strict_the_answer_proves_nothing_and_the_mount_path_is_there(self):
        platform = strict().on("POST", f"{PATH}/attach", ok({"message": "volume attached", "device_path": "vol-1"}))
        async with platform.client() as cloud:
            assert (await cloud.volumes.attach(VOLUME_ID, INSTANCE_ID, deadline=soon())).volume is None
        body = sent(platform.asked()[0])
        assert body["mount_path"]
        assert "wait_s" not in body

    @virtual
    @pytest.mark.parametrize(("left_s", "expected"), [(10, 9), (0.5, 0), (1000, 60)])
    async def test_the_platform_waits_less_than_the_caller(self, left_s, expected):
        platform = extended().on("POST", f"{PATH}/attach", ok({"volume": volume()}))
        async with platform.client() as cloud:
            await cloud.volumes.attach(VOLUME_ID, INSTANCE_ID, wait_s=500, deadline=soon(left_s))
        assert sent(platform.asked()[0])["wait_s"] == expected

    @virtual
    async def test_extended_an_attach_that_is_not_done_yet_is_asked_for_again(self):
        platform = extended().on("POST", f"{PATH}/attach", failure(504, "TIMEOUT"), LOST, ok({"volume": volume()}))
        async with platform.client() as cloud:
            await cloud.volumes.attach(VOLUME_ID, INSTANCE_ID, deadline=soon())
        assert len(platform.asked()) == 3

    @virtual
    @pytest.mark.parametrize("step", ["attach", "detach"])
    async def test_strict_a_lost_answer_is_not_repeated(self, step):
        platform = strict().on("POST", f"{PATH}/{step}", LOST)
        async with platform.client() as cloud:
            with pytest.raises(UnknownOutcome):
                await getattr(cloud.volumes, step)(VOLUME_ID, INSTANCE_ID, deadline=soon())
        assert len(platform.asked()) == 1

    @virtual
    async def test_read_only_where_it_would_be_ignored_is_not_sent(self):
        platform = strict()
        async with platform.client() as cloud:
            with pytest.raises(Unsupported):
                await cloud.volumes.attach(VOLUME_ID, INSTANCE_ID, read_only=True, deadline=soon())
        assert platform.asked() == []

    @virtual
    async def test_a_full_instance_and_a_missing_one(self):
        replies = (failure(429, "RESOURCE_LIMIT_EXCEEDED"), failure(404, "NOT_FOUND", resource="instance"))
        platform = extended().on("POST", f"{PATH}/attach", *replies)
        async with platform.client() as cloud:
            with pytest.raises(QuotaExceeded):
                await cloud.volumes.attach(VOLUME_ID, INSTANCE_ID, deadline=soon())
            with pytest.raises(Missing) as caught:
                await cloud.volumes.attach(VOLUME_ID, INSTANCE_ID, deadline=soon())
        assert caught.value.resource == "instance"
        assert len(platform.asked()) == 2


class TestChange:
    @virtual
    async def test_detach_names_the_instance(self):
        platform = extended().on("POST", f"{PATH}/detach", LOST, ok({"message": "volume detached"}))
        async with platform.client() as cloud:
            await cloud.volumes.detach(VOLUME_ID, INSTANCE_ID, wait_s=5, deadline=soon())
        assert sent(platform.asked()[1]) == {"instance_id": INSTANCE_ID, "wait_s": 5}

    @virtual
    async def test_resize_and_modify(self):
        platform = (
            extended()
            .on("POST", f"{PATH}/resize", LOST, ok(volume(size_gb=5)))
            .on("PATCH", PATH, ok(volume(performance_class="fast", tags={"a": "b"})))
        )
        async with platform.client() as cloud:
            assert (await cloud.volumes.resize(VOLUME_ID, size_gb=5, deadline=soon())).size_gb == 5
            changed = await cloud.volumes.modify(
                VOLUME_ID, performance_class="fast", tags={"a": "b", "gone": ""}, deadline=soon()
            )
        assert (changed.performance_class, changed.tags) == ("fast", {"a": "b"})
        assert sent(platform.asked()[-1]) == {"performance_class": "fast", "tags": {"a": "b", "gone": ""}}

    @virtual
    async def test_strict_neither_exists(self):
        platform = strict()
        async with platform.client() as cloud:
            with pytest.raises(Unsupported):
                await cloud.volumes.resize(VOLUME_ID, size_gb=5, deadline=soon())
            with pytest.raises(Unsupported):
                await cloud.volumes.modify(VOLUME_ID, performance_class="fast", deadline=soon())
        assert platform.asked() == []


@virtual
async def test_a_delete_overtakes_reads_when_the_budget_is_short():
    platform = extended().on("DELETE", PATH, ok({"message": "ok"})).on("GET", "/instance-types", ok([]))
    async with platform.client(requests_per_s=1.0, burst=1) as cloud:
        reads = [asyncio.create_task(cloud.check(soon(60))) for _ in range(4)]
        await asyncio.sleep(0)
        await cloud.volumes.delete(VOLUME_ID, deadline=soon(60))
        await asyncio.gather(*reads)
    assert [request.method for request in platform.asked()] == ["GET", "DELETE", "GET", "GET", "GET"]


def test_lanes_are_ordered_as_promised():
    assert sorted(Lane) == [Lane.DELETE, Lane.ATTACH, Lane.CREATE, Lane.READ]


@virtual
@pytest.mark.parametrize(("features", "query"), [(ALL_FEATURES, "?tag=a%3Ab"), (None, "")])
async def test_volumes_can_be_listed_by_tag_where_there_are_tags(features, query):
    platform = Platform(features=features).on("GET", "/volumes", ok([volume()]))
    async with platform.client() as cloud:
        (found,) = await cloud.volumes.list(tag=("a", "b"), deadline=soon())
    assert found.id == VOLUME_ID
    assert platform.calls() == [f"GET /volumes{query}"]
