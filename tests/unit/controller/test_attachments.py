from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from csi.pb import csi_pb2 as pb
from csi.volume_context import PublishContext
from devcloud.faults import Fault, Kind
from tests.unit.controller.rig import MODES, Rig, capability, refused, running_rig

MISSING = "99999999-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
BOTH = pytest.mark.parametrize("tier", ["extended", "strict"])


async def holder(rig: Rig, volume_id: str) -> str | None:
    (row,) = [volume for volume in await rig.volumes() if volume["id"] == volume_id]
    found: str | None = row.get("instance_id")
    return found


async def launch(rig: Rig, name: str, **fields) -> str:
    made = await rig.platform("POST", "/instances", json={"name": name, "image": "x", **fields})
    return str(made["id"])


async def test_a_node_may_be_named_by_host_name_or_by_uuid(rig: Rig):
    volume = await rig.create()
    one = await rig.publish(volume.volume_id, "node-a")
    assert await rig.publish(volume.volume_id, rig.cloud.instances["node-a"]) == one
    await rig.unpublish(volume.volume_id, rig.cloud.instances["node-a"].upper())
    assert await holder(rig, volume.volume_id) is None


async def test_a_strict_node_may_be_named_as_the_platform_names_guests(strict: Rig):
    volume = await strict.create()
    await strict.publish(volume.volume_id, f"thecloud-{strict.cloud.instances['node-b'][:8]}")
    assert await holder(strict, volume.volume_id) == strict.cloud.instances["node-b"]


@pytest.mark.parametrize("node", [MISSING, "no-such-node", "../instances", "node-"])
async def test_a_node_that_does_not_exist_is_not_found_and_nothing_changes(rig: Rig, node: str):
    volume = await rig.create()
    message = await refused(rig.publish(volume.volume_id, node), StatusCode.NOT_FOUND)
    assert node in message
    assert await holder(rig, volume.volume_id) is None


@pytest.mark.parametrize("volume_id", [MISSING, "no-uuid"])
async def test_a_volume_that_does_not_exist_is_not_found(rig: Rig, volume_id: str):
    assert "volume" in await refused(rig.publish(volume_id), StatusCode.NOT_FOUND)


async def test_a_node_name_of_several_instances_is_refused_and_names_them(strict: Rig):
    ids = [await launch(strict, "twin"), await launch(strict, "twin")]
    volume = await strict.create()
    message = await refused(strict.publish(volume.volume_id, "twin"), StatusCode.FAILED_PRECONDITION)
    assert all(instance_id in message for instance_id in ids)
    assert await holder(strict, volume.volume_id) is None


async def test_a_volume_held_elsewhere_is_never_taken_away(rig: Rig):
    volume = await rig.create()
    await rig.publish(volume.volume_id, "node-a")
    message = await refused(rig.publish(volume.volume_id, "node-b"), StatusCode.FAILED_PRECONDITION)
    assert rig.cloud.instances["node-a"] in message
    assert await holder(rig, volume.volume_id) == rig.cloud.instances["node-a"]


async def test_a_late_unpublish_for_the_old_node_leaves_the_new_one_alone(rig: Rig):
    volume = await rig.create()
    await rig.publish(volume.volume_id, "node-a")
    await rig.unpublish(volume.volume_id, "node-a")
    await rig.publish(volume.volume_id, "node-b")
    await rig.unpublish(volume.volume_id, "node-a")
    assert await holder(rig, volume.volume_id) == rig.cloud.instances["node-b"]


async def test_an_unpublish_without_a_node_detaches_whoever_has_it(rig: Rig):
    volume = await rig.create()
    await rig.publish(volume.volume_id, "node-b")
    await rig.unpublish(volume.volume_id, "")
    assert await holder(rig, volume.volume_id) is None
    await rig.unpublish(volume.volume_id, "")


@pytest.mark.parametrize("node", ["node-a", MISSING, "gone", ""])
@pytest.mark.parametrize("volume_id", [MISSING, "no-uuid"])
async def test_unpublish_of_a_missing_volume_succeeds(rig: Rig, volume_id: str, node: str):
    await rig.unpublish(volume_id, node)


@pytest.mark.parametrize("node", [MISSING, "gone"])
async def test_unpublish_from_a_missing_node_succeeds_and_spares_a_living_holder(rig: Rig, node: str):
    volume = await rig.create()
    await rig.unpublish(volume.volume_id, node)
    await rig.publish(volume.volume_id, "node-a")
    await rig.unpublish(volume.volume_id, node)
    assert await holder(rig, volume.volume_id) == rig.cloud.instances["node-a"]


@BOTH
async def test_unpublish_from_a_terminated_instance_succeeds_and_the_volume_can_move(tmp_path: Path, tier: str):
    now = 0.0
    async with running_rig(tmp_path, tier=tier, clock=lambda: now) as rig:
        instance_id = await launch(rig, "short-lived")
        volume = await rig.create()
        await rig.publish(volume.volume_id, instance_id)
        await rig.platform("DELETE", f"/instances/{instance_id}")
        now = 60.0
        await rig.unpublish(volume.volume_id, instance_id)
        await rig.publish(volume.volume_id, "node-a")
        await rig.unpublish(volume.volume_id, instance_id)
        assert await holder(rig, volume.volume_id) == rig.cloud.instances["node-a"]


async def is_strict(rig: Rig) -> bool:
    return rig.cloud.cloud.settings.is_strict


async def test_an_unpublish_that_cannot_tell_the_node_refuses_only_if_it_may_be_the_holder(strict: Rig):
    one = await launch(strict, "twin")
    await launch(strict, "twin")
    volume = await strict.create()
    await strict.publish(volume.volume_id, one)
    message = await refused(strict.unpublish(volume.volume_id, "twin"), StatusCode.FAILED_PRECONDITION)
    assert "twin" in message
    await strict.unpublish(volume.volume_id, one)
    other = await strict.create("other")
    await strict.publish(other.volume_id, "node-a")
    await strict.unpublish(other.volume_id, "twin")
    assert await holder(strict, other.volume_id) == strict.cloud.instances["node-a"]


async def test_a_renamed_host_is_found_in_a_fresh_listing(rig: Rig):
    """The cached listing still has the instance that bore the name before."""
    old = await launch(rig, "reborn")
    first = await rig.create("first")
    node = "reborn" if await is_strict(rig) else (await instance(rig, old))["hostname"]
    await rig.publish(first.volume_id, node)
    await rig.unpublish(first.volume_id, node)
    await rig.platform("DELETE", f"/instances/{old}")
    new = await launch(rig, "reborn")
    if not await is_strict(rig):
        assert (await instance(rig, new))["hostname"] != node
        node = (await instance(rig, new))["hostname"]
    second = await rig.create("second")
    await rig.publish(second.volume_id, node)
    assert await holder(rig, second.volume_id) == new


async def instance(rig: Rig, instance_id: str) -> dict[str, str]:
    found: dict[str, str] = await rig.platform("GET", f"/instances/{instance_id}")
    return found


async def test_another_mode_on_the_same_node_exists_already(extended: Rig):
    volume = await extended.create()
    await extended.publish(volume.volume_id)
    message = await refused(extended.publish(volume.volume_id, readonly=True), StatusCode.ALREADY_EXISTS)
    assert "readonly" in message


async def test_a_read_only_attachment_is_read_only_at_the_platform(extended: Rig):
    volume = await extended.create()
    await extended.publish(volume.volume_id, readonly=True)
    (row,) = await extended.volumes()
    assert row["read_only"] is True


async def test_a_strict_platform_cannot_attach_read_only(strict: Rig):
    volume = await strict.create()
    message = await refused(strict.publish(volume.volume_id, readonly=True), StatusCode.INVALID_ARGUMENT)
    assert "readonly" in message
    assert await holder(strict, volume.volume_id) is None


async def test_a_full_instance_is_exhausted(tmp_path: Path):
    async with running_rig(tmp_path, max_volumes=1) as rig:
        first, second = await rig.create("a"), await rig.create("b")
        await rig.publish(first.volume_id)
        await refused(rig.publish(second.volume_id), StatusCode.RESOURCE_EXHAUSTED)
        await rig.publish(second.volume_id, "node-b")


async def test_a_volume_in_another_zone_cannot_be_attached(tmp_path: Path):
    async with running_rig(tmp_path, zones=("a", "b")) as rig:
        volume = await rig.create(parameters={"zone": "b"})
        message = await refused(rig.publish(volume.volume_id), StatusCode.FAILED_PRECONDITION)
        assert "zone" in message
        assert await holder(rig, volume.volume_id) is None


async def test_what_was_written_reaches_the_node_where_the_platform_tells(rig: Rig):
    volume = await rig.create()
    context = PublishContext.from_wire(await rig.publish(volume.volume_id))
    assert context.allocated_bytes == (None if await is_strict(rig) else 0)


async def test_a_wedged_volume_is_named_for_the_administrator(rig: Rig):
    volume = await rig.create()
    await rig.platform("POST", f"/_devcloud/volumes/{volume.volume_id}/wedge", json={})
    for call in (rig.publish(volume.volume_id), rig.delete(volume.volume_id)):
        assert "administrator" in await refused(call, StatusCode.FAILED_PRECONDITION)
    await rig.unpublish(volume.volume_id)
    await rig.unpublish(volume.volume_id, "")


async def test_a_lost_race_is_noticed_and_the_winner_keeps_the_volume(tmp_path: Path):
    now = 0.0
    async with running_rig(tmp_path, tier="strict", clock=lambda: now) as rig:
        volume = await rig.create()
        winner = rig.cloud.instances["node-b"]
        rig.cloud.faults.add(Fault(Kind.ATTACH_RACE, "POST", "/volumes/{ref}/attach", instance_id=winner))
        message = await refused(rig.publish(volume.volume_id), StatusCode.UNAVAILABLE)
        assert winner in message
        now = 60.0
        message = await refused(rig.publish(volume.volume_id), StatusCode.FAILED_PRECONDITION)
        assert winner in message
        await rig.unpublish(volume.volume_id, "node-a")
        assert await holder(rig, volume.volume_id) == winner


async def test_a_strict_read_older_than_our_write_is_not_believed(tmp_path: Path):
    """Believing it would detach node B, or report a detach that never was."""
    async with running_rig(tmp_path, tier="strict") as rig:
        volume = await rig.create()
        rig.cloud.faults.add(Fault(Kind.STALE_READ, "GET", seconds=3600))
        await refused(rig.publish(volume.volume_id), StatusCode.UNAVAILABLE)
        await refused(rig.unpublish(volume.volume_id), StatusCode.UNAVAILABLE)
        rig.cloud.faults.clear()
        await rig.publish(volume.volume_id)
        await rig.unpublish(volume.volume_id)
        assert await holder(rig, volume.volume_id) is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"volume_id": ""}, "volume_id"),
        ({"node_id": ""}, "node_id"),
        ({"volume_capability": None}, "volume_capability"),
        ({"volume_capability": pb.VolumeCapability()}, "volume_capability"),
        ({"volume_capability": capability(MODES.MULTI_NODE_MULTI_WRITER)}, "volume_capability.access_mode"),
        ({"volume_context": {"csi.thecloud.io/mkfs-options": "-F"}}, "mkfsOptions"),
    ],
)
async def test_a_publish_request_is_checked_before_anything_is_asked(rig: Rig, changes: dict[str, Any], field: str):
    volume = await rig.create()
    rig.reset_calls()
    fields = {
        "volume_id": volume.volume_id,
        "node_id": "node-a",
        "volume_capability": capability(),
        **changes,
    }
    call = rig.controller.ControllerPublishVolume(pb.ControllerPublishVolumeRequest(**fields))
    assert field in await refused(call, StatusCode.INVALID_ARGUMENT)
    assert rig.calls() == {}
