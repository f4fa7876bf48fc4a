"""A listing is asked for anew only if it has changed (`list.etag`)."""

import json
from dataclasses import replace

import pytest

from tests.unit.thecloud.scripted import INSTANCE_ID, OTHER_ID, Platform, ok, raw_500, soon
from tests.unit.thecloud.virtual_time import virtual
from thecloud.errors import Misrouted, UnknownOutcome

FEATURES = ("list.etag", "lb.listeners", "lb.tags")


def instances(*ids, etag=""):
    reply = ok([{"id": one, "name": "n", "status": "RUNNING"} for one in ids])
    return replace(reply, headers={"ETag": etag} if etag else {})


def unchanged(etag=""):
    return replace(ok(), status=304, content=b"", headers={"ETag": etag} if etag else {})


def conditions(platform, path="/instances"):
    return [request.headers.get("If-None-Match") for request in platform.asked("GET", path)]


@virtual
async def test_what_has_not_changed_is_the_very_same_listing():
    platform = Platform(features=FEATURES).on("GET", "/instances", instances(INSTANCE_ID, etag='"a"'), unchanged('"a"'))
    async with platform.client() as cloud:
        first = await cloud.instances.list(deadline=soon())
        assert await cloud.instances.list(deadline=soon()) is first
        assert await cloud.instances.list(deadline=soon()) is first
    assert conditions(platform) == [None, '"a"', '"a"']


@virtual
async def test_a_change_is_read_and_its_name_is_the_next_condition():
    replies = (instances(INSTANCE_ID, etag='"a"'), instances(INSTANCE_ID, OTHER_ID, etag='W/"b"'), unchanged())
    platform = Platform(features=FEATURES).on("GET", "/instances", *replies)
    async with platform.client() as cloud:
        await cloud.instances.list(deadline=soon())
        second = await cloud.instances.list(deadline=soon())
        assert [one.id for one in second] == [INSTANCE_ID, OTHER_ID]
        assert await cloud.instances.list(deadline=soon()) is second
    assert conditions(platform) == [None, '"a"', 'W/"b"']


@virtual
@pytest.mark.parametrize("features", [None, ("instance.zone",)])
async def test_no_condition_where_the_platform_does_not_announce_it(features):
    platform = Platform(features=features).on("GET", "/instances", instances(etag='"a"'))
    async with platform.client() as cloud:
        await cloud.instances.list(deadline=soon())
        await cloud.instances.list(deadline=soon())
    assert conditions(platform) == [None, None]


@virtual
@pytest.mark.parametrize("name", ["", '"ü"', '"' + "x" * 300 + '"'])
async def test_a_name_that_cannot_be_sent_back_is_none(name):
    reply = replace(instances(INSTANCE_ID), headers={"ETag": name.encode()} if name else {})
    platform = Platform(features=FEATURES).on("GET", "/instances", reply)
    async with platform.client() as cloud:
        await cloud.instances.list(deadline=soon())
        assert len(await cloud.instances.list(deadline=soon())) == 1
    assert conditions(platform) == [None, None]


@virtual
async def test_unchanged_without_a_question_is_no_answer():
    platform = Platform(features=FEATURES).on("GET", "/instances", unchanged('"a"'))
    async with platform.client() as cloud:
        with pytest.raises(Misrouted):
            await cloud.instances.list(deadline=soon())


@virtual
async def test_a_failure_in_between_forgets_nothing():
    replies = (instances(INSTANCE_ID, etag='"a"'), raw_500(), unchanged())
    platform = Platform(features=FEATURES).on("GET", "/instances", *replies)
    async with platform.client() as cloud:
        first = await cloud.instances.list(deadline=soon())
        assert await cloud.instances.list(deadline=soon()) is first
    assert conditions(platform) == [None, '"a"', '"a"']


@virtual
async def test_half_a_listing_is_no_listing_and_not_kept():
    torn = replace(ok(), content=json.dumps({"data": [{"id": INSTANCE_ID}]}).encode(), headers={"ETag": '"b"'})
    platform = Platform(features=FEATURES).on("GET", "/instances", instances(etag='"a"'), torn, unchanged())
    async with platform.client() as cloud:
        first = await cloud.instances.list(deadline=soon())
        with pytest.raises(UnknownOutcome):
            await cloud.instances.list(deadline=soon())
        assert await cloud.instances.list(deadline=soon()) is first
    assert conditions(platform)[-1] == '"a"'


@virtual
async def test_the_name_belongs_to_the_question():
    platform = Platform(features=FEATURES).on("GET", "/lb", replace(ok([]), headers={"ETag": '"a"'}))
    async with platform.client() as cloud:
        await cloud.load_balancers.list(tag=("k", "v"), deadline=soon())
        await cloud.load_balancers.list(deadline=soon())
        await cloud.load_balancers.list(deadline=soon())
    assert conditions(platform, "/lb") == [None, None, '"a"']


@virtual
async def test_other_collections_keep_nothing():
    platform = Platform(features=(*FEATURES, "lb.certificates"))
    platform.on("GET", "/certificates", replace(ok([]), headers={"ETag": '"a"'}))
    async with platform.client() as cloud:
        await cloud.certificates.list(deadline=soon())
        await cloud.certificates.list(deadline=soon())
    assert conditions(platform, "/certificates") == [None, None]
