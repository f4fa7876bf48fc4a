"""Features are announced singly; a rule that needs several of them does without all when one is lacking."""

import asyncio

import pytest
from grpc import StatusCode

from controller.features import GUARDED_DELETE, PLUGIN_SERVICES, RESTORE, ZONED_CREATE, offered
from csi.driver import ZONE_KEY
from csi.pb import csi_pb2 as pb
from tests.unit.controller.rig import Rig, refused, running_rig
from thecloud.capabilities import Features

IN_B = pb.TopologyRequirement(requisite=[pb.Topology(segments={ZONE_KEY: "b"})])


async def announce_without(rig: Rig, *lacking: str) -> frozenset[str]:
    """Have the controller believe that the platform does not announce these."""
    known = await rig.client.features(asyncio.get_running_loop().time() + 5)
    names = known.names - set(lacking)
    rig.client._discovery._known = Features(names, "partial")
    return names


async def test_a_volume_is_not_deleted_under_snapshots_that_may_go_with_it(extended: Rig):
    volume = await extended.create()
    snapshot = await extended.snapshot(volume.volume_id)
    assert await announce_without(extended, RESTORE) >= GUARDED_DELETE
    message = await refused(extended.delete(volume.volume_id), StatusCode.FAILED_PRECONDITION)
    assert snapshot.snapshot_id in message
    await extended.platform("DELETE", f"/snapshots/{snapshot.snapshot_id}")
    await extended.delete(volume.volume_id)
    assert await extended.volumes() == []


async def test_a_deleted_volume_stays_deleted_without_lasting_snapshots(extended: Rig):
    volume = await extended.create()
    await announce_without(extended, RESTORE)
    await extended.delete(volume.volume_id)
    await extended.delete(volume.volume_id)


@pytest.mark.parametrize("lacking", sorted(ZONED_CREATE))
async def test_a_volume_comes_up_in_the_asked_zone_or_not_at_all(tmp_path, lacking: str):
    async with running_rig(tmp_path, zones=("a", "b")) as rig:
        features = await announce_without(rig, lacking)
        assert "VOLUME_ACCESSIBILITY_CONSTRAINTS" not in offered(PLUGIN_SERVICES, features)
        by_class = rig.create("by class", parameters={"zone": "b"})
        by_pod = rig.create("by pod", accessibility_requirements=IN_B)
        for call, field in ((by_class, "parameters['zone']"), (by_pod, "accessibility_requirements")):
            message = await refused(call, StatusCode.INVALID_ARGUMENT)
            assert field in message
            assert lacking in message
        assert await rig.volumes() == []


@pytest.mark.parametrize("lacking", ["volume.idempotency-key", "volume.tags"])
async def test_a_class_that_is_none_is_invalid_whichever_way_the_volume_is_made(extended: Rig, lacking: str):
    await announce_without(extended, lacking)
    call = extended.create(parameters={"performanceClass": "none-such"})
    assert "performanceClass" in await refused(call, StatusCode.INVALID_ARGUMENT)
