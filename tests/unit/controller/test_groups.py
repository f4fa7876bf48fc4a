import pytest
from grpc import StatusCode

from csi.pb import csi_pb2 as pb
from devcloud.faults import Fault, Kind
from tests.unit.controller.rig import LIMIT_S, Rig, refused

MISSING = "99999999-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


async def take(rig: Rig, *volume_ids: str, name: str = "group-1", **fields) -> pb.VolumeGroupSnapshot:
    request = pb.CreateVolumeGroupSnapshotRequest(name=name, source_volume_ids=volume_ids, **fields)
    return (await rig.groups.CreateVolumeGroupSnapshot(request, timeout=LIMIT_S)).group_snapshot


async def read(rig: Rig, group_id: str, *snapshot_ids: str) -> pb.VolumeGroupSnapshot:
    request = pb.GetVolumeGroupSnapshotRequest(group_snapshot_id=group_id, snapshot_ids=snapshot_ids)
    return (await rig.groups.GetVolumeGroupSnapshot(request, timeout=LIMIT_S)).group_snapshot


async def drop(rig: Rig, group_id: str, *snapshot_ids: str) -> None:
    request = pb.DeleteVolumeGroupSnapshotRequest(group_snapshot_id=group_id, snapshot_ids=snapshot_ids)
    await rig.groups.DeleteVolumeGroupSnapshot(request, timeout=LIMIT_S)


async def two(rig: Rig) -> tuple[str, str]:
    return (await rig.create("one")).volume_id, (await rig.create("two")).volume_id


async def test_a_group_has_a_snapshot_of_every_volume_and_repeating_it_gives_the_same(extended: Rig):
    one, other = await two(extended)
    group = await take(extended, one, other)
    assert {member.source_volume_id for member in group.snapshots} == {one, other}
    assert {member.group_snapshot_id for member in group.snapshots} == {group.group_snapshot_id}
    assert group.ready_to_use
    assert group.creation_time.seconds > 0
    again = await take(extended, other, one)
    assert again.group_snapshot_id == group.group_snapshot_id
    assert len(await extended.snapshots()) == 2
    assert await read(extended, group.group_snapshot_id) == again


async def test_the_same_name_for_other_volumes_exists_already(extended: Rig):
    one, other = await two(extended)
    await take(extended, one, other)
    message = await refused(take(extended, one), StatusCode.ALREADY_EXISTS)
    assert "source_volume_ids" in message


@pytest.mark.parametrize("missing", [MISSING, "no-uuid"])
async def test_one_missing_volume_means_no_snapshot_at_all(extended: Rig, missing: str):
    one, _ = await two(extended)
    assert "source_volume_ids" in await refused(take(extended, one, missing), StatusCode.NOT_FOUND)
    assert await extended.snapshots() == []


@pytest.mark.parametrize("volume_ids", [(), ("",), ("a", "a"), ("a", "A"), tuple(str(n) for n in range(257))])
async def test_the_list_of_volumes_is_checked(extended: Rig, volume_ids: tuple[str, ...]):
    message = await refused(take(extended, *volume_ids), StatusCode.INVALID_ARGUMENT)
    assert "source_volume_ids" in message


async def test_members_that_do_not_match_are_invalid(extended: Rig):
    one, other = await two(extended)
    group = await take(extended, one, other)
    members = [member.snapshot_id for member in group.snapshots]
    assert await read(extended, group.group_snapshot_id, *members) == group
    for wrong in ([members[0]], [*members, MISSING], [MISSING]):
        for call in (read(extended, group.group_snapshot_id, *wrong), drop(extended, group.group_snapshot_id, *wrong)):
            assert "snapshot_ids" in await refused(call, StatusCode.INVALID_ARGUMENT)
    assert len(await extended.snapshots()) == 2


async def test_a_group_is_deleted_with_its_members_and_only_with_them(extended: Rig):
    one, other = await two(extended)
    group = await take(extended, one, other)
    members = [member.snapshot_id for member in group.snapshots]
    message = await refused(extended.delete_snapshot(members[0]), StatusCode.INVALID_ARGUMENT)
    assert "group" in message
    await drop(extended, group.group_snapshot_id, *members)
    assert await extended.snapshots() == []
    await drop(extended, group.group_snapshot_id, *members)
    await drop(extended, group.group_snapshot_id)


async def test_a_group_that_does_not_exist_is_not_found_and_deleting_it_succeeds(extended: Rig):
    for missing in (MISSING, "no-uuid"):
        assert "group_snapshot_id" in await refused(read(extended, missing), StatusCode.NOT_FOUND)
        await drop(extended, missing)


async def test_a_foreign_group_is_kept(extended: Rig):
    one, _ = await two(extended)
    foreign = await extended.platform("POST", "/snapshot-groups", json={"name": "theirs", "volume_ids": [one]})
    await refused(drop(extended, foreign["id"]), StatusCode.FAILED_PRECONDITION)
    assert len(await extended.snapshots()) == 1


async def test_a_strict_platform_has_no_groups_to_offer(strict: Rig):
    one, _ = await two(strict)
    for call in (take(strict, one), read(strict, MISSING), drop(strict, MISSING)):
        assert "snapshot.group" in await refused(call, StatusCode.UNIMPLEMENTED)


async def test_an_old_read_does_not_say_that_a_group_is_deleted(extended: Rig):
    one, other = await two(extended)
    extended.cloud.faults.add(Fault(Kind.STALE_READ, "GET", seconds=3600))
    group = await take(extended, one, other)
    await drop(extended, group.group_snapshot_id, *(member.snapshot_id for member in group.snapshots))
    extended.cloud.faults.clear()
    assert await extended.snapshots() == []


async def test_a_group_that_failed_is_deleted_so_that_the_next_try_takes_another(extended: Rig):
    one, other = await two(extended)
    failed = await take(extended, one, other)
    await extended.cloud.cloud.store.write(lambda db: db.execute("UPDATE snapshot_groups SET status = 'ERROR'"))
    message = await refused(take(extended, one, other), StatusCode.UNAVAILABLE)
    assert failed.group_snapshot_id in message
    assert await extended.snapshots() == []
    assert (await take(extended, one, other)).group_snapshot_id != failed.group_snapshot_id
