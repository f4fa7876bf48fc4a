"""The calls of the Cluster Autoscaler, translated. Both variants of the protocol are answered at once."""
# ruff: noqa: N802 -- the methods are named by the protocol

import asyncio
from typing import Any, TypeAlias

import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp

from ccm.autoscaler.groups import Groups
from ccm.autoscaler.model import Member, NodeGroup
from ccm.autoscaler.ports import AutoscalerError, Problem
from ccm.autoscaler.pricing import Prices
from ccm.autoscaler.template import template_node
from ccm.pb import externalgrpc_pb2 as pb
from ccm.pb.externalgrpc_pb2_grpc import CloudProviderServicer

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

DEFAULT_LIMIT_S = 5.0
"""Time limit of a caller that sets none: the Cluster Autoscaler's own."""
_ANSWER_S = 0.25
"""Left of the caller's time for the answer to arrive."""
_STATES = {
    "running": pb.InstanceStatus.instanceRunning,
    "creating": pb.InstanceStatus.instanceCreating,
    "deleting": pb.InstanceStatus.instanceDeleting,
}
_OUT_OF_RESOURCES = 1
_OTHER_ERROR = 99


def deadline_of(context: Context) -> float:
    """Give the loop time by which a call's work must have ended."""
    left_s = context.time_remaining()
    limit_s = DEFAULT_LIMIT_S if left_s is None else left_s
    return asyncio.get_running_loop().time() + max(limit_s - _ANSWER_S, limit_s / 2)


class AutoscalerServicer(CloudProviderServicer):
    """The provider service; raises AutoscalerError, which the interceptor turns into a status."""

    def __init__(self, groups: Groups, prices: Prices, *, gpu_label: str) -> None:
        """`gpu_label` is the key of the label whose value tells the GPU of a node."""
        self._groups = groups
        self._prices = prices
        self._gpu_label = gpu_label

    async def NodeGroups(self, request: pb.NodeGroupsRequest, context: Context) -> pb.NodeGroupsResponse:
        """Give all groups."""
        groups = await self._groups.all(deadline=deadline_of(context))
        return pb.NodeGroupsResponse(nodeGroups=[_group(one) for one in groups.values()])

    async def NodeGroupForNode(
        self, request: pb.NodeGroupForNodeRequest, context: Context
    ) -> pb.NodeGroupForNodeResponse:
        """Give the group of a node; one without a group, or not known, is no error: it ends the caller's loop."""
        group = await self._groups.group_of(request.node.providerID, deadline=deadline_of(context))
        return pb.NodeGroupForNodeResponse(nodeGroup=pb.NodeGroup() if group is None else _group(group))

    async def PricingNodePrice(
        self, request: pb.PricingNodePriceRequest, context: Context
    ) -> pb.PricingNodePriceResponse:
        """Give what a node costs."""
        duration_s = _duration_s(request)
        price = await self._prices.of_node(request.node.labels, duration_s, deadline=deadline_of(context))
        return pb.PricingNodePriceResponse(price=price)

    async def PricingPodPrice(self, request: pb.PricingPodPriceRequest, context: Context) -> pb.PricingPodPriceResponse:
        """Give the least that a pod costs."""
        pod = request.pod_bytes or request.old_pod
        price = await self._prices.of_pod(pod, _duration_s(request), deadline=deadline_of(context))
        return pb.PricingPodPriceResponse(price=price)

    async def GPULabel(self, request: pb.GPULabelRequest, context: Context) -> pb.GPULabelResponse:
        """Give the key of the label that nodes with a GPU carry."""
        return pb.GPULabelResponse(label=self._gpu_label)

    async def GetAvailableGPUTypes(
        self, request: pb.GetAvailableGPUTypesRequest, context: Context
    ) -> pb.GetAvailableGPUTypesResponse:
        """Give the GPUs that the groups' nodes have."""
        groups = await self._groups.all(deadline=deadline_of(context))
        kinds = {
            one.template.labels[self._gpu_label] for one in groups.values() if self._gpu_label in one.template.labels
        }
        return pb.GetAvailableGPUTypesResponse(gpuTypes={kind: AnyMessage() for kind in sorted(kinds)})

    async def Cleanup(self, request: pb.CleanupRequest, context: Context) -> pb.CleanupResponse:
        """Do nothing: what was ordered stays ordered when the caller ends."""
        return pb.CleanupResponse()

    async def Refresh(self, request: pb.RefreshRequest, context: Context) -> pb.RefreshResponse:
        """Look at the platform; what follows until the next time is answered from memory."""
        await self._groups.refresh(deadline=deadline_of(context))
        return pb.RefreshResponse()

    async def NodeGroupTargetSize(
        self, request: pb.NodeGroupTargetSizeRequest, context: Context
    ) -> pb.NodeGroupTargetSizeResponse:
        """Give how many machines a group wants."""
        size = await self._groups.target_size(request.id, deadline=deadline_of(context))
        return pb.NodeGroupTargetSizeResponse(targetSize=size)

    async def NodeGroupIncreaseSize(
        self, request: pb.NodeGroupIncreaseSizeRequest, context: Context
    ) -> pb.NodeGroupIncreaseSizeResponse:
        """Want more machines."""
        await self._groups.increase(request.id, request.delta, deadline=deadline_of(context))
        return pb.NodeGroupIncreaseSizeResponse()

    async def NodeGroupDeleteNodes(
        self, request: pb.NodeGroupDeleteNodesRequest, context: Context
    ) -> pb.NodeGroupDeleteNodesResponse:
        """Delete nodes; asking again for the same ones changes nothing."""
        node_ids = [node.providerID for node in request.nodes]
        await self._groups.delete(request.id, node_ids, deadline=deadline_of(context))
        return pb.NodeGroupDeleteNodesResponse()

    async def NodeGroupDecreaseTargetSize(
        self, request: pb.NodeGroupDecreaseTargetSizeRequest, context: Context
    ) -> pb.NodeGroupDecreaseTargetSizeResponse:
        """Give up machines that are not there yet."""
        await self._groups.decrease(request.id, request.delta, deadline=deadline_of(context))
        return pb.NodeGroupDecreaseTargetSizeResponse()

    async def NodeGroupNodes(self, request: pb.NodeGroupNodesRequest, context: Context) -> pb.NodeGroupNodesResponse:
        """Give the machines of a group, and places for those that are not there yet."""
        members = await self._groups.members(request.id, deadline=deadline_of(context))
        return pb.NodeGroupNodesResponse(instances=[_instance(one) for one in members])

    async def NodeGroupTemplateNodeInfo(
        self, request: pb.NodeGroupTemplateNodeInfoRequest, context: Context
    ) -> pb.NodeGroupTemplateNodeInfoResponse:
        """Give what a new node will look like, in the fields of both variants."""
        node = template_node(await self._groups.get(request.id, deadline=deadline_of(context)))
        return pb.NodeGroupTemplateNodeInfoResponse(nodeInfo=node, nodeBytes=node)

    async def NodeGroupGetOptions(
        self, request: pb.NodeGroupAutoscalingOptionsRequest, context: Context
    ) -> pb.NodeGroupAutoscalingOptionsResponse:
        """Give the caller's defaults back, all of them: what is left out reads as 0 there."""
        await self._groups.get(request.id, deadline=deadline_of(context))
        if not request.HasField("defaults"):
            return pb.NodeGroupAutoscalingOptionsResponse()
        return pb.NodeGroupAutoscalingOptionsResponse(nodeGroupAutoscalingOptions=request.defaults)


def _group(group: NodeGroup) -> pb.NodeGroup:
    template = group.template
    return pb.NodeGroup(
        id=group.name,
        minSize=group.min_size,
        maxSize=group.max_size,
        debug=f"{group.name}: {group.min_size} to {group.max_size} x {template.instance_type}, image {template.image}",
    )


def _instance(member: Member) -> pb.Instance:
    status = pb.InstanceStatus(instanceState=_STATES[member.state])
    if member.error_code:
        status.errorInfo.errorCode = member.error_code
        status.errorInfo.errorMessage = member.error_message
        status.errorInfo.instanceErrorClass = _OUT_OF_RESOURCES if member.is_out_of_resources else _OTHER_ERROR
    return pb.Instance(id=member.id, status=status)


def _duration_s(request: pb.PricingNodePriceRequest | pb.PricingPodPriceRequest) -> float:
    if request.HasField("startTimestamp") or request.HasField("endTimestamp"):
        start, end = request.startTimestamp, request.endTimestamp
    else:
        start, end = request.old_start_time, request.old_end_time
    duration_s = _seconds(end) - _seconds(start)
    if duration_s < 0:
        raise AutoscalerError(Problem.INVALID, "the end of the time to be priced is before its start")
    return duration_s


def _seconds(time: Timestamp) -> float:
    return time.seconds + time.nanos / 1e9
