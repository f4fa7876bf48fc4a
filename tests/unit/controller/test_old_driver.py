"""Volumes of the Go driver go on working: its PersistentVolumes, its attachments, its names (docs/upgrade.md)."""

from grpc import StatusCode

from controller.settings import ControllerSettings
from csi.pb import csi_pb2 as pb
from process.address import TcpEndpoint
from tests.support.old_driver import NAME, SIZE_GIB, attach_request, persistent_volume
from tests.unit.controller.rig import GIB, LIMIT_S, Rig, capability, refused


async def make(rig: Rig) -> str:
    """Make a volume as the old driver did: by name and size, without any mark."""
    volume = await rig.platform("POST", "/volumes", json={"name": NAME, "size_gb": SIZE_GIB})
    return str(volume["id"])


async def attach_as_it_did(rig: Rig, volume_id: str, node: str) -> None:
    body = {"instance_id": rig.cloud.instances[node], "mount_path": "/dev/vdb"}
    await rig.platform("POST", f"/volumes/{volume_id}/attach", json=body)


async def holder(rig: Rig, volume_id: str) -> str | None:
    (row,) = [volume for volume in await rig.volumes() if volume["id"] == volume_id]
    found: str | None = row.get("instance_id")
    return found


async def publish(rig: Rig, volume_id: str, node: str, **fields) -> dict[str, str]:
    request = attach_request(persistent_volume(volume_id, **fields), node)
    return dict((await rig.controller.ControllerPublishVolume(request, timeout=LIMIT_S)).publish_context)


async def test_its_volume_is_attached_by_its_persistent_volume(rig: Rig):
    volume_id = await make(rig)
    context = await publish(rig, volume_id, "node-a")
    assert context["csi.thecloud.io/serial"] == volume_id.replace("-", "")[:20]
    assert "device" not in context
    assert await holder(rig, volume_id) == rig.cloud.instances["node-a"]


async def test_a_volume_that_it_attached_is_taken_over_where_it_is(rig: Rig):
    volume_id = await make(rig)
    await attach_as_it_did(rig, volume_id, "node-a")
    await refused(publish(rig, volume_id, "node-b"), StatusCode.FAILED_PRECONDITION)
    assert (await publish(rig, volume_id, "node-a"))["csi.thecloud.io/serial"]
    assert await holder(rig, volume_id) == rig.cloud.instances["node-a"]


async def test_a_volume_that_it_attached_is_detached_by_its_node_id(rig: Rig):
    """The attacher keeps the old node id, the Node's name, in the VolumeAttachment."""
    volume_id = await make(rig)
    await attach_as_it_did(rig, volume_id, "node-a")
    await rig.unpublish(volume_id, "node-b")
    assert await holder(rig, volume_id) == rig.cloud.instances["node-a"]
    await rig.unpublish(volume_id, "node-a")
    assert await holder(rig, volume_id) is None
    await rig.unpublish(volume_id, "node-a")


async def test_a_claim_of_many_nodes_that_it_let_bind_is_refused_with_what_can_be_had(rig: Rig):
    volume_id = await make(rig)
    message = await refused(publish(rig, volume_id, "node-a", access_mode="ReadWriteMany"), StatusCode.INVALID_ARGUMENT)
    assert "SINGLE_NODE" in message
    assert await holder(rig, volume_id) is None


async def test_its_volume_can_be_grown_and_copied(extended: Rig):
    volume_id = await make(extended)
    grow = pb.ControllerExpandVolumeRequest(
        volume_id=volume_id,
        capacity_range=pb.CapacityRange(required_bytes=(SIZE_GIB + 1) * GIB),
        volume_capability=capability(fs_type="ext4"),
    )
    answer = await extended.controller.ControllerExpandVolume(grow, timeout=LIMIT_S)
    assert answer.capacity_bytes == (SIZE_GIB + 1) * GIB
    assert (await extended.snapshot(volume_id)).source_volume_id == volume_id


async def test_its_volume_is_deleted_only_where_its_names_are_adopted(rig: Rig):
    volume_id = await make(rig)
    message = await refused(rig.delete(volume_id), StatusCode.FAILED_PRECONDITION)
    assert "--adopt-name-prefix" in message
    settings = ControllerSettings(
        endpoint=TcpEndpoint("127.0.0.1", 0),
        platform_url="http://127.0.0.1",
        cluster_id="c",
        api_key="k",
        adopt_name_prefix=("pvc-",),
    )
    assert settings.ownership().owns(NAME, {})
    assert not settings.ownership().owns("somebody-elses", {})
