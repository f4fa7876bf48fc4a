"""The GroupController service of CSI 1.13: translation only, as in `controller.servicer`."""

# ruff: noqa: N802 -- methods bear the names of the RPCs

from typing import Any

import grpc.aio

from controller import answers
from controller.features import GROUP_CAPABILITIES, require
from controller.requests import read_create_group, read_ids
from controller.rules import Rules
from csi.deadline import deadline_of
from csi.pb import csi_pb2, csi_pb2_grpc
from csi.validate import required_text

_CAPABILITY = "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"
Context = grpc.aio.ServicerContext[Any, Any]


class GroupControllerServicer(csi_pb2_grpc.GroupControllerServicer):
    """Serves the GroupController service on top of the rules."""

    def __init__(self, rules: Rules, *, announced: frozenset[str], default_s: float) -> None:
        """`announced`: as of `ControllerServicer`."""
        self._rules = rules
        self._announced = announced
        self._default_s = default_s

    async def GroupControllerGetCapabilities(
        self, _request: csi_pb2.GroupControllerGetCapabilitiesRequest, context: Context
    ) -> csi_pb2.GroupControllerGetCapabilitiesResponse:
        """Advertise what the announced features carry."""
        del context
        return answers.group_capabilities(self._announced)

    async def CreateVolumeGroupSnapshot(
        self, request: csi_pb2.CreateVolumeGroupSnapshotRequest, context: Context
    ) -> csi_pb2.CreateVolumeGroupSnapshotResponse:
        """Give the group snapshot of this name, taken now or earlier."""
        deadline = self._deadline(context)
        features = await self._offering(deadline)
        found = await self._rules.groups.create(read_create_group(request, features), deadline=deadline)
        return csi_pb2.CreateVolumeGroupSnapshotResponse(group_snapshot=answers.group(found))

    async def DeleteVolumeGroupSnapshot(
        self, request: csi_pb2.DeleteVolumeGroupSnapshotRequest, context: Context
    ) -> csi_pb2.DeleteVolumeGroupSnapshotResponse:
        """Delete a group snapshot of this cluster with its members."""
        deadline = self._deadline(context)
        await self._offering(deadline)
        group_id = required_text(request.group_snapshot_id, "group_snapshot_id")
        members = read_ids(request.snapshot_ids, "snapshot_ids")
        await self._rules.groups.delete(group_id, members, deadline=deadline)
        return csi_pb2.DeleteVolumeGroupSnapshotResponse()

    async def GetVolumeGroupSnapshot(
        self, request: csi_pb2.GetVolumeGroupSnapshotRequest, context: Context
    ) -> csi_pb2.GetVolumeGroupSnapshotResponse:
        """Describe one group snapshot with its members."""
        deadline = self._deadline(context)
        await self._offering(deadline)
        group_id = required_text(request.group_snapshot_id, "group_snapshot_id")
        members = read_ids(request.snapshot_ids, "snapshot_ids")
        found = await self._rules.groups.get(group_id, members, deadline=deadline)
        return csi_pb2.GetVolumeGroupSnapshotResponse(group_snapshot=answers.group(found))

    def _deadline(self, context: Context) -> float:
        return deadline_of(context, default_s=self._default_s)

    async def _offering(self, deadline: float) -> frozenset[str]:
        """Give the features if they carry group snapshots. Raises CsiError UNSUPPORTED."""
        features = await self._rules.cloud.offer.features(deadline=deadline)
        require(GROUP_CAPABILITIES, _CAPABILITY, features)
        return features
