"""Translates requests of the CSI Node service into the domain's own, checking every field.

CSI 1.13, Node service; the order of the checks is the order in which the specification lists the fields, so that the
first missing one is named. Not here: anything that needs the host.
"""

from csi.capability import AccessMode, Capability, parse_capability
from csi.errors import CsiError, ErrorKind
from csi.pb import csi_pb2
from csi.validate import (
    MAX_PATH_BYTES,
    absolute_path,
    invalid,
    required_message,
    required_text,
    string_map,
    volume_id,
)
from csi.volume_context import PublishContext, VolumeContext
from node.filesystems import parse_fs_type
from node.mount_flags import asks_read_only, check_mount_flags
from node.publish import PublishRequest
from node.stage import StageRequest

_CAPABILITY = "volume_capability"
_FLAGS = f"{_CAPABILITY}.mount.mount_flags"


def read_stage(request: csi_pb2.NodeStageVolumeRequest) -> StageRequest:
    """Check a NodeStageVolume request. Raises CsiError INVALID naming the field, PRECONDITION for an access mode."""
    volume = volume_id(request.volume_id)
    staging_path = absolute_path(request.staging_target_path, "staging_target_path")
    capability, flags = _read_capability(request)
    publish_context = PublishContext.from_wire(string_map(request.publish_context, "publish_context"))
    fs_type = "" if capability.block else parse_fs_type(capability.fs_type).value
    volume_context = VolumeContext.from_wire(
        string_map(request.volume_context, "volume_context"), (fs_type,) if fs_type else ()
    )
    return StageRequest(
        volume_id=volume,
        staging_path=staging_path,
        block=capability.block,
        fs_type=fs_type,
        mount_flags=flags,
        access_mode=capability.access_mode.name,
        read_only=capability.access_mode.is_read_only or asks_read_only(flags),
        volume=volume_context,
        publish=publish_context,
    )


def read_publish(request: csi_pb2.NodePublishVolumeRequest) -> PublishRequest:
    """Check a NodePublishVolume request. Raises as `read_stage`."""
    volume = volume_id(request.volume_id)
    target_path = absolute_path(request.target_path, "target_path")
    capability, flags = _read_capability(request)
    string_map(request.publish_context, "publish_context")
    string_map(request.volume_context, "volume_context")
    if not request.staging_target_path:
        raise CsiError(
            ErrorKind.PRECONDITION,
            "staging_target_path is missing; this driver stages volumes (STAGE_UNSTAGE_VOLUME), so it is needed. A "
            "volume that is written in a pod (`csi:`) has none and cannot be had: use `ephemeral.volumeClaimTemplate`",
        )
    staging_path = absolute_path(request.staging_target_path, "staging_target_path")
    if target_path == staging_path or target_path.startswith(staging_path + "/"):
        raise invalid("target_path", f"is {target_path!r}, inside the staging path {staging_path!r}")
    return PublishRequest(
        volume_id=volume,
        staging_path=staging_path,
        target_path=target_path,
        block=capability.block,
        fs_type="" if capability.block else parse_fs_type(capability.fs_type).value,
        access_mode=capability.access_mode.name,
        read_only=request.readonly or capability.access_mode.is_read_only or asks_read_only(flags),
    )


def read_volume_path(request: csi_pb2.NodeGetVolumeStatsRequest | csi_pb2.NodeExpandVolumeRequest) -> tuple[str, str]:
    """Give volume id and path of a call on a volume that has to be there.

    The path's form is not judged: a path at which no volume can be is one at which this volume is not, and the
    specification's answer to that is NOT_FOUND.
    """
    volume = volume_id(request.volume_id)
    return volume, required_text(request.volume_path, "volume_path", max_bytes=MAX_PATH_BYTES)


def _read_capability(
    request: csi_pb2.NodeStageVolumeRequest | csi_pb2.NodePublishVolumeRequest,
) -> tuple[Capability, tuple[str, ...]]:
    required_message(request, _CAPABILITY)
    capability = parse_capability(request.volume_capability, _CAPABILITY)
    if capability.volume_mount_group:
        raise invalid(
            f"{_CAPABILITY}.mount.volume_mount_group",
            "is set, but this driver does not offer VOLUME_MOUNT_GROUP; fsGroup is applied by the kubelet",
        )
    if capability.access_mode in {AccessMode.MULTI_NODE_SINGLE_WRITER, AccessMode.MULTI_NODE_MULTI_WRITER}:
        raise CsiError(
            ErrorKind.PRECONDITION,
            f"{_CAPABILITY}.access_mode is {capability.access_mode.name}: a volume is attached to one instance at a "
            "time, so several nodes cannot write to it. Use ReadWriteOnce or ReadWriteOncePod.",
        )
    return capability, check_mount_flags(capability.mount_flags, _FLAGS)
