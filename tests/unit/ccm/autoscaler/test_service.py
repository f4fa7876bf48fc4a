"""The bridge over gRPC."""

from pathlib import Path

import grpc
import grpc.aio
import pytest

from ccm.autoscaler.app import ListenError, bridge
from ccm.autoscaler.model import Taint, provider_id
from ccm.pb import externalgrpc_pb2 as pb
from tests.unit.ccm.autoscaler.fakes import FakeMachines, MemoryStore, group, store_away, unknown, write_groups
from tests.unit.ccm.autoscaler.served import LIMIT_S, Served, served, settings

Code = grpc.StatusCode


async def code_of(call: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str]:  # type: ignore[type-arg]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def refresh(bridge: Served) -> None:
    await bridge.stub.Refresh(pb.RefreshRequest(), timeout=LIMIT_S)


async def test_a_loop_of_the_cluster_autoscaler(tmp_path: Path) -> None:
    async with served(tmp_path, group(least=1, most=4)) as bridge:
        stub = bridge.stub
        await refresh(bridge)
        (found,) = (await stub.NodeGroups(pb.NodeGroupsRequest(), timeout=LIMIT_S)).nodeGroups
        assert (found.id, found.minSize, found.maxSize) == ("pool-a", 1, 4)
        await stub.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="pool-a", delta=2), timeout=LIMIT_S)
        size = await stub.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id="pool-a"), timeout=LIMIT_S)
        assert size.targetSize == 3
        await bridge.settle()
        nodes = (await stub.NodeGroupNodes(pb.NodeGroupNodesRequest(id="pool-a"), timeout=LIMIT_S)).instances
        assert sorted(one.id for one in nodes) == sorted(provider_id(one) for one in bridge.machines.all)
        assert {one.status.instanceState for one in nodes} == {pb.InstanceStatus.instanceRunning}
        doomed = pb.ExternalGrpcNode(providerID=nodes[0].id, name="any")
        order = pb.NodeGroupDeleteNodesRequest(id="pool-a", nodes=[doomed])
        for _ in range(2):
            await stub.NodeGroupDeleteNodes(order, timeout=LIMIT_S)
        await bridge.settle()
        assert len(bridge.machines.all) == 2
        size = await stub.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id="pool-a"), timeout=LIMIT_S)
        assert size.targetSize == 2
        await stub.Cleanup(pb.CleanupRequest(), timeout=LIMIT_S)


async def test_nodes_find_their_group_and_strangers_none(tmp_path: Path) -> None:
    async with served(tmp_path) as bridge:
        mine = bridge.machines.put(group="pool-a")
        await refresh(bridge)
        for node_id, name in ((provider_id(mine.id), "pool-a"), ("kwok://x", ""), ("thecloud://none", ""), ("", "")):
            request = pb.NodeGroupForNodeRequest(node=pb.ExternalGrpcNode(providerID=node_id, name="n"))
            answer = await bridge.stub.NodeGroupForNode(request, timeout=LIMIT_S)
            assert answer.nodeGroup.id == name


async def test_every_refusal_has_its_own_code(tmp_path: Path) -> None:
    async with served(tmp_path) as bridge:
        stub = bridge.stub
        await refresh(bridge)
        no_group = stub.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id="none"), timeout=LIMIT_S)
        assert (await code_of(no_group))[0] is Code.NOT_FOUND
        none = stub.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="pool-a", delta=0), timeout=LIMIT_S)
        assert (await code_of(none))[0] is Code.INVALID_ARGUMENT
        many = stub.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="pool-a", delta=99), timeout=LIMIT_S)
        assert await code_of(many) == (
            Code.FAILED_PRECONDITION,
            "node group pool-a: 0 + 99 is more than its maximum 10",
        )
        price = stub.PricingNodePrice(pb.PricingNodePriceRequest(), timeout=LIMIT_S)
        assert (await code_of(price))[0] is Code.UNIMPLEMENTED
        bridge.machines.faults.add("list", unknown())
        assert (await code_of(stub.Refresh(pb.RefreshRequest(), timeout=LIMIT_S)))[0] is Code.UNAVAILABLE
        bridge.store.faults.add("get", store_away())
        assert (await code_of(stub.Refresh(pb.RefreshRequest(), timeout=LIMIT_S)))[0] is Code.UNAVAILABLE


async def test_a_bug_is_answered_without_its_text(tmp_path: Path) -> None:
    async with served(tmp_path) as bridge:
        bridge.machines.faults.add("list", RuntimeError("secret"))
        code, text = await code_of(bridge.stub.Refresh(pb.RefreshRequest(), timeout=LIMIT_S))
        assert code is Code.INTERNAL
        assert "secret" not in text


async def test_an_order_ends_within_its_callers_time(tmp_path: Path) -> None:
    async with served(tmp_path) as bridge:
        await refresh(bridge)
        bridge.store.faults.add("get", store_away(), times=100)
        bridge.store.faults.add("put", store_away(), times=100)
        order = pb.NodeGroupIncreaseSizeRequest(id="pool-a", delta=1)
        code, _ = await code_of(bridge.stub.NodeGroupIncreaseSize(order, timeout=0.1))
        assert code is Code.DEADLINE_EXCEEDED
        bridge.store.faults.to_come.clear()
        size = await bridge.stub.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id="pool-a"), timeout=LIMIT_S)
        assert size.targetSize == 0


async def test_gpus_are_told_by_their_label(tmp_path: Path) -> None:
    async with served(tmp_path, group(labels={"thecloud.io/gpu": "a100"}), group("pool-b")) as bridge:
        label = await bridge.stub.GPULabel(pb.GPULabelRequest(), timeout=LIMIT_S)
        kinds = await bridge.stub.GetAvailableGPUTypes(pb.GetAvailableGPUTypesRequest(), timeout=LIMIT_S)
        assert (label.label, list(kinds.gpuTypes)) == ("thecloud.io/gpu", ["a100"])


async def test_groups_are_read_again_and_a_mistake_keeps_the_old_ones(tmp_path: Path) -> None:
    async with served(tmp_path) as bridge:
        await refresh(bridge)
        write_groups(tmp_path / "groups.yaml", group(most=20, taints=(Taint("a", "b", "NoSchedule"),)), group("pool-b"))
        await refresh(bridge)
        sizes = {one.id: one.maxSize for one in (await bridge.stub.NodeGroups(pb.NodeGroupsRequest())).nodeGroups}
        assert sizes == {"pool-a": 20, "pool-b": 10}
        (tmp_path / "groups.yaml").write_text("groups: [{name: x}]")
        await refresh(bridge)
        assert len((await bridge.stub.NodeGroups(pb.NodeGroupsRequest())).nodeGroups) == 2


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"listen": "0.0.0.0:0"}, "plain text is served on loopback addresses and Unix sockets only"),
        ({"listen": "localhost:0"}, "plain text is served on loopback"),
        ({"allow_plaintext": False}, "TLS needs a certificate"),
        ({"cluster_id": ""}, "the cluster's id must not be empty"),
        ({"client_names": frozenset({"a"})}, "names of callers"),
    ],
)
async def test_plain_text_stays_on_this_machine(tmp_path: Path, fields: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        async with bridge(settings(tmp_path, **fields), machines=FakeMachines(), store=MemoryStore()):
            pass


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    async with served(tmp_path, listen="127.0.0.1:0") as first:
        taken = settings(tmp_path, listen=f"127.0.0.1:{first.bridge.port}")
        with pytest.raises(ListenError, match="cannot listen there"):
            async with bridge(taken, machines=FakeMachines(), store=MemoryStore()):
                pass
