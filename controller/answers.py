"""The rules' own terms → answers of CSI (pure)."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from google.protobuf import timestamp_pb2

from controller.features import (
    CONTROLLER_CAPABILITIES,
    GROUP_CAPABILITIES,
    PLUGIN_EXPANSION,
    PLUGIN_SERVICES,
    offered,
)
from controller.model import Group, Health, Snapshot, SnapshotState, Source, SourceKind, Volume
from controller.topology import segments_of
from csi.identity import PLUGIN_CAPABILITIES
from csi.pb import csi_pb2
from csi.volume_context import PublishContext, VolumeContext

_HEALTH_NUMBER = {
    Health.DEGRADED: csi_pb2.VolumeHealthErrorType.DEGRADED,
    Health.INACCESSIBLE: csi_pb2.VolumeHealthErrorType.INACCESSIBLE,
    Health.DATA_LOSS: csi_pb2.VolumeHealthErrorType.DATA_LOSS,
}


def controller_capabilities(features: frozenset[str]) -> csi_pb2.ControllerGetCapabilitiesResponse:
    """Give the controller capabilities that the platform's features carry."""
    return csi_pb2.ControllerGetCapabilitiesResponse(
        capabilities=[
            csi_pb2.ControllerServiceCapability(rpc=csi_pb2.ControllerServiceCapability.RPC(type=name))
            for name in offered(CONTROLLER_CAPABILITIES, features)
        ]
    )


def group_capabilities(features: frozenset[str]) -> csi_pb2.GroupControllerGetCapabilitiesResponse:
    """Give the group controller capabilities that the platform's features carry."""
    return csi_pb2.GroupControllerGetCapabilitiesResponse(
        capabilities=[
            csi_pb2.GroupControllerServiceCapability(rpc=csi_pb2.GroupControllerServiceCapability.RPC(type=name))
            for name in offered(GROUP_CAPABILITIES, features)
        ]
    )


def plugin_capabilities(features: frozenset[str]) -> list[csi_pb2.PluginCapability]:
    """Give what the plugin as a whole offers on a platform with these features."""
    names = (*offered(PLUGIN_SERVICES, features), *offered(PLUGIN_EXPANSION, features))
    return [PLUGIN_CAPABILITIES[name] for name in names]


def new_volume(volume: Volume, mkfs_options: tuple[str, ...]) -> csi_pb2.Volume:
    """Describe a volume to the one who asked for it, with what the node has to know for ever."""
    context = VolumeContext(mkfs_options=mkfs_options, source=str(volume.source) if volume.source else "")
    return csi_pb2.Volume(
        volume_id=volume.id,
        capacity_bytes=volume.size_bytes,
        volume_context=context.to_wire(),
        content_source=_content_source(volume.source),
        accessible_topology=_topologies(volume.zone),
    )


def listed_volume(volume: Volume) -> csi_pb2.Volume:
    """Describe a volume in a listing, where nobody knows what its creator asked for."""
    return csi_pb2.Volume(
        volume_id=volume.id,
        capacity_bytes=volume.size_bytes,
        content_source=_content_source(volume.source),
        accessible_topology=_topologies(volume.zone),
    )


def volume_entries(
    volumes: Sequence[Volume], node_ids: Mapping[str, tuple[str, ...]]
) -> list[csi_pb2.ListVolumesResponse.Entry]:
    """Give the entries of ListVolumes."""
    return [
        csi_pb2.ListVolumesResponse.Entry(
            volume=listed_volume(volume),
            status=csi_pb2.ListVolumesResponse.VolumeStatus(
                published_node_ids=node_ids.get(volume.instance_id, ()) if volume.instance_id else ()
            ),
        )
        for volume in volumes
    ]


def publish_context(volume: Volume) -> dict[str, str]:
    """Say what the node has to know about an attached volume."""
    return PublishContext(
        serial=volume.serial, size_bytes=volume.size_bytes, allocated_bytes=volume.allocated_bytes
    ).to_wire()


def snapshot(found: Snapshot) -> csi_pb2.Snapshot:
    """Describe a snapshot."""
    return csi_pb2.Snapshot(
        snapshot_id=found.id,
        source_volume_id=found.volume_id,
        size_bytes=found.size_bytes,
        creation_time=_timestamp(found.created_at),
        ready_to_use=found.state is SnapshotState.AVAILABLE,
        group_snapshot_id=found.group_id,
    )


def group(found: Group) -> csi_pb2.VolumeGroupSnapshot:
    """Describe a group snapshot; it is ready when every member is."""
    members = [snapshot(member) for member in sorted(found.snapshots, key=lambda member: member.id)]
    for member in members:
        member.group_snapshot_id = found.id
    return csi_pb2.VolumeGroupSnapshot(
        group_snapshot_id=found.id,
        snapshots=members,
        creation_time=_timestamp(found.created_at),
        ready_to_use=bool(members) and all(member.ready_to_use for member in members),
    )


def volume_health(volume: Volume) -> csi_pb2.VolumeHealth:
    """Describe a volume's health; each pair of status and reason comes once (CSI 1.13, VolumeHealth)."""
    problems = {(problem.status, problem.reason): problem for problem in volume.health}
    return csi_pb2.VolumeHealth(
        volume_id=volume.id,
        health_statuses=[
            csi_pb2.VolumeHealth.VolumeHealthEntry(
                status=_HEALTH_NUMBER[problem.status], reason=problem.reason, message=problem.message
            )
            for problem in problems.values()
        ],
    )


def _content_source(source: Source | None) -> csi_pb2.VolumeContentSource | None:
    if source is None:
        return None
    if source.kind is SourceKind.SNAPSHOT:
        return csi_pb2.VolumeContentSource(snapshot=csi_pb2.VolumeContentSource.SnapshotSource(snapshot_id=source.id))
    return csi_pb2.VolumeContentSource(volume=csi_pb2.VolumeContentSource.VolumeSource(volume_id=source.id))


def _topologies(zone: str) -> list[csi_pb2.Topology]:
    segments = segments_of(zone)
    return [csi_pb2.Topology(segments=segments)] if segments else []


def _timestamp(moment: datetime) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(moment)
    return stamp
