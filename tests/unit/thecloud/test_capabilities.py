"""Discovery: strict only on the platform's own "no such route", otherwise no guess."""

import asyncio

import pytest

from tests.unit.thecloud.scripted import Platform, Reply, failure, ok, plain_404, raw_500, soon
from tests.unit.thecloud.virtual_time import virtual
from thecloud.errors import DeadlineExceeded, Misrouted, Missing, UnknownOutcome
from thecloud.lean_httpx import httpx


@virtual
async def test_a_plain_404_is_the_strict_tier():
    platform = Platform(features=None)
    async with platform.client() as cloud:
        features = await cloud.features(soon())
    assert (features.tier, features.names) == ("strict", frozenset())
    assert len(platform.requests) == 1


@virtual
async def test_the_announced_features_are_known():
    async with Platform(features=("volume.resize",)).client() as cloud:
        features = await cloud.features(soon())
    assert features.tier == "extended"
    assert features.has("volume.resize")
    assert not features.has("volume.clone")


@virtual
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (raw_500(), UnknownOutcome),
        (Reply(500, b""), UnknownOutcome),
        (Reply(200, b"<html>"), UnknownOutcome),
        (ok(None), UnknownOutcome),
        (Reply(error=httpx.ReadTimeout("slow")), UnknownOutcome),
        (Reply(301, b"", {"Location": "https://x/"}), Misrouted),
        (failure(404, "NOT_FOUND"), Missing),
    ],
)
async def test_any_other_failure_is_no_answer(reply, error):
    async with Platform().on("GET", "/capabilities", reply).client() as cloud:
        with pytest.raises(error):
            await cloud.features(soon())


@virtual
async def test_a_failure_is_not_remembered():
    platform = Platform().on("GET", "/capabilities", Reply(301), plain_404())
    async with platform.client() as cloud:
        with pytest.raises(Misrouted):
            await cloud.features(soon())
        assert (await cloud.features(soon())).tier == "strict"


@virtual
async def test_many_callers_ask_once_and_the_answer_is_kept_for_its_time():
    platform = Platform(features=("a",))
    async with platform.client(features_refresh_s=600.0) as cloud:
        await asyncio.gather(*(cloud.features(soon()) for _ in range(20)))
        await asyncio.sleep(599)
        await cloud.features(soon())
        assert len(platform.requests) == 1
        await asyncio.sleep(2)
        platform.on("GET", "/capabilities", ok({"tier": "extended", "features": ["b"]}))
        assert (await cloud.features(soon())).has("b")
        assert len(platform.requests) == 2


@virtual
async def test_each_caller_waits_for_his_own_deadline_only():
    platform = Platform().on("GET", "/capabilities", Reply(200, ok({"tier": "x"}).content, pause_s=3))
    async with platform.client() as cloud:
        hasty = asyncio.create_task(cloud.features(soon(1)))
        assert (await cloud.features(soon(10))).tier == "x"
        with pytest.raises(DeadlineExceeded):
            await hasty
