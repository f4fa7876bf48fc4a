"""The Node service of CSI 1.13, on the wire.

Only translates: field checks are in `requests`, everything else in the module named like the verb. Errors are raised
and become status codes in the shell's interceptor.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from csi.deadline import deadline_of
from csi.driver import ZONE_KEY
from csi.errors import CsiError, ErrorKind
from csi.pb import csi_pb2, csi_pb2_grpc
from csi.validate import absolute_path, bytes_range, optional_text, volume_id
from node.evidence import Evidence
from node.expand import Expansion, find_at
from node.health import StorageHealth, VolumeHealth
from node.identity import NodeIdentities
from node.limits import VolumeLimit
from node.ports import Kernel
from node.publish import Publishing
from node.requests import read_publish, read_stage, read_volume_path
from node.stage import Staging
from node.state import StagedVolume, VolumeRecords
from node.stats import Figures
from node.unstage import Unstaging

DEFAULT_LIMIT_S = 120.0
"""For callers that set no time limit; the kubelet's own is two minutes."""
MAX_PATH_BYTES = 4096

_Rpc = csi_pb2.NodeServiceCapability.RPC
_CAPABILITIES = (
    _Rpc.STAGE_UNSTAGE_VOLUME,
    _Rpc.GET_VOLUME_STATS,
    _Rpc.SINGLE_NODE_MULTI_WRITER,
    _Rpc.GET_VOLUME_HEALTH,
    _Rpc.GET_STORAGE_HEALTH,
)

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """What the service stands on."""

    staging: Staging
    unstaging: Unstaging
    publishing: Publishing
    expansion: Expansion
    volume_health: VolumeHealth
    storage_health: StorageHealth
    identities: NodeIdentities
    limit: VolumeLimit
    records: VolumeRecords
    evidence: Evidence
    kernel: Kernel
    can_expand: bool = True
    """Whether EXPAND_VOLUME is offered: only where the platform can grow volumes."""


class NodeServicer(csi_pb2_grpc.NodeServicer):
    """Answers the kubelet."""

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts
        self._figures = Figures(parts.kernel)

    async def NodeStageVolume(  # noqa: N802 - the names of the protocol
        self, request: csi_pb2.NodeStageVolumeRequest, context: Context
    ) -> csi_pb2.NodeStageVolumeResponse:
        """Find the volume's disk, make sure of its file system and mount it for the whole host."""
        await self._parts.staging.stage(read_stage(request), deadline=_deadline(context))
        return csi_pb2.NodeStageVolumeResponse()

    async def NodeUnstageVolume(  # noqa: N802
        self, request: csi_pb2.NodeUnstageVolumeRequest, context: Context
    ) -> csi_pb2.NodeUnstageVolumeResponse:
        """Unmount the volume from the host and let go of its disk."""
        volume = volume_id(request.volume_id)
        path = absolute_path(request.staging_target_path, "staging_target_path")
        await self._parts.unstaging.unstage(volume, path, deadline=_deadline(context))
        return csi_pb2.NodeUnstageVolumeResponse()

    async def NodePublishVolume(  # noqa: N802
        self, request: csi_pb2.NodePublishVolumeRequest, context: Context
    ) -> csi_pb2.NodePublishVolumeResponse:
        """Bind the staged volume to a pod's path."""
        await self._parts.publishing.publish(read_publish(request), deadline=_deadline(context))
        return csi_pb2.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(  # noqa: N802
        self, request: csi_pb2.NodeUnpublishVolumeRequest, context: Context
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        """Take the volume away from a pod's path."""
        volume = volume_id(request.volume_id)
        path = absolute_path(request.target_path, "target_path")
        await self._parts.publishing.unpublish(volume, path, deadline=_deadline(context))
        return csi_pb2.NodeUnpublishVolumeResponse()

    async def NodeGetVolumeStats(  # noqa: N802
        self, request: csi_pb2.NodeGetVolumeStatsRequest, context: Context
    ) -> csi_pb2.NodeGetVolumeStatsResponse:
        """Give bytes and inodes of a file system, the size of a raw block volume."""
        volume, path = read_volume_path(request)
        optional_text(request.staging_target_path, "staging_target_path", max_bytes=MAX_PATH_BYTES)
        parts, deadline = self._parts, _deadline(context)
        record = await find_at(volume, path, parts.records, parts.evidence)
        unit = csi_pb2.VolumeUsage
        if record.block:
            size = await self._block_size(record, path, deadline)
            return csi_pb2.NodeGetVolumeStatsResponse(usage=[unit(unit=unit.BYTES, total=size)])
        usage = await self._figures.file_system_usage(record.device, Path(path), deadline=deadline)
        return csi_pb2.NodeGetVolumeStatsResponse(
            usage=[
                unit(
                    unit=unit.BYTES,
                    total=usage.total_bytes,
                    available=usage.available_bytes,
                    used=usage.used_bytes,
                ),
                unit(
                    unit=unit.INODES,
                    total=usage.total_inodes,
                    available=usage.free_inodes,
                    used=usage.used_inodes,
                ),
            ]
        )

    async def NodeExpandVolume(  # noqa: N802
        self, request: csi_pb2.NodeExpandVolumeRequest, context: Context
    ) -> csi_pb2.NodeExpandVolumeResponse:
        """Grow the file system to the disk's new size."""
        volume, path = read_volume_path(request)
        size = bytes_range(request.capacity_range)
        capacity = await self._parts.expansion.expand(volume, path, size, deadline=_deadline(context))
        return csi_pb2.NodeExpandVolumeResponse(capacity_bytes=capacity)

    async def NodeGetVolumeHealth(  # noqa: N802
        self, request: csi_pb2.NodeGetVolumeHealthRequest, context: Context
    ) -> csi_pb2.NodeGetVolumeHealthResponse:
        """Say what is wrong with a volume on this host; nothing means healthy."""
        volume = volume_id(request.volume_id)
        optional_text(request.staging_target_path, "staging_target_path", max_bytes=MAX_PATH_BYTES)
        path = optional_text(request.volume_publish_path, "volume_publish_path", max_bytes=MAX_PATH_BYTES)
        findings = await self._parts.volume_health.look(volume, published_at=path, deadline=_deadline(context))
        health = csi_pb2.VolumeHealth(volume_id=volume)
        for finding in findings:
            health.health_statuses.add(status=finding.status.value, reason=finding.reason, message=finding.message)
        return csi_pb2.NodeGetVolumeHealthResponse(volume_health=health)

    async def NodeGetStorageHealth(  # noqa: N802
        self, request: csi_pb2.NodeGetStorageHealthRequest, context: Context
    ) -> csi_pb2.NodeGetStorageHealthResponse:
        """Say what is wrong with this host's means to serve volumes; nothing means healthy."""
        del request, context
        response = csi_pb2.NodeGetStorageHealthResponse()
        for finding in await self._parts.storage_health.look():
            response.backend_health.add(status=finding.status.value, reason=finding.reason, message=finding.message)
        return response

    async def NodeGetCapabilities(  # noqa: N802
        self, request: csi_pb2.NodeGetCapabilitiesRequest, context: Context
    ) -> csi_pb2.NodeGetCapabilitiesResponse:
        """Say what this service offers."""
        del request, context
        offered = (*_CAPABILITIES, _Rpc.EXPAND_VOLUME) if self._parts.can_expand else _CAPABILITIES
        response = csi_pb2.NodeGetCapabilitiesResponse()
        for capability in offered:
            response.capabilities.add(rpc=_Rpc(type=capability))
        return response

    async def NodeGetInfo(  # noqa: N802
        self, request: csi_pb2.NodeGetInfoRequest, context: Context
    ) -> csi_pb2.NodeGetInfoResponse:
        """Say which instance this host is, in which zone, and how many volumes it takes now."""
        del request
        identity = await self._parts.identities.resolve(deadline=_deadline(context))
        response = csi_pb2.NodeGetInfoResponse(
            node_id=identity.node_id, max_volumes_per_node=await self._parts.limit.current()
        )
        if identity.zone:
            response.accessible_topology.segments[ZONE_KEY] = identity.zone
        return response

    async def _block_size(self, record: StagedVolume, path: str, deadline: float) -> int:
        if path != record.staging_path:
            return await self._figures.block_size_bytes(record.device, Path(path), deadline=deadline)
        disk = await self._parts.evidence.disk(record)
        if disk is None:
            raise CsiError(ErrorKind.NOT_FOUND, f"{record.describe_disk()} is gone from this host")
        return disk.size_bytes


def _deadline(context: Context) -> float:
    return deadline_of(context, default_s=DEFAULT_LIMIT_S)
