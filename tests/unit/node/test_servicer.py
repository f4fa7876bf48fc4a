"""The Node service over a real gRPC socket: codes, field names, and what it says about itself."""

import asyncio
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csi.pb import csi_pb2 as pb
from node.model import MIB
from tests.support.node_plugin import SIZE, VOLUME, Mode, Plugin, capability, until

Code = grpc.StatusCode
LONG = "x" * 10_240


async def refused(call, code: grpc.StatusCode, words: str = "") -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code, caught.value.details()
    assert words in (caught.value.details() or "")


async def test_a_whole_life_over_the_wire(plugin: Plugin) -> None:
    disk = plugin.plug()
    async with plugin.serve() as node:
        for _ in range(3):
            await node.NodeStageVolume(plugin.stage_request())
        for _ in range(3):
            await node.NodePublishVolume(plugin.publish_request())
        stats = await node.NodeGetVolumeStats(
            pb.NodeGetVolumeStatsRequest(volume_id=VOLUME, volume_path=plugin.target())
        )
        units = {usage.unit: usage for usage in stats.usage}
        assert set(units) == {pb.VolumeUsage.BYTES, pb.VolumeUsage.INODES}
        for usage in units.values():
            assert usage.total == usage.available + usage.used
        plugin.host.grow_disk(disk, 2 * SIZE)
        grown = await node.NodeExpandVolume(
            pb.NodeExpandVolumeRequest(
                volume_id=VOLUME,
                volume_path=plugin.target(),
                capacity_range=pb.CapacityRange(required_bytes=2 * SIZE),
            )
        )
        assert grown.capacity_bytes == 2 * SIZE
        health = await node.NodeGetVolumeHealth(pb.NodeGetVolumeHealthRequest(volume_id=VOLUME))
        assert health.volume_health == pb.VolumeHealth(volume_id=VOLUME)
        for _ in range(2):
            await node.NodeUnpublishVolume(pb.NodeUnpublishVolumeRequest(volume_id=VOLUME, target_path=plugin.target()))
        for _ in range(2):
            await node.NodeUnstageVolume(
                pb.NodeUnstageVolumeRequest(volume_id=VOLUME, staging_target_path=plugin.staging())
            )
    assert plugin.leaks() == []


async def test_raw_block_stats_are_the_disks_size(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage(block=True)
    await plugin.publish(block=True)
    async with plugin.serve() as node:
        at_stage = await node.NodeGetVolumeStats(
            pb.NodeGetVolumeStatsRequest(volume_id=VOLUME, volume_path=plugin.staging())
        )
        at_pod = await node.NodeGetVolumeStats(
            pb.NodeGetVolumeStatsRequest(volume_id=VOLUME, volume_path=plugin.target())
        )
        assert [(usage.unit, usage.total) for usage in at_stage.usage] == [(pb.VolumeUsage.BYTES, SIZE)]
        assert at_pod == at_stage
        plugin.host.unplug(disk)
        request = pb.NodeGetVolumeStatsRequest(volume_id=VOLUME, volume_path=plugin.staging())
        await refused(node.NodeGetVolumeStats(request), Code.NOT_FOUND)


async def test_capabilities_are_those_of_csi_113(tmp_path: Path, plugin: Plugin) -> None:
    rpc = pb.NodeServiceCapability.RPC
    expected = {
        rpc.STAGE_UNSTAGE_VOLUME,
        rpc.GET_VOLUME_STATS,
        rpc.EXPAND_VOLUME,
        rpc.SINGLE_NODE_MULTI_WRITER,
        rpc.GET_VOLUME_HEALTH,
        rpc.GET_STORAGE_HEALTH,
    }
    async with plugin.serve() as node:
        answer = await node.NodeGetCapabilities(pb.NodeGetCapabilitiesRequest())
    assert {entry.rpc.type for entry in answer.capabilities} == expected
    without = Plugin(tmp_path, plugin.host, name="second", plugin_capabilities=("CONTROLLER_SERVICE",))
    await without.start()
    async with without.serve() as node:
        answer = await node.NodeGetCapabilities(pb.NodeGetCapabilitiesRequest())
    assert {entry.rpc.type for entry in answer.capabilities} == expected - {rpc.EXPAND_VOLUME}


@pytest.mark.parametrize(("zone", "segments"), [("", {}), ("z1", {"topology.csi.thecloud.io/zone": "z1"})])
async def test_node_info_names_instance_zone_and_limit(tmp_path: Path, zone: str, segments: dict) -> None:
    plugin = Plugin(tmp_path, zone=zone, max_volumes=7)
    await plugin.start()
    async with plugin.serve() as node:
        info = await node.NodeGetInfo(pb.NodeGetInfoRequest())
    assert (info.node_id, info.max_volumes_per_node) == ("node-1", 7)
    assert dict(info.accessible_topology.segments) == segments
    assert info.HasField("accessible_topology") is bool(zone)


async def test_findings_reach_the_wire(plugin: Plugin) -> None:
    disk = plugin.plug()
    await plugin.stage()
    plugin.host.unplug(disk)
    plugin.host.missing.add("mkfs.xfs")
    async with plugin.serve() as node:
        health = (await node.NodeGetVolumeHealth(pb.NodeGetVolumeHealthRequest(volume_id=VOLUME))).volume_health
        assert [(s.status, s.reason) for s in health.health_statuses] == [(pb.INACCESSIBLE, "DiskGone")]
        storage = await node.NodeGetStorageHealth(pb.NodeGetStorageHealthRequest())
        assert [(s.status, s.reason) for s in storage.backend_health] == [(pb.STORAGE_DEGRADED, "ToolsMissing")]
        assert "mkfs.xfs" in storage.backend_health[0].message


def without(request, *fields: str):
    for field in fields:
        request.ClearField(field)
    return request


async def test_a_missing_field_is_named(plugin: Plugin) -> None:
    async with plugin.serve() as node:
        for field in ("volume_id", "staging_target_path", "volume_capability"):
            await refused(node.NodeStageVolume(without(plugin.stage_request(), field)), Code.INVALID_ARGUMENT, field)
        for field in ("volume_id", "target_path", "volume_capability"):
            await refused(
                node.NodePublishVolume(without(plugin.publish_request(), field)), Code.INVALID_ARGUMENT, field
            )
        unpublish = pb.NodeUnpublishVolumeRequest(volume_id="v", target_path="/t")
        unstage = pb.NodeUnstageVolumeRequest(volume_id="v", staging_target_path="/t")
        stats = pb.NodeGetVolumeStatsRequest(volume_id="v", volume_path="/t")
        expand = pb.NodeExpandVolumeRequest(volume_id="v", volume_path="/t")
        for call, request in (
            (node.NodeUnpublishVolume, unpublish),
            (node.NodeUnstageVolume, unstage),
            (node.NodeGetVolumeStats, stats),
            (node.NodeExpandVolume, expand),
        ):
            for field in request.DESCRIPTOR.fields_by_name:
                if request.DESCRIPTOR.fields_by_name[field].name in {"volume_id", "target_path", "volume_path"}:
                    copy = type(request).FromString(request.SerializeToString())
                    await refused(call(without(copy, field)), Code.INVALID_ARGUMENT, field)
        await refused(node.NodeGetVolumeHealth(pb.NodeGetVolumeHealthRequest()), Code.INVALID_ARGUMENT, "volume_id")


async def test_publishing_without_a_staging_path_is_a_failed_precondition(plugin: Plugin) -> None:
    async with plugin.serve() as node:
        request = without(plugin.publish_request(), "staging_target_path")
        await refused(node.NodePublishVolume(request), Code.FAILED_PRECONDITION, "staging_target_path")
        # A volume that is written in a pod comes without staging and without a claim.
        request.volume_context["csi.storage.k8s.io/ephemeral"] = "true"
        await refused(node.NodePublishVolume(request), Code.FAILED_PRECONDITION, "ephemeral.volumeClaimTemplate")


async def test_an_unknown_volume_or_path_is_not_found_whatever_the_path_looks_like(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    async with plugin.serve() as node:
        for volume, path in (("unknown", "some/path"), (VOLUME, "some/path"), (VOLUME, "/somewhere")):
            stats = pb.NodeGetVolumeStatsRequest(volume_id=volume, volume_path=path)
            expand = pb.NodeExpandVolumeRequest(volume_id=volume, volume_path=path)
            await refused(node.NodeGetVolumeStats(stats), Code.NOT_FOUND)
            await refused(node.NodeExpandVolume(expand), Code.NOT_FOUND)
        await refused(node.NodeGetVolumeHealth(pb.NodeGetVolumeHealthRequest(volume_id="unknown")), Code.NOT_FOUND)


BAD_PATHS = ["relative", "/a/../b", "/..", "/", "/a/./b", "/a\0b", "/a\nb", "/" + LONG, "/" + "x" * 300]


@pytest.mark.parametrize("path", BAD_PATHS)
async def test_a_bad_path_is_refused_and_named(plugin: Plugin, path: str) -> None:
    plugin.plug()
    async with plugin.serve() as node:
        stage = plugin.stage_request(staging=path)
        await refused(node.NodeStageVolume(stage), Code.INVALID_ARGUMENT, "staging_target_path")
        await refused(node.NodePublishVolume(plugin.publish_request(target=path)), Code.INVALID_ARGUMENT, "target_path")
        unpublish = pb.NodeUnpublishVolumeRequest(volume_id="v", target_path=path)
        await refused(node.NodeUnpublishVolume(unpublish), Code.INVALID_ARGUMENT, "target_path")
        unstage = pb.NodeUnstageVolumeRequest(volume_id="v", staging_target_path=path)
        await refused(node.NodeUnstageVolume(unstage), Code.INVALID_ARGUMENT, "staging_target_path")
    assert plugin.host.points == []


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"fs_type": "ntfs"}, Code.INVALID_ARGUMENT, "ntfs"),
        ({"fs_type": LONG}, Code.INVALID_ARGUMENT, "fs_type"),
        ({"flags": ["loop"]}, Code.INVALID_ARGUMENT, "mount_flags"),
        ({"flags": ["noatime,bind"]}, Code.INVALID_ARGUMENT, "bind"),
        ({"flags": ["x" * 5000]}, Code.INVALID_ARGUMENT, "mount_flags"),
        ({"flags": ["a\nb"]}, Code.INVALID_ARGUMENT, "mount_flags"),
        ({"mode": 99}, Code.INVALID_ARGUMENT, "access_mode"),
        ({"mode": 0}, Code.INVALID_ARGUMENT, "access_mode"),
        ({"mode": Mode.MULTI_NODE_MULTI_WRITER}, Code.FAILED_PRECONDITION, "access_mode"),
        ({"mode": Mode.MULTI_NODE_SINGLE_WRITER}, Code.FAILED_PRECONDITION, "access_mode"),
        ({"volume_id": LONG}, Code.INVALID_ARGUMENT, "volume_id"),
        ({"volume_id": "a\0b"}, Code.INVALID_ARGUMENT, "volume_id"),
        ({"serial": "../../vda"}, Code.INVALID_ARGUMENT, "publish_context"),
        ({"serial": ""}, Code.INVALID_ARGUMENT, "publish_context"),
        ({"size_bytes": -1}, Code.INVALID_ARGUMENT, "publish_context"),
        ({"size_bytes": "many"}, Code.INVALID_ARGUMENT, "publish_context"),
    ],
)
async def test_a_bad_stage_is_refused_with_the_field_and_changes_nothing(plugin: Plugin, change, code, words) -> None:
    plugin.plug()
    async with plugin.serve() as node:
        await refused(node.NodeStageVolume(plugin.stage_request(**change)), code, words)
    assert plugin.host.points == []


async def test_a_capability_without_access_type_or_with_a_mount_group_is_refused(plugin: Plugin) -> None:
    async with plugin.serve() as node:
        request = plugin.stage_request()
        request.volume_capability.CopyFrom(pb.VolumeCapability(access_mode=Mode(mode=1)))
        await refused(node.NodeStageVolume(request), Code.INVALID_ARGUMENT, "access type")
        request.volume_capability.CopyFrom(capability())
        request.volume_capability.mount.volume_mount_group = "1000"
        await refused(node.NodeStageVolume(request), Code.INVALID_ARGUMENT, "volume_mount_group")


async def test_a_target_inside_the_volume_is_refused(plugin: Plugin) -> None:
    async with plugin.serve() as node:
        for target in (plugin.staging(), plugin.staging() + "/below"):
            await refused(
                node.NodePublishVolume(plugin.publish_request(target=target)), Code.INVALID_ARGUMENT, "target_path"
            )


@pytest.mark.parametrize(("required", "limit"), [(-1, 0), (0, -1), (2 * MIB, MIB), (-(2**63), 0)])
async def test_a_bad_size_is_refused(plugin: Plugin, required: int, limit: int) -> None:
    plugin.plug()
    await plugin.stage()
    request = pb.NodeExpandVolumeRequest(
        volume_id=VOLUME,
        volume_path=plugin.staging(),
        capacity_range=pb.CapacityRange(required_bytes=required, limit_bytes=limit),
    )
    async with plugin.serve() as node:
        await refused(node.NodeExpandVolume(request), Code.INVALID_ARGUMENT, "capacity_range")


async def test_a_caller_that_gives_up_leaves_the_host_clean(plugin: Plugin) -> None:
    plugin.plug()
    gate = plugin.host.runner.gate("mount")
    async with plugin.serve() as node:
        call = node.NodeStageVolume(plugin.stage_request())
        await gate.started.wait()
        call.cancel()
        await gate.ended.wait()
        gate.go_on.set()
        await until(lambda: len(plugin.assembly.locks) == 0)
        assert plugin.leaks() == []
        await node.NodeStageVolume(plugin.stage_request())
    assert plugin.mounted(plugin.staging())


async def test_a_second_call_while_one_runs_is_aborted(plugin: Plugin) -> None:
    plugin.plug()
    gate = plugin.host.runner.gate("mount")
    async with plugin.serve() as node:
        call = node.NodeStageVolume(plugin.stage_request())
        await gate.started.wait()
        await refused(node.NodeStageVolume(plugin.stage_request()), Code.ABORTED, VOLUME)
        await refused(
            node.NodeUnstageVolume(pb.NodeUnstageVolumeRequest(volume_id=VOLUME, staging_target_path=plugin.staging())),
            Code.ABORTED,
        )
        gate.go_on.set()
        await call


TEXTS = st.text(max_size=40) | st.sampled_from(["", "..", "/", "a\0b", LONG, VOLUME, "/tmp/../x", "ä" * 100])
NUMBERS = st.integers(-(2**63), 2**63 - 1)
REQUESTS = {
    "NodeStageVolume": st.builds(
        pb.NodeStageVolumeRequest,
        volume_id=TEXTS,
        staging_target_path=TEXTS,
        publish_context=st.dictionaries(TEXTS, TEXTS, max_size=3),
        volume_context=st.dictionaries(TEXTS, TEXTS, max_size=3),
        volume_capability=st.none()
        | st.builds(
            pb.VolumeCapability,
            mount=st.builds(pb.VolumeCapability.MountVolume, fs_type=TEXTS, mount_flags=st.lists(TEXTS, max_size=3)),
            access_mode=st.builds(Mode, mode=st.integers(0, 2**31 - 1)),
        ),
    ),
    "NodePublishVolume": st.builds(
        pb.NodePublishVolumeRequest, volume_id=TEXTS, target_path=TEXTS, staging_target_path=TEXTS
    ),
    "NodeUnpublishVolume": st.builds(pb.NodeUnpublishVolumeRequest, volume_id=TEXTS, target_path=st.just("") | TEXTS),
    "NodeUnstageVolume": st.builds(pb.NodeUnstageVolumeRequest, volume_id=TEXTS, staging_target_path=TEXTS),
    "NodeGetVolumeStats": st.builds(pb.NodeGetVolumeStatsRequest, volume_id=TEXTS, volume_path=TEXTS),
    "NodeExpandVolume": st.builds(
        pb.NodeExpandVolumeRequest,
        volume_id=TEXTS,
        volume_path=TEXTS,
        capacity_range=st.builds(pb.CapacityRange, required_bytes=NUMBERS, limit_bytes=NUMBERS),
    ),
    "NodeGetVolumeHealth": st.builds(pb.NodeGetVolumeHealthRequest, volume_id=TEXTS, volume_publish_path=TEXTS),
}
ANSWERS = {Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.FAILED_PRECONDITION}
CALLS = st.one_of([st.tuples(st.just(name), requests) for name, requests in REQUESTS.items()])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CALLS, min_size=10, max_size=20))
def test_no_request_whatever_breaks_the_service_or_touches_the_host(tmp_path_factory, calls) -> None:
    async def run() -> None:
        plugin = Plugin(tmp_path_factory.mktemp("node"))
        await plugin.start()
        async with plugin.serve() as node:
            for name, request in calls:
                try:
                    await getattr(node, name)(request)
                except grpc.aio.AioRpcError as error:
                    assert error.code() in ANSWERS, (name, request, error.details())  # noqa: PT017 - success is fine too
                else:
                    assert name in {"NodeUnpublishVolume", "NodeUnstageVolume"}
        assert plugin.host.points == []
        assert await plugin.records.all() == ()

    asyncio.run(run())
