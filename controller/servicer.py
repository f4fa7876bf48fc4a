"""The Controller service of CSI 1.13: each RPC checks its request, calls one rule and describes the result.

Nothing is decided here. An RPC whose capability is not advertised answers UNIMPLEMENTED.
"""

# ruff: noqa: N802 -- methods bear the names of the RPCs

from collections.abc import Sequence
from typing import Any

import grpc.aio

from controller import answers
from controller.capacity import measure, or_tried
from controller.features import CONTROLLER_CAPABILITIES, require
from controller.model import Capacity, Snapshot, Volume
from controller.paging import Place, take_page
from controller.parameters import read_changes, read_volume_parameters
from controller.requests import (
    check_usable,
    fs_types_of,
    problem_of,
    read_capability,
    read_create_snapshot,
    read_create_volume,
    read_topology,
)
from controller.rules import Rules
from csi.capability import parse_capabilities, parse_capability
from csi.deadline import deadline_of
from csi.errors import CsiError
from csi.pb import csi_pb2, csi_pb2_grpc
from csi.validate import (
    node_id,
    optional_text,
    page_size,
    required_range,
    snapshot_id,
    string_map,
    volume_id,
)
from csi.volume_context import VolumeContext

MAX_TOKEN_BYTES = 1024
Context = grpc.aio.ServicerContext[Any, Any]


class ControllerServicer(csi_pb2_grpc.ControllerServicer):
    """Serves the Controller service on top of the rules."""

    def __init__(self, rules: Rules, *, announced: frozenset[str], default_s: float) -> None:
        """`announced`: the platform's features by which this program has announced its capabilities."""
        self._rules = rules
        self._announced = announced
        self._default_s = default_s

    async def ControllerGetCapabilities(
        self, _request: csi_pb2.ControllerGetCapabilitiesRequest, context: Context
    ) -> csi_pb2.ControllerGetCapabilitiesResponse:
        """Advertise what the announced features carry."""
        del context
        return answers.controller_capabilities(self._announced)

    async def CreateVolume(
        self, request: csi_pb2.CreateVolumeRequest, context: Context
    ) -> csi_pb2.CreateVolumeResponse:
        """Give the volume of this name, made now or earlier."""
        deadline = self._deadline(context)
        wanted = read_create_volume(request, await self._features(deadline))
        volume = await self._rules.creation.create(wanted, deadline=deadline)
        return csi_pb2.CreateVolumeResponse(volume=answers.new_volume(volume, wanted.parameters.mkfs_options))

    async def DeleteVolume(
        self, request: csi_pb2.DeleteVolumeRequest, context: Context
    ) -> csi_pb2.DeleteVolumeResponse:
        """Delete a volume of this cluster."""
        await self._rules.volumes.delete(volume_id(request.volume_id), deadline=self._deadline(context))
        return csi_pb2.DeleteVolumeResponse()

    async def ControllerPublishVolume(
        self, request: csi_pb2.ControllerPublishVolumeRequest, context: Context
    ) -> csi_pb2.ControllerPublishVolumeResponse:
        """Attach a volume to the instance behind a node."""
        wanted, node = volume_id(request.volume_id), node_id(request.node_id)
        capability = read_capability(request)
        VolumeContext.from_wire(string_map(request.volume_context, "volume_context"), fs_types_of((capability,)))
        volume = await self._rules.attachments.publish(
            wanted, node, read_only=request.readonly, deadline=self._deadline(context)
        )
        return csi_pb2.ControllerPublishVolumeResponse(publish_context=answers.publish_context(volume))

    async def ControllerUnpublishVolume(
        self, request: csi_pb2.ControllerUnpublishVolumeRequest, context: Context
    ) -> csi_pb2.ControllerUnpublishVolumeResponse:
        """Detach a volume from a node, or from whichever has it when no node is named."""
        node = node_id(request.node_id) if request.node_id else ""
        await self._rules.attachments.unpublish(volume_id(request.volume_id), node, deadline=self._deadline(context))
        return csi_pb2.ControllerUnpublishVolumeResponse()

    async def ValidateVolumeCapabilities(
        self, request: csi_pb2.ValidateVolumeCapabilitiesRequest, context: Context
    ) -> csi_pb2.ValidateVolumeCapabilitiesResponse:
        """Confirm that an existing volume can be used as described, or say why not."""
        deadline = self._deadline(context)
        wanted = volume_id(request.volume_id)
        capabilities = parse_capabilities(request.volume_capabilities, "volume_capabilities")
        features = await self._features(deadline)
        await self._rules.volumes.get(wanted, deadline=deadline)
        problem = next(filter(None, map(problem_of, capabilities)), "") or _parameter_problem(
            request, fs_types_of(capabilities), features
        )
        if problem:
            return csi_pb2.ValidateVolumeCapabilitiesResponse(message=problem)
        return csi_pb2.ValidateVolumeCapabilitiesResponse(
            confirmed=csi_pb2.ValidateVolumeCapabilitiesResponse.Confirmed(
                volume_context=request.volume_context,
                volume_capabilities=request.volume_capabilities,
                parameters=request.parameters,
                mutable_parameters=request.mutable_parameters,
            )
        )

    async def ListVolumes(self, request: csi_pb2.ListVolumesRequest, context: Context) -> csi_pb2.ListVolumesResponse:
        """List the tenant's volumes with the nodes that have them."""
        deadline = self._deadline(context)
        size, token = _paging(request.max_entries, request.starting_token)
        volumes = await self._rules.cloud.volumes.all(deadline=deadline)
        page = take_page(volumes, _volume_place, max_entries=size, token=token)
        nodes = await self._node_ids(page.entries, deadline=deadline)
        return csi_pb2.ListVolumesResponse(
            entries=answers.volume_entries(page.entries, nodes), next_token=page.next_token
        )

    async def ControllerGetVolume(
        self, request: csi_pb2.ControllerGetVolumeRequest, context: Context
    ) -> csi_pb2.ControllerGetVolumeResponse:
        """Describe one volume with the node that has it."""
        deadline = self._deadline(context)
        volume = await self._rules.volumes.get(volume_id(request.volume_id), deadline=deadline)
        nodes = await self._node_ids((volume,), deadline=deadline)
        return csi_pb2.ControllerGetVolumeResponse(
            volume=answers.listed_volume(volume),
            status=csi_pb2.ControllerGetVolumeResponse.VolumeStatus(
                published_node_ids=nodes.get(volume.instance_id, ())
            ),
        )

    async def GetCapacity(self, request: csi_pb2.GetCapacityRequest, context: Context) -> csi_pb2.GetCapacityResponse:
        """Say what can still be provisioned with these parameters in this zone."""
        found = await or_tried(self._capacity(request, self._deadline(context)))
        response = csi_pb2.GetCapacityResponse(available_capacity=found.available_bytes)
        response.minimum_volume_size.value = found.minimum_volume_bytes
        response.maximum_volume_size.value = found.maximum_volume_bytes
        return response

    async def _capacity(self, request: csi_pb2.GetCapacityRequest, deadline: float) -> Capacity:
        features = await self._offering("GET_CAPACITY", deadline)
        capabilities = [
            parse_capability(capability, f"volume_capabilities[{index}]")
            for index, capability in enumerate(request.volume_capabilities)
        ]
        usable = [capability for capability in capabilities if not problem_of(capability)]
        parameters = read_volume_parameters(
            string_map(request.parameters, "parameters"), {}, features, fs_types_of(usable)
        )
        segments = read_topology(request.accessible_topology, "accessible_topology")
        can_be_used = len(usable) == len(capabilities)
        return await measure(self._rules.cloud, parameters, segments, can_be_used=can_be_used, deadline=deadline)

    async def CreateSnapshot(
        self, request: csi_pb2.CreateSnapshotRequest, context: Context
    ) -> csi_pb2.CreateSnapshotResponse:
        """Give the snapshot of this name, taken now or earlier."""
        deadline = self._deadline(context)
        features = await self._offering("CREATE_DELETE_SNAPSHOT", deadline)
        wanted = read_create_snapshot(request, features)
        found = await self._rules.snapshots.create(wanted, deadline=deadline)
        return csi_pb2.CreateSnapshotResponse(snapshot=answers.snapshot(found))

    async def DeleteSnapshot(
        self, request: csi_pb2.DeleteSnapshotRequest, context: Context
    ) -> csi_pb2.DeleteSnapshotResponse:
        """Delete a snapshot of this cluster."""
        deadline = self._deadline(context)
        await self._offering("CREATE_DELETE_SNAPSHOT", deadline)
        await self._rules.snapshots.delete(snapshot_id(request.snapshot_id), deadline=deadline)
        return csi_pb2.DeleteSnapshotResponse()

    async def ListSnapshots(
        self, request: csi_pb2.ListSnapshotsRequest, context: Context
    ) -> csi_pb2.ListSnapshotsResponse:
        """List snapshots, all or those of one id or one volume."""
        deadline = self._deadline(context)
        await self._offering("LIST_SNAPSHOTS", deadline)
        size, token = _paging(request.max_entries, request.starting_token)
        found = await self._rules.snapshots.list(
            snapshot_id=optional_text(request.snapshot_id, "snapshot_id"),
            volume_id=optional_text(request.source_volume_id, "source_volume_id"),
            deadline=deadline,
        )
        page = take_page(found, _snapshot_place, max_entries=size, token=token)
        return csi_pb2.ListSnapshotsResponse(
            entries=[csi_pb2.ListSnapshotsResponse.Entry(snapshot=answers.snapshot(one)) for one in page.entries],
            next_token=page.next_token,
        )

    async def GetSnapshot(self, request: csi_pb2.GetSnapshotRequest, context: Context) -> csi_pb2.GetSnapshotResponse:
        """Describe one snapshot."""
        deadline = self._deadline(context)
        await self._offering("GET_SNAPSHOT", deadline)
        found = await self._rules.snapshots.get(snapshot_id(request.snapshot_id), deadline=deadline)
        return csi_pb2.GetSnapshotResponse(snapshot=answers.snapshot(found))

    async def ControllerExpandVolume(
        self, request: csi_pb2.ControllerExpandVolumeRequest, context: Context
    ) -> csi_pb2.ControllerExpandVolumeResponse:
        """Grow a volume; the node has to grow the file system unless the volume is a raw device."""
        deadline = self._deadline(context)
        await self._offering("EXPAND_VOLUME", deadline)
        wanted = volume_id(request.volume_id)
        sizes = required_range(request)
        is_block = False
        if request.HasField("volume_capability"):
            capability = parse_capability(request.volume_capability, "volume_capability")
            is_block = check_usable(capability, "volume_capability").block
        volume = await self._rules.volumes.expand(wanted, sizes.required_bytes, sizes.limit_bytes, deadline=deadline)
        return csi_pb2.ControllerExpandVolumeResponse(
            capacity_bytes=volume.size_bytes, node_expansion_required=not is_block
        )

    async def ControllerModifyVolume(
        self, request: csi_pb2.ControllerModifyVolumeRequest, context: Context
    ) -> csi_pb2.ControllerModifyVolumeResponse:
        """Change a volume's performance class and tags."""
        deadline = self._deadline(context)
        features = await self._offering("MODIFY_VOLUME", deadline)
        wanted = volume_id(request.volume_id)
        changes = read_changes(string_map(request.mutable_parameters, "mutable_parameters"), features)
        await self._rules.volumes.modify(wanted, changes, deadline=deadline)
        return csi_pb2.ControllerModifyVolumeResponse()

    async def ControllerGetVolumeHealth(
        self, request: csi_pb2.ControllerGetVolumeHealthRequest, context: Context
    ) -> csi_pb2.ControllerGetVolumeHealthResponse:
        """Say what is wrong with a volume; nothing means healthy."""
        deadline = self._deadline(context)
        await self._offering("GET_VOLUME_HEALTH", deadline)
        volume = await self._rules.volumes.get(volume_id(request.volume_id), deadline=deadline)
        return csi_pb2.ControllerGetVolumeHealthResponse(volume_health=answers.volume_health(volume))

    async def ControllerListVolumeHealth(
        self, request: csi_pb2.ControllerListVolumeHealthRequest, context: Context
    ) -> csi_pb2.ControllerListVolumeHealthResponse:
        """List what is wrong with any volume; healthy ones are left out."""
        deadline = self._deadline(context)
        await self._offering("LIST_VOLUME_HEALTH", deadline)
        size, token = _paging(request.max_entries, request.starting_token)
        volumes = await self._rules.cloud.volumes.all(deadline=deadline)
        ailing = [volume for volume in volumes if volume.health]
        page = take_page(ailing, _volume_place, max_entries=size, token=token)
        return csi_pb2.ControllerListVolumeHealthResponse(
            entries=[answers.volume_health(volume) for volume in page.entries], next_token=page.next_token
        )

    def _deadline(self, context: Context) -> float:
        return deadline_of(context, default_s=self._default_s)

    async def _features(self, deadline: float) -> frozenset[str]:
        return await self._rules.cloud.offer.features(deadline=deadline)

    async def _offering(self, capability: str, deadline: float) -> frozenset[str]:
        """Give the features if they carry the capability. Raises CsiError UNSUPPORTED."""
        features = await self._features(deadline)
        require(CONTROLLER_CAPABILITIES, capability, features)
        return features

    async def _node_ids(self, volumes: Sequence[Volume], *, deadline: float) -> dict[str, tuple[str, ...]]:
        holders = list(dict.fromkeys(volume.instance_id for volume in volumes if volume.instance_id))
        features = await self._features(deadline)
        return dict(await self._rules.nodes.ids_of(holders, features=features, deadline=deadline))


def _paging(max_entries: int, token: str) -> tuple[int, str]:
    return page_size(max_entries), optional_text(token, "starting_token", max_bytes=MAX_TOKEN_BYTES)


def _parameter_problem(
    request: csi_pb2.ValidateVolumeCapabilitiesRequest, fs_types: Sequence[str], features: frozenset[str]
) -> str:
    try:
        VolumeContext.from_wire(string_map(request.volume_context, "volume_context"), fs_types)
        read_volume_parameters(
            string_map(request.parameters, "parameters"),
            string_map(request.mutable_parameters, "mutable_parameters"),
            features,
            fs_types,
        )
    except CsiError as error:
        return error.message
    return ""


def _volume_place(volume: Volume) -> Place:
    return volume.created_at, volume.id


def _snapshot_place(snapshot: Snapshot) -> Place:
    return snapshot.created_at, snapshot.id
