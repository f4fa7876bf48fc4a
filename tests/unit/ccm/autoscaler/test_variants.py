"""Both variants of the protocol on the wire: messages as a Cluster Autoscaler up to 1.34 and from 1.35 has them.

The messages are compiled here from what each variant says, so that nothing of our own description helps.
"""

import importlib.resources
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc  # type: ignore[import-untyped]

from ccm.autoscaler.model import MachineType, Taint
from tests.unit.ccm.autoscaler.fakes import group
from tests.unit.ccm.autoscaler.served import Served, served

KUBERNETES = """
message Quantity { string string = 1; }
message Meta { string name = 1; string namespace = 3; map<string, string> labels = 11; }
message Taint { string key = 1; string value = 2; string effect = 3; }
message NodeSpec { string providerID = 3; repeated Taint taints = 5; }
message Condition { string type = 1; string status = 2; }
message NodeStatus { map<string, Quantity> capacity = 1; map<string, Quantity> allocatable = 2;
  repeated Condition conditions = 4; }
message Node { Meta metadata = 1; NodeSpec spec = 2; NodeStatus status = 3; }
message Resources { map<string, Quantity> limits = 1; map<string, Quantity> requests = 2; }
message Container { string name = 1; string image = 2; Resources resources = 8; }
message PodSpec { repeated Container containers = 2; string nodeName = 10; repeated Container initContainers = 20;
  map<string, Quantity> overhead = 32; }
message Pod { Meta metadata = 1; PodSpec spec = 2; }
message ExternalNode { string providerID = 1; string name = 2; map<string, string> labels = 3; }
message Id { string id = 1; }
message Price { double price = 1; }
"""
OLD = """syntax = "proto3"; package old;
message Time { int64 seconds = 1; int32 nanos = 2; }
message Period { int64 duration = 1; }
message Template { Node nodeInfo = 1; }
message PodPrice { Pod pod = 1; Time startTime = 2; Time endTime = 3; }
message NodePrice { ExternalNode node = 1; Time startTime = 2; Time endTime = 3; }
message Options { double cpu = 1; double gpu = 2; Period unneeded = 3; Period unready = 4; Period provision = 5; }
message OptionsRequest { string id = 1; Options defaults = 2; }
message OptionsResponse { Options options = 1; }
"""
NEW = """syntax = "proto3"; package new;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
message Template { bytes nodeBytes = 2; }
message PodPrice { bytes pod_bytes = 4; google.protobuf.Timestamp start = 5; google.protobuf.Timestamp end = 6; }
message NodePrice { ExternalNode node = 1; google.protobuf.Timestamp start = 4; google.protobuf.Timestamp end = 5; }
message Options { double cpu = 1; double gpu = 2; bool all = 6; bool daemons = 7; google.protobuf.Duration unneeded = 8;
  google.protobuf.Duration unready = 9; google.protobuf.Duration provision = 10; google.protobuf.Duration startup = 11;
  bool non_atomic = 12; string later = 40; }
message OptionsRequest { string id = 1; Options defaults = 2; }
message OptionsResponse { Options options = 1; }
"""


class Variant:
    """The messages of one variant."""

    def __init__(self, folder: Path, name: str, text: str) -> None:
        (folder / f"{name}.proto").write_text(text + KUBERNETES)
        well_known = importlib.resources.files("grpc_tools") / "_proto"
        out = folder / name
        arguments = ["protoc", f"-I{folder}", f"-I{well_known}", "--include_imports", f"--descriptor_set_out={out}"]
        assert protoc.main([*arguments, f"{name}.proto"]) == 0
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
            pool.Add(file)
        self._pool, self._name = pool, name

    def __getattr__(self, name: str) -> Any:
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{self._name}.{name}"))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    return Variant(tmp_path_factory.mktemp("old"), "old", OLD)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    return Variant(tmp_path_factory.mktemp("new"), "new", NEW)


FURNISHED = group(
    zone="zone-1",
    region="region-1",
    labels={"tier": "web"},
    taints=(Taint("dedicated", "web", "NoSchedule"),),
    capacity={"cpu": "2", "memory": "4Gi", "ephemeral-storage": "40Gi"},
    allocatable={"cpu": "1900m"},
)
TYPES = (
    MachineType(name="standard-1", vcpus=2, memory_mb=2048, price_per_hour=0.02),
    MachineType(name="standard-2", vcpus=2, memory_mb=4096, price_per_hour=0.04),
)


def check_node(node: Any) -> None:
    labels = dict(node.metadata.labels)
    assert (
        labels.items()
        >= {
            "tier": "web",
            "thecloud.io/node-group": "pool-a",
            "kubernetes.io/hostname": node.metadata.name,
            "node.kubernetes.io/instance-type": "standard-2",
            "topology.kubernetes.io/zone": "zone-1",
            "topology.kubernetes.io/region": "region-1",
        }.items()
    )
    assert [(one.key, one.value, one.effect) for one in node.spec.taints] == [("dedicated", "web", "NoSchedule")]
    capacity = {name: amount.string for name, amount in node.status.capacity.items()}
    assert capacity == {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "40Gi", "pods": "110"}
    assert {name: amount.string for name, amount in node.status.allocatable.items()} == {**capacity, "cpu": "1900m"}
    assert {one.type: one.status for one in node.status.conditions}["Ready"] == "True"


async def test_a_template_is_read_by_both(tmp_path: Path, old: Variant, new: Variant) -> None:
    async with served(tmp_path, FURNISHED) as bridge:
        embedded = await bridge.call("NodeGroupTemplateNodeInfo", old.Id(id="pool-a"), old.Template)
        check_node(embedded.nodeInfo)
        as_bytes = await bridge.call("NodeGroupTemplateNodeInfo", new.Id(id="pool-a"), new.Template)
        check_node(new.Node.FromString(as_bytes.nodeBytes))


async def test_defaults_come_back_whole_to_the_old_one(tmp_path: Path, old: Variant) -> None:
    async with served(tmp_path) as bridge:
        defaults = old.Options(
            cpu=0.5, unneeded=old.Period(duration=600), unready=old.Period(), provision=old.Period(duration=900)
        )
        request = old.OptionsRequest(id="pool-a", defaults=defaults)
        answer = await bridge.call("NodeGroupGetOptions", request, old.OptionsResponse)
        assert answer.options == defaults
        # Absent, it is a null pointer there.
        assert answer.options.HasField("unready")


async def test_defaults_come_back_whole_to_the_new_one_and_to_a_later_one(tmp_path: Path, new: Variant) -> None:
    async with served(tmp_path) as bridge:
        defaults = new.Options(cpu=0.5, gpu=0.25, all=True, daemons=True, non_atomic=True, later="unknown to us")
        for number, name in enumerate(("unneeded", "unready", "provision", "startup"), start=1):
            getattr(defaults, name).seconds = number
        request = new.OptionsRequest(id="pool-a", defaults=defaults)
        answer = await bridge.call("NodeGroupGetOptions", request, new.OptionsResponse)
        assert answer.options == defaults
        none = await bridge.call("NodeGroupGetOptions", new.OptionsRequest(id="pool-a"), new.OptionsResponse)
        assert not none.HasField("options")


async def node_price(bridge: Served, variant: Variant, **times: Any) -> float:
    node = variant.ExternalNode(name="n", labels={"node.kubernetes.io/instance-type": "standard-2"})
    answer = await bridge.call("PricingNodePrice", variant.NodePrice(node=node, **times), variant.Price)
    return float(answer.price)


async def test_prices_are_for_the_time_asked_in_both(tmp_path: Path, old: Variant, new: Variant) -> None:
    async with served(tmp_path) as bridge:
        bridge.machines.sold = TYPES
        times = {"startTime": old.Time(seconds=1000), "endTime": old.Time(seconds=1000 + 7200)}
        assert await node_price(bridge, old, **times) == pytest.approx(0.08)
        assert await node_price(bridge, new, start={"seconds": 1000}, end={"seconds": 2800}) == pytest.approx(0.02)
        with pytest.raises(grpc.aio.AioRpcError, match="before its start"):
            await node_price(bridge, new, start={"seconds": 2000}, end={"seconds": 1000})
        assert bridge.machines.calls.count("types") == 1


def pod_of(variant: Variant) -> Any:
    pod = variant.Pod()
    for amounts in ({"cpu": "500m", "memory": "1Gi"}, {"cpu": "500m", "memory": "512Mi"}):
        container = pod.spec.containers.add()
        for name, amount in amounts.items():
            container.resources.requests[name].string = amount
    pod.spec.initContainers.add().resources.requests["cpu"].string = "100m"
    pod.spec.overhead["memory"].string = "512Mi"
    return pod


async def test_a_pod_costs_its_share_of_what_fits_best_in_both(tmp_path: Path, old: Variant, new: Variant) -> None:
    async with served(tmp_path) as bridge:
        bridge.machines.sold = TYPES
        # 1 core and 2 GiB: all of standard-1's memory, half of standard-2.
        request = old.PodPrice(pod=pod_of(old), startTime=old.Time(seconds=0), endTime=old.Time(seconds=3600))
        assert (await bridge.call("PricingPodPrice", request, old.Price)).price == pytest.approx(0.02)
        raw = pod_of(new).SerializeToString()
        request = new.PodPrice(pod_bytes=raw, start={"seconds": 0}, end={"seconds": 1800})
        assert (await bridge.call("PricingPodPrice", request, new.Price)).price == pytest.approx(0.01)


async def test_a_pod_that_cannot_be_read_is_refused(tmp_path: Path, new: Variant) -> None:
    async with served(tmp_path) as bridge:
        bridge.machines.sold = TYPES
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bridge.call("PricingPodPrice", new.PodPrice(pod_bytes=b"\xff\xff"), new.Price)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
