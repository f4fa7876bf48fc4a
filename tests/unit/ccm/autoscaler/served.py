"""The bridge served as it is in earnest, and a client like the Cluster Autoscaler's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from ccm.autoscaler.app import AutoscalerSettings, Bridge, bridge
from ccm.autoscaler.model import NodeGroup
from ccm.pb.externalgrpc_pb2_grpc import CloudProviderStub
from tests.unit.ccm.autoscaler.fakes import CLUSTER, NO_PAUSE, FakeMachines, MemoryStore, group, write_groups

SERVICE = "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/"
LIMIT_S = 5.0


class Served:
    """A bridge on a Unix socket."""

    def __init__(self, bridge: Bridge, channel: grpc.aio.Channel, machines: FakeMachines, store: MemoryStore) -> None:
        self.bridge = bridge
        self.channel = channel
        self.stub = CloudProviderStub(channel)
        self.machines = machines
        self.store = store

    async def call(self, method: str, request: Any, answer: type[Any]) -> Any:
        """Make a call with messages of another variant of the protocol."""
        send = self.channel.unary_unary(
            SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return await send(request, timeout=LIMIT_S)

    async def settle(self) -> None:
        for _ in range(20):
            await self.bridge.reconciler.step(deadline=_deadline())


def _deadline() -> float:
    return asyncio.get_running_loop().time() + 30


def settings(folder: Path, *groups: NodeGroup, **fields: Any) -> AutoscalerSettings:
    plain: dict[str, Any] = {
        "cluster_id": CLUSTER,
        "listen": f"unix:{folder}/autoscaler.sock",
        "groups_file": write_groups(folder / "groups.yaml", *(groups or (group(),))),
        "allow_plaintext": True,
        "grace_s": 0.0,
        "pace": NO_PAUSE,
    }
    return AutoscalerSettings(**{**plain, **fields})


@contextlib.asynccontextmanager
async def served(folder: Path, *groups: NodeGroup, **fields: Any) -> AsyncIterator[Served]:
    machines, store = FakeMachines(), MemoryStore()
    configured = settings(folder, *groups, **fields)
    async with (
        bridge(configured, machines=machines, store=store) as serving,
        grpc.aio.insecure_channel(configured.listen) as channel,
    ):
        yield Served(serving, channel, machines, store)
