"""A whole life of a volume, and what it costs the platform."""

import pytest

from csi.pb import csi_pb2 as pb
from csi.volume_context import PublishContext
from tests.unit.controller.rig import GIB, LIMIT_S, Rig, restarted
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


LIVES = {
    "extended": {
        "POST /volumes": 1,
        "POST /volumes/{ref}/attach": 1,
        "POST /volumes/{ref}/detach": 1,
        "DELETE /volumes/{ref}": 1,
    },
    "strict": {
        "POST /volumes": 1,
        "POST /volumes/{ref}/attach": 1,
        "GET /volumes/{ref}": 3,
        "POST /volumes/{ref}/detach": 1,
        "GET /snapshots": 1,
        "DELETE /volumes/{ref}": 1,
    },
}
"""What a life costs when the node is known."""
WITH_LISTING = {"extended": 5, "strict": 9}
"""What it costs at most: the node has to be looked up once."""


async def cost(rig: Rig, node: str = "node-a") -> dict[str, int]:
    """Count the calls of one life."""
    rig.reset_calls()
    volume = await rig.create("pvc-life")
    await rig.publish(volume.volume_id, node)
    await rig.unpublish(volume.volume_id, node)
    await rig.delete(volume.volume_id)
    return rig.calls()


async def test_a_life_is_four_calls_or_eight_and_one_more_when_the_node_is_not_known(rig: Rig):
    tier = rig.cloud.cloud.settings.tier.value
    first = await cost(rig)
    assert first == {**LIVES[tier], "GET /instances": 1}
    assert sum(first.values()) == WITH_LISTING[tier]
    assert await cost(rig) == LIVES[tier]


@pytest.mark.parametrize("form", ["name", "uuid"])
async def test_a_life_looks_the_node_up_once_however_late_its_end_comes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, form: str
):
    """No listing is young enough, neither at the publish nor at the unpublish."""
    tier = rig.cloud.cloud.settings.tier.value
    node = "node-a" if form == "name" else rig.cloud.instances["node-a"]
    await cost(rig)
    monkeypatch.setattr("controller.nodes.CACHE_S", -1.0)
    seen = await cost(rig, node)
    assert sum(seen.values()) <= WITH_LISTING[tier]
    assert seen.pop("GET /instances", 0) <= 1
    assert seen == LIVES[tier]


async def test_a_strict_unpublish_asks_for_no_listing_where_the_holder_tells(strict: Rig):
    """A controller that knows nothing yet: a free volume and the holder's own uuid need no other look."""
    node = strict.cloud.instances["node-a"]
    free, held = await strict.create("free"), await strict.create("held")
    await strict.publish(held.volume_id, node)
    async with restarted(strict.cloud) as fresh:
        fresh.reset_calls()
        await fresh.unpublish(free.volume_id, "node-a")
        await fresh.unpublish(held.volume_id, strict.cloud.instances["node-b"])
        await fresh.unpublish(held.volume_id, node)
        assert fresh.calls() == {"GET /volumes/{ref}": 3, "POST /volumes/{ref}/detach": 1}


async def test_a_life_gives_what_was_asked_for(rig: Rig):
    await live(rig)


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
