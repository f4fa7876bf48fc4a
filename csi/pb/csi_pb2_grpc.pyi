from collections.abc import AsyncIterator

import grpc
import grpc.aio

from csi.pb import csi_pb2

class IdentityStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    GetPluginInfo: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.GetPluginInfoRequest, csi_pb2.GetPluginInfoResponse]
    GetPluginCapabilities: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.GetPluginCapabilitiesRequest, csi_pb2.GetPluginCapabilitiesResponse]
    Probe: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ProbeRequest, csi_pb2.ProbeResponse]

class IdentityServicer:
    async def GetPluginInfo(
        self, request: csi_pb2.GetPluginInfoRequest, context: grpc.aio.ServicerContext[csi_pb2.GetPluginInfoRequest, csi_pb2.GetPluginInfoResponse]
    ) -> csi_pb2.GetPluginInfoResponse: ...
    async def GetPluginCapabilities(
        self, request: csi_pb2.GetPluginCapabilitiesRequest, context: grpc.aio.ServicerContext[csi_pb2.GetPluginCapabilitiesRequest, csi_pb2.GetPluginCapabilitiesResponse]
    ) -> csi_pb2.GetPluginCapabilitiesResponse: ...
    async def Probe(
        self, request: csi_pb2.ProbeRequest, context: grpc.aio.ServicerContext[csi_pb2.ProbeRequest, csi_pb2.ProbeResponse]
    ) -> csi_pb2.ProbeResponse: ...

def add_IdentityServicer_to_server(servicer: IdentityServicer, server: grpc.aio.Server) -> None: ...

class ControllerStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    CreateVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.CreateVolumeRequest, csi_pb2.CreateVolumeResponse]
    DeleteVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.DeleteVolumeRequest, csi_pb2.DeleteVolumeResponse]
    ControllerPublishVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ControllerPublishVolumeRequest, csi_pb2.ControllerPublishVolumeResponse]
    ControllerUnpublishVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ControllerUnpublishVolumeRequest, csi_pb2.ControllerUnpublishVolumeResponse]
    ValidateVolumeCapabilities: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ValidateVolumeCapabilitiesRequest, csi_pb2.ValidateVolumeCapabilitiesResponse]
    ListVolumes: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ListVolumesRequest, csi_pb2.ListVolumesResponse]
    ControllerListVolumeHealth: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ControllerListVolumeHealthRequest, csi_pb2.ControllerListVolumeHealthResponse]
    ControllerGetVolumeHealth: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ControllerGetVolumeHealthRequest, csi_pb2.ControllerGetVolumeHealthResponse]
    GetCapacity: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.GetCapacityRequest, csi_pb2.GetCapacityResponse]
    ControllerGetCapabilities: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ControllerGetCapabilitiesRequest, csi_pb2.ControllerGetCapabilitiesResponse]
    CreateSnapshot: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.CreateSnapshotRequest, csi_pb2.CreateSnapshotResponse]
    DeleteSnapshot: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.DeleteSnapshotRequest, csi_pb2.DeleteSnapshotResponse]
    ListSnapshots: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ListSnapshotsRequest, csi_pb2.ListSnapshotsResponse]
    GetSnapshot: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.GetSnapshotRequest, csi_pb2.GetSnapshotResponse]
    ControllerExpandVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ControllerExpandVolumeRequest, csi_pb2.ControllerExpandVolumeResponse]
    ControllerGetVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ControllerGetVolumeRequest, csi_pb2.ControllerGetVolumeResponse]
    ControllerModifyVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.ControllerModifyVolumeRequest, csi_pb2.ControllerModifyVolumeResponse]

class ControllerServicer:
    async def CreateVolume(
        self, request: csi_pb2.CreateVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.CreateVolumeRequest, csi_pb2.CreateVolumeResponse]
    ) -> csi_pb2.CreateVolumeResponse: ...
    async def DeleteVolume(
        self, request: csi_pb2.DeleteVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.DeleteVolumeRequest, csi_pb2.DeleteVolumeResponse]
    ) -> csi_pb2.DeleteVolumeResponse: ...
    async def ControllerPublishVolume(
        self, request: csi_pb2.ControllerPublishVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.ControllerPublishVolumeRequest, csi_pb2.ControllerPublishVolumeResponse]
    ) -> csi_pb2.ControllerPublishVolumeResponse: ...
    async def ControllerUnpublishVolume(
        self, request: csi_pb2.ControllerUnpublishVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.ControllerUnpublishVolumeRequest, csi_pb2.ControllerUnpublishVolumeResponse]
    ) -> csi_pb2.ControllerUnpublishVolumeResponse: ...
    async def ValidateVolumeCapabilities(
        self, request: csi_pb2.ValidateVolumeCapabilitiesRequest, context: grpc.aio.ServicerContext[csi_pb2.ValidateVolumeCapabilitiesRequest, csi_pb2.ValidateVolumeCapabilitiesResponse]
    ) -> csi_pb2.ValidateVolumeCapabilitiesResponse: ...
    async def ListVolumes(
        self, request: csi_pb2.ListVolumesRequest, context: grpc.aio.ServicerContext[csi_pb2.ListVolumesRequest, csi_pb2.ListVolumesResponse]
    ) -> csi_pb2.ListVolumesResponse: ...
    async def ControllerListVolumeHealth(
        self, request: csi_pb2.ControllerListVolumeHealthRequest, context: grpc.aio.ServicerContext[csi_pb2.ControllerListVolumeHealthRequest, csi_pb2.ControllerListVolumeHealthResponse]
    ) -> csi_pb2.ControllerListVolumeHealthResponse: ...
    async def ControllerGetVolumeHealth(
        self, request: csi_pb2.ControllerGetVolumeHealthRequest, context: grpc.aio.ServicerContext[csi_pb2.ControllerGetVolumeHealthRequest, csi_pb2.ControllerGetVolumeHealthResponse]
    ) -> csi_pb2.ControllerGetVolumeHealthResponse: ...
    async def GetCapacity(
        self, request: csi_pb2.GetCapacityRequest, context: grpc.aio.ServicerContext[csi_pb2.GetCapacityRequest, csi_pb2.GetCapacityResponse]
    ) -> csi_pb2.GetCapacityResponse: ...
    async def ControllerGetCapabilities(
        self, request: csi_pb2.ControllerGetCapabilitiesRequest, context: grpc.aio.ServicerContext[csi_pb2.ControllerGetCapabilitiesRequest, csi_pb2.ControllerGetCapabilitiesResponse]
    ) -> csi_pb2.ControllerGetCapabilitiesResponse: ...
    async def CreateSnapshot(
        self, request: csi_pb2.CreateSnapshotRequest, context: grpc.aio.ServicerContext[csi_pb2.CreateSnapshotRequest, csi_pb2.CreateSnapshotResponse]
    ) -> csi_pb2.CreateSnapshotResponse: ...
    async def DeleteSnapshot(
        self, request: csi_pb2.DeleteSnapshotRequest, context: grpc.aio.ServicerContext[csi_pb2.DeleteSnapshotRequest, csi_pb2.DeleteSnapshotResponse]
    ) -> csi_pb2.DeleteSnapshotResponse: ...
    async def ListSnapshots(
        self, request: csi_pb2.ListSnapshotsRequest, context: grpc.aio.ServicerContext[csi_pb2.ListSnapshotsRequest, csi_pb2.ListSnapshotsResponse]
    ) -> csi_pb2.ListSnapshotsResponse: ...
    async def GetSnapshot(
        self, request: csi_pb2.GetSnapshotRequest, context: grpc.aio.ServicerContext[csi_pb2.GetSnapshotRequest, csi_pb2.GetSnapshotResponse]
    ) -> csi_pb2.GetSnapshotResponse: ...
    async def ControllerExpandVolume(
        self, request: csi_pb2.ControllerExpandVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.ControllerExpandVolumeRequest, csi_pb2.ControllerExpandVolumeResponse]
    ) -> csi_pb2.ControllerExpandVolumeResponse: ...
    async def ControllerGetVolume(
        self, request: csi_pb2.ControllerGetVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.ControllerGetVolumeRequest, csi_pb2.ControllerGetVolumeResponse]
    ) -> csi_pb2.ControllerGetVolumeResponse: ...
    async def ControllerModifyVolume(
        self, request: csi_pb2.ControllerModifyVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.ControllerModifyVolumeRequest, csi_pb2.ControllerModifyVolumeResponse]
    ) -> csi_pb2.ControllerModifyVolumeResponse: ...

def add_ControllerServicer_to_server(servicer: ControllerServicer, server: grpc.aio.Server) -> None: ...

class GroupControllerStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    GroupControllerGetCapabilities: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.GroupControllerGetCapabilitiesRequest, csi_pb2.GroupControllerGetCapabilitiesResponse]
    CreateVolumeGroupSnapshot: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.CreateVolumeGroupSnapshotRequest, csi_pb2.CreateVolumeGroupSnapshotResponse]
    DeleteVolumeGroupSnapshot: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.DeleteVolumeGroupSnapshotRequest, csi_pb2.DeleteVolumeGroupSnapshotResponse]
    GetVolumeGroupSnapshot: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.GetVolumeGroupSnapshotRequest, csi_pb2.GetVolumeGroupSnapshotResponse]

class GroupControllerServicer:
    async def GroupControllerGetCapabilities(
        self, request: csi_pb2.GroupControllerGetCapabilitiesRequest, context: grpc.aio.ServicerContext[csi_pb2.GroupControllerGetCapabilitiesRequest, csi_pb2.GroupControllerGetCapabilitiesResponse]
    ) -> csi_pb2.GroupControllerGetCapabilitiesResponse: ...
    async def CreateVolumeGroupSnapshot(
        self, request: csi_pb2.CreateVolumeGroupSnapshotRequest, context: grpc.aio.ServicerContext[csi_pb2.CreateVolumeGroupSnapshotRequest, csi_pb2.CreateVolumeGroupSnapshotResponse]
    ) -> csi_pb2.CreateVolumeGroupSnapshotResponse: ...
    async def DeleteVolumeGroupSnapshot(
        self, request: csi_pb2.DeleteVolumeGroupSnapshotRequest, context: grpc.aio.ServicerContext[csi_pb2.DeleteVolumeGroupSnapshotRequest, csi_pb2.DeleteVolumeGroupSnapshotResponse]
    ) -> csi_pb2.DeleteVolumeGroupSnapshotResponse: ...
    async def GetVolumeGroupSnapshot(
        self, request: csi_pb2.GetVolumeGroupSnapshotRequest, context: grpc.aio.ServicerContext[csi_pb2.GetVolumeGroupSnapshotRequest, csi_pb2.GetVolumeGroupSnapshotResponse]
    ) -> csi_pb2.GetVolumeGroupSnapshotResponse: ...

def add_GroupControllerServicer_to_server(servicer: GroupControllerServicer, server: grpc.aio.Server) -> None: ...

class SnapshotMetadataStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    GetMetadataAllocated: grpc.aio.UnaryStreamMultiCallable[csi_pb2.GetMetadataAllocatedRequest, csi_pb2.GetMetadataAllocatedResponse]
    GetMetadataDelta: grpc.aio.UnaryStreamMultiCallable[csi_pb2.GetMetadataDeltaRequest, csi_pb2.GetMetadataDeltaResponse]

class SnapshotMetadataServicer:
    def GetMetadataAllocated(
        self, request: csi_pb2.GetMetadataAllocatedRequest, context: grpc.aio.ServicerContext[csi_pb2.GetMetadataAllocatedRequest, csi_pb2.GetMetadataAllocatedResponse]
    ) -> AsyncIterator[csi_pb2.GetMetadataAllocatedResponse]: ...
    def GetMetadataDelta(
        self, request: csi_pb2.GetMetadataDeltaRequest, context: grpc.aio.ServicerContext[csi_pb2.GetMetadataDeltaRequest, csi_pb2.GetMetadataDeltaResponse]
    ) -> AsyncIterator[csi_pb2.GetMetadataDeltaResponse]: ...

def add_SnapshotMetadataServicer_to_server(servicer: SnapshotMetadataServicer, server: grpc.aio.Server) -> None: ...

class NodeStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    NodeStageVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.NodeStageVolumeRequest, csi_pb2.NodeStageVolumeResponse]
    NodeUnstageVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.NodeUnstageVolumeRequest, csi_pb2.NodeUnstageVolumeResponse]
    NodePublishVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.NodePublishVolumeRequest, csi_pb2.NodePublishVolumeResponse]
    NodeUnpublishVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.NodeUnpublishVolumeRequest, csi_pb2.NodeUnpublishVolumeResponse]
    NodeGetVolumeStats: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.NodeGetVolumeStatsRequest, csi_pb2.NodeGetVolumeStatsResponse]
    NodeGetVolumeHealth: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.NodeGetVolumeHealthRequest, csi_pb2.NodeGetVolumeHealthResponse]
    NodeGetStorageHealth: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.NodeGetStorageHealthRequest, csi_pb2.NodeGetStorageHealthResponse]
    NodeExpandVolume: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.NodeExpandVolumeRequest, csi_pb2.NodeExpandVolumeResponse]
    NodeGetCapabilities: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.NodeGetCapabilitiesRequest, csi_pb2.NodeGetCapabilitiesResponse]
    NodeGetInfo: grpc.aio.UnaryUnaryMultiCallable[csi_pb2.NodeGetInfoRequest, csi_pb2.NodeGetInfoResponse]

class NodeServicer:
    async def NodeStageVolume(
        self, request: csi_pb2.NodeStageVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.NodeStageVolumeRequest, csi_pb2.NodeStageVolumeResponse]
    ) -> csi_pb2.NodeStageVolumeResponse: ...
    async def NodeUnstageVolume(
        self, request: csi_pb2.NodeUnstageVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.NodeUnstageVolumeRequest, csi_pb2.NodeUnstageVolumeResponse]
    ) -> csi_pb2.NodeUnstageVolumeResponse: ...
    async def NodePublishVolume(
        self, request: csi_pb2.NodePublishVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.NodePublishVolumeRequest, csi_pb2.NodePublishVolumeResponse]
    ) -> csi_pb2.NodePublishVolumeResponse: ...
    async def NodeUnpublishVolume(
        self, request: csi_pb2.NodeUnpublishVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.NodeUnpublishVolumeRequest, csi_pb2.NodeUnpublishVolumeResponse]
    ) -> csi_pb2.NodeUnpublishVolumeResponse: ...
    async def NodeGetVolumeStats(
        self, request: csi_pb2.NodeGetVolumeStatsRequest, context: grpc.aio.ServicerContext[csi_pb2.NodeGetVolumeStatsRequest, csi_pb2.NodeGetVolumeStatsResponse]
    ) -> csi_pb2.NodeGetVolumeStatsResponse: ...
    async def NodeGetVolumeHealth(
        self, request: csi_pb2.NodeGetVolumeHealthRequest, context: grpc.aio.ServicerContext[csi_pb2.NodeGetVolumeHealthRequest, csi_pb2.NodeGetVolumeHealthResponse]
    ) -> csi_pb2.NodeGetVolumeHealthResponse: ...
    async def NodeGetStorageHealth(
        self, request: csi_pb2.NodeGetStorageHealthRequest, context: grpc.aio.ServicerContext[csi_pb2.NodeGetStorageHealthRequest, csi_pb2.NodeGetStorageHealthResponse]
    ) -> csi_pb2.NodeGetStorageHealthResponse: ...
    async def NodeExpandVolume(
        self, request: csi_pb2.NodeExpandVolumeRequest, context: grpc.aio.ServicerContext[csi_pb2.NodeExpandVolumeRequest, csi_pb2.NodeExpandVolumeResponse]
    ) -> csi_pb2.NodeExpandVolumeResponse: ...
    async def NodeGetCapabilities(
        self, request: csi_pb2.NodeGetCapabilitiesRequest, context: grpc.aio.ServicerContext[csi_pb2.NodeGetCapabilitiesRequest, csi_pb2.NodeGetCapabilitiesResponse]
    ) -> csi_pb2.NodeGetCapabilitiesResponse: ...
    async def NodeGetInfo(
        self, request: csi_pb2.NodeGetInfoRequest, context: grpc.aio.ServicerContext[csi_pb2.NodeGetInfoRequest, csi_pb2.NodeGetInfoResponse]
    ) -> csi_pb2.NodeGetInfoResponse: ...

def add_NodeServicer_to_server(servicer: NodeServicer, server: grpc.aio.Server) -> None: ...
