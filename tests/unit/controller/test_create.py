import asyncio
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest
from grpc import StatusCode

from controller.names import CLUSTER_TAG
from csi.driver import ZONE_KEY
from csi.pb import csi_pb2 as pb
from csi.volume_context import VolumeContext
from devcloud.faults import Fault, Kind
from tests.unit.controller.rig import (
    FINAL,
    GIB,
    LIMIT_S,
    MODES,
    OURS,
    Rig,
    capability,
    from_snapshot,
    from_volume,
    refused,
    running_rig,
)


def request(name: str = "pvc-1", *, required: int = 0, limit: int = 0, **fields) -> pb.CreateVolumeRequest:
    fields.setdefault("volume_capabilities", [capability()])
    return pb.CreateVolumeRequest(
        name=name, capacity_range=pb.CapacityRange(required_bytes=required, limit_bytes=limit), **fields
    )


def zones(*requisite: str, preferred: tuple[str, ...] = ()) -> pb.TopologyRequirement:
    return pb.TopologyRequirement(
        requisite=[pb.Topology(segments={ZONE_KEY: zone}) for zone in requisite],
        preferred=[pb.Topology(segments={ZONE_KEY: zone}) for zone in preferred],
    )


async def test_a_volume_without_a_size_gets_ten_gib(rig: Rig):
    answer = await rig.controller.CreateVolume(request(), timeout=LIMIT_S)
    assert answer.volume.capacity_bytes == 10 * GIB


async def test_a_size_outside_of_the_limit_is_refused_before_the_platform_is_asked(rig: Rig):
    rig.reset_calls()
    message = await refused(
        rig.controller.CreateVolume(request(required=GIB + 1, limit=GIB + 2)), StatusCode.OUT_OF_RANGE
    )
    assert "capacity_range" in message
    assert rig.calls() == {}


async def test_names_and_marks_at_the_platform_are_this_clusters(rig: Rig):
    await rig.create("pvc-1")
    (volume,) = await rig.volumes()
    assert volume["name"] == OURS.name("pvc-1")
    if "tags" in volume:
        assert volume["tags"] == {CLUSTER_TAG: "unit"}


async def test_a_name_of_128_characters_is_made_once(rig: Rig):
    name = "x" * 128
    assert await rig.create(name) == await rig.create(name)
    assert len(await rig.volumes()) == 1


async def test_the_same_name_with_a_larger_size_exists_already_and_says_why(rig: Rig):
    await rig.create(size_bytes=GIB)
    message = await refused(rig.create(size_bytes=2 * GIB), StatusCode.ALREADY_EXISTS)
    assert str(GIB) in message
    assert str(2 * GIB) in message
    assert len(await rig.volumes()) == 1


async def test_the_same_name_with_a_range_that_the_volume_satisfies_is_the_volume(rig: Rig):
    volume = await rig.create(size_bytes=3 * GIB)
    answer = await rig.controller.CreateVolume(request(required=2 * GIB, limit=4 * GIB), timeout=LIMIT_S)
    assert answer.volume == volume


async def test_the_same_name_with_a_lower_limit_exists_already(rig: Rig):
    await rig.create(size_bytes=3 * GIB)
    await refused(rig.controller.CreateVolume(request(limit=2 * GIB)), StatusCode.ALREADY_EXISTS)


async def test_a_foreign_volume_of_that_name_is_not_taken_for_ours(extended: Rig):
    await extended.platform(
        "POST", "/volumes", json={"name": OURS.name("pvc-1"), "size_gb": 1, "tags": {CLUSTER_TAG: "other"}}
    )
    message = await refused(extended.create(), StatusCode.ALREADY_EXISTS)
    assert "mark of this cluster" in message


async def test_a_volume_made_before_the_platform_had_tags_is_found_by_its_name(extended: Rig):
    made = await extended.platform("POST", "/volumes", json={"name": OURS.name("pvc-1"), "size_gb": 1})
    assert (await extended.create()).volume_id == made["id"]


async def test_mkfs_options_and_source_reach_the_node_through_the_volume_context(extended: Rig):
    source = await extended.create("source")
    clone = await extended.create(
        "clone", volume_content_source=from_volume(source.volume_id), parameters={"mkfsOptions": "-m 0"}
    )
    context = VolumeContext.from_wire(clone.volume_context)
    assert context.mkfs_options == ("-m", "0")
    assert context.source == f"volume:{source.volume_id}"
    assert clone.content_source.volume.volume_id == source.volume_id


async def test_a_repeated_clone_carries_the_same_source_and_topology(extended: Rig):
    source = await extended.create("source")
    first = await extended.create("clone", volume_content_source=from_volume(source.volume_id))
    assert await extended.create("clone", volume_content_source=from_volume(source.volume_id)) == first
    assert first.accessible_topology[0].segments[ZONE_KEY] == "zone-1"


async def test_the_same_name_from_another_source_exists_already(extended: Rig):
    source = await extended.create("source")
    await extended.create("clone", volume_content_source=from_volume(source.volume_id))
    message = await refused(extended.create("clone"), StatusCode.ALREADY_EXISTS)
    assert f"volume:{source.volume_id}" in message


async def test_a_restore_may_be_larger_than_its_snapshot_but_not_smaller(extended: Rig):
    source = await extended.create("source", size_bytes=3 * GIB)
    snapshot = await extended.snapshot(source.volume_id)
    content = from_snapshot(snapshot.snapshot_id)
    larger = await extended.create("larger", size_bytes=5 * GIB, volume_content_source=content)
    assert larger.capacity_bytes == 5 * GIB
    assert larger.content_source.snapshot.snapshot_id == snapshot.snapshot_id
    message = await refused(
        extended.create("smaller", size_bytes=2 * GIB, volume_content_source=content), StatusCode.OUT_OF_RANGE
    )
    assert str(3 * GIB) in message


@pytest.mark.parametrize("missing", ["9" * 8 + "-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "no-uuid", "../volumes"])
async def test_a_source_that_does_not_exist_is_not_found(extended: Rig, missing: str):
    for content in (from_volume(missing), from_snapshot(missing)):
        message = await refused(extended.create("x", volume_content_source=content), StatusCode.NOT_FOUND)
        assert "volume_content_source" in message
    assert await extended.volumes() == []


async def test_a_strict_platform_makes_no_copies_and_no_choices_of_zone(strict: Rig):
    source = await strict.create("source")
    clone = strict.create("clone", volume_content_source=from_volume(source.volume_id))
    assert "volume_content_source" in await refused(clone, StatusCode.INVALID_ARGUMENT)
    zoned = strict.create("zoned", accessibility_requirements=zones("zone-1"))
    assert "accessibility_requirements" in await refused(zoned, StatusCode.INVALID_ARGUMENT)
    classed = strict.create("classed", parameters={"performanceClass": "fast"})
    assert "volume.modify" in await refused(classed, StatusCode.INVALID_ARGUMENT)
    assert len(await strict.volumes()) == 1


async def test_parameters_become_properties_of_the_volume(extended: Rig):
    await extended.create(
        parameters={
            "performanceClass": "fast",
            "tags": "team=db",
            "csi.storage.k8s.io/pvc/name": "data",
        },
        mutable_parameters={"tags": "stage=prod"},
    )
    (volume,) = await extended.volumes()
    assert volume["performance_class"] == "fast"
    assert volume["tags"] == {
        CLUSTER_TAG: "unit",
        "team": "db",
        "stage": "prod",
        "csi.thecloud.io/pvc-name": "data",
    }


async def test_an_unknown_performance_class_is_invalid(extended: Rig):
    message = await refused(extended.create(parameters={"performanceClass": "warp"}), StatusCode.INVALID_ARGUMENT)
    assert "'warp'" in message


async def test_the_same_name_with_another_class_exists_already(extended: Rig):
    await extended.create(parameters={"performanceClass": "fast"})
    message = await refused(extended.create(parameters={"performanceClass": "archive"}), StatusCode.ALREADY_EXISTS)
    assert "'archive'" in message


@pytest.mark.parametrize(
    "mode", [MODES.MULTI_NODE_READER_ONLY, MODES.MULTI_NODE_SINGLE_WRITER, MODES.MULTI_NODE_MULTI_WRITER]
)
async def test_a_mode_for_several_nodes_is_invalid(rig: Rig, mode: int):
    message = await refused(
        rig.controller.CreateVolume(request(volume_capabilities=[capability(), capability(mode)])),
        StatusCode.INVALID_ARGUMENT,
    )
    assert "volume_capabilities[1].access_mode" in message


async def test_a_file_system_that_no_node_can_make_is_refused_at_once(rig: Rig):
    message = await refused(
        rig.controller.CreateVolume(request(volume_capabilities=[capability(fs_type="zfs")])),
        StatusCode.INVALID_ARGUMENT,
    )
    assert "'zfs'" in message


async def test_the_preferred_zone_is_taken_and_shown(tmp_path: Path):
    async with running_rig(tmp_path, zones=("a", "b", "c")) as rig:
        requirement = zones("a", "b", preferred=("b",))
        volume = await rig.create(accessibility_requirements=requirement)
        assert dict(volume.accessible_topology[0].segments) == {ZONE_KEY: "b"}
        again = await rig.create(accessibility_requirements=zones("a", "b", preferred=("a",)))
        assert again == volume
        message = await refused(rig.create(accessibility_requirements=zones("c")), StatusCode.ALREADY_EXISTS)
        assert "'b'" in message


async def test_zones_that_do_not_exist_are_skipped_and_exhausted_only_when_none_is_left(tmp_path: Path):
    async with running_rig(tmp_path, zones=("a", "b")) as rig:
        volume = await rig.create(accessibility_requirements=zones("nowhere", "b"))
        assert dict(volume.accessible_topology[0].segments) == {ZONE_KEY: "b"}
        message = await refused(
            rig.create("pvc-2", accessibility_requirements=zones("nowhere", "neither")), StatusCode.RESOURCE_EXHAUSTED
        )
        assert "nowhere" in message
        assert "neither" in message


async def test_a_storage_class_zone_that_the_pod_cannot_reach_is_exhausted(tmp_path: Path):
    async with running_rig(tmp_path, zones=("a", "b")) as rig:
        call = rig.create(parameters={"zone": "a"}, accessibility_requirements=zones("b"))
        assert "'a'" in await refused(call, StatusCode.RESOURCE_EXHAUSTED)


async def take_unseen(rig: Rig, name: str) -> None:
    """Make a volume of this name in a tenant that the controller's key cannot see."""
    account = {"email": "o@example.org", "password": "correct horse battery", "name": "other"}
    await rig.platform("POST", "/auth/register", json=account)
    login = await rig.platform("POST", "/auth/login", json=account)
    headers = {"X-API-Key": login["api_key"]}
    await rig.platform("POST", "/volumes", json={"name": name, "size_gb": 1}, headers=headers)


async def test_a_name_taken_out_of_sight_is_told_and_no_other_name_is_tried(rig: Rig):
    await take_unseen(rig, OURS.name("pvc-1"))
    code = StatusCode.UNAVAILABLE if rig.cloud.cloud.settings.is_strict else StatusCode.ALREADY_EXISTS
    assert "--cluster-id" in await refused(rig.create(), code)
    assert await rig.volumes() == []


async def test_a_key_that_is_refused_after_an_unclear_create_is_no_end_and_is_told(rig: Rig):
    rig.cloud.faults.add(Fault(Kind.LOST_ANSWER, "POST", "/volumes", count=10))
    rig.cloud.faults.add(Fault(Kind.UNAUTHORIZED, "GET", "/volumes", count=3))
    with pytest.raises(grpc.aio.AioRpcError) as first:
        await rig.create("n")
    rig.cloud.faults.clear()
    rig.cloud.faults.add(Fault(Kind.UNAUTHORIZED, "POST", "/volumes", count=3))
    refusal = await refused(rig.create("n"), StatusCode.UNAVAILABLE)
    assert first.value.code() not in FINAL
    assert "refuses the API key" in refusal
    await rig.create("n")
    assert len(await rig.volumes()) == 1


async def test_a_source_that_went_after_a_lost_answer_does_not_hide_the_volume_made_from_it(extended: Rig):
    """A final "not found" would leave the volume behind: nobody would ask for it again."""
    source = await extended.create("source", size_bytes=3 * GIB)
    snapshot = await extended.snapshot(source.volume_id)
    for number, (content, drop) in enumerate(
        (
            (from_volume(source.volume_id), extended.delete(source.volume_id)),
            (from_snapshot(snapshot.snapshot_id), extended.delete_snapshot(snapshot.snapshot_id)),
        )
    ):
        made = await extended.create(f"copy-{number}", size_bytes=3 * GIB, volume_content_source=content)
        await drop
        again = await extended.create(f"copy-{number}", size_bytes=3 * GIB, volume_content_source=content)
        assert again.volume_id == made.volume_id


async def test_a_clone_without_keys_is_found_by_name_when_its_source_went(tmp_path: Path):
    async with running_rig(tmp_path) as rig:
        without(rig, "volume.idempotency-key")
        source = await rig.create("source")
        content = from_volume(source.volume_id)
        made = await rig.create("copy", volume_content_source=content)
        await rig.delete(source.volume_id)
        assert (await rig.create("copy", volume_content_source=content)).volume_id == made.volume_id
        await refused(rig.create("other", volume_content_source=content), StatusCode.NOT_FOUND)


def without(rig: Rig, feature: str) -> None:
    """Let the platform not announce a feature."""
    discovery = rig.client._discovery
    assert discovery._known is not None
    discovery._known = replace(discovery._known, names=discovery._known.names - {feature})


async def test_a_taken_name_that_is_listed_a_little_later_is_the_volume(extended: Rig):
    """One old listing is no proof that the name belongs to somebody else."""
    extended.cloud.faults.add(Fault(Kind.STALE_READ, "GET", seconds=3600))
    made = await extended.platform("POST", "/volumes", json={"name": OURS.name("pvc-1"), "size_gb": 1})
    async with extended.gate.holding("GET", "/volumes") as first, extended.gate.holding("GET", "/volumes") as second:
        first.let_go()
        running = asyncio.ensure_future(extended.create())
        await second.arrived()
        extended.cloud.faults.clear()
        second.let_go()
        assert (await running).volume_id == made["id"]


async def test_a_taken_name_is_not_final_without_the_time_for_a_second_look(extended: Rig):
    await take_unseen(extended, OURS.name("pvc-1"))
    extended.rules.creation._name_confirm_s = LIMIT_S
    assert "no time left" in await refused(extended.create(), StatusCode.UNAVAILABLE)


async def test_a_cluster_with_volumes_is_not_told_to_change_its_id(rig: Rig):
    await take_unseen(rig, OURS.name("pvc-1"))
    code = StatusCode.UNAVAILABLE if rig.cloud.cloud.settings.is_strict else StatusCode.ALREADY_EXISTS
    message = await refused(rig.create(), code)
    assert "Only a cluster that has no volumes yet" in message
