"""One exchange: headers, total time, what the observer sees."""

import asyncio
import logging

import pytest

from tests.unit.thecloud.scripted import (
    KEY,
    VOLUME_ID,
    Platform,
    Reply,
    broken,
    failure,
    ok,
    raw_500,
    soon,
    too_many,
    volume,
)
from tests.unit.thecloud.virtual_time import now, virtual
from thecloud import transport
from thecloud.call import Call
from thecloud.errors import DeadlineExceeded, Misrouted, NotSent, PlatformError, UnknownOutcome
from thecloud.lean_httpx import httpx


class Notes(list):
    def __call__(self, **note):
        self.append(note)


async def create(cloud, deadline=None, **fields):
    return await cloud.volumes.create(name="pv-1", size_gb=1, deadline=deadline or soon(), **fields)


@virtual
async def test_every_request_says_who_asks_and_for_which_work():
    platform = Platform().on("POST", "/volumes", ok(volume(), 201))
    tenant = "4f1c2d3e-0000-4000-8000-0000000000ff"
    async with platform.client(request_id=lambda: "rpc-7", tenant_id=tenant) as cloud:
        await create(cloud)
    (request,) = platform.asked()
    assert request.headers["X-API-Key"] == KEY
    assert request.headers["X-Request-ID"] == "rpc-7"
    assert request.headers["X-Tenant-ID"] == tenant
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.content == b'{"name":"pv-1","size_gb":1}'


@virtual
async def test_work_without_an_id_gets_a_new_one_each_time():
    platform = Platform().on("GET", "/instance-types", ok([]))
    async with platform.client() as cloud:
        await cloud.check(soon())
        await cloud.check(soon())
    ids = {request.headers["X-Request-ID"] for request in platform.asked()}
    assert len(ids) == 2
    assert all(len(one) == 32 for one in ids)
    assert "X-Tenant-ID" not in platform.asked()[0].headers


@virtual
async def test_an_id_that_cannot_be_a_header_is_made_one():
    platform = Platform().on("GET", "/instance-types", ok([]))
    async with platform.client(request_id=lambda: "a\r\nX-Evil: ü" + "x" * 500) as cloud:
        await cloud.check(soon())
    sent = platform.asked()[0].headers["X-Request-ID"]
    assert sent.startswith("a__X-Evil: _xxx")
    assert len(sent) == 128


@virtual
async def test_the_platforms_prefix_is_kept():
    platform = Platform(features=None).on("GET", "/api/instance-types", ok([]))
    async with platform.client(base_url="http://platform.test/api/") as cloud:
        await cloud.check(soon())
    assert platform.calls() == ["GET /api/instance-types"]


@virtual
async def test_the_deadline_is_a_total_and_a_change_under_way_is_unknown():
    platform = Platform().on("POST", "/volumes", Reply(201, ok(volume()).content, pause_s=100))
    async with platform.client() as cloud:
        with pytest.raises(UnknownOutcome, match="no answer by the caller's deadline"):
            await create(cloud, deadline=5.0)
    assert now() == 5
    assert platform.calls() == ["POST /volumes"]


@virtual
async def test_a_hanging_read_is_cut_and_tried_again():
    platform = Platform().on("GET", "/instance-types", Reply(pause_s=100), ok([]))
    async with platform.client(read_attempt_s=3.0) as cloud:
        await cloud.check(soon(30))
    assert platform.begun_at == pytest.approx([0, 3.1])


@virtual
async def test_nothing_is_sent_after_the_deadline():
    platform = Platform()
    async with platform.client() as cloud:
        with pytest.raises(DeadlineExceeded):
            await cloud.check(deadline=-1.0)
    assert platform.requests == []


@virtual
@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (httpx.ConnectError("refused"), 2),
        (httpx.ConnectTimeout("late"), 2),
        (httpx.PoolTimeout("full"), 2),
        (httpx.ReadTimeout("late"), 1),
        (httpx.ReadError("reset"), 1),
        (httpx.WriteError("pipe"), 1),
        (httpx.RemoteProtocolError("closed"), 1),
        (OSError(104, "reset"), 1),
    ],
)
async def test_a_create_is_repeated_only_if_it_was_never_sent(error, attempts):
    platform = Platform().on("POST", "/volumes", broken(error), ok(volume(), 201))
    async with platform.client() as cloud:
        try:
            await create(cloud)
        except UnknownOutcome:
            assert attempts == 1
    assert len(platform.asked()) == attempts


@pytest.mark.parametrize(
    ("has_left", "error", "meaning"),
    [
        (False, httpx.ReadError("x"), NotSent),
        (False, OSError("handshake"), NotSent),
        (True, httpx.ConnectError("x"), UnknownOutcome),
        (None, httpx.ConnectError("x"), NotSent),
        (None, OSError("x"), UnknownOutcome),
    ],
)
def test_the_connection_knows_better_than_the_name_of_the_error(has_left, error, meaning):
    call = Call(method="POST", route="/volumes", path="/volumes", deadline=0)
    progress = transport._Progress(has_left)
    found = transport._below_http(call, "r1", progress, error, key="key", base_url="http://cloud.test")
    assert type(found) is meaning
    assert ("http://cloud.test cannot be reached" in found.message) is (meaning is NotSent)


@virtual
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_by_nobody(status):
    moved = Reply(status, b"", {"Location": "http://elsewhere.test/volumes"})
    platform = Platform().on("POST", "/volumes", moved).on("GET", "/instance-types", moved)
    async with platform.client() as cloud:
        with pytest.raises(Misrouted, match=r"redirected to http://elsewhere\.test/volumes; set the base URL"):
            await create(cloud)
        with pytest.raises(Misrouted):
            await cloud.check(soon())
    assert [request.url.host for request in platform.asked()] == ["platform.test"] * 2


@virtual
async def test_a_rate_limited_create_is_repeated_after_the_pause_that_was_asked_for():
    platform = Platform().on("POST", "/volumes", too_many(**{"Retry-After": "4"}), ok(volume(), 201))
    async with platform.client() as cloud:
        await create(cloud)
    assert platform.begun_at[1:] == [0, 4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("soon", None),
        ("3", 3.0),
        ("-3", None),
        ("99999", 60.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 5.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:01 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_bounded(text, expected):
    assert transport._retry_after_s(text, 5.0) == expected


@virtual
async def test_a_body_without_end_is_cut(monkeypatch):
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 1000)
    platform = Platform().on("GET", "/instance-types", Reply(200, b"x" * 2000))
    async with platform.client() as cloud:
        with pytest.raises(UnknownOutcome, match="larger than 1000"):
            await cloud.check(soon())


@virtual
async def test_the_observer_sees_every_exchange_and_no_id():
    notes = Notes()
    platform = (
        Platform(features=None)
        .on("GET", f"/volumes/{VOLUME_ID}", raw_500())
        .on("GET", "/volumes", broken(httpx.ConnectError("refused")), ok(None))
    )
    async with platform.client(observer=notes) as cloud:
        await cloud.volumes.get(VOLUME_ID, deadline=soon())
    assert [(note["method"], note["route"], note["outcome"]) for note in notes] == [
        ("GET", "/capabilities", "404"),
        ("GET", "/instance-types", "200"),
        ("GET", "/volumes/{id}", "500"),
        ("GET", "/volumes", "not_sent"),
        ("GET", "/volumes", "200"),
    ]


@virtual
async def test_the_observer_sees_the_time_and_a_cancelled_call():
    notes = Notes()
    platform = Platform().on("POST", "/volumes", Reply(pause_s=50))
    async with platform.client(observer=notes) as cloud:
        task = asyncio.create_task(create(cloud, deadline=40))
        await asyncio.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert notes[-1] == {"method": "POST", "route": "/volumes", "outcome": "cancelled", "seconds": 2.0}


@virtual
@pytest.mark.parametrize(
    "reply",
    [
        raw_500(),
        Reply(404, b"404 page not found"),
        Reply(401, b""),
        too_many(),
        broken(httpx.ConnectError(f"cannot connect with {'x' * 10}")),
        broken(httpx.LocalProtocolError("bad header")),
        Reply(200, b"<html>"),
        Reply(301, b"", {"Location": "/x"}),
        # Debugging pages of proxies show the request.
        Reply(400, f"<html>X-Api-Key: {KEY}</html>".encode()),
        Reply(400, f"{'x' * 280} {KEY}".encode()),
        Reply(400, f'{{"error":"bad header {KEY}"}}'.encode()),
        failure(400, "INVALID_INPUT", f"bad header {KEY}", header=KEY),
        Reply(301, b"", {"Location": f"/{KEY}"}),
    ],
)
async def test_the_key_is_in_no_error_no_repr_and_no_log(reply, caplog):
    caplog.set_level(logging.DEBUG)
    platform = Platform().on("POST", "/volumes", reply).on("GET", "/instance-types", reply)
    async with platform.client() as cloud:
        for attempt in (create(cloud), cloud.check(soon())):
            try:
                await attempt
            except PlatformError as error:
                shown = f"{error} {error!r} {error.__cause__} {error.__cause__!r} {vars(error)} {error.args}"
                assert KEY not in shown
        assert KEY not in repr(cloud) + repr(vars(cloud))
    assert KEY not in caplog.text


def test_what_the_library_quotes_of_an_answer_does_not_show_the_key():
    call = Call(method="POST", route="/volumes", path="/volumes", deadline=0)
    quoting = httpx.RemoteProtocolError(f"illegal status line: {KEY}")
    progress = transport._Progress(None)
    assert KEY not in str(transport._below_http(call, "r1", progress, quoting, key=KEY, base_url="http://x"))


@virtual
async def test_a_closed_client_sends_nothing():
    platform = Platform()
    cloud = platform.client()
    await cloud.aclose()
    with pytest.raises(NotSent, match="closed"):
        await cloud.check(soon())
