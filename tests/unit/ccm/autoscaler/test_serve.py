"""The whole of it: calls over gRPC, machines that follow by themselves, an orderly end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc.aio
import pytest

from ccm.autoscaler.app import serve
from ccm.autoscaler.config_map import ConfigMapStore
from ccm.autoscaler.model import provider_id
from ccm.autoscaler.ports import Machines, TargetStore
from ccm.cloud.instances import Instances
from ccm.cloud.machines import CloudMachines
from ccm.kube.client import open_client
from ccm.pb import externalgrpc_pb2 as pb
from ccm.pb.externalgrpc_pb2_grpc import CloudProviderStub
from tests.support.devcloud import devcloud_server
from tests.support.fake_api import fake_api
from tests.unit.ccm.autoscaler.fakes import CLUSTER, FakeMachines, MemoryStore, group, unknown
from tests.unit.ccm.autoscaler.served import LIMIT_S, settings
from thecloud.client import Client
from thecloud.launches import Launches
from thecloud.settings import PlatformSettings

WAIT_S = 30.0


@contextlib.asynccontextmanager
async def serving(folder: Path, machines: Machines, store: TargetStore) -> AsyncIterator[CloudProviderStub]:
    configured = settings(folder, group(most=4, instance_type="basic-1", image="alpine"))
    task = asyncio.ensure_future(serve(configured, machines=machines, store=store))
    try:
        async with grpc.aio.insecure_channel(configured.listen) as channel:
            await asyncio.wait_for(channel.channel_ready(), WAIT_S)
            yield CloudProviderStub(channel)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(machines: FakeMachines, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            machines.changed.clear()
            await machines.changed.wait()


async def test_machines_follow_the_orders_through_trouble(tmp_path: Path) -> None:
    machines = FakeMachines()
    machines.faults.add("list", unknown())
    machines.faults.add("launch", unknown(), after=True)
    async with serving(tmp_path, machines, MemoryStore()) as stub:
        await stub.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="pool-a", delta=3), wait_for_ready=True)
        await until(machines, lambda: len(machines.all) == 3)
        doomed = next(iter(machines.all))
        node = pb.ExternalGrpcNode(providerID=provider_id(doomed))
        await stub.NodeGroupDeleteNodes(pb.NodeGroupDeleteNodesRequest(id="pool-a", nodes=[node]), timeout=LIMIT_S)
        await until(machines, lambda: doomed not in machines.all)
        assert len(machines.all) == 2


@pytest.mark.parametrize("tier", ["strict", "extended"])
async def test_on_the_embedded_platform_with_the_record_in_the_cluster(tmp_path: Path, tier: str) -> None:
    async with (
        devcloud_server(tmp_path, tier=tier) as cloud,
        Client(
            PlatformSettings(base_url=cloud.base_url, api_key=cloud.api_key, requests_per_s=1e3, burst=1000)
        ) as client,
        fake_api() as api,
        await open_client(master=api.url) as kube,
    ):
        launches = Launches(client._exchange, client._discovery.get, listing_window_s=0.0)
        machines = CloudMachines(launches, Instances(client), cluster_id=CLUSTER)
        async with serving(tmp_path, machines, ConfigMapStore(kube, namespace="kube-system")) as stub:
            await stub.Refresh(pb.RefreshRequest(), timeout=WAIT_S)
            await stub.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="pool-a", delta=2), timeout=WAIT_S)
            running = await nodes_when(stub, 2)
            assert {provider_id(one.id) for one in await machines.list(deadline=soon())} == set(running)
            order = pb.NodeGroupDeleteNodesRequest(id="pool-a", nodes=[pb.ExternalGrpcNode(providerID=running[0])])
            for _ in range(2):
                await stub.NodeGroupDeleteNodes(order, timeout=WAIT_S)
            assert await nodes_when(stub, 1) == running[1:]
            assert [provider_id(one.id) for one in await machines.list(deadline=soon())] == running[1:]


async def nodes_when(stub: CloudProviderStub, count: int) -> list[str]:
    """Give the ids of the group's nodes once there are so many, all of them running."""
    async with asyncio.timeout(WAIT_S):
        while True:
            await stub.Refresh(pb.RefreshRequest(), timeout=WAIT_S)
            nodes = (await stub.NodeGroupNodes(pb.NodeGroupNodesRequest(id="pool-a"), timeout=WAIT_S)).instances
            states = [one.status.instanceState for one in nodes]
            if states == [pb.InstanceStatus.instanceRunning] * count:
                return [one.id for one in nodes]
            await asyncio.sleep(0.02)


def soon() -> float:
    return asyncio.get_running_loop().time() + WAIT_S
