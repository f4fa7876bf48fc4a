"""The client as a whole: wiring, readiness, closing, weight."""

import asyncio
import subprocess
import sys

import pytest

from tests.unit.thecloud.scripted import KEY, VOLUME_ID, Platform, Reply, failure, ok, soon, volume
from tests.unit.thecloud.virtual_time import virtual
from thecloud.client import Client
from thecloud.errors import NotSent, PlatformError, Unauthorized
from thecloud.settings import PlatformSettings


def test_wrong_settings_are_all_named_at_the_start():
    with pytest.raises(ValueError, match=r"base_url .*; api_key_file or api_key .*; burst "):
        Client(PlatformSettings(base_url="x", burst=0))


@virtual
async def test_a_key_that_works_is_ready():
    platform = Platform().on("GET", "/instance-types", ok(None))
    async with platform.client() as cloud:
        await cloud.check(soon())
    assert [request.url.path for request in platform.requests] == ["/instance-types"]


@virtual
async def test_a_key_that_is_refused_for_a_moment_is_tried_again():
    platform = Platform().on("GET", "/instance-types", failure(401, "UNAUTHORIZED"), Reply(403), ok(None))
    async with platform.client() as cloud:
        await cloud.check(soon())


@virtual
async def test_a_key_that_is_refused_is_told():
    platform = Platform().on("GET", "/instance-types", failure(401, "UNAUTHORIZED", "invalid API key"))
    async with platform.client() as cloud:
        with pytest.raises(Unauthorized, match="invalid API key"):
            await cloud.check(soon())
    assert len(platform.requests) == 3


@virtual
async def test_closing_ends_shared_reads():
    slow = Reply(200, ok(None).content, pause_s=100)
    platform = Platform(features=()).on("GET", "/volumes", slow)
    cloud = platform.client(read_attempt_s=200.0)
    listing = asyncio.create_task(cloud.volumes.list(deadline=soon()))
    await asyncio.sleep(1)
    await cloud.aclose()
    with pytest.raises(NotSent, match="closed"):
        await listing


@virtual
async def test_a_storm_of_faults_ends_in_one_of_our_errors_by_the_deadline():
    faults = [
        Reply(500),
        Reply(200, b""),
        Reply(429, b'{"error":"rate limit exceeded"}', {"Retry-After": "1"}),
        Reply(401),
        Reply(pause_s=50),
        Reply(503, b"<html>", {"Retry-After": "2"}),
    ]
    platform = Platform(features=("volume.attach-wait", "errors.precise"))
    for method, path in [("GET", f"/volumes/{VOLUME_ID}"), ("GET", "/volumes"), ("POST", "/volumes")]:
        platform.on(method, path, *(faults * 3))
    async with platform.client() as cloud:
        for _ in range(6):
            for call in (
                cloud.volumes.get(VOLUME_ID, deadline=soon(20)),
                cloud.volumes.list(deadline=soon(20)),
                cloud.volumes.create(name="pv-1", size_gb=1, deadline=soon(20)),
            ):
                begun = asyncio.get_running_loop().time()
                with pytest.raises(PlatformError):
                    await call
                assert asyncio.get_running_loop().time() - begun <= 20


@virtual
async def test_five_hundred_callers_at_once_all_get_their_answer():
    platform = Platform(features=()).on("GET", f"/volumes/{VOLUME_ID}", ok(volume()))
    async with platform.client(requests_per_s=100.0, burst=10) as cloud:
        found = await asyncio.gather(*(cloud.volumes.get(VOLUME_ID, deadline=soon(60)) for _ in range(500)))
    assert len(found) == 500
    assert platform.begun_at[-1] == pytest.approx((501 - 10) / 100, abs=0.02)


def modules_after(statement):
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_client_loads_no_command_line_and_no_protocol_of_others():
    loaded = modules_after("import thecloud.client, httpx")
    assert "httpx" in loaded
    assert not loaded & {"click", "rich", "pygments", "grpc", "google.protobuf", "kubernetes", "h2"}
    assert modules_after("import thecloud.client; import httpx; httpx.main") - loaded == set()


def test_the_wire_models_load_no_http():
    assert "httpx" not in modules_after("import thecloud.wire, thecloud.errors, thecloud.settings")


def test_a_client_shows_no_key():
    assert KEY not in repr(Platform().client())
