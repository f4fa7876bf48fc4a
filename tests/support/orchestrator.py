"""A container orchestrator in small: the calls that Kubernetes' sidecars and the kubelet make, in their order.

Requests are built as they build them; retries follow their rule: a code that says "may still be running" is asked
again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio

from csi.pb import csi_pb2 as pb
from csi.pb import csi_pb2_grpc as rpc
from tests.support.stack import Stack

Answer = TypeVar("Answer")
GIB = 1 << 30
RPC_TIMEOUT_S = 30.0
RETRIED = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


def capability(
    fs_type: str = "ext4",
    *,
    block: bool = False,
    mode: "pb.VolumeCapability.AccessMode.Mode.ValueType" = pb.VolumeCapability.AccessMode.SINGLE_NODE_WRITER,
    mount_flags: tuple[str, ...] = (),
) -> pb.VolumeCapability:
    """Build a volume capability."""
    access = pb.VolumeCapability.AccessMode(mode=mode)
    if block:
        return pb.VolumeCapability(block=pb.VolumeCapability.BlockVolume(), access_mode=access)
    mount = pb.VolumeCapability.MountVolume(fs_type=fs_type, mount_flags=mount_flags)
    return pb.VolumeCapability(mount=mount, access_mode=access)


def from_snapshot(snapshot_id: str) -> pb.VolumeContentSource:
    """Name a snapshot as a volume's source."""
    return pb.VolumeContentSource(snapshot=pb.VolumeContentSource.SnapshotSource(snapshot_id=snapshot_id))


def from_volume(volume_id: str) -> pb.VolumeContentSource:
    """Name a volume as a volume's source."""
    return pb.VolumeContentSource(volume=pb.VolumeContentSource.VolumeSource(volume_id=volume_id))


async def until_ok(call: Callable[[], Awaitable[Answer]], *, attempts: int = 60, pause_s: float = 0.1) -> Answer:
    """Repeat a call as the sidecars do until it succeeds; a final code is raised at once."""
    for attempt in range(attempts):
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in RETRIED or attempt == attempts - 1:
                raise
        await asyncio.sleep(pause_s)
    raise AssertionError("unreachable: the last attempt returns or raises")


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """Stubs of one controller and of the nodes, with the paths of a stack."""

    stack: Stack
    controller: Any
    groups: Any
    nodes: Mapping[str, Any]

    async def create(
        self,
        name: str,
        *,
        size_gib: int = 1,
        cap: pb.VolumeCapability | None = None,
        source: pb.VolumeContentSource | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> pb.Volume:
        """Provision a volume."""
        request = pb.CreateVolumeRequest(
            name=name,
            capacity_range=pb.CapacityRange(required_bytes=size_gib * GIB),
            volume_capabilities=[cap or capability()],
            volume_content_source=source,
            parameters=parameters or {},
        )
        return (await self.controller.CreateVolume(request, timeout=RPC_TIMEOUT_S)).volume

    async def attach(
        self, volume_id: str, node: str, cap: pb.VolumeCapability | None = None, *, readonly: bool = False
    ) -> dict[str, str]:
        """Publish a volume to a node; gives the publish context."""
        request = pb.ControllerPublishVolumeRequest(
            volume_id=volume_id, node_id=node, volume_capability=cap or capability(), readonly=readonly
        )
        return dict((await self.controller.ControllerPublishVolume(request, timeout=RPC_TIMEOUT_S)).publish_context)

    async def detach(self, volume_id: str, node: str) -> None:
        """Unpublish a volume from a node."""
        request = pb.ControllerUnpublishVolumeRequest(volume_id=volume_id, node_id=node)
        await self.controller.ControllerUnpublishVolume(request, timeout=RPC_TIMEOUT_S)

    async def delete(self, volume_id: str) -> None:
        """Delete a volume."""
        await self.controller.DeleteVolume(pb.DeleteVolumeRequest(volume_id=volume_id), timeout=RPC_TIMEOUT_S)

    async def expand(
        self, volume_id: str, size_gib: int, cap: pb.VolumeCapability | None = None
    ) -> pb.ControllerExpandVolumeResponse:
        """Expand a volume at the controller."""
        request = pb.ControllerExpandVolumeRequest(
            volume_id=volume_id,
            capacity_range=pb.CapacityRange(required_bytes=size_gib * GIB),
            volume_capability=cap or capability(),
        )
        return await self.controller.ControllerExpandVolume(request, timeout=RPC_TIMEOUT_S)

    async def snapshot(self, name: str, volume_id: str) -> pb.Snapshot:
        """Take a snapshot."""
        request = pb.CreateSnapshotRequest(name=name, source_volume_id=volume_id)
        return (await self.controller.CreateSnapshot(request, timeout=RPC_TIMEOUT_S)).snapshot

    async def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete a snapshot."""
        request = pb.DeleteSnapshotRequest(snapshot_id=snapshot_id)
        await self.controller.DeleteSnapshot(request, timeout=RPC_TIMEOUT_S)

    async def stage(
        self, volume: pb.Volume, node: str, context: Mapping[str, str], cap: pb.VolumeCapability | None = None
    ) -> None:
        """Stage a volume, as the kubelet does: it makes the staging folder first."""
        staging = self.stack.staging_path(node, volume.volume_id)
        staging.mkdir(parents=True, exist_ok=True)
        request = pb.NodeStageVolumeRequest(
            volume_id=volume.volume_id,
            publish_context=context,
            staging_target_path=str(staging),
            volume_capability=cap or capability(),
            volume_context=volume.volume_context,
        )
        await self.nodes[node].NodeStageVolume(request, timeout=RPC_TIMEOUT_S)

    async def publish(
        self,
        volume: pb.Volume,
        node: str,
        context: Mapping[str, str],
        cap: pb.VolumeCapability | None = None,
        *,
        pod: str = "pod-1",
        readonly: bool = False,
    ) -> None:
        """Publish a staged volume to a pod."""
        target = self.stack.target_path(node, volume.volume_id, pod)
        target.parent.mkdir(parents=True, exist_ok=True)
        request = pb.NodePublishVolumeRequest(
            volume_id=volume.volume_id,
            publish_context=context,
            staging_target_path=str(self.stack.staging_path(node, volume.volume_id)),
            target_path=str(target),
            volume_capability=cap or capability(),
            readonly=readonly,
            volume_context=volume.volume_context,
        )
        await self.nodes[node].NodePublishVolume(request, timeout=RPC_TIMEOUT_S)

    async def unpublish(self, volume_id: str, node: str, pod: str = "pod-1") -> None:
        """Take a volume from a pod."""
        request = pb.NodeUnpublishVolumeRequest(
            volume_id=volume_id, target_path=str(self.stack.target_path(node, volume_id, pod))
        )
        await self.nodes[node].NodeUnpublishVolume(request, timeout=RPC_TIMEOUT_S)

    async def unstage(self, volume_id: str, node: str) -> None:
        """Unstage a volume."""
        request = pb.NodeUnstageVolumeRequest(
            volume_id=volume_id, staging_target_path=str(self.stack.staging_path(node, volume_id))
        )
        await self.nodes[node].NodeUnstageVolume(request, timeout=RPC_TIMEOUT_S)

    async def expand_node(
        self, volume_id: str, node: str, size_gib: int, cap: pb.VolumeCapability | None = None
    ) -> None:
        """Grow the file system on a node."""
        request = pb.NodeExpandVolumeRequest(
            volume_id=volume_id,
            volume_path=str(self.stack.target_path(node, volume_id)),
            staging_target_path=str(self.stack.staging_path(node, volume_id)),
            capacity_range=pb.CapacityRange(required_bytes=size_gib * GIB),
            volume_capability=cap or capability(),
        )
        await self.nodes[node].NodeExpandVolume(request, timeout=RPC_TIMEOUT_S)

    async def bring_up(
        self, volume: pb.Volume, node: str, cap: pb.VolumeCapability | None = None, *, pod: str = "pod-1"
    ) -> dict[str, str]:
        """Attach, stage and publish; gives the publish context."""
        context = await self.attach(volume.volume_id, node, cap)
        await self.stage(volume, node, context, cap)
        await self.publish(volume, node, context, cap, pod=pod)
        return context

    async def take_down(self, volume_id: str, node: str, *, pod: str = "pod-1") -> None:
        """Unpublish, unstage and detach."""
        await self.unpublish(volume_id, node, pod)
        await self.unstage(volume_id, node)
        await self.detach(volume_id, node)


@contextlib.asynccontextmanager
async def orchestrator(stack: Stack) -> AsyncIterator[Orchestrator]:
    """Connect to the programs of a stack."""
    async with contextlib.AsyncExitStack() as exits:
        channel = await exits.enter_async_context(stack.channel("controller"))
        nodes = {name: rpc.NodeStub(await exits.enter_async_context(stack.channel(name))) for name in stack.nodes}
        yield Orchestrator(stack, rpc.ControllerStub(channel), rpc.GroupControllerStub(channel), nodes)
