"""Reading: list, get, validate, capacity, health."""

from pathlib import Path

import pytest
from grpc import StatusCode

from csi.driver import ZONE_KEY
from csi.pb import csi_pb2 as pb
from devcloud.faults import Fault, Kind
from tests.unit.controller.rig import GIB, LIMIT_S, MODES, Rig, capability, refused, restarted, running_rig

MISSING = "99999999-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


async def listing(rig: Rig, **fields) -> pb.ListVolumesResponse:
    return await rig.controller.ListVolumes(pb.ListVolumesRequest(**fields), timeout=LIMIT_S)


async def test_volumes_are_listed_in_pages_that_hold_each_one_once(rig: Rig):
    wanted = {(await rig.create(f"v{number}")).volume_id for number in range(5)}
    seen: list[str] = []
    token = ""
    while True:
        page = await listing(rig, max_entries=2, starting_token=token)
        seen += [entry.volume.volume_id for entry in page.entries]
        token = page.next_token
        if not token:
            break
    assert len(seen) == 5
    assert set(seen) == wanted


async def test_a_page_goes_on_after_its_last_volume_was_deleted(rig: Rig):
    for number in range(4):
        await rig.create(f"v{number}")
    everything = [entry.volume.volume_id for entry in (await listing(rig)).entries]
    first = await listing(rig, max_entries=2)
    await rig.delete(everything[1])
    rest = await listing(rig, starting_token=first.next_token)
    assert [entry.volume.volume_id for entry in rest.entries] == everything[2:]


async def test_a_token_of_somebody_else_is_aborted(rig: Rig):
    assert "starting_token" in await refused(listing(rig, starting_token="invalid-token"), StatusCode.ABORTED)


async def test_a_negative_page_size_is_invalid(rig: Rig):
    assert "max_entries" in await refused(listing(rig, max_entries=-1), StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize("form", ["name", "uuid"])
async def test_a_published_volume_shows_the_node_as_it_was_named(rig: Rig, form: str):
    node = "node-a" if form == "name" else rig.cloud.instances["node-a"]
    volume = await rig.create()
    await rig.create("free")
    await rig.publish(volume.volume_id, node)
    shown = {entry.volume.volume_id: list(entry.status.published_node_ids) for entry in (await listing(rig)).entries}
    assert shown[volume.volume_id] == [node]
    assert sorted(map(len, shown.values())) == [0, 1]


async def test_a_restarted_controller_shows_every_name_of_the_node(rig: Rig):
    volume = await rig.create()
    await rig.publish(volume.volume_id, "node-a")
    async with restarted(rig.cloud) as fresh:
        (entry,) = (await listing(fresh)).entries
        assert {"node-a", rig.cloud.instances["node-a"]} <= set(entry.status.published_node_ids)
        assert "node-b" not in entry.status.published_node_ids


async def test_one_volume_is_read_with_its_node(rig: Rig):
    volume = await rig.create(size_bytes=2 * GIB)
    request = pb.ControllerGetVolumeRequest(volume_id=volume.volume_id)
    answer = await rig.controller.ControllerGetVolume(request, timeout=LIMIT_S)
    assert answer.volume.capacity_bytes == 2 * GIB
    assert not answer.status.published_node_ids
    await rig.publish(volume.volume_id)
    answer = await rig.controller.ControllerGetVolume(request, timeout=LIMIT_S)
    assert list(answer.status.published_node_ids) == ["node-a"]


async def test_reading_a_volume_that_does_not_exist_is_not_found(rig: Rig):
    for missing in (MISSING, "no-uuid"):
        call = rig.controller.ControllerGetVolume(pb.ControllerGetVolumeRequest(volume_id=missing))
        assert "volume_id" in await refused(call, StatusCode.NOT_FOUND)


async def validate(rig: Rig, volume_id: str, *capabilities: pb.VolumeCapability, **fields):
    request = pb.ValidateVolumeCapabilitiesRequest(
        volume_id=volume_id, volume_capabilities=capabilities or (capability(),), **fields
    )
    return await rig.controller.ValidateVolumeCapabilities(request, timeout=LIMIT_S)


async def test_usable_capabilities_are_confirmed_word_for_word(rig: Rig):
    volume = await rig.create(parameters={"mkfsOptions": "-m 0"})
    wanted = [capability(), capability(block=True), capability(MODES.SINGLE_NODE_SINGLE_WRITER, fs_type="ext4")]
    answer = await validate(
        rig, volume.volume_id, *wanted, parameters={"mkfsOptions": "-m 0"}, volume_context=volume.volume_context
    )
    assert list(answer.confirmed.volume_capabilities) == wanted
    assert answer.confirmed.parameters == {"mkfsOptions": "-m 0"}
    assert answer.confirmed.volume_context == volume.volume_context
    assert not answer.message


async def test_what_cannot_be_had_is_not_confirmed_and_says_why(rig: Rig):
    volume = await rig.create()
    several = await validate(rig, volume.volume_id, capability(), capability(MODES.MULTI_NODE_MULTI_WRITER))
    unknown = await validate(rig, volume.volume_id, parameters={"colour": "red"})
    context = await validate(rig, volume.volume_id, volume_context={"csi.thecloud.io/mkfs-options": "-F"})
    foreign = await validate(rig, volume.volume_id, capability(fs_type="ntfs"))
    options = {"mkfsOptions": "-i 16384"}
    other = await validate(rig, volume.volume_id, capability(), capability(fs_type="xfs"), parameters=options)
    found = ((several, "MULTI_NODE"), (unknown, "colour"), (context, "mkfsOptions"), (foreign, "ntfs"), (other, "xfs"))
    for answer, word in found:
        assert not answer.HasField("confirmed")
        assert word in answer.message


async def test_capabilities_of_a_volume_that_does_not_exist_are_not_found(rig: Rig):
    await refused(validate(rig, MISSING), StatusCode.NOT_FOUND)


async def capacity(rig: Rig, **fields) -> pb.GetCapacityResponse:
    return await rig.controller.GetCapacity(pb.GetCapacityRequest(**fields), timeout=LIMIT_S)


async def test_capacity_is_what_the_platform_has_left_in_the_zone(tmp_path: Path):
    async with running_rig(tmp_path, zones=("a", "b"), capacity_gb=100) as rig:
        before = await capacity(rig)
        assert before.available_capacity > 0
        assert before.minimum_volume_size.value == GIB
        assert before.maximum_volume_size.value >= 100 * GIB
        await rig.create(size_bytes=10 * GIB)
        assert (await capacity(rig)).available_capacity == before.available_capacity - 10 * GIB
        in_zone = await capacity(rig, accessible_topology=pb.Topology(segments={ZONE_KEY: "a"}))
        assert in_zone.available_capacity > 0


async def test_what_cannot_be_made_has_no_capacity(extended: Rig):
    nowhere = pb.Topology(segments={ZONE_KEY: "nowhere"})
    here = pb.Topology(segments={ZONE_KEY: "zone-1"})
    several = [capability(MODES.MULTI_NODE_MULTI_WRITER)]
    assert (await capacity(extended, accessible_topology=nowhere)).available_capacity == 0
    assert (await capacity(extended, volume_capabilities=several)).available_capacity == 0
    elsewhere = await capacity(extended, accessible_topology=here, parameters={"zone": "zone-2"})
    assert elsewhere.available_capacity == 0


async def test_capacity_for_unknown_parameters_is_invalid(extended: Rig):
    for parameters in ({"colour": "red"}, {"performanceClass": "warp"}):
        await refused(capacity(extended, parameters=parameters), StatusCode.INVALID_ARGUMENT)
    foreign = pb.Topology(segments={"rack": "7"})
    await refused(capacity(extended, accessible_topology=foreign), StatusCode.INVALID_ARGUMENT)


async def test_a_capacity_that_a_wrong_key_hides_lets_the_creation_say_why(extended: Rig):
    extended.cloud.faults.add(Fault(Kind.UNAUTHORIZED, "GET", "/capacity", count=None))
    assert (await capacity(extended)).available_capacity == 16_000 * GIB


async def test_a_failure_that_passes_leaves_the_capacity_as_it_was_told(extended: Rig):
    extended.cloud.faults.add(Fault(Kind.ERROR_BEFORE, "GET", "/capacity", count=None))
    await refused(capacity(extended), StatusCode.UNAVAILABLE)


async def sicken(rig: Rig, volume_id: str, *problems: tuple[str, str]) -> None:
    health = [{"status": status, "reason": reason, "message": "seen"} for status, reason in problems]
    await rig.platform("POST", f"/_devcloud/volumes/{volume_id}/health", json={"health": health})


async def test_a_healthy_volume_has_nothing_to_say(extended: Rig):
    volume = await extended.create()
    request = pb.ControllerGetVolumeHealthRequest(volume_id=volume.volume_id)
    answer = await extended.controller.ControllerGetVolumeHealth(request, timeout=LIMIT_S)
    assert answer.volume_health == pb.VolumeHealth(volume_id=volume.volume_id)


async def test_only_ailing_volumes_are_listed_with_each_problem_once(extended: Rig):
    ailing = [(await extended.create(f"ailing-{number}")).volume_id for number in range(3)]
    await extended.create("healthy")
    for volume_id in ailing:
        await sicken(
            extended, volume_id, ("DEGRADED", "SlowDisk"), ("DATA_LOSS", "BadBlocks"), ("DEGRADED", "SlowDisk")
        )
    seen: list[pb.VolumeHealth] = []
    token = ""
    while True:
        request = pb.ControllerListVolumeHealthRequest(max_entries=2, starting_token=token)
        page = await extended.controller.ControllerListVolumeHealth(request, timeout=LIMIT_S)
        seen += page.entries
        token = page.next_token
        if not token:
            break
    assert {health.volume_id for health in seen} == set(ailing)
    assert all([entry.status for entry in health.health_statuses] == [1, 3] for health in seen)


async def test_a_strict_platform_knows_neither_capacity_nor_health(strict: Rig):
    volume = await strict.create()
    for call in (
        capacity(strict),
        strict.controller.ControllerGetVolumeHealth(pb.ControllerGetVolumeHealthRequest(volume_id=volume.volume_id)),
        strict.controller.ControllerListVolumeHealth(pb.ControllerListVolumeHealthRequest()),
    ):
        await refused(call, StatusCode.UNIMPLEMENTED)
