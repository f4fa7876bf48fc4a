"""The node plugin inside a guest, and the calls that the kubelet would make to it.

The plugin is the program that ships (`tc-csi-node serve`), reached over a forwarded loopback port. Paths are those of a
real kubelet. Not here: disks and power (`guest`).
"""

import contextlib
import re
import signal
import urllib.request
from asyncio import to_thread
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc.aio

from csi.pb import csi_pb2 as pb
from csi.pb import csi_pb2_grpc as rpc
from tests.vm.guest import Guest
from tests.vm.volumes import KUBELET_DIR, Volume

CSI_PORT = 7001
HTTP_PORT = 7002
PORTS = (CSI_PORT, HTTP_PORT)
PROGRAM = "node"
LAUNCHER = ("-m", "node.app")
STATE_DIR = f"{KUBELET_DIR}/plugins/csi.thecloud.io/state"
RPC_TIMEOUT_S = 60.0
FORMATTED = "thecloud_csi_mkfs_seconds_count"
REFUSED = "thecloud_csi_format_refusals_total"
_CHANNEL_OPTIONS = [
    ("grpc.default_authority", "localhost"),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
]


class NodePlugin:
    """Calls to the node plugin of one guest; they raise grpc.aio.AioRpcError."""

    def __init__(self, guest: Guest, stub: Any) -> None:
        self.guest = guest
        self._stub = stub

    async def stage(self, volume: Volume, *, timeout_s: float = RPC_TIMEOUT_S) -> None:
        """Stage the volume; the kubelet makes the folder first."""
        await self.guest.run("mkdir", "-p", volume.staging_path)
        request = pb.NodeStageVolumeRequest(
            volume_id=volume.volume_id,
            publish_context=volume.publish_context,
            staging_target_path=volume.staging_path,
            volume_capability=volume.capability,
            volume_context=volume.volume_context,
        )
        await self._stub.NodeStageVolume(request, timeout=timeout_s)

    async def unstage(self, volume: Volume) -> None:
        """Unstage the volume."""
        request = pb.NodeUnstageVolumeRequest(volume_id=volume.volume_id, staging_target_path=volume.staging_path)
        await self._stub.NodeUnstageVolume(request, timeout=RPC_TIMEOUT_S)

    async def publish(self, volume: Volume) -> None:
        """Publish the staged volume to a pod."""
        await self.guest.run("mkdir", "-p", volume.target_path.rpartition("/")[0])
        request = pb.NodePublishVolumeRequest(
            volume_id=volume.volume_id,
            publish_context=volume.publish_context,
            staging_target_path=volume.staging_path,
            target_path=volume.target_path,
            volume_capability=volume.capability,
            volume_context=volume.volume_context,
        )
        await self._stub.NodePublishVolume(request, timeout=RPC_TIMEOUT_S)

    async def unpublish(self, volume: Volume) -> None:
        """Take the volume from the pod."""
        request = pb.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=volume.target_path)
        await self._stub.NodeUnpublishVolume(request, timeout=RPC_TIMEOUT_S)

    async def expand(self, volume: Volume) -> None:
        """Grow the file system to the volume's size, through the pod's path."""
        request = pb.NodeExpandVolumeRequest(
            volume_id=volume.volume_id,
            volume_path=volume.target_path,
            staging_target_path=volume.staging_path,
            capacity_range=pb.CapacityRange(required_bytes=volume.size_bytes),
            volume_capability=volume.capability,
        )
        await self._stub.NodeExpandVolume(request, timeout=RPC_TIMEOUT_S)

    async def total_bytes(self, volume: Volume) -> int:
        """Give the size of the file system that the pod sees."""
        request = pb.NodeGetVolumeStatsRequest(
            volume_id=volume.volume_id, volume_path=volume.target_path, staging_target_path=volume.staging_path
        )
        answer = await self._stub.NodeGetVolumeStats(request, timeout=RPC_TIMEOUT_S)
        return next(int(usage.total) for usage in answer.usage if usage.unit == pb.VolumeUsage.BYTES)

    async def size_of(self, path: str) -> int:
        """Give the size of the file system at a path, as the guest's kernel says."""
        blocks, block_bytes = (await self.guest.run("stat", "-f", "-c", "%b %S", path)).output.split()
        return int(blocks) * int(block_bytes)

    async def device_at(self, path: str) -> str:
        """Give the device that is mounted at a path of the guest."""
        return (await self.guest.run("findmnt", "-n", "-o", "SOURCE", path)).output.strip()

    async def metric(self, name: str) -> float:
        """Give the sum of a metric over all of its labels; 0 when it was never counted."""
        url = f"http://127.0.0.1:{self.guest.port(HTTP_PORT)}/metrics"
        text = await to_thread(_read, url)
        found = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for value in found)

    async def bring_up(self, volume: Volume) -> None:
        """Stage and publish."""
        await self.stage(volume)
        await self.publish(volume)

    async def take_down(self, volume: Volume) -> None:
        """Unpublish and unstage."""
        await self.unpublish(volume)
        await self.unstage(volume)


@contextlib.asynccontextmanager
async def plugin(guest: Guest, launcher: Sequence[str] = LAUNCHER) -> AsyncIterator[NodePlugin]:
    """Run the node plugin until the end of the block."""
    await guest.run("mkdir", "-p", STATE_DIR)
    await guest.start(
        PROGRAM, "/usr/bin/python3", *launcher, "serve",
        "--endpoint", f"tcp://0.0.0.0:{CSI_PORT}", "--http-endpoint", f"0.0.0.0:{HTTP_PORT}",
        "--node-id", "guest", "--kubelet-dir", KUBELET_DIR, "--state-dir", STATE_DIR,
        environment={"PYTHONPATH": "/opt/code/site", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    target = f"127.0.0.1:{guest.port(CSI_PORT)}"
    async with grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS) as channel:
        node = NodePlugin(guest, rpc.NodeStub(channel))
        await rpc.NodeStub(channel).NodeGetInfo(pb.NodeGetInfoRequest(), timeout=RPC_TIMEOUT_S, wait_for_ready=True)
        yield node
        if guest.running:
            await guest.stop(PROGRAM, signal.SIGTERM)


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=RPC_TIMEOUT_S) as answer:
        return str(answer.read().decode())
