"""Every kind of fault, on the wire, and the choice of calls that it hits."""

import asyncio
from pathlib import Path

import httpx
import pytest

from devcloud.faults import Fault, Faults, Kind
from devcloud.state import FrozenCopy
from tests.support.devcloud import devcloud_server
from tests.unit.devcloud.conftest import Site

CREATE = {"name": "vol-one", "size_gb": 1}
RAW = {"type": "INTERNAL", "message": "An unexpected error occurred", "code": "INTERNAL"}


async def names(site: Site) -> list[str]:
    return [item["name"] for item in await site.data("GET", "/volumes") or []]


def test_every_kind_has_a_test() -> None:
    tested = {name.removeprefix("test_kind_") for name in globals() if name.startswith("test_kind_")}

    assert tested == {kind.value for kind in Kind}


async def test_kind_lost_answer(both: Site) -> None:
    both.trouble(Kind.LOST_ANSWER, "/volumes", "POST")

    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await both.call("POST", "/volumes", json=CREATE)

    assert await names(both) == ["vol-one"]


async def test_kind_truncated_body(both: Site) -> None:
    both.trouble(Kind.TRUNCATED_BODY, "/volumes", "POST")

    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        await both.call("POST", "/volumes", json=CREATE)

    assert await names(both) == ["vol-one"]


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.TRUNCATED_BODY])
async def test_connection_is_closed_on_a_real_socket_after_the_work(tmp_path: Path, kind: Kind) -> None:
    async with devcloud_server(tmp_path) as served, served.client() as client:
        assert served.cloud is not None
        served.cloud.faults.add(Fault(kind, "POST", "/volumes"))

        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/volumes", json=CREATE)

        assert [item["name"] for item in (await client.get("/volumes")).json()["data"]] == ["vol-one"]


async def test_kind_error_before(both: Site) -> None:
    both.trouble(Kind.ERROR_BEFORE, "/volumes", "POST")

    assert await both.error(500, "POST", "/volumes", json=CREATE) == RAW
    assert await names(both) == []


async def test_kind_error_after(both: Site) -> None:
    both.trouble(Kind.ERROR_AFTER, "/volumes", "POST")

    assert await both.error(500, "POST", "/volumes", json=CREATE) == RAW
    assert await names(both) == ["vol-one"]


async def test_kind_empty_500(both: Site) -> None:
    both.trouble(Kind.EMPTY_500, "/volumes", "POST")

    answer = await both.call("POST", "/volumes", json=CREATE)

    assert (answer.status_code, answer.content) == (500, b"")
    assert await names(both) == []


async def test_kind_empty_500_after(both: Site) -> None:
    both.trouble(Kind.EMPTY_500_AFTER, "/volumes", "POST")

    answer = await both.call("POST", "/volumes", json=CREATE)

    assert (answer.status_code, answer.content) == (500, b"")
    assert await names(both) == ["vol-one"]


async def test_kind_rate_limited(both: Site) -> None:
    both.trouble(Kind.RATE_LIMITED)

    answer = await both.call("POST", "/volumes", json=CREATE)

    assert (answer.status_code, answer.json()) == (429, {"error": "rate limit exceeded"})
    assert "retry-after" not in answer.headers
    assert await names(both) == []


async def test_kind_rate_limited_retry_after(both: Site) -> None:
    both.trouble(Kind.RATE_LIMITED_RETRY_AFTER, seconds=1.2)

    answer = await both.call("GET", "/volumes")

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    assert answer.json() == {"error": "rate limit exceeded"}


async def test_kind_quota_exceeded(both: Site) -> None:
    both.trouble(Kind.QUOTA_EXCEEDED, "/volumes", "POST")

    error = await both.error(429, "POST", "/volumes", json=CREATE)

    assert error["type"] == "QUOTA_EXCEEDED"
    assert await names(both) == []


async def test_kind_slow(both: Site) -> None:
    both.trouble(Kind.SLOW, "/volumes", "POST", seconds=3600.0)
    slow = asyncio.create_task(both.call("POST", "/volumes", json=CREATE))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(slow), 0.05)
    assert await names(both) == []

    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


async def test_kind_slow_after(both: Site) -> None:
    both.trouble(Kind.SLOW_AFTER, "/volumes", "POST", seconds=3600.0)
    slow = asyncio.create_task(both.call("POST", "/volumes", json=CREATE))

    waiter = both.inside.cloud.hub.subscribe()
    if not await names(both):
        await waiter.wait(10.0)
    assert await names(both) == ["vol-one"]
    assert not slow.done()

    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


async def test_kind_stale_read(both: Site) -> None:
    await both.make_volume("vol-old")
    both.trouble(Kind.STALE_READ, "/volumes", "GET", seconds=3600.0)

    made = await both.make_volume("vol-new")

    assert await names(both) == ["vol-old"]
    assert (await both.data("GET", f"/volumes/{made['id']}"))["name"] == "vol-new"
    both.inside.faults.clear()
    assert await names(both) == ["vol-new", "vol-old"]


async def test_kind_wedged_volume(both: Site) -> None:
    """Terminating the instance does not release its volume; a detach finds its volume wedged."""
    first, second = await both.make_volume("vol-one"), await both.make_volume("vol-two")
    await both.attach(first, both.node_a)
    await both.attach(second, both.node_b)
    both.trouble(Kind.WEDGED_VOLUME, "/instances/{ref}", "DELETE")
    both.trouble(Kind.WEDGED_VOLUME, "/volumes/{ref}/detach", "POST")

    await both.data("DELETE", f"/instances/{both.node_a}")
    refused = await both.call("POST", f"/volumes/{second['id']}/detach", json={"instance_id": both.node_b})

    assert refused.is_client_error
    for volume in (first, second):
        seen = await both.data("GET", f"/volumes/{volume['id']}")
        assert (seen["status"], seen.get("instance_id")) == ("IN-USE", None)
        assert (await both.call("DELETE", f"/volumes/{volume['id']}")).is_client_error


async def test_kind_attach_race(extended: Site) -> None:
    """The rival is first in the extended tier; the strict tier's race is quirk 24."""
    volume = await extended.make_volume()
    extended.trouble(Kind.ATTACH_RACE, "/volumes/{ref}/attach")

    answer = await extended.attach(volume, extended.node_a)

    assert answer.status_code == 409
    assert answer.json()["error"]["details"]["instance_id"] == extended.node_b


async def test_attach_race_makes_up_a_rival_where_there_is_no_other_instance(extended: Site) -> None:
    await extended.data("DELETE", f"/instances/{extended.node_b}")
    volume = await extended.make_volume()
    extended.trouble(Kind.ATTACH_RACE)

    assert (await extended.attach(volume, extended.node_a)).status_code == 409
    assert (await extended.data("GET", f"/volumes/{volume['id']}"))["instance_id"] != extended.node_a


async def test_kind_unauthorized(both: Site) -> None:
    both.trouble(Kind.UNAUTHORIZED)

    error = await both.error(401, "POST", "/volumes", json=CREATE)

    assert (error["type"], error["message"]) == ("UNAUTHORIZED", "invalid API key")
    assert await names(both) == []


async def test_kind_not_found_plain(both: Site) -> None:
    volume = await both.make_volume()
    both.trouble(Kind.NOT_FOUND_PLAIN, "/volumes/{ref}")

    answer = await both.call("GET", f"/volumes/{volume['id']}")

    assert (answer.status_code, answer.text) == (404, "404 page not found")


async def test_admin_routes_add_list_and_clear_faults(both: Site) -> None:
    body = {"kind": "error_before", "method": "GET", "route": "/volumes", "count": 2, "after": 1}

    number = (await both.data("POST", "/_devcloud/faults", json=body))["id"]
    statuses = [(await both.call("GET", "/volumes")).status_code for _ in range(4)]
    (seen,) = await both.data("GET", "/_devcloud/faults")

    assert statuses == [200, 500, 500, 200]
    assert (seen["id"], seen["seen"], seen["fired"], seen["fault"]["kind"]) == (number, 4, 2, "error_before")
    assert (await both.call("DELETE", "/_devcloud/faults")).status_code == 204
    assert not await both.data("GET", "/_devcloud/faults")


async def test_admin_routes_need_a_key(both: Site) -> None:
    answer = await both.call("GET", "/_devcloud/faults", headers={"X-API-Key": ""})

    assert answer.status_code == 401


async def test_faults_match_values_of_path_query_and_body(extended: Site) -> None:
    extended.trouble(Kind.ERROR_BEFORE, "/volumes", "POST", match={"name": "vol-bad"}, count=None)
    extended.trouble(Kind.EMPTY_500, "/volumes/{ref}", match={"ref": "vol-good"})
    extended.trouble(Kind.NOT_FOUND_PLAIN, "/volumes", "GET", match={"name": "vol-good"})

    await extended.make_volume("vol-good")
    for _ in range(2):
        assert (await extended.call("POST", "/volumes", json={"name": "vol-bad", "size_gb": 1})).status_code == 500
    assert (await extended.call("GET", "/volumes/vol-good")).content == b""
    assert (await extended.call("GET", "/volumes?name=vol-good")).status_code == 404
    for body in (b"{", b"[]"):
        assert (await extended.call("POST", "/volumes", content=body)).status_code == 400


async def test_calls_are_counted_per_route_and_lost_ones_too(extended: Site) -> None:
    volume = await extended.make_volume()
    extended.trouble(Kind.LOST_ANSWER, "/volumes/{ref}")
    with pytest.raises(httpx.RemoteProtocolError):
        await extended.call("GET", f"/volumes/{volume['id']}")

    calls = await extended.data("GET", "/_devcloud/calls")

    assert {route: seen["count"] for route, seen in calls.items()} == {"POST /volumes": 1, "GET /volumes/{ref}": 1}
    assert all(seen["platform_s"] >= seen["max_s"] > 0 for seen in calls.values())
    assert [seen["closest_s"] for seen in calls.values()] == [None, None]
    await extended.call("GET", f"/volumes/{volume['id']}")
    again = (await extended.data("GET", "/_devcloud/calls"))["GET /volumes/{ref}"]
    assert again["count"] == 2
    assert again["closest_s"] > 0
    assert (await extended.call("DELETE", "/_devcloud/calls")).status_code == 204
    assert extended.inside.cloud.calls.total == 0
    metrics = (await extended.call("GET", "/metrics")).text
    assert 'thecloud_http_requests_total{method="GET",path="/volumes/{ref}",status="lost"} 1' in metrics
    assert 'thecloud_volumes_total{status="AVAILABLE"} 1' in metrics
    assert 'le="+Inf"} 1' in metrics


def never_frozen() -> FrozenCopy:
    raise AssertionError("no stale read was asked for")


def test_one_call_gets_all_waits_but_one_answer() -> None:
    faults = Faults(never_frozen)
    for kind in (Kind.SLOW, Kind.ERROR_BEFORE, Kind.EMPTY_500, Kind.SLOW_AFTER):
        faults.add(Fault(kind))

    assert [fault.kind for fault in faults.fire("GET", "/x", {})] == [Kind.SLOW, Kind.ERROR_BEFORE, Kind.SLOW_AFTER]
    assert [fault.kind for fault in faults.fire("GET", "/x", {})] == [Kind.EMPTY_500]
    assert faults.fire("GET", "/x", {}) == []
    assert all(active.is_spent for active in faults.active)


def test_stale_read_ends_by_time() -> None:
    now = [0.0]
    copies: list[FrozenCopy] = []

    def freeze() -> FrozenCopy:
        copies.append(object.__new__(FrozenCopy))
        return copies[-1]

    faults = Faults(freeze, clock=lambda: now[0])
    faults.add(Fault(Kind.STALE_READ, "GET", "/volumes", seconds=5.0))

    assert faults.stale_copy("GET", "/volumes") is copies[0]
    assert faults.stale_copy("GET", "/snapshots") is None
    now[0] = 5.0
    assert faults.stale_copy("GET", "/volumes") is None
