"""A whole life of a volume, and what it costs the platform."""

from csi.pb import csi_pb2 as pb
from csi.volume_context import PublishContext
from tests.unit.controller.rig import GIB, LIMIT_S, Rig
from thecloud.volumes import serial_of


async def live(rig: Rig) -> None:
    volume = await rig.create("pvc-life", size_bytes=GIB + 1)
    assert volume.capacity_bytes == 2 * GIB
    context = PublishContext.from_wire(await rig.publish(volume.volume_id))
    assert context.serial == serial_of(volume.volume_id)
    assert context.size_bytes == 2 * GIB
    await rig.unpublish(volume.volume_id)
    await rig.delete(volume.volume_id)
    assert await rig.volumes() == []


async def warm_up(rig: Rig) -> None:
    """Let the client learn features and nodes, which is not part of any one life."""
    volume = await rig.create("warm-up")
    await rig.publish(volume.volume_id)
    await rig.unpublish(volume.volume_id)
    await rig.delete(volume.volume_id)
    rig.reset_calls()


async def test_an_extended_life_is_four_calls(extended: Rig):
    await warm_up(extended)
    await live(extended)
    assert extended.calls() == {
        "POST /volumes": 1,
        "POST /volumes/{ref}/attach": 1,
        "POST /volumes/{ref}/detach": 1,
        "DELETE /volumes/{ref}": 1,
        "GET /volumes": 1,  # the test's own look at the end
    }


async def test_a_strict_life_is_nine_calls(strict: Rig):
    await warm_up(strict)
    await live(strict)
    seen = strict.calls()
    assert seen.pop("GET /volumes") == 1  # the test's own look at the end
    assert sum(seen.values()) == 9
    assert seen == {
        "POST /volumes": 1,
        "POST /volumes/{ref}/attach": 1,
        "GET /volumes/{ref}": 4,
        "POST /volumes/{ref}/detach": 1,
        "GET /snapshots": 1,
        "DELETE /volumes/{ref}": 1,
    }


async def test_every_step_repeated_is_the_same_success(rig: Rig):
    volume = await rig.create()
    assert await rig.create() == volume
    context = await rig.publish(volume.volume_id)
    assert await rig.publish(volume.volume_id) == context
    await rig.unpublish(volume.volume_id)
    await rig.unpublish(volume.volume_id)
    await rig.delete(volume.volume_id)
    await rig.delete(volume.volume_id)
    await rig.unpublish(volume.volume_id)
    assert await rig.volumes() == []


async def test_a_strict_platform_advertises_what_it_can_do(strict: Rig):
    answer = await strict.controller.ControllerGetCapabilities(pb.ControllerGetCapabilitiesRequest(), timeout=LIMIT_S)
    kinds = pb.ControllerServiceCapability.RPC
    assert {capability.rpc.type for capability in answer.capabilities} == {
        kinds.CREATE_DELETE_VOLUME,
        kinds.PUBLISH_UNPUBLISH_VOLUME,
        kinds.LIST_VOLUMES,
        kinds.LIST_VOLUMES_PUBLISHED_NODES,
        kinds.GET_VOLUME,
        kinds.SINGLE_NODE_MULTI_WRITER,
    }
    groups = await strict.groups.GroupControllerGetCapabilities(pb.GroupControllerGetCapabilitiesRequest())
    assert not groups.capabilities
    plugin = await strict.identity.GetPluginCapabilities(pb.GetPluginCapabilitiesRequest())
    assert [one.service.type for one in plugin.capabilities] == [pb.PluginCapability.Service.CONTROLLER_SERVICE]


async def test_an_extended_platform_advertises_everything(extended: Rig):
    answer = await extended.controller.ControllerGetCapabilities(pb.ControllerGetCapabilitiesRequest(), timeout=LIMIT_S)
    every = set(pb.ControllerServiceCapability.RPC.Type.values()) - {0}
    assert {capability.rpc.type for capability in answer.capabilities} == every
    groups = await extended.groups.GroupControllerGetCapabilities(pb.GroupControllerGetCapabilitiesRequest())
    assert len(groups.capabilities) == 1
    plugin = await extended.identity.GetPluginCapabilities(pb.GetPluginCapabilitiesRequest())
    assert {one.service.type for one in plugin.capabilities if one.HasField("service")} == {1, 2, 3, 5}
    assert [one.volume_expansion.type for one in plugin.capabilities if one.HasField("volume_expansion")] == [1]
