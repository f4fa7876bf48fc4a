"""Events: the list, the stream and where a stream may start."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devcloud import events
from tests.support.devcloud import ServedCloud, devcloud_server
from tests.unit.devcloud.conftest import Site


async def test_list_shows_actions_newest_first_and_no_attachments(both: Site) -> None:
    volume = await both.make_volume()
    await both.attach(volume, both.node_a)
    await both.data("POST", f"/volumes/{volume['id']}/detach", json={"instance_id": both.node_a})
    await both.data("DELETE", f"/volumes/{volume['id']}")

    listed = await both.data("GET", "/events")

    assert [(item["action"], item["resource_id"]) for item in listed] == [
        ("VOLUME_DELETE", volume["id"]),
        ("VOLUME_CREATE", volume["id"]),
    ]
    assert len(await both.data("GET", "/events?limit=1")) == 1
    assert len(await both.data("GET", "/events?limit=many")) == 2


def test_old_events_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    monkeypatch.setattr(events, "KEPT", 5)
    monkeypatch.setattr(events, "_PRUNE_EVERY", 10)
    db = sqlite3.connect(":memory:")
    db.executescript((Path(events.__file__).parent / "schema.sql").read_text())
    for number in range(10):
        events.record(db, user_id="u", tenant_id="t", resource_id=str(number), resource_type="volume", kind="k")

    assert [event.resource_id for event in events.read_after(db, "t", 0, 100)] == ["5", "6", "7", "8", "9"]
    assert events.bounds(db) == (6, 10)
    db.close()


async def read_frames(
    served: ServedCloud, query: str = "", headers: dict[str, str] | None = None
) -> AsyncGenerator[Any, None]:
    """Give (id, event, data) of a stream as they come."""
    async with (
        served.client() as client,
        client.stream("GET", f"/events/stream{query}", headers=headers, timeout=10.0) as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in stream.aiter_lines():
            name, _, value = line.partition(": ")
            if line and name:
                fields[name] = value
            elif fields:
                yield int(fields["id"]), fields["event"], msgspec.json.decode(fields["data"])
                fields = {}


async def test_stream_follows_and_resumes(tmp_path: Path) -> None:
    async with devcloud_server(tmp_path) as served, served.client() as client:
        volume = (await client.post("/volumes", json={"name": "vol-one", "size_gb": 1})).json()["data"]
        frames = read_frames(served, "?since=0")
        first = await anext(frames)
        coming = asyncio.ensure_future(anext(frames))
        await client.post(f"/volumes/{volume['id']}/attach", json={"instance_id": served.instances["node-a"]})
        second = await coming
        await frames.aclose()
        resumed = read_frames(served, headers={"Last-Event-ID": str(first[0])})
        again = await anext(resumed)
        await resumed.aclose()

    assert (first[1], first[2]["resource_id"], first[2]["name"]) == ("volume.created", volume["id"], "vol-one")
    assert (second[1], second[2]["instance_id"]) == ("volume.attached", served.instances["node-a"])
    assert again == second


async def test_stream_without_a_start_gives_only_what_comes(tmp_path: Path) -> None:
    async with devcloud_server(tmp_path) as served, served.client() as client:
        await client.post("/volumes", json={"name": "vol-one", "size_gb": 1})
        async with client.stream("GET", "/events/stream") as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": stream of events"
            await client.post("/volumes", json={"name": "vol-two", "size_gb": 1})
            seen = [await anext(lines) for _ in range(4)]

    assert "vol-two" in seen[3]


@pytest.mark.parametrize("since", [4711, 3])
async def test_stream_that_cannot_resume_says_so(tmp_path: Path, since: int) -> None:
    async with devcloud_server(tmp_path) as served, served.client() as client:
        for number in range(6):
            await client.post("/volumes", json={"name": f"vol-{number}", "size_gb": 1})
        assert served.cloud is not None
        await served.cloud.store.write(lambda db: db.execute("DELETE FROM events WHERE seq <= 4"))
        frames = read_frames(served, f"?since={since}")
        first = await anext(frames)
        await frames.aclose()

    assert first == (6, "stream.reset", {})


async def test_stream_refuses_what_is_no_event_id(extended: Site) -> None:
    await extended.error(400, "GET", "/events/stream?since=yesterday")


async def test_streams_end_when_the_platform_stops(tmp_path: Path) -> None:
    async with (
        devcloud_server(tmp_path) as served,
        served.client() as client,
        client.stream("GET", "/events/stream", timeout=10.0) as stream,
    ):
        lines = stream.aiter_lines()
        await anext(lines)
        assert served.cloud is not None
        served.cloud.hub.close()
        assert [line async for line in lines if line] == []
