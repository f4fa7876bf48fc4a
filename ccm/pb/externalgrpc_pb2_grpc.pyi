from collections.abc import AsyncIterator

import grpc
import grpc.aio

from ccm.pb import externalgrpc_pb2

class CloudProviderStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    NodeGroups: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.NodeGroupsRequest, externalgrpc_pb2.NodeGroupsResponse]
    NodeGroupForNode: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.NodeGroupForNodeRequest, externalgrpc_pb2.NodeGroupForNodeResponse]
    PricingNodePrice: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.PricingNodePriceRequest, externalgrpc_pb2.PricingNodePriceResponse]
    PricingPodPrice: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.PricingPodPriceRequest, externalgrpc_pb2.PricingPodPriceResponse]
    GPULabel: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.GPULabelRequest, externalgrpc_pb2.GPULabelResponse]
    GetAvailableGPUTypes: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.GetAvailableGPUTypesRequest, externalgrpc_pb2.GetAvailableGPUTypesResponse]
    Cleanup: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.CleanupRequest, externalgrpc_pb2.CleanupResponse]
    Refresh: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.RefreshRequest, externalgrpc_pb2.RefreshResponse]
    NodeGroupTargetSize: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.NodeGroupTargetSizeRequest, externalgrpc_pb2.NodeGroupTargetSizeResponse]
    NodeGroupIncreaseSize: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.NodeGroupIncreaseSizeRequest, externalgrpc_pb2.NodeGroupIncreaseSizeResponse]
    NodeGroupDeleteNodes: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.NodeGroupDeleteNodesRequest, externalgrpc_pb2.NodeGroupDeleteNodesResponse]
    NodeGroupDecreaseTargetSize: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.NodeGroupDecreaseTargetSizeRequest, externalgrpc_pb2.NodeGroupDecreaseTargetSizeResponse]
    NodeGroupNodes: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.NodeGroupNodesRequest, externalgrpc_pb2.NodeGroupNodesResponse]
    NodeGroupTemplateNodeInfo: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.NodeGroupTemplateNodeInfoRequest, externalgrpc_pb2.NodeGroupTemplateNodeInfoResponse]
    NodeGroupGetOptions: grpc.aio.UnaryUnaryMultiCallable[externalgrpc_pb2.NodeGroupAutoscalingOptionsRequest, externalgrpc_pb2.NodeGroupAutoscalingOptionsResponse]

class CloudProviderServicer:
    async def NodeGroups(
        self, request: externalgrpc_pb2.NodeGroupsRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.NodeGroupsRequest, externalgrpc_pb2.NodeGroupsResponse]
    ) -> externalgrpc_pb2.NodeGroupsResponse: ...
    async def NodeGroupForNode(
        self, request: externalgrpc_pb2.NodeGroupForNodeRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.NodeGroupForNodeRequest, externalgrpc_pb2.NodeGroupForNodeResponse]
    ) -> externalgrpc_pb2.NodeGroupForNodeResponse: ...
    async def PricingNodePrice(
        self, request: externalgrpc_pb2.PricingNodePriceRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.PricingNodePriceRequest, externalgrpc_pb2.PricingNodePriceResponse]
    ) -> externalgrpc_pb2.PricingNodePriceResponse: ...
    async def PricingPodPrice(
        self, request: externalgrpc_pb2.PricingPodPriceRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.PricingPodPriceRequest, externalgrpc_pb2.PricingPodPriceResponse]
    ) -> externalgrpc_pb2.PricingPodPriceResponse: ...
    async def GPULabel(
        self, request: externalgrpc_pb2.GPULabelRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.GPULabelRequest, externalgrpc_pb2.GPULabelResponse]
    ) -> externalgrpc_pb2.GPULabelResponse: ...
    async def GetAvailableGPUTypes(
        self, request: externalgrpc_pb2.GetAvailableGPUTypesRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.GetAvailableGPUTypesRequest, externalgrpc_pb2.GetAvailableGPUTypesResponse]
    ) -> externalgrpc_pb2.GetAvailableGPUTypesResponse: ...
    async def Cleanup(
        self, request: externalgrpc_pb2.CleanupRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.CleanupRequest, externalgrpc_pb2.CleanupResponse]
    ) -> externalgrpc_pb2.CleanupResponse: ...
    async def Refresh(
        self, request: externalgrpc_pb2.RefreshRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.RefreshRequest, externalgrpc_pb2.RefreshResponse]
    ) -> externalgrpc_pb2.RefreshResponse: ...
    async def NodeGroupTargetSize(
        self, request: externalgrpc_pb2.NodeGroupTargetSizeRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.NodeGroupTargetSizeRequest, externalgrpc_pb2.NodeGroupTargetSizeResponse]
    ) -> externalgrpc_pb2.NodeGroupTargetSizeResponse: ...
    async def NodeGroupIncreaseSize(
        self, request: externalgrpc_pb2.NodeGroupIncreaseSizeRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.NodeGroupIncreaseSizeRequest, externalgrpc_pb2.NodeGroupIncreaseSizeResponse]
    ) -> externalgrpc_pb2.NodeGroupIncreaseSizeResponse: ...
    async def NodeGroupDeleteNodes(
        self, request: externalgrpc_pb2.NodeGroupDeleteNodesRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.NodeGroupDeleteNodesRequest, externalgrpc_pb2.NodeGroupDeleteNodesResponse]
    ) -> externalgrpc_pb2.NodeGroupDeleteNodesResponse: ...
    async def NodeGroupDecreaseTargetSize(
        self, request: externalgrpc_pb2.NodeGroupDecreaseTargetSizeRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.NodeGroupDecreaseTargetSizeRequest, externalgrpc_pb2.NodeGroupDecreaseTargetSizeResponse]
    ) -> externalgrpc_pb2.NodeGroupDecreaseTargetSizeResponse: ...
    async def NodeGroupNodes(
        self, request: externalgrpc_pb2.NodeGroupNodesRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.NodeGroupNodesRequest, externalgrpc_pb2.NodeGroupNodesResponse]
    ) -> externalgrpc_pb2.NodeGroupNodesResponse: ...
    async def NodeGroupTemplateNodeInfo(
        self, request: externalgrpc_pb2.NodeGroupTemplateNodeInfoRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.NodeGroupTemplateNodeInfoRequest, externalgrpc_pb2.NodeGroupTemplateNodeInfoResponse]
    ) -> externalgrpc_pb2.NodeGroupTemplateNodeInfoResponse: ...
    async def NodeGroupGetOptions(
        self, request: externalgrpc_pb2.NodeGroupAutoscalingOptionsRequest, context: grpc.aio.ServicerContext[externalgrpc_pb2.NodeGroupAutoscalingOptionsRequest, externalgrpc_pb2.NodeGroupAutoscalingOptionsResponse]
    ) -> externalgrpc_pb2.NodeGroupAutoscalingOptionsResponse: ...

def add_CloudProviderServicer_to_server(servicer: CloudProviderServicer, server: grpc.aio.Server) -> None: ...
