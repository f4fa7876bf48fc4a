"""The node controller: initialisation, addresses, labels; what is written, in which order, and when nothing is."""

import pytest

from ccm.controllers.matching import Unmatched
from ccm.kube.errors import KubeError
from ccm.names import OLD_ZONE_LABEL, UNINITIALIZED_TAINT
from ccm.ports import CloudError
from tests.support.fake_api_faults import Request
from tests.support.fake_cloud import rate_limited, revoked, server_error
from tests.unit.ccm.controllers.node_rig import LABELS, Queued, controller, initialised, new_node
from tests.unit.ccm.controllers.rig import NEW, Rig, iid, instance, ip_of, wire_node


async def test_a_new_node_gets_everything_in_two_writes(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1, public_addresses=("203.0.113.9",)), instance(2))
    other = {"key": "other", "value": "x", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
    rig.put(new_node(1, taints=[NEW, other]))
    assert await controller(rig).reconcile("n1") is None
    wire = rig.wire(1)
    assert wire is not None
    assert wire["spec"] == {"providerID": f"thecloud://{iid(1)}", "taints": [other]}
    assert wire["metadata"]["labels"] == LABELS
    assert wire["status"]["addresses"] == [
        {"type": "InternalIP", "address": ip_of(1)},
        {"type": "ExternalIP", "address": "203.0.113.9"},
        {"type": "Hostname", "address": "n1"},
    ]
    assert wire["status"]["nodeInfo"] == {"kubeletVersion": "v1.36.3"}
    assert [(write.method, write.path) for write in rig.writes] == [
        ("PATCH", "/api/v1/nodes/n1/status"),
        ("PATCH", "/api/v1/nodes/n1"),
    ]
    assert rig.events.reasons() == ["Synced"]
    assert rig.metrics.written == ["status", "spec"]
    assert len(rig.metrics.ages_s) == 1
    assert 0 < rig.metrics.ages_s[0] < 60


async def test_a_crash_between_the_writes_leaves_the_taint(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1))
    rig.put(new_node(1))
    fault = rig.api.fail("PATCH", "/api/v1/nodes/n1", status=500, times=None)

    def spare_the_status(request: Request) -> None:
        fault.left = 0 if request.path.endswith("/status") else None

    rig.api.before = spare_the_status
    with pytest.raises(KubeError):
        await controller(rig).reconcile("n1")
    wire = rig.wire(1)
    assert wire is not None
    assert wire["metadata"]["labels"] == LABELS
    assert rig.taints(1) == [UNINITIALIZED_TAINT]
    assert rig.events.all == []


@pytest.mark.parametrize(
    "taint",
    [
        {"key": UNINITIALIZED_TAINT, "effect": "NoExecute"},
        {"key": UNINITIALIZED_TAINT, "effect": "PreferNoSchedule", "value": "x"},
    ],
)
async def test_the_taint_is_known_by_its_key(rig: Rig, taint: dict[str, str]) -> None:
    rig.cloud.instances.put(instance(1))
    rig.put(new_node(1, taints=[taint]))
    await controller(rig).reconcile("n1")
    assert rig.taints(1) == []


async def test_the_provider_id_of_the_kubelet_decides_and_stays(rig: Rig) -> None:
    # Its name and address would be those of instance 1.
    rig.cloud.instances.put(instance(1), instance(7, private_addresses=(ip_of(1),)))
    rig.put(new_node(1, provider_id=f"thecloud://{iid(7)}"))
    await controller(rig).reconcile("n1")
    wire = rig.wire(1)
    assert wire is not None
    assert wire["spec"]["providerID"] == f"thecloud://{iid(7)}"
    assert "providerID" not in rig.writes[1].body["spec"]


async def test_an_initialised_node_costs_nothing(rig: Rig) -> None:
    rig.cloud.instances.put(*(instance(number) for number in range(20)))
    rig.put(*(initialised(number) for number in range(20)))
    queue = Queued("node")
    node = controller(rig, queue)
    await node.sweep()
    assert queue.keys() == []
    for number in range(20):
        await node.reconcile(f"n{number}")
    assert (rig.writes, rig.events.all) == ([], [])
    assert rig.cloud.calls == [("fleet", "")]


async def test_a_dual_stack_node_costs_nothing_either(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1, private_addresses=("10.0.0.1", "fd00::1")))
    rig.put(new_node(1, addresses=[{"type": "InternalIP", "address": "10.0.0.1"}]))
    node = controller(rig)
    await node.reconcile("n1")
    rig.watch()
    before = len(rig.writes)
    await node.sweep()
    await node.reconcile("n1")
    assert len(rig.writes) == before == 2


async def test_one_listing_serves_many_new_nodes(rig: Rig) -> None:
    rig.cloud.instances.put(*(instance(number) for number in range(30)))
    rig.put(*(new_node(number) for number in range(30)))
    node = controller(rig)
    for number in range(30):
        await node.reconcile(f"n{number}")
    assert rig.cloud.calls == [("fleet", "")]


async def test_an_instance_newer_than_the_listing_is_asked_for_anew(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1))
    rig.put(new_node(1))
    node = controller(rig)
    await node.reconcile("n1")
    rig.clock.now += 2
    rig.cloud.instances.put(instance(2))
    rig.put(new_node(2))
    await node.reconcile("n2")
    assert rig.taints(2) == []
    assert rig.cloud.faults.count("fleet") == 2


async def test_unknown_nodes_do_not_cause_a_listing_each(rig: Rig) -> None:
    rig.put(*(new_node(number) for number in range(20)))
    node = controller(rig)
    for number in range(20):
        with pytest.raises(Unmatched):
            await node.reconcile(f"n{number}")
    assert rig.cloud.faults.count("fleet") == 1
    assert rig.writes == []


async def test_an_instance_that_the_listing_lacks_is_found_by_its_id(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1))
    rig.cloud.instances.hide()
    rig.put(new_node(1, provider_id=f"thecloud://{iid(1)}"))
    await controller(rig).reconcile("n1")
    assert rig.taints(1) == []


async def test_a_node_without_an_instance_is_told_of_once(rig: Rig) -> None:
    rig.cloud.instances.put(instance(2))
    rig.put(new_node(1, provider_id=f"thecloud://{iid(1)}"))
    node = controller(rig)
    for _ in range(3):
        with pytest.raises(Unmatched):
            await node.reconcile("n1")
        rig.clock.now += 2
    assert rig.taints(1) == [UNINITIALIZED_TAINT]
    assert rig.events.reasons() == ["InstanceNotFound"]


async def test_an_ambiguous_node_is_left_and_the_candidates_are_named(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1), instance(2, hostname="n1", private_addresses=(ip_of(1),)))
    rig.put(new_node(1))
    with pytest.raises(Unmatched):
        await controller(rig).reconcile("n1")
    assert rig.writes == []
    kind, reason, _, text = rig.events.all[0]
    assert (kind, reason) == ("Warning", "InstanceAmbiguous")
    assert iid(1) in text
    assert iid(2) in text


async def test_two_nodes_never_get_one_instance(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1, hostname="a", name="b"))
    rig.put(new_node(1, name="a"), new_node(1, name="b"))
    node = controller(rig)
    await node.reconcile("a")
    with pytest.raises(Unmatched) as caught:
        await node.reconcile("b")
    assert caught.value.reason == "InstanceClaimed"
    # The first one goes, and the other one is free to be it.
    rig.api.delete("nodes", "a")
    rig.watch()
    await node.reconcile("b")
    assert rig.api.get("nodes", "b")["spec"]["providerID"] == f"thecloud://{iid(1)}"  # type: ignore[index]


@pytest.mark.parametrize("provider_id", ["kwok://n1", "aws:///z/i-1", "thecloud://not-a-uuid"])
@pytest.mark.parametrize("taints", [[NEW], []])
async def test_somebody_elses_node_is_never_touched(rig: Rig, provider_id: str, taints: list[dict[str, str]]) -> None:
    rig.cloud.instances.put(instance(1))
    rig.put(wire_node(1, provider_id=provider_id, taints=taints, labels={OLD_ZONE_LABEL: "x"}))
    node = controller(rig)
    for _ in range(3):
        await node.reconcile("n1")
        await node.sweep()
    assert rig.writes == []
    assert rig.events.reasons() == ["UnknownProviderIDPrefix"]


@pytest.mark.parametrize("failure", [server_error(), rate_limited(3.0), revoked()])
async def test_an_unclear_platform_leaves_the_taint(rig: Rig, failure: CloudError) -> None:
    rig.cloud.instances.put(instance(1))
    rig.put(new_node(1))
    rig.cloud.faults.fail("fleet", failure, times=1)
    node = controller(rig)
    with pytest.raises(CloudError):
        await node.reconcile("n1")
    assert rig.writes == []
    await node.reconcile("n1")
    assert rig.taints(1) == []


async def test_a_taint_that_comes_in_between_is_kept(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1))
    rig.put(new_node(1))
    rig.api.patch("nodes", "n1", {"spec": {"taints": [NEW, {"key": "added", "effect": "NoSchedule"}]}})
    await controller(rig).reconcile("n1")
    assert rig.taints(1) == ["added"]


async def test_another_node_of_that_name_is_not_written_to(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1))
    rig.put(new_node(1))
    rig.api.delete("nodes", "n1")
    rig.api.put(new_node(1))
    await controller(rig).reconcile("n1")
    assert rig.taints(1) == [UNINITIALIZED_TAINT]
    wire = rig.wire(1)
    assert wire is not None
    assert wire["metadata"]["labels"] == {}
    assert rig.events.all == []


async def test_a_provider_id_that_comes_in_between_stops_it(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1))
    rig.put(new_node(1))
    rig.api.patch("nodes", "n1", {"spec": {"providerID": "kwok://n1"}})
    assert await controller(rig).reconcile("n1") is not None
    assert rig.taints(1) == [UNINITIALIZED_TAINT]
    wire = rig.wire(1)
    assert wire is not None
    assert wire["metadata"]["labels"] == {}


async def test_what_the_cache_has_from_before_our_write_is_not_acted_on(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1))
    rig.put(new_node(1))
    node = controller(rig)
    await node.reconcile("n1")
    asked = len(rig.api.requests)
    await node.reconcile("n1")
    assert len(rig.api.requests) == asked
    assert rig.events.reasons() == ["Synced"]


async def test_a_node_that_is_gone_or_going_is_left(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1))
    wire = new_node(1)
    wire["metadata"] |= {"finalizers": ["x/y"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    rig.put(wire)
    node = controller(rig)
    await node.reconcile("n1")
    await node.reconcile("no-such-node")
    assert (rig.writes, rig.cloud.calls) == ([], [])


# The queue


async def test_heartbeats_do_not_bring_a_node_back(rig: Rig) -> None:
    queue = Queued("node")
    controller(rig, queue)
    rig.put(new_node(1), initialised(2))
    assert queue.keys() == ["n1"]
    rig.set_ready(1, "False")
    assert queue.keys() == []
    rig.api.patch("nodes", "n1", {"metadata": {"annotations": {"a": "b"}}})
    rig.watch()
    assert queue.keys() == ["n1"]


async def test_a_new_node_that_was_missed_is_found_by_the_sweep(rig: Rig) -> None:
    rig.put(new_node(1))
    queue = Queued("node")
    node = controller(rig, queue)
    queue.keys()
    await node.sweep()
    assert queue.keys() == ["n1"]
