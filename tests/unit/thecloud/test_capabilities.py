"""Discovery: strict only when the platform itself says so, and what is known holds through bad moments."""

import asyncio

import pytest

from tests.unit.thecloud.scripted import KEY, Platform, Reply, failure, ok, plain_404, raw_500, soon, too_many
from tests.unit.thecloud.virtual_time import virtual
from thecloud.capabilities import ASK_AGAIN_S
from thecloud.client import Client
from thecloud.errors import (
    DeadlineExceeded,
    Misrouted,
    RateLimited,
    Unauthorized,
    UnknownOutcome,
)
from thecloud.lean_httpx import httpx

REFRESH_S = 600.0
NO_ANSWERS = [
    raw_500(),
    Reply(500, b""),
    Reply(200, b"<html>"),
    ok(None),
    Reply(error=httpx.ReadTimeout("slow")),
    Reply(404, b""),
    Reply(404, b"<html><head><title>404 Not Found</title></head><center>nginx</center></html>"),
    Reply(404, b"default backend - 404"),
    Reply(404, b'{"error":"no such host"}'),
    Reply(404, b'{"error":{"type":"X"}}'),
    failure(404, "NOT_FOUND", resource="volume"),
    failure(400, "INVALID_INPUT"),
    failure(409, "CONFLICT"),
    failure(412, "PRECONDITION_FAILED"),
    failure(429, "QUOTA_EXCEEDED"),
    Reply(301, b"", {"Location": "https://x/"}),
]


async def ask(cloud: Client) -> set[str]:
    """Give the known features, after whatever that has set off has ended."""
    names = (await cloud.features(soon())).names
    refresh = cloud._discovery._refresh
    if refresh is not None:
        await asyncio.wait([refresh])
    return set(names)


@virtual
async def test_the_platforms_own_404_is_the_strict_tier():
    platform = Platform(features=None)
    async with platform.client() as cloud:
        features = await cloud.features(soon())
    assert (features.tier, features.names) == ("strict", frozenset())
    assert [request.url.path for request in platform.requests] == ["/capabilities", "/instance-types"]


@virtual
@pytest.mark.parametrize("words", [b"404 page not found", b"404 page not found\n"])
async def test_a_router_that_lost_the_platform_is_not_the_strict_tier(words):
    lost = Reply(404, words)
    platform = Platform(features=None).on("GET", "/capabilities", lost).on("GET", "/instance-types", lost, ok([]))
    async with platform.client() as cloud:
        with pytest.raises(UnknownOutcome):
            await cloud.features(soon())
        assert (await cloud.features(soon())).tier == "strict"


@virtual
async def test_the_announced_features_are_known():
    async with Platform(features=("volume.resize",)).client() as cloud:
        features = await cloud.features(soon())
    assert features.tier == "extended"
    assert features.has("volume.resize")
    assert not features.has("volume.clone")


@virtual
@pytest.mark.parametrize("reply", NO_ANSWERS)
async def test_any_other_failure_is_no_answer_and_speaks_of_no_object(reply):
    async with Platform().on("GET", "/capabilities", reply).client() as cloud:
        with pytest.raises(UnknownOutcome):
            await cloud.features(soon())


@virtual
@pytest.mark.parametrize(
    ("reply", "error"),
    [(failure(401, "UNAUTHORIZED"), Unauthorized), (Reply(403), Unauthorized), (too_many(), RateLimited)],
)
async def test_a_refused_question_keeps_its_name(reply, error):
    async with Platform().on("GET", "/capabilities", reply).client() as cloud:
        with pytest.raises(error):
            await cloud.features(soon())


@virtual
async def test_no_rule_takes_a_failed_discovery_for_a_missing_volume():
    platform = Platform().on("GET", "/capabilities", failure(404, "NOT_FOUND"))
    async with platform.client() as cloud:
        with pytest.raises(UnknownOutcome) as caught:
            await cloud.volumes.delete("4f1c2d3e-0000-4000-8000-000000000001", guard_tag=("a", "b"), deadline=soon())
    assert caught.value.route == "/capabilities"
    assert KEY not in str(caught.value)


@virtual
async def test_a_first_failure_is_not_remembered():
    platform = Platform(features=None).on("GET", "/capabilities", Reply(301), plain_404())
    async with platform.client() as cloud:
        with pytest.raises(Misrouted):
            await cloud.features(soon())
        assert (await cloud.features(soon())).tier == "strict"


@virtual
async def test_many_callers_ask_once_and_the_answer_is_kept_for_its_time():
    platform = Platform(features=("a",))
    async with platform.client(features_refresh_s=REFRESH_S) as cloud:
        await asyncio.gather(*(cloud.features(soon()) for _ in range(20)))
        await asyncio.sleep(REFRESH_S - 1)
        assert await ask(cloud) == {"a"}
        assert len(platform.requests) == 1
        await asyncio.sleep(2)
        platform.on("GET", "/capabilities", ok({"tier": "extended", "features": ["b"]}))
        await asyncio.gather(*(ask(cloud) for _ in range(20)))
        assert await ask(cloud) == {"b"}
        assert len(platform.requests) == 2


@virtual
async def test_nobody_waits_for_a_refresh():
    platform = Platform(features=("a",))
    async with platform.client(features_refresh_s=REFRESH_S) as cloud:
        await ask(cloud)
        await asyncio.sleep(REFRESH_S + 1)
        platform.on("GET", "/capabilities", Reply(200, ok({"tier": "x", "features": ["b"]}).content, pause_s=5))
        before = asyncio.get_running_loop().time()
        assert (await cloud.features(soon())).names == {"a"}
        assert asyncio.get_running_loop().time() == before
        await asyncio.sleep(6)
        assert await ask(cloud) == {"b"}


@virtual
@pytest.mark.parametrize("reply", [*NO_ANSWERS, failure(401, "UNAUTHORIZED"), too_many(), plain_404()])
async def test_what_is_known_outlives_a_refresh_without_an_answer_which_is_tried_again_soon(reply):
    # The plain 404 comes from a router here: the platform does not answer beside it.
    platform = Platform(features=("a",)).on("GET", "/capabilities", ok({"tier": "x", "features": ["a"]}), reply)
    async with platform.client(features_refresh_s=REFRESH_S) as cloud:
        await ask(cloud)
        await asyncio.sleep(REFRESH_S + 1)
        assert [await ask(cloud) for _ in range(3)] == [{"a"}] * 3
        platform.on("GET", "/capabilities", ok({"tier": "x", "features": ["b"]}))
        await asyncio.sleep(ASK_AGAIN_S + 1)
        await ask(cloud)
        assert await ask(cloud) == {"b"}


@virtual
@pytest.mark.parametrize("reply", [plain_404(), ok({"tier": "strict", "features": []})])
async def test_extensions_are_given_up_only_when_two_answers_in_a_row_say_so(reply):
    platform = Platform(features=("a",)).on("GET", "/instance-types", ok([]))
    async with platform.client(features_refresh_s=REFRESH_S) as cloud:
        await ask(cloud)
        await asyncio.sleep(REFRESH_S + 1)
        platform.on("GET", "/capabilities", reply, ok({"tier": "x", "features": ["a"]}), reply)
        for pause_s, still in ((ASK_AGAIN_S, {"a"}), (REFRESH_S, {"a"}), (ASK_AGAIN_S, {"a"}), (0, set())):
            await ask(cloud)
            assert await ask(cloud) == still
            await asyncio.sleep(pause_s + 1)


@virtual
async def test_a_client_that_closes_ends_its_refresh():
    platform = Platform(features=("a",))
    async with platform.client(features_refresh_s=REFRESH_S) as cloud:
        await ask(cloud)
        await asyncio.sleep(REFRESH_S + 1)
        platform.on("GET", "/capabilities", Reply(pause_s=1000))
        await cloud.features(soon())
    refresh = cloud._discovery._refresh
    assert refresh is not None
    assert refresh.cancelled()


@virtual
async def test_each_caller_waits_for_his_own_deadline_only():
    platform = Platform().on("GET", "/capabilities", Reply(200, ok({"tier": "x"}).content, pause_s=3))
    async with platform.client() as cloud:
        hasty = asyncio.create_task(cloud.features(soon(1)))
        assert (await cloud.features(soon(10))).tier == "x"
        with pytest.raises(DeadlineExceeded):
            await hasty
