import asyncio
from pathlib import Path

import pytest
from grpc import StatusCode

from controller.names import CLUSTER_TAG
from csi.driver import ZONE_KEY
from csi.pb import csi_pb2 as pb
from devcloud.faults import Fault, Kind
from tests.unit.controller.rig import GIB, LIMIT_S, OURS, Rig, from_snapshot, refused, running_rig

MISSING = "99999999-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


async def listing(rig: Rig, **fields) -> pb.ListSnapshotsResponse:
    return await rig.controller.ListSnapshots(pb.ListSnapshotsRequest(**fields), timeout=LIMIT_S)


async def test_a_snapshot_says_everything_that_kubernetes_shows(extended: Rig):
    volume = await extended.create(size_bytes=2 * GIB)
    snapshot = await extended.snapshot(volume.volume_id)
    assert snapshot.source_volume_id == volume.volume_id
    assert snapshot.size_bytes == 2 * GIB
    assert snapshot.ready_to_use
    assert snapshot.creation_time.seconds > 0
    (row,) = await extended.snapshots()
    assert row["name"] == OURS.name("snap-1")
    assert row["tags"] == {CLUSTER_TAG: "unit"}


async def test_a_snapshot_is_one_call_and_repeating_it_gives_the_same(extended: Rig):
    volume = await extended.create()
    extended.reset_calls()
    first = await extended.snapshot(volume.volume_id)
    assert extended.calls() == {"POST /snapshots": 1}
    assert await extended.snapshot(volume.volume_id) == first
    assert len(await extended.snapshots()) == 1


async def test_the_same_name_for_another_volume_exists_already(extended: Rig):
    one, two = await extended.create("one"), await extended.create("two")
    await extended.snapshot(one.volume_id)
    message = await refused(extended.snapshot(two.volume_id), StatusCode.ALREADY_EXISTS)
    assert one.volume_id in message
    assert "source_volume_id" in message


async def test_the_same_name_with_other_tags_is_the_same_snapshot(extended: Rig):
    volume = await extended.create()
    first = await extended.snapshot(volume.volume_id)
    assert await extended.snapshot(volume.volume_id, parameters={"tags": "a=b"}) == first


async def test_a_foreign_snapshot_of_that_name_is_not_taken_for_ours(extended: Rig):
    volume = await extended.create()
    body = {"volume_id": volume.volume_id, "name": OURS.name("snap-1"), "tags": {CLUSTER_TAG: "other"}}
    await extended.platform("POST", "/snapshots", json=body)
    message = await refused(extended.snapshot(volume.volume_id), StatusCode.ALREADY_EXISTS)
    assert "mark of this cluster" in message


@pytest.mark.parametrize("volume_id", [MISSING, "no-uuid"])
async def test_a_source_that_does_not_exist_is_not_found(extended: Rig, volume_id: str):
    message = await refused(extended.snapshot(volume_id), StatusCode.NOT_FOUND)
    assert "source_volume_id" in message


async def test_a_snapshot_that_is_being_taken_is_not_ready(tmp_path: Path):
    async with running_rig(tmp_path, snapshot_delay_s=3600.0) as rig:
        volume = await rig.create()
        snapshot = await rig.snapshot(volume.volume_id)
        assert not snapshot.ready_to_use
        assert snapshot.creation_time.seconds > 0
        assert not (await rig.snapshot(volume.volume_id)).ready_to_use


@pytest.mark.parametrize("snapshot_id", [MISSING, "no-uuid"])
async def test_deleting_a_snapshot_that_does_not_exist_succeeds(extended: Rig, snapshot_id: str):
    await extended.delete_snapshot(snapshot_id)


async def test_deleting_a_snapshot_is_one_call_and_can_be_repeated(extended: Rig):
    snapshot = await extended.snapshot((await extended.create()).volume_id)
    extended.reset_calls()
    await extended.delete_snapshot(snapshot.snapshot_id)
    assert extended.calls() == {"DELETE /snapshots/{id}": 1}
    await extended.delete_snapshot(snapshot.snapshot_id)


async def test_a_foreign_snapshot_is_kept(extended: Rig):
    volume = await extended.create()
    foreign = await extended.platform("POST", "/snapshots", json={"volume_id": volume.volume_id, "name": "theirs"})
    await refused(extended.delete_snapshot(foreign["id"]), StatusCode.FAILED_PRECONDITION)
    assert len(await extended.snapshots()) == 1


async def test_a_snapshot_is_read_by_its_id(extended: Rig):
    snapshot = await extended.snapshot((await extended.create()).volume_id)
    request = pb.GetSnapshotRequest(snapshot_id=snapshot.snapshot_id)
    assert (await extended.controller.GetSnapshot(request, timeout=LIMIT_S)).snapshot == snapshot
    for missing in (MISSING, "no-uuid"):
        call = extended.controller.GetSnapshot(pb.GetSnapshotRequest(snapshot_id=missing))
        assert "snapshot_id" in await refused(call, StatusCode.NOT_FOUND)


async def test_snapshots_are_listed_by_volume_and_by_id(extended: Rig):
    one, two = await extended.create("one"), await extended.create("two")
    first = await extended.snapshot(one.volume_id, "s1")
    second = await extended.snapshot(two.volume_id, "s2")

    async def ids(**fields) -> list[str]:
        return [entry.snapshot.snapshot_id for entry in (await listing(extended, **fields)).entries]

    assert set(await ids()) == {first.snapshot_id, second.snapshot_id}
    assert await ids(source_volume_id=one.volume_id) == [first.snapshot_id]
    assert await ids(snapshot_id=second.snapshot_id) == [second.snapshot_id]
    assert await ids(snapshot_id=second.snapshot_id, source_volume_id=one.volume_id) == []
    for missing in (MISSING, "no-uuid"):
        assert await ids(snapshot_id=missing) == await ids(source_volume_id=missing) == []


async def test_snapshots_are_listed_in_pages(extended: Rig):
    volume = await extended.create()
    wanted = {(await extended.snapshot(volume.volume_id, f"s{number}")).snapshot_id for number in range(5)}
    seen: list[str] = []
    token = ""
    while True:
        page = await listing(extended, max_entries=2, starting_token=token)
        assert len(page.entries) <= 2
        seen += [entry.snapshot.snapshot_id for entry in page.entries]
        token = page.next_token
        if not token:
            break
    assert len(seen) == 5
    assert set(seen) == wanted


async def test_a_snapshot_in_use_as_a_source_survives_its_copy(extended: Rig):
    snapshot = await extended.snapshot((await extended.create()).volume_id)
    await extended.create("copy", volume_content_source=from_snapshot(snapshot.snapshot_id))
    await extended.delete_snapshot(snapshot.snapshot_id)
    assert len(await extended.volumes()) == 2


async def test_a_strict_platform_has_no_snapshots_to_offer(strict: Rig):
    volume = await strict.create()
    strict.reset_calls()
    for call in (
        strict.snapshot(volume.volume_id),
        strict.delete_snapshot(MISSING),
        listing(strict),
        strict.controller.GetSnapshot(pb.GetSnapshotRequest(snapshot_id=MISSING)),
    ):
        await refused(call, StatusCode.UNIMPLEMENTED)
    assert strict.calls() == {}


def reach(*zones: str) -> pb.TopologyRequirement:
    return pb.TopologyRequirement(requisite=[pb.Topology(segments={ZONE_KEY: zone}) for zone in zones])


async def test_a_snapshot_reaches_every_zone_that_exists(tmp_path: Path):
    async with running_rig(tmp_path, zones=("a", "b")) as rig:
        volume = await rig.create(parameters={"zone": "a"})
        snapshot = await rig.snapshot(volume.volume_id, accessibility_requirements=reach("nowhere", "b"))
        restored = await rig.create(
            "restored",
            volume_content_source=from_snapshot(snapshot.snapshot_id),
            accessibility_requirements=reach("b"),
        )
        assert dict(restored.accessible_topology[0].segments) == {ZONE_KEY: "b"}
        message = await refused(
            rig.snapshot(volume.volume_id, "other", accessibility_requirements=reach("nowhere")),
            StatusCode.RESOURCE_EXHAUSTED,
        )
        assert "nowhere" in message
        assert len(await rig.snapshots()) == 1


async def fail_all(rig: Rig) -> None:
    await rig.cloud.cloud.store.write(lambda db: db.execute("UPDATE snapshots SET status = 'ERROR'"))


async def test_a_snapshot_that_failed_is_deleted_so_that_the_next_try_takes_another(extended: Rig):
    volume = await extended.create()
    failed = await extended.snapshot(volume.volume_id)
    await fail_all(extended)
    message = await refused(extended.snapshot(volume.volume_id), StatusCode.UNAVAILABLE)
    assert failed.snapshot_id in message
    assert "was deleted" in message
    assert await extended.snapshots() == []
    assert (await extended.snapshot(volume.volume_id)).snapshot_id != failed.snapshot_id


async def test_a_failed_snapshot_that_cannot_be_deleted_is_told_and_asked_for_again(extended: Rig):
    volume = await extended.create()
    await extended.snapshot(volume.volume_id)
    await fail_all(extended)
    extended.cloud.faults.add(Fault(Kind.ERROR_BEFORE, "DELETE", "/snapshots/{id}"))
    assert "could not be deleted" in await refused(extended.snapshot(volume.volume_id), StatusCode.UNAVAILABLE)


async def test_a_failed_snapshot_without_this_clusters_tag_is_kept(extended: Rig):
    volume = await extended.create()
    body = {"volume_id": volume.volume_id, "name": OURS.name("snap-1")}
    await extended.platform("POST", "/snapshots", json=body)
    await fail_all(extended)
    await refused(extended.snapshot(volume.volume_id), StatusCode.FAILED_PRECONDITION)
    assert len(await extended.snapshots()) == 1


async def test_many_snapshots_ask_for_the_zones_once(tmp_path: Path):
    async with running_rig(tmp_path, zones=("a", "b")) as rig:
        volumes = [await rig.create(f"v{number}") for number in range(10)]
        rig.reset_calls()
        await asyncio.gather(
            *(
                rig.snapshot(volume.volume_id, f"s{number}", accessibility_requirements=reach("a"))
                for number, volume in enumerate(volumes)
            )
        )
        await rig.snapshot(volumes[0].volume_id, "later", accessibility_requirements=reach("b"))
        assert rig.calls()["GET /zones"] == 1


async def test_a_zone_that_the_remembered_list_lacks_is_looked_for_again(tmp_path: Path):
    async with running_rig(tmp_path, zones=("a", "b")) as rig:
        volume = await rig.create()
        await rig.snapshot(volume.volume_id, "one", accessibility_requirements=reach("a"))
        rig.client.capacity._zones = rig.client.capacity._zones[:1]
        await rig.snapshot(volume.volume_id, "two", accessibility_requirements=reach("b"))
        assert rig.calls()["GET /zones"] == 2
