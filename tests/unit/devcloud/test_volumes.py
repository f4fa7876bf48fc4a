"""Volumes of the extended tier, as docs/platform-api.md has them."""

import asyncio
from pathlib import Path

import pytest

from devcloud.settings import GIB
from tests.support.devcloud import devcloud_app
from tests.unit.devcloud.conftest import Site

NOWHERE = "7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11"


def serial_of(volume: dict[str, str]) -> str:
    return volume["id"].replace("-", "")[:20]


async def test_new_volume_is_whole_and_never_written(extended: Site) -> None:
    made = await extended.make_volume(size_gb=3, tags={"cluster": "c1", "empty": ""})

    image = extended.inside.disks_dir / f"{made['serial']}.img"
    assert made["serial"] == serial_of(made)
    assert image.stat().st_size == 3 * GIB
    assert (made["allocated_bytes"], made["tags"], made["zone"]) == (0, {"cluster": "c1"}, "zone-1")
    assert (made["performance_class"], made["read_only"], made["health"]) == ("standard", False, [])


async def test_written_volume_reports_its_storage(extended: Site) -> None:
    made = await extended.make_volume()
    with (extended.inside.disks_dir / f"{made['serial']}.img").open("r+b") as image:
        image.write(b"x" * 8192)

    assert (await extended.data("GET", f"/volumes/{made['id']}"))["allocated_bytes"] >= 8192


async def test_lost_image_is_data_loss_and_health_can_be_set(extended: Site) -> None:
    made = await extended.make_volume()
    sick = {"status": "DEGRADED", "reason": "Slow", "message": "one replica is away"}

    await extended.data("POST", f"/_devcloud/volumes/{made['id']}/health", json={"health": [sick]})
    assert (await extended.data("GET", f"/volumes/{made['id']}"))["health"] == [sick]
    await extended.data("POST", f"/_devcloud/volumes/{made['id']}/health", json={"health": []})
    extended.inside.cloud.volumes.remove(made["serial"])

    assert [item["status"] for item in (await extended.data("GET", f"/volumes/{made['id']}"))["health"]] == [
        "DATA_LOSS"
    ]


async def test_same_key_and_request_gives_the_same_volume(extended: Site) -> None:
    key = {"Idempotency-Key": "k1"}
    body = {"name": "vol-one", "size_gb": 1, "tags": {"a": "b"}}

    first, second = [await extended.data("POST", "/volumes", json=body, headers=key) for _ in range(2)]
    error = await extended.error(409, "POST", "/volumes", json={**body, "size_gb": 2}, headers=key)

    assert first["id"] == second["id"]
    assert error["details"] == {"reason": "key_reused", "resource": "volume"}
    assert len(list(extended.inside.disks_dir.iterdir())) == 1


async def test_requests_at_once_with_one_key_make_one_volume(extended: Site) -> None:
    body = {"name": "vol-one", "size_gb": 1}

    made = await asyncio.gather(
        *(extended.data("POST", "/volumes", json=body, headers={"Idempotency-Key": "k1"}) for _ in range(8))
    )

    assert len({volume["id"] for volume in made}) == 1
    assert len(list(extended.inside.disks_dir.iterdir())) == 1


async def test_key_is_free_again_when_its_volume_is_gone(extended: Site) -> None:
    key, body = {"Idempotency-Key": "k1"}, {"name": "vol-one", "size_gb": 1}
    first = await extended.data("POST", "/volumes", json=body, headers=key)
    await extended.data("DELETE", f"/volumes/{first['id']}")

    assert (await extended.data("POST", "/volumes", json=body, headers=key))["id"] != first["id"]


@pytest.mark.parametrize("key", ["", "k" * 65])
async def test_key_of_wrong_length_is_400(extended: Site, key: str) -> None:
    body = {"name": "vol-one", "size_gb": 1}

    await extended.error(400, "POST", "/volumes", json=body, headers={"Idempotency-Key": key})


async def test_taken_name_is_409_and_leaves_no_image(extended: Site) -> None:
    await extended.make_volume()

    error = await extended.error(409, "POST", "/volumes", json={"name": "vol-one", "size_gb": 1})

    assert error["details"] == {"reason": "name_taken", "resource": "volume"}
    assert len(list(extended.inside.disks_dir.iterdir())) == 1


@pytest.mark.parametrize(
    ("more", "status", "resource"),
    [
        ({"zone": "nowhere"}, 404, "zone"),
        ({"performance_class": "none"}, 404, "performance_class"),
        ({"snapshot_id": NOWHERE}, 404, "snapshot"),
        ({"snapshot_id": "no-uuid"}, 404, "snapshot"),
        ({"source_volume_id": NOWHERE}, 404, "volume"),
        ({"source_volume_id": NOWHERE, "snapshot_id": NOWHERE}, 400, None),
        ({"performance_class": "fast", "size_gb": 8001}, 400, None),
        ({"tags": {"": "x"}}, 400, None),
        ({"tags": {"k": "x" * 257}}, 400, None),
        ({"name": "nul\0byte"}, 400, None),
    ],
)
async def test_what_a_volume_cannot_be(
    extended: Site, more: dict[str, object], status: int, resource: str | None
) -> None:
    error = await extended.error(status, "POST", "/volumes", json={"name": "vol-one", "size_gb": 1, **more})

    assert error.get("details", {}).get("resource") == resource
    assert not list(extended.inside.disks_dir.iterdir())


async def test_filters_combine(extended: Site) -> None:
    first = await extended.make_volume("vol-one", tags={"a": "1", "b": "x:y"})
    await extended.make_volume("vol-two", tags={"a": "1"})
    await extended.attach(first, extended.node_a)

    async def found(query: str) -> list[str]:
        return [item["name"] for item in await extended.data("GET", f"/volumes?{query}")]

    assert await found("tag=a:1") == ["vol-two", "vol-one"]
    assert await found("tag=a:1&tag=b:x:y") == ["vol-one"]
    assert await found("tag=b") == ["vol-one"]
    assert await found("name=vol-two&tag=b") == []
    assert await found(f"instance_id={extended.node_a}") == ["vol-one"]
    assert await found("") == ["vol-two", "vol-one"]


async def test_delete_is_guarded_by_tag(extended: Site) -> None:
    made = await extended.make_volume(tags={"cluster": "c1"})

    error = await extended.error(412, "DELETE", f"/volumes/{made['id']}?tag=cluster:c2")
    await extended.data("DELETE", f"/volumes/{made['id']}?tag=cluster:c1")

    assert error["type"] == "PRECONDITION_FAILED"
    assert (await extended.error(404, "DELETE", f"/volumes/{made['id']}"))["details"] == {
        "resource": "volume",
        "id": made["id"],
    }


async def test_delete_of_an_attached_volume_is_409(extended: Site) -> None:
    made = await extended.make_volume()
    await extended.attach(made, extended.node_a)

    error = await extended.error(409, "DELETE", f"/volumes/{made['id']}")

    assert (error["details"]["reason"], error["details"]["instance_id"]) == ("attached", extended.node_a)


async def test_resize_grows_only(extended: Site) -> None:
    made = await extended.make_volume(size_gb=2)

    grown = await extended.data("POST", f"/volumes/{made['id']}/resize", json={"size_gb": 5})
    same = await extended.data("POST", f"/volumes/{made['id']}/resize", json={"size_gb": 5})
    await extended.error(400, "POST", f"/volumes/{made['id']}/resize", json={"size_gb": 4})

    assert grown["size_gb"] == same["size_gb"] == 5
    assert (extended.inside.disks_dir / f"{made['serial']}.img").stat().st_size == 5 * GIB


async def test_modify_merges_tags_and_checks_the_class(extended: Site) -> None:
    made = await extended.make_volume(size_gb=9000, tags={"a": "1", "b": "2"})

    changed = await extended.data("PATCH", f"/volumes/{made['id']}", json={"tags": {"a": "", "c": "3"}})
    archived = await extended.data("PATCH", f"/volumes/{made['id']}", json={"performance_class": "archive"})
    await extended.error(400, "PATCH", f"/volumes/{made['id']}", json={"performance_class": "fast"})

    assert changed["tags"] == archived["tags"] == {"b": "2", "c": "3"}
    assert archived["performance_class"] == "archive"


async def test_clone_has_content_size_and_place_of_its_source(extended: Site) -> None:
    source = await extended.make_volume(size_gb=2, performance_class="fast")
    with (extended.inside.disks_dir / f"{source['serial']}.img").open("r+b") as image:
        image.seek(GIB)
        image.write(b"content")

    clone = await extended.make_volume("vol-two", 3, source_volume_id=source["id"])
    error = await extended.error(
        400, "POST", "/volumes", json={"name": "vol-three", "size_gb": 1, "source_volume_id": source["id"]}
    )

    path = extended.inside.disks_dir / f"{clone['serial']}.img"
    with path.open("rb") as image:
        image.seek(GIB)
        assert image.read(8) == b"content\0"
    assert path.stat().st_size == 3 * GIB
    assert path.stat().st_blocks * 512 < 1 << 20
    assert (clone["source_volume_id"], clone["performance_class"]) == (source["id"], "fast")
    assert "2 GB" in error["message"]


async def test_capacity_shrinks_with_every_volume(tmp_path: Path) -> None:
    async with devcloud_app(tmp_path, capacity_gb=10) as inside, inside.client() as client:
        site = Site(inside, client)
        made = await site.make_volume(size_gb=6)
        seen = await site.data("GET", "/capacity?zone=zone-1&performance_class=fast")
        too_large = await site.error(429, "POST", "/volumes", json={"name": "vol-two", "size_gb": 5})
        await site.error(429, "POST", f"/volumes/{made['id']}/resize", json={"size_gb": 11})
        await site.error(404, "GET", "/capacity?zone=nowhere")
        await site.error(404, "GET", "/capacity?performance_class=none")

    assert seen == {"available_bytes": 4 * GIB, "minimum_volume_size_gb": 1, "maximum_volume_size_gb": 4}
    assert too_large["type"] == "QUOTA_EXCEEDED"


async def test_capacity_is_that_of_the_disk_unless_told(extended: Site) -> None:
    assert (await extended.data("GET", "/capacity"))["available_bytes"] > 0
    assert (await extended.data("GET", "/performance-classes"))[0]["name"] == "standard"
    assert await extended.data("GET", "/zones") == [{"name": "zone-1", "region": "region-1"}]


async def test_reference_forms_of_a_volume(both: Site) -> None:
    made = await both.make_volume("name with spaces")
    plain = made["id"].replace("-", "")

    for ref in (made["id"], made["id"].upper(), plain, f"{{{made['id']}}}", f"urn:uuid:{made['id']}", made["name"]):
        assert (await both.data("GET", f"/volumes/{ref}"))["id"] == made["id"]
