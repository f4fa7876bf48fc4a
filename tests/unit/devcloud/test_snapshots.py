"""Snapshots and groups of the extended tier, and copies of one moment."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from devcloud.machines import NoMachines
from devcloud.settings import GIB
from tests.support.devcloud import devcloud_app
from tests.unit.devcloud.conftest import Site

NOWHERE = "7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11"


def write(site: Site, volume: dict[str, str], content: bytes) -> None:
    with site.inside.cloud.volumes.path(volume["serial"]).open("r+b") as image:
        image.write(content)


def read(site: Site, volume: dict[str, str], count: int) -> bytes:
    with site.inside.cloud.volumes.path(volume["serial"]).open("rb") as image:
        return image.read(count)


async def test_snapshot_is_ready_in_the_answer_and_outlives_its_volume(extended: Site) -> None:
    volume = await extended.make_volume(size_gb=2)
    write(extended, volume, b"then")
    made = await extended.data("POST", "/snapshots", json={"volume_id": volume["id"], "name": "s1", "tags": {"a": "1"}})
    write(extended, volume, b"now!")
    await extended.data("DELETE", f"/volumes/{volume['id']}")

    restored = await extended.make_volume("vol-two", 3, snapshot_id=made["id"])

    assert (made["status"], made["size_bytes"], made["name"], made["tags"]) == ("AVAILABLE", 2 * GIB, "s1", {"a": "1"})
    assert read(extended, restored, 4) == b"then"
    assert (restored["size_gb"], restored["source_snapshot_id"]) == (3, made["id"])


async def test_restored_volume_is_independent_of_its_snapshot(extended: Site) -> None:
    volume = await extended.make_volume()
    write(extended, volume, b"then")
    snapshot = await extended.data("POST", "/snapshots", json={"volume_id": volume["id"]})
    path = f"/snapshots/{snapshot['id']}"

    restored = await extended.data("POST", f"{path}/restore", json={"new_volume_name": "vol-two"})
    await extended.data("DELETE", path)
    write(extended, volume, b"now!")

    assert read(extended, restored, 4) == b"then"


async def test_volume_from_a_snapshot_is_at_least_as_large(extended: Site) -> None:
    volume = await extended.make_volume(size_gb=2)
    snapshot = await extended.data("POST", "/snapshots", json={"volume_id": volume["id"]})

    body = {"name": "vol-two", "size_gb": 1, "snapshot_id": snapshot["id"]}
    await extended.error(400, "POST", "/volumes", json=body)


async def test_same_key_gives_the_same_snapshot(extended: Site) -> None:
    volume = await extended.make_volume()
    key, body = {"Idempotency-Key": "k1"}, {"volume_id": volume["id"], "name": "s1"}

    made = await asyncio.gather(*(extended.data("POST", "/snapshots", json=body, headers=key) for _ in range(4)))
    reused = await extended.error(409, "POST", "/snapshots", json={**body, "name": "s2"}, headers=key)
    taken = await extended.error(409, "POST", "/snapshots", json=body)

    assert len({snapshot["id"] for snapshot in made}) == 1
    assert (reused["details"]["reason"], taken["details"]["reason"]) == ("key_reused", "name_taken")
    assert len(list(extended.inside.cloud.settings.snapshots_dir.iterdir())) == 1


async def test_snapshot_filters_and_guard(extended: Site) -> None:
    one, two = await extended.make_volume("vol-one"), await extended.make_volume("vol-two")
    first = await extended.data("POST", "/snapshots", json={"volume_id": one["id"], "name": "s1", "tags": {"a": "1"}})
    await extended.data("POST", "/snapshots", json={"volume_id": two["id"], "name": "s2"})

    async def found(query: str) -> list[str]:
        return [item["name"] for item in await extended.data("GET", f"/snapshots?{query}")]

    assert await found("") == ["s2", "s1"]
    assert await found("name=s1") == await found(f"volume_id={one['id']}") == await found("tag=a") == ["s1"]
    await extended.error(412, "DELETE", f"/snapshots/{first['id']}?tag=a:2")
    await extended.data("DELETE", f"/snapshots/{first['id']}?tag=a:1")
    await extended.error(404, "GET", f"/snapshots/{first['id']}")
    await extended.error(400, "GET", "/snapshots/no-uuid")
    await extended.error(400, "POST", "/snapshots", json={"volume_id": "no-uuid"})
    await extended.error(404, "POST", "/snapshots", json={"volume_id": NOWHERE})


async def test_delayed_snapshot_is_finished_by_time_or_by_the_next_start(tmp_path: Path) -> None:
    async with devcloud_app(tmp_path, snapshot_delay_s=3600.0) as inside, inside.client() as client:
        site = Site(inside, client)
        volume = await site.make_volume()
        made = await site.data("POST", "/snapshots", json={"volume_id": volume["id"]})
        assert made["status"] == "CREATING"
        await site.error(400, "POST", "/volumes", json={"name": "vol-two", "size_gb": 1, "snapshot_id": made["id"]})
    async with devcloud_app(tmp_path, snapshot_delay_s=0.01) as inside, inside.client() as client:
        site = Site(inside, client)
        assert (await site.data("GET", f"/snapshots/{made['id']}"))["status"] == "AVAILABLE"
        second = await site.data("POST", "/snapshots", json={"volume_id": volume["id"]})
        await inside.cloud.tasks.drain()
        assert (await site.data("GET", f"/snapshots/{second['id']}"))["status"] == "AVAILABLE"


async def test_group_takes_all_or_none(extended: Site) -> None:
    volumes = [await extended.make_volume(f"vol-{number}") for number in range(3)]
    ids = [volume["id"] for volume in volumes]
    key = {"Idempotency-Key": "g1"}

    await extended.error(404, "POST", "/snapshot-groups", json={"name": "g0", "volume_ids": [*ids, NOWHERE]})
    assert await extended.data("GET", "/snapshots") == []
    body = {"name": "g1", "volume_ids": ids, "tags": {"a": "1"}}
    made = await extended.data("POST", "/snapshot-groups", json=body, headers=key)
    again = await extended.data("POST", "/snapshot-groups", json=body, headers=key)

    assert made["id"] == again["id"]
    assert {item["volume_id"] for item in made["snapshots"]} == set(ids)
    assert {(item["group_id"], item["status"]) for item in made["snapshots"]} == {(made["id"], "AVAILABLE")}
    taken = await extended.error(409, "POST", "/snapshot-groups", json=body)
    reused = await extended.error(409, "POST", "/snapshot-groups", json={**body, "name": "g2"}, headers=key)
    assert (taken["details"]["reason"], reused["details"]["reason"]) == ("name_taken", "key_reused")
    assert len(list(extended.inside.cloud.settings.snapshots_dir.iterdir())) == 3


async def test_group_needs_different_uuids(extended: Site) -> None:
    volume = await extended.make_volume()

    for ids in ([], [volume["id"]] * 2, ["no-uuid"]):
        await extended.error(400, "POST", "/snapshot-groups", json={"name": "g1", "volume_ids": ids})


async def test_group_goes_as_a_whole(extended: Site) -> None:
    volume = await extended.make_volume()
    made = await extended.data(
        "POST", "/snapshot-groups", json={"name": "g1", "volume_ids": [volume["id"]], "tags": {"a": "1"}}
    )
    member = made["snapshots"][0]["id"]

    error = await extended.error(409, "DELETE", f"/snapshots/{member}")
    assert (error["details"]["reason"], error["details"]["group_id"]) == ("in_group", made["id"])
    assert [item["id"] for item in await extended.data("GET", "/snapshot-groups?name=g1&tag=a:1")] == [made["id"]]
    await extended.error(412, "DELETE", f"/snapshot-groups/{made['id']}?tag=a:2")
    await extended.data("DELETE", f"/snapshot-groups/{made['id']}?tag=a:1")

    await extended.error(404, "GET", f"/snapshot-groups/{made['id']}")
    await extended.error(404, "GET", f"/snapshots/{member}")
    assert not list(extended.inside.cloud.settings.snapshots_dir.iterdir())


class WritingMachines(NoMachines):
    """Somebody writes to every disk whenever a copy is made, until its file system is frozen."""

    def __init__(self, *, can_freeze: bool) -> None:
        super().__init__()
        self.count = 0
        self.is_frozen = False
        self.can_freeze = can_freeze
        self.frozen_serials: Sequence[str] = ()

    async def writes(self, serial: str) -> int | None:
        self.count += not self.is_frozen
        return self.count

    def frozen(self, serials: Sequence[str]) -> AbstractAsyncContextManager[None]:
        self.frozen_serials = serials
        return self._frozen()

    @asynccontextmanager
    async def _frozen(self) -> AsyncIterator[None]:
        self.is_frozen = self.can_freeze
        yield
        self.is_frozen = False


async def test_copy_during_writes_is_made_again_with_writes_held_back(tmp_path: Path) -> None:
    machines = WritingMachines(can_freeze=True)
    async with devcloud_app(tmp_path, machines=machines) as inside, inside.client() as client:
        site = Site(inside, client)
        volume = await site.make_volume()

        made = await site.data("POST", "/snapshots", json={"volume_id": volume["id"]})

        assert made["status"] == "AVAILABLE"
        assert machines.frozen_serials == [volume["serial"]]
        assert not machines.is_frozen


async def test_no_snapshot_is_better_than_a_torn_one(tmp_path: Path) -> None:
    async with devcloud_app(tmp_path, machines=WritingMachines(can_freeze=False)) as inside, inside.client() as client:
        site = Site(inside, client)
        volumes = [await site.make_volume(f"vol-{number}") for number in range(2)]

        await site.error(500, "POST", "/snapshots", json={"volume_id": volumes[0]["id"]})
        ids = [volume["id"] for volume in volumes]
        await site.error(500, "POST", "/snapshot-groups", json={"name": "g1", "volume_ids": ids})

        assert not list(inside.cloud.settings.snapshots_dir.iterdir())
        assert await site.data("GET", "/snapshots") == []


async def test_strict_snapshot_deleted_while_it_is_made_leaves_no_image(strict: Site) -> None:
    volume = await strict.make_volume()
    made = await strict.data("POST", "/snapshots", json={"volume_id": volume["id"]})

    await strict.data("DELETE", f"/snapshots/{made['id']}")
    await strict.inside.cloud.tasks.drain()

    assert not list(strict.inside.cloud.settings.snapshots_dir.iterdir())


async def test_strict_snapshot_that_cannot_be_made_is_in_error(tmp_path: Path) -> None:
    machines = WritingMachines(can_freeze=False)
    async with devcloud_app(tmp_path, tier="strict", machines=machines) as inside, inside.client() as client:
        site = Site(inside, client)
        volume = await site.make_volume()
        made = await site.data("POST", "/snapshots", json={"volume_id": volume["id"]})
        await inside.cloud.tasks.drain()

        assert (await site.data("GET", f"/snapshots/{made['id']}"))["status"] == "ERROR"
