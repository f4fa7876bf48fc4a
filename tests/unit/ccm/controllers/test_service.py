"""The service controller: what it makes, changes and takes away, and what it writes to do so."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ccm.controllers.service_writes import READY
from ccm.model import BalancerState, Protocol
from ccm.names import BALANCER_CLASS, CLUSTER_TAG, FINALIZER, SERVICE_TAG, SERVICE_UID_TAG
from ccm.ports import CloudError
from tests.support.fake_cloud import CLUSTER_ID, server_error
from tests.unit.ccm.controllers.rig import iid
from tests.unit.ccm.controllers.service_rig import WEB, ServiceRig, made, running_service_rig, wire_service


@pytest.fixture
async def rig() -> AsyncIterator[ServiceRig]:
    """Two nodes, a platform, and a service controller."""
    async with running_service_rig(1, 2) as running:
        yield running


# Making


async def test_a_service_gets_a_load_balancer_in_two_writes(rig: ServiceRig) -> None:
    await made(rig, ports={80: "TCP", 53: "UDP"})
    one = rig.only
    assert one.tags == {CLUSTER_TAG: CLUSTER_ID, SERVICE_UID_TAG: rig.uid(), SERVICE_TAG: WEB}
    (group,) = one.groups
    assert group.name == rig.uid()
    assert [(found.protocol, found.port) for found in group.listeners] == [(Protocol.UDP, 53), (Protocol.TCP, 80)]
    assert [target.instance_id for target in group.targets] == [iid(1), iid(2)]
    assert rig.ingress() == [{"ip": one.addresses[0].address, "ipMode": "VIP"}]
    assert rig.is_held()
    said = rig.said()
    assert (said["id"], said["address"]) == (one.id, one.addresses[0].address)
    assert "degraded-reason" not in said
    assert [point for point, _ in rig.cloud.writes] == ["create"]
    assert [sorted(write.body) for write in rig.api.writes] == [["metadata"], ["metadata", "status"]]
    assert rig.events.reasons() == ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]
    condition = rig.wire()["status"]["conditions"][0]
    assert (condition["type"], condition["status"]) == (READY, "True")


async def test_the_finalizer_is_there_before_the_platform_is_written_to(rig: ServiceRig) -> None:
    rig.cloud.faults.fail("create", server_error(), times=1)
    rig.put(wire_service())
    with pytest.raises(CloudError):
        await rig.sync()
    assert rig.finalizers() == [FINALIZER]
    assert rig.ingress() == []


async def test_finalizers_of_others_stay(rig: ServiceRig) -> None:
    wire = wire_service()
    wire["metadata"]["finalizers"] = ["example.com/other"]
    rig.put(wire)
    await rig.settle(WEB)
    assert rig.finalizers() == ["example.com/other", FINALIZER]
    rig.edit("web", {"spec": {"type": "ClusterIP"}})
    await rig.settle(WEB)
    assert rig.finalizers() == ["example.com/other"]


async def test_a_finalizer_that_came_meanwhile_is_not_lost(rig: ServiceRig) -> None:
    rig.put(wire_service())
    rig.api.patch("services", "web", {"metadata": {"finalizers": ["example.com/new"]}})
    await rig.settle(WEB)  # the cache has not seen it
    assert rig.finalizers() == ["example.com/new", FINALIZER]


@pytest.mark.parametrize(
    ("spec", "is_ours"),
    [
        ({"type": "ClusterIP"}, False),
        ({"type": "NodePort"}, False),
        ({"type": "ExternalName"}, False),
        ({}, True),
        ({"loadBalancerClass": BALANCER_CLASS}, True),
        ({"loadBalancerClass": "example.com/other"}, False),
    ],
)
async def test_which_services_get_one(rig: ServiceRig, spec: dict[str, Any], is_ours: bool) -> None:
    rig.put(wire_service(**spec))
    await rig.settle(WEB)
    assert len(rig.balancers()) == is_ours
    assert rig.is_held() is is_ours
    assert (rig.kube_writes > 0) is is_ours


async def test_a_service_of_another_class_keeps_the_finalizer_that_is_not_ours(rig: ServiceRig) -> None:
    wire = wire_service(loadBalancerClass="example.com/other")
    wire["metadata"]["finalizers"] = [FINALIZER]
    rig.put(wire)
    rig.remove("web")
    await rig.settle(WEB)
    assert rig.is_held()
    assert rig.kube_writes == 0


async def test_one_name_in_two_namespaces_is_two_load_balancers(rig: ServiceRig) -> None:
    rig.put(wire_service("b-c", namespace="a"), wire_service("c", namespace="a-b"))
    await rig.settle("a/b-c", "a-b/c")
    assert len({one.name for one in rig.balancers()}) == 2
    rig.remove("c", "a-b")
    await rig.settle("a-b/c")
    assert rig.only.tags[SERVICE_TAG] == "a/b-c"


async def test_a_load_balancer_of_another_cluster_is_not_seen(rig: ServiceRig) -> None:
    await made(rig)
    foreign = rig.only
    tags = {**foreign.tags, CLUSTER_TAG: "other-cluster"}
    rig.cloud.balancers.all[foreign.id] = type(foreign)(id=foreign.id, name="x", state=foreign.state, tags=tags)
    rig.restart()
    rig.annotate("web", id=None)
    rig.remove("web")
    await rig.settle(WEB)
    assert rig.cloud.balancers.all[foreign.id].tags == tags
    assert rig.api.get("services", "web") is None


async def test_an_address_is_published_only_when_the_platform_says_active(rig: ServiceRig) -> None:
    rig.cloud.balancers.activates = False
    rig.put(wire_service())
    assert await rig.sync() == 1.0
    assert await rig.sync() == 2.0
    assert rig.ingress() == []
    assert rig.kube_writes == 1
    assert "EnsuredLoadBalancer" not in rig.events.reasons()
    rig.cloud.balancers.turn(rig.only.id, BalancerState.ACTIVE)
    assert await rig.sync() is None
    assert rig.ingress() != []
    assert rig.events.reasons() == ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]


async def test_a_load_balancer_that_comes_slowly_is_told_once(rig: ServiceRig) -> None:
    rig.cloud.balancers.activates = False
    rig.put(wire_service())
    await rig.sync()
    rig.clock.now += 121
    for _ in range(3):
        assert await rig.sync() is not None
    assert rig.events.reasons().count("SyncLoadBalancerFailed") == 1
    assert "CREATING" in rig.events.text("SyncLoadBalancerFailed")
    assert "CREATING" in rig.said()["degraded-reason"]
    rig.cloud.balancers.turn(rig.only.id, BalancerState.ACTIVE)
    assert await rig.sync() is None
    assert "degraded-reason" not in rig.said()


async def test_an_error_of_the_platform_is_told_and_heals(rig: ServiceRig) -> None:
    rig.cloud.balancers.activates = False
    rig.put(wire_service())
    await rig.sync()
    rig.cloud.balancers.turn(rig.only.id, BalancerState.ERROR, "no capacity")
    assert await rig.sync() is not None
    assert "no capacity" in rig.events.text("SyncLoadBalancerFailed")
    rig.clock.now += 10_000  # it has an address, so it is never made anew
    assert await rig.sync() is not None
    one = rig.only
    rig.cloud.balancers.turn(one.id, BalancerState.ACTIVE)
    assert await rig.sync() is None
    assert rig.ingress() == [{"ip": one.addresses[0].address, "ipMode": "VIP"}]


async def test_what_is_broken_for_long_and_never_had_an_address_is_made_anew(rig: ServiceRig) -> None:
    rig.cloud.balancers.offered = type(rig.cloud.balancers.offered)(protocols=frozenset({"tcp"}), has_addresses=False)
    rig.cloud.balancers.activates = False
    rig.put(wire_service())
    await rig.sync()
    first = rig.only.id
    rig.cloud.balancers.turn(first, BalancerState.ERROR, "broken")
    await rig.sync()
    assert rig.only.id == first
    rig.clock.now += 901
    await rig.sync()
    rig.cloud.balancers.activates = True
    await rig.settle(WEB)
    assert rig.only.id != first


async def test_without_nodes_it_is_made_and_told(rig: ServiceRig) -> None:
    rig.api.delete("nodes", "n1")
    rig.api.delete("nodes", "n2")
    rig.watch()
    await made(rig)
    assert rig.only.groups[0].targets == ()
    assert "UnAvailableLoadBalancer" in rig.events.reasons()
    assert rig.ingress() != []


# Writing nothing


async def test_a_second_pass_writes_and_says_nothing(rig: ServiceRig) -> None:
    await made(rig)
    since = rig.quiet()
    await rig.sync()
    assert (since.cloud_calls, since.kube_writes, since.events) == (["offer"], [], [])


async def test_a_restart_with_many_services_writes_nothing_and_lists_once(rig: ServiceRig) -> None:
    names = [f"s{number}" for number in range(500)]
    rig.put(*(wire_service(name, annotations={"hostname": f"{name}.example.com"}) for name in names))
    await rig.settle(*(f"default/{name}" for name in names))
    assert len(rig.balancers()) == 500
    rig.restart()
    since = rig.quiet()
    await rig.settle()
    assert [point for point in since.cloud_calls if point != "offer"] == ["balancers"]
    assert (since.kube_writes, since.events) == ([], [])


async def test_a_server_that_drops_ip_mode_is_not_written_again(rig: ServiceRig) -> None:
    rig.api.objects.has_ip_mode = False
    await made(rig)
    assert "ipMode" not in rig.ingress()[0]
    since = rig.quiet()
    rig.restart()
    await rig.settle()
    assert since.kube_writes == []


async def test_a_cache_that_is_behind_causes_no_second_write(rig: ServiceRig) -> None:
    rig.put(wire_service())
    await rig.controller.reconcile(WEB)
    assert await rig.controller.reconcile(WEB) is None  # the cache still has the service without anything
    since = rig.quiet()
    assert await rig.controller.reconcile(WEB) is None
    assert (since.cloud_writes, since.kube_writes) == ([], [])
    assert len(rig.balancers()) == 1


async def test_notices_are_told_once_also_across_a_restart(rig: ServiceRig) -> None:
    await made(rig, annotations={"sticky-ttl": "60"})
    assert rig.events.reasons().count("AnnotationWithoutEffect") == 1
    assert "sticky-ttl" in rig.said()["degraded-reason"]
    rig.restart()
    since = rig.quiet()
    await rig.settle()
    assert since.events == []


# Changing


async def test_a_change_of_ports_is_one_write(rig: ServiceRig) -> None:
    await made(rig)
    since = rig.quiet()
    rig.edit("web", {"spec": wire_service(ports={80: "TCP", 443: "TCP"})["spec"]})
    await rig.settle()
    assert since.cloud_writes == ["put_group"]
    assert [one.port for one in rig.only.groups[0].listeners] == [80, 443]
    assert since.events == ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]


async def test_size_and_name_change_in_place(rig: ServiceRig) -> None:
    await made(rig)
    one = rig.only
    rig.annotate("web", size="large", name="shop")
    await rig.settle()
    assert (rig.only.id, rig.only.size, rig.only.name) == (one.id, "large", "shop")


async def test_another_shape_needs_permission(rig: ServiceRig) -> None:
    await made(rig)
    one, since = rig.only, rig.quiet()
    rig.annotate("web", internal="true")
    await rig.settle(rounds=3)
    assert (rig.only, since.cloud_writes) == (one, [])
    assert since.events.count("NeedsRecreate") == 1
    assert rig.ingress() == [{"ip": one.addresses[0].address, "ipMode": "VIP"}]
    rig.annotate("web", recreate="allow")
    await rig.settle()
    assert rig.only.id != one.id
    assert rig.ingress() == [{"ip": rig.only.addresses[0].address, "ipMode": "VIP"}]
    assert "degraded-reason" not in rig.said()


async def test_a_broken_annotation_changes_nothing_but_targets(rig: ServiceRig) -> None:
    await made(rig)
    one = rig.only
    rig.annotate("web", algorithm="fastest")
    rig.add_nodes(3)
    rig.nodes_settled()
    await rig.settle()
    assert rig.only.groups[0].listeners == one.groups[0].listeners
    assert len(rig.only.groups[0].targets) == 3
    assert "InvalidAnnotation" in rig.events.reasons()
    assert "algorithm" in rig.said()["degraded-reason"]
    assert rig.ingress() != []
    rig.annotate("web", algorithm="least-conn")
    await rig.settle()
    assert "degraded-reason" not in rig.said()


async def test_what_is_refused_from_the_start_is_not_made(rig: ServiceRig) -> None:
    await made(rig, ports={80: "SCTP"})
    assert rig.balancers() == []
    assert rig.events.reasons() == ["UnsupportedByPlatform"]
    assert not rig.is_held()


async def test_drift_is_repaired(rig: ServiceRig) -> None:
    await made(rig)
    one = rig.only
    await rig.cloud.balancers.put_group(one.id, rig.uid(), listeners=[], targets=[], deadline=1e18)
    await rig.settle(WEB)
    assert rig.only.groups[0].listeners == ()  # nothing has told of it
    rig.controller.look_again()
    await rig.settle()
    assert rig.only.groups == one.groups


async def test_drift_of_what_the_service_says_is_repaired(rig: ServiceRig) -> None:
    await made(rig)
    before = rig.ingress()
    rig.edit("web", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}})
    rig.api.patch("services", "web", {"status": {"loadBalancer": None}}, subresource="status")
    rig.watch()
    rig.controller.look_again()
    await rig.settle()
    assert rig.ingress() == before


async def test_one_that_somebody_deleted_is_made_again(rig: ServiceRig) -> None:
    await made(rig)
    one = rig.only
    del rig.cloud.balancers.all[one.id]
    rig.controller.look_again()
    await rig.settle()
    assert rig.only.id != one.id
    assert rig.ingress() == [{"ip": rig.only.addresses[0].address, "ipMode": "VIP"}]
