import pytest
from grpc import StatusCode

from controller.names import CLUSTER_TAG
from csi.pb import csi_pb2 as pb
from devcloud.faults import Fault, Kind
from tests.unit.controller.rig import OURS, Rig, refused

MISSING = "99999999-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


async def make(rig: Rig, name: str, **fields) -> str:
    volume = await rig.platform("POST", "/volumes", json={"name": name, "size_gb": 1, **fields})
    return str(volume["id"])


@pytest.mark.parametrize("volume_id", [MISSING, "no-uuid", "../x", "x" * 128])
async def test_a_volume_that_does_not_exist_is_deleted(rig: Rig, volume_id: str):
    await rig.delete(volume_id)


async def test_an_id_that_is_a_foreign_name_deletes_nothing(rig: Rig):
    await make(rig, "precious")
    await rig.delete("precious")
    assert len(await rig.volumes()) == 1


async def test_a_foreign_volume_is_kept_and_the_setting_is_named(rig: Rig):
    volume_id = await make(rig, "somebody-elses")
    message = await refused(rig.delete(volume_id), StatusCode.FAILED_PRECONDITION)
    assert "--adopt-name-prefix" in message
    assert len(await rig.volumes()) == 1


async def test_another_clusters_mark_wins_over_an_adopted_name(extended: Rig):
    volume_id = await make(extended, "legacy-1", tags={CLUSTER_TAG: "other"})
    await refused(extended.delete(volume_id), StatusCode.FAILED_PRECONDITION)


@pytest.mark.parametrize("name", ["legacy-1", OURS.name("from-before-tags")])
async def test_an_adopted_or_older_volume_of_ours_is_deleted_by_its_name(rig: Rig, name: str):
    await rig.delete(await make(rig, name))
    assert await rig.volumes() == []


async def test_an_attached_volume_is_kept_and_the_holder_is_named(rig: Rig):
    volume = await rig.create()
    await rig.publish(volume.volume_id)
    message = await refused(rig.delete(volume.volume_id), StatusCode.FAILED_PRECONDITION)
    assert rig.cloud.instances["node-a"] in message


async def test_an_attached_adopted_volume_is_kept(extended: Rig):
    volume_id = await make(extended, "legacy-1")
    await extended.publish(volume_id)
    message = await refused(extended.delete(volume_id), StatusCode.FAILED_PRECONDITION)
    assert extended.cloud.instances["node-a"] in message


async def test_a_strict_volume_with_snapshots_is_kept_since_they_would_vanish(strict: Rig):
    volume = await strict.create()
    snapshot = await strict.platform("POST", "/snapshots", json={"volume_id": volume.volume_id})
    message = await refused(strict.delete(volume.volume_id), StatusCode.FAILED_PRECONDITION)
    assert snapshot["id"] in message
    await strict.platform("DELETE", f"/snapshots/{snapshot['id']}")
    await strict.delete(volume.volume_id)
    assert await strict.volumes() == []


async def test_extended_snapshots_outlive_their_volume(extended: Rig):
    volume = await extended.create()
    await extended.snapshot(volume.volume_id)
    await extended.delete(volume.volume_id)
    assert len(await extended.snapshots()) == 1


async def test_a_volume_id_in_capitals_is_the_same_volume(rig: Rig):
    volume = await rig.create()
    await rig.delete(volume.volume_id.upper())
    assert await rig.volumes() == []


async def test_delete_without_an_id_is_invalid(rig: Rig):
    call = rig.controller.DeleteVolume(pb.DeleteVolumeRequest())
    assert "volume_id" in await refused(call, StatusCode.INVALID_ARGUMENT)


async def test_a_guard_that_refuses_is_not_overruled_by_an_old_read(extended: Rig):
    """The 412 says that the volume is there; a read from before it was made says "not found"."""
    extended.cloud.faults.add(Fault(Kind.STALE_READ, "GET", seconds=3600))
    volume_id = await make(extended, OURS.name("from-before-tags"))
    assert "not found when read" in await refused(extended.delete(volume_id), StatusCode.UNAVAILABLE)
    extended.cloud.faults.clear()
    await extended.delete(volume_id)
    assert await extended.volumes() == []
