"""Requests of CSI → the rules' own terms, every field checked (pure).

Errors name the field. What the platform can do is not known here, except where a parameter depends on a feature.
"""

from collections.abc import Iterable, Sequence

from controller.creation import VolumeRequest
from controller.groups import GroupRequest
from controller.model import Source, SourceKind
from controller.names import is_uuid
from controller.parameters import FILE_SYSTEMS, Scope, read_tags, read_volume_parameters
from controller.snapshots import SnapshotRequest
from controller.topology import Requirement
from csi.capability import Capability, parse_capabilities, parse_capability
from csi.errors import CsiError, ErrorKind
from csi.pb import csi_pb2
from csi.validate import (
    bytes_range,
    invalid,
    object_name,
    required_message,
    shown,
    snapshot_id,
    string_map,
    volume_id,
)

MAX_GROUP_MEMBERS = 256


def read_create_volume(request: csi_pb2.CreateVolumeRequest, features: frozenset[str]) -> VolumeRequest:
    """Read CreateVolume. Raises CsiError INVALID naming the field."""
    name = object_name(request.name)
    capabilities = parse_capabilities(request.volume_capabilities, "volume_capabilities")
    for index, capability in enumerate(capabilities):
        check_usable(capability, f"volume_capabilities[{index}]")
    sizes = bytes_range(request.capacity_range)
    parameters = read_volume_parameters(
        string_map(request.parameters, "parameters"),
        string_map(request.mutable_parameters, "mutable_parameters"),
        features,
        fs_types_of(capabilities),
    )
    return VolumeRequest(
        csi_name=name,
        required_bytes=sizes.required_bytes,
        limit_bytes=sizes.limit_bytes,
        parameters=parameters,
        source=_read_source(request),
        requirement=_read_requirement(request.accessibility_requirements),
    )


def read_create_snapshot(request: csi_pb2.CreateSnapshotRequest, features: frozenset[str]) -> SnapshotRequest:
    """Read CreateSnapshot. Raises CsiError INVALID naming the field."""
    return SnapshotRequest(
        csi_name=object_name(request.name),
        volume_id=volume_id(request.source_volume_id, "source_volume_id"),
        tags=read_tags(string_map(request.parameters, "parameters"), Scope.SNAPSHOT, features),
        requirement=_read_requirement(request.accessibility_requirements),
    )


def read_create_group(request: csi_pb2.CreateVolumeGroupSnapshotRequest, features: frozenset[str]) -> GroupRequest:
    """Read CreateVolumeGroupSnapshot. Raises CsiError INVALID naming the field."""
    name = object_name(request.name)
    members = read_ids(request.source_volume_ids, "source_volume_ids")
    if not members:
        raise invalid("source_volume_ids", "is missing; at least one volume is needed")
    return GroupRequest(
        csi_name=name,
        volume_ids=members,
        tags=read_tags(string_map(request.parameters, "parameters"), Scope.GROUP, features),
    )


def read_ids(ids: Sequence[str], field: str) -> tuple[str, ...]:
    """Read a list of ids without repetition. Raises CsiError INVALID naming the entry."""
    if len(ids) > MAX_GROUP_MEMBERS:
        raise invalid(field, f"has {len(ids)} entries; at most {MAX_GROUP_MEMBERS} are allowed")
    seen: set[str] = set()
    for index, value in enumerate(ids):
        checked = volume_id(value, f"{field}[{index}]").lower()
        if checked in seen:
            raise invalid(f"{field}[{index}]", f"repeats {shown(value)}")
        seen.add(checked)
    return tuple(ids)


def read_capability(request: csi_pb2.ControllerPublishVolumeRequest) -> Capability:
    """Read the capability of a publish, which has to be there and usable."""
    required_message(request, "volume_capability")
    return check_usable(parse_capability(request.volume_capability, "volume_capability"), "volume_capability")


def check_usable(capability: Capability, field: str) -> Capability:
    """Refuse what no volume of this driver can do. Raises CsiError INVALID naming the field."""
    problem = problem_of(capability)
    if problem:
        raise CsiError(ErrorKind.INVALID, f"{field}.{problem}")
    return capability


def problem_of(capability: Capability) -> str:
    """Say why no volume of this driver can be used in this way; empty when it can."""
    if capability.access_mode.is_multi_node:
        return (
            f"access_mode is {capability.access_mode.name}; a volume can be attached to one node at a time, so only "
            "SINGLE_NODE modes (ReadWriteOnce, ReadWriteOncePod) can be had"
        )
    if not capability.block and capability.fs_type and capability.fs_type not in FILE_SYSTEMS:
        return (
            f"mount.fs_type is {shown(capability.fs_type)}; {', '.join(FILE_SYSTEMS)} can be had (parameter "
            "csi.storage.k8s.io/fstype of the StorageClass)"
        )
    return ""


def fs_types_of(capabilities: Iterable[Capability]) -> tuple[str, ...]:
    """Give the file systems that capabilities ask for; raw volumes have none."""
    return tuple(capability.fs_type or FILE_SYSTEMS[0] for capability in capabilities if not capability.block)


def read_topology(topology: csi_pb2.Topology, field: str) -> dict[str, str]:
    """Read one topology term."""
    return string_map(topology.segments, f"{field}.segments")


def _read_requirement(requirement: csi_pb2.TopologyRequirement) -> Requirement:
    return Requirement(
        requisite=tuple(
            read_topology(term, f"accessibility_requirements.requisite[{index}]")
            for index, term in enumerate(requirement.requisite)
        ),
        preferred=tuple(
            read_topology(term, f"accessibility_requirements.preferred[{index}]")
            for index, term in enumerate(requirement.preferred)
        ),
    )


def _read_source(request: csi_pb2.CreateVolumeRequest) -> Source | None:
    if not request.HasField("volume_content_source"):
        return None
    content = request.volume_content_source
    field = "volume_content_source"
    if content.WhichOneof("type") == "snapshot":
        source = Source(
            SourceKind.SNAPSHOT, snapshot_id(content.snapshot.snapshot_id, f"{field}.snapshot.snapshot_id").lower()
        )
    elif content.WhichOneof("type") == "volume":
        source = Source(SourceKind.VOLUME, volume_id(content.volume.volume_id, f"{field}.volume.volume_id").lower())
    else:
        raise invalid(field, "names neither a snapshot nor a volume")
    if not is_uuid(source.id):
        raise CsiError(ErrorKind.NOT_FOUND, f"{field}: {source.kind.value} {shown(source.id)} is none of this driver")
    return source
