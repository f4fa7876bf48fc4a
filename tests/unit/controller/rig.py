"""A controller as it runs, on an embedded platform in the same process: real servicers, rules, client and gRPC."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from controller.answers import plugin_capabilities
from controller.group_servicer import GroupControllerServicer
from controller.names import Ownership
from controller.platform import open_cloud
from controller.rules import Rules, wire_rules
from controller.servicer import ControllerServicer
from csi.identity import Identity
from csi.interceptor import Interceptor
from csi.metrics import Metrics
from csi.pb import csi_pb2 as pb
from csi.pb import csi_pb2_grpc as rpc
from csi.server import RpcServer
from process.address import TcpEndpoint
from tests.support.devcloud import RunningCloud, devcloud_app
from thecloud.client import Client
from thecloud.settings import PlatformSettings

GIB = 1 << 30
TIERS = ("extended", "strict")
LIMIT_S = 20.0
SIDECAR_PAUSE_S = 10.0
OURS = Ownership(cluster_id="unit", name_prefix="csi", adopted_prefixes=("legacy-",))
FINAL = frozenset(grpc.StatusCode) - {
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
}
"""Codes after which a sidecar may forget what it asked for."""
MODES = pb.VolumeCapability.AccessMode
DISCOVERY = ("GET /capabilities", "GET /instance-types")


class Hold:
    """One call to the platform that waits on its way until it is let go."""

    def __init__(self, method: str, end: str) -> None:
        self.method = method
        self.end = end
        self._arrived = asyncio.Event()
        self._let_go = asyncio.Event()

    async def arrived(self) -> None:
        """Wait until the call is on its way."""
        await self._arrived.wait()

    def let_go(self) -> None:
        """Let the call go on."""
        self._let_go.set()

    def takes(self, request: httpx.Request) -> bool:
        fits = request.method == self.method and request.url.path.endswith(self.end)
        return fits and not self._arrived.is_set()

    async def keep(self) -> None:
        self._arrived.set()
        await self._let_go.wait()


class Gate(httpx.AsyncBaseTransport):
    """The way to the platform, where single calls can be held."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self._holds: list[Hold] = []

    @contextlib.asynccontextmanager
    async def holding(self, method: str, end: str) -> AsyncIterator[Hold]:
        """Hold the first call of this method whose path ends so."""
        hold = Hold(method, end)
        self._holds.append(hold)
        try:
            yield hold
        finally:
            self._holds.remove(hold)
            hold.let_go()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for hold in self._holds:
            if hold.takes(request):
                await hold.keep()
        return await self._inner.handle_async_request(request)


@dataclass(frozen=True)
class Rig:
    """Stubs of the running controller, and the platform under it."""

    controller: rpc.ControllerStub
    groups: rpc.GroupControllerStub
    identity: rpc.IdentityStub
    cloud: RunningCloud
    client: Client
    rules: Rules
    gate: Gate

    def calls(self) -> dict[str, int]:
        """Count what the platform saw since the last reset, discovery left out."""
        seen = self.cloud.cloud.calls.by_route
        return {route: row.count for route, row in seen.items() if route not in DISCOVERY}

    def reset_calls(self) -> None:
        self.cloud.cloud.calls.reset()

    async def platform(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call the platform beside the controller."""
        async with self.cloud.client() as client:
            answer = await client.request(method, path, **kwargs)
        answer.raise_for_status()
        return answer.json().get("data")

    async def volumes(self) -> list[dict[str, Any]]:
        return await self.platform("GET", "/volumes") or []

    async def snapshots(self) -> list[dict[str, Any]]:
        return await self.platform("GET", "/snapshots") or []

    async def create(self, name: str = "pvc-1", *, size_bytes: int = GIB, **fields: Any) -> pb.Volume:
        request = pb.CreateVolumeRequest(
            name=name,
            capacity_range=pb.CapacityRange(required_bytes=size_bytes),
            volume_capabilities=[capability()],
            **fields,
        )
        return (await self.controller.CreateVolume(request, timeout=LIMIT_S)).volume

    async def publish(self, volume_id: str, node: str = "node-a", *, readonly: bool = False) -> Mapping[str, str]:
        request = pb.ControllerPublishVolumeRequest(
            volume_id=volume_id, node_id=node, volume_capability=capability(), readonly=readonly
        )
        return (await self.controller.ControllerPublishVolume(request, timeout=LIMIT_S)).publish_context

    async def unpublish(self, volume_id: str, node: str = "node-a") -> None:
        request = pb.ControllerUnpublishVolumeRequest(volume_id=volume_id, node_id=node)
        await self.controller.ControllerUnpublishVolume(request, timeout=LIMIT_S)

    async def delete(self, volume_id: str) -> None:
        await self.controller.DeleteVolume(pb.DeleteVolumeRequest(volume_id=volume_id), timeout=LIMIT_S)

    async def snapshot(self, volume_id: str, name: str = "snap-1", **fields: Any) -> pb.Snapshot:
        request = pb.CreateSnapshotRequest(name=name, source_volume_id=volume_id, **fields)
        return (await self.controller.CreateSnapshot(request, timeout=LIMIT_S)).snapshot

    async def delete_snapshot(self, snapshot_id: str) -> None:
        await self.controller.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot_id=snapshot_id), timeout=LIMIT_S)


@contextlib.asynccontextmanager
async def running_rig(data_dir: Path, *, tier: str = "extended", **options: Any) -> AsyncIterator[Rig]:
    """Run platform and controller; `options` are those of the platform, `clock` is the controller's."""
    clock: Callable[[], float] | None = options.pop("clock", None)
    async with devcloud_app(data_dir, tier=tier, **options) as cloud, restarted(cloud, clock=clock) as rig:
        yield rig


@contextlib.asynccontextmanager
async def restarted(cloud: RunningCloud, *, clock: Callable[[], float] | None = None) -> AsyncIterator[Rig]:
    """Run a controller that knows nothing yet on a platform that has been there for a while."""
    gate = Gate(cloud.transport)
    async with open_client(cloud, gate) as client:
        rules = wire_rules(open_cloud(client, relist_pause_s=0.0), OURS, absence_confirm_s=0.01, clock=clock)
        async with (
            _server(rules, await features_of(client)) as server,
            grpc.aio.insecure_channel(server.endpoint.authority) as channel,  # type: ignore[union-attr]
        ):
            yield Rig(
                controller=rpc.ControllerStub(channel),
                groups=rpc.GroupControllerStub(channel),
                identity=rpc.IdentityStub(channel),
                cloud=cloud,
                client=client,
                rules=rules,
                gate=gate,
            )


def open_client(cloud: RunningCloud, transport: httpx.AsyncBaseTransport | None = None) -> Client:
    """Give a client that neither waits for the network nor for chance."""
    settings = PlatformSettings(
        base_url=cloud.base_url,
        api_key=cloud.api_key,
        requests_per_s=10_000.0,
        burst=10_000,
        listing_window_s=0.0,
    )
    return Client(settings, transport=transport or cloud.transport, jitter=lambda: 0.0)


async def features_of(client: Client) -> frozenset[str]:
    """Give the platform's features."""
    return (await client.features(asyncio.get_running_loop().time() + LIMIT_S)).names


def _server(rules: Rules, features: frozenset[str]) -> RpcServer:
    controller = ControllerServicer(rules, announced=features, default_s=LIMIT_S)
    groups = GroupControllerServicer(rules, announced=features, default_s=LIMIT_S)
    identity = Identity(capabilities=plugin_capabilities(features))
    return RpcServer(
        TcpEndpoint("127.0.0.1", 0),
        [
            lambda server: rpc.add_IdentityServicer_to_server(identity, server),
            lambda server: rpc.add_ControllerServicer_to_server(controller, server),
            lambda server: rpc.add_GroupControllerServicer_to_server(groups, server),
        ],
        Interceptor(metrics=Metrics(), default_limit_s=LIMIT_S),
        grace_s=1.0,
    )


def capability(mode: int = MODES.SINGLE_NODE_WRITER, *, block: bool = False, fs_type: str = "") -> pb.VolumeCapability:
    """Build a capability."""
    access = MODES(mode=mode)  # type: ignore[arg-type]
    if block:
        return pb.VolumeCapability(block=pb.VolumeCapability.BlockVolume(), access_mode=access)
    return pb.VolumeCapability(mount=pb.VolumeCapability.MountVolume(fs_type=fs_type), access_mode=access)


def from_volume(volume_id: str) -> pb.VolumeContentSource:
    """Name a volume as a source."""
    return pb.VolumeContentSource(volume=pb.VolumeContentSource.VolumeSource(volume_id=volume_id))


def from_snapshot(snapshot_id: str) -> pb.VolumeContentSource:
    """Name a snapshot as a source."""
    return pb.VolumeContentSource(snapshot=pb.VolumeContentSource.SnapshotSource(snapshot_id=snapshot_id))


async def refused(call: Awaitable[Any], code: grpc.StatusCode) -> str:
    """Await a call that has to fail with this code; gives its text."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code, caught.value.details()
    return str(caught.value.details())


class Clock:
    """The time by which the controller remembers what it wrote; it passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def until_ok(call: Callable[[], Awaitable[Any]], *, attempts: int = 12, clock: Clock | None = None) -> Any:
    """Repeat a call as the sidecars do; a final code is raised at once.

    Their pauses pass on `clock`, or not at all.
    """
    for _ in range(attempts - 1):
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() in FINAL:
                raise
        if clock is not None:
            clock.now += SIDECAR_PAUSE_S
    return await call()
