"""The service controller: targets follow the nodes."""

from collections.abc import AsyncIterator

import pytest

from ccm.names import EXCLUDE_LABEL, GOING_TAINT
from tests.unit.ccm.controllers.rig import iid, wire_node
from tests.unit.ccm.controllers.service_rig import WEB, ServiceRig, made, running_service_rig, wire_service


@pytest.fixture
async def rig() -> AsyncIterator[ServiceRig]:
    """Two nodes, a platform, and a service controller."""
    async with running_service_rig(1, 2) as running:
        yield running


async def test_a_hundred_nodes_are_one_write_for_each_service(rig: ServiceRig) -> None:
    names = ["a", "b", "c"]
    rig.put(*(wire_service(name) for name in names))
    await rig.settle(*(f"default/{name}" for name in names))
    since = rig.quiet()
    rig.add_nodes(*range(3, 103))
    rig.nodes_settled()
    await rig.settle()
    assert since.cloud_writes == ["put_group"] * 3
    assert since.kube_writes == []
    assert since.events == ["UpdatedLoadBalancer"] * 3
    assert {len(one.groups[0].targets) for one in rig.balancers()} == {102}


async def test_a_target_that_the_platform_refuses_does_not_hold_up_the_others(rig: ServiceRig) -> None:
    await made(rig)
    rig.put(wire_node(3))  # no instance
    rig.add_nodes(4)
    rig.nodes_settled()
    await rig.settle()
    assert [one.instance_id for one in rig.only.groups[0].targets] == [iid(1), iid(2), iid(4)]
    assert iid(3) in rig.said()["degraded-reason"]
    since = rig.quiet()
    await rig.sync()
    assert since.cloud_writes == []
    rig.add_nodes(3)
    rig.nodes_settled()
    await rig.settle()
    assert len(rig.only.groups[0].targets) == 4
    assert "degraded-reason" not in rig.said()


async def test_readiness_is_not_asked_and_exclusion_is(rig: ServiceRig) -> None:
    rig.put(wire_node(1, ready="False"), wire_node(2, labels={EXCLUDE_LABEL: ""}))
    await made(rig)
    assert [one.instance_id for one in rig.only.groups[0].targets] == [iid(1)]


async def test_the_mark_of_the_autoscaler_takes_no_target_out_by_itself(rig: ServiceRig) -> None:
    await made(rig)
    since = rig.quiet()
    taint = {"key": GOING_TAINT, "value": "1", "effect": "NoSchedule"}
    rig.controller.fleet._bell.clear()
    rig.put(wire_node(2, taints=[taint]))
    assert not rig.controller.fleet._bell.is_set()
    await rig.settle(WEB)
    assert since.cloud_writes == []
    rig.add_nodes(3)
    rig.nodes_settled()
    await rig.settle()
    assert [one.instance_id for one in rig.only.groups[0].targets] == [iid(1), iid(3)]


async def test_a_selector_that_cannot_be_read_leaves_the_targets_as_they_are(rig: ServiceRig) -> None:
    rig.put(wire_node(1, labels={"pool": "a"}))
    await made(rig, annotations={"node-selector": "pool=a"})
    since = rig.quiet()
    rig.annotate("web", node_selector="pool in a")
    rig.add_nodes(3)
    rig.nodes_settled()
    await rig.settle()
    assert [one.instance_id for one in rig.only.groups[0].targets] == [iid(1)]
    assert (since.cloud_writes, since.events) == ([], ["InvalidAnnotation"])
    assert "node-selector" in rig.said()["degraded-reason"]
    rig.annotate("web", node_selector=None)
    await rig.settle()
    assert len(rig.only.groups[0].targets) == 3


async def test_a_node_that_is_no_target_is_told_by_the_controller(rig: ServiceRig) -> None:
    rig.put(wire_node(3, provider_id="other://x"))
    for node in rig.nodes.values():
        rig.controller.left_out.on_node(None, node)
    rig.controller.left_out.look()
    assert rig.events.all == []
    rig.clock.now += 60
    rig.controller.left_out.look()
    ((kind, reason, name, text),) = rig.events.all
    assert (kind, reason, name) == ("Warning", "NoLoadBalancerTarget", "n3")
    assert "other://x" in text
