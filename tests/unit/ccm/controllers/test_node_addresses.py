"""The node controller: addresses and labels."""

import pytest

from ccm.controllers.matching import Unmatched
from ccm.desired.node import AddressError
from ccm.model import InstanceState
from ccm.names import OLD_ZONE_LABEL, PROVIDED_IP_ANNOTATION, REGION_LABEL, ZONE_LABEL
from tests.unit.ccm.controllers.node_rig import LABELS, Queued, controller, initialised, new_node
from tests.unit.ccm.controllers.rig import Rig, iid, instance, ip_of, wire_node

# Addresses


async def test_the_kubelets_address_comes_first_and_alone_of_its_type(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1, private_addresses=("10.0.0.7", ip_of(1)), hostname=""))
    rig.put(new_node(1, annotations={PROVIDED_IP_ANNOTATION: ip_of(1)}, name="n1"))
    await controller(rig).reconcile("n1")
    wire = rig.wire(1)
    assert wire is not None
    assert wire["status"]["addresses"] == [
        {"type": "InternalIP", "address": ip_of(1)},
        {"type": "Hostname", "address": "n1"},
    ]


async def test_a_kubelet_address_that_the_instance_lacks_keeps_the_taint(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1))
    annotations = {PROVIDED_IP_ANNOTATION: "10.99.0.1"}
    rig.put(new_node(1, provider_id=f"thecloud://{iid(1)}", annotations=annotations))
    with pytest.raises(AddressError):
        await controller(rig).reconcile("n1")
    assert rig.writes == []
    assert rig.events.reasons() == ["InvalidNodeAddress"]


async def test_a_starting_instance_without_an_address_is_waited_for(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1, InstanceState.STARTING, private_addresses=()))
    rig.put(new_node(1, provider_id=f"thecloud://{iid(1)}", addresses=[]))
    node = controller(rig)
    with pytest.raises(Unmatched) as caught:
        await node.reconcile("n1")
    assert caught.value.reason == "InstanceHasNoAddress"
    rig.clock.now += 2
    rig.cloud.instances.put(instance(1))
    await node.reconcile("n1")
    assert rig.taints(1) == []


async def test_an_instance_that_never_tells_addresses_leaves_the_kubelets(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1, private_addresses=()))
    rig.put(new_node(1, provider_id=f"thecloud://{iid(1)}"))
    await controller(rig).reconcile("n1")
    wire = rig.wire(1)
    assert wire is not None
    assert wire["status"]["addresses"][0] == {"type": "InternalIP", "address": ip_of(1)}
    assert rig.taints(1) == []


async def test_changed_addresses_and_labels_are_found_by_one_listing(rig: Rig) -> None:
    rig.cloud.instances.put(*(instance(number) for number in range(5)))
    rig.put(*(initialised(number) for number in range(5)))
    queue = Queued("node")
    node = controller(rig, queue)
    rig.cloud.instances.put(instance(3, zone="zone-b", private_addresses=("10.7.7.7",)))
    await node.sweep()
    assert queue.keys() == ["n3"]
    await node.reconcile("n3")
    wire = rig.wire(3)
    assert wire is not None
    assert (wire["metadata"]["labels"][ZONE_LABEL], wire["metadata"]["labels"][OLD_ZONE_LABEL]) == ("zone-b", "zone-b")
    assert wire["status"]["addresses"][0]["address"] == "10.7.7.7"
    assert [write.path for write in rig.writes] == ["/api/v1/nodes/n3/status"]
    assert rig.events.reasons() == ["NodeRefreshed"]
    assert rig.cloud.calls == [("fleet", "")]


async def test_a_platform_that_tells_no_address_takes_none_away(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1, private_addresses=(), zone="", region="", instance_type=""))
    rig.put(initialised(1))
    queue = Queued("node")
    await controller(rig, queue).sweep()
    assert queue.keys() == []


async def test_an_address_that_does_not_fit_any_more_is_told_once_and_kept(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1, private_addresses=("10.7.7.7",)))
    rig.put(initialised(1, annotations={PROVIDED_IP_ANNOTATION: ip_of(1)}))
    node = controller(rig)
    for _ in range(3):
        await node.sweep()
        await node.reconcile("n1")
    assert rig.writes == []
    assert rig.events.reasons() == ["InvalidNodeAddress"]


async def test_an_empty_listing_changes_no_node(rig: Rig) -> None:
    rig.put(initialised(1))
    queue = Queued("node")
    node = controller(rig, queue)
    await node.sweep()
    await node.reconcile("n1")
    assert (rig.writes, queue.keys()) == ([], [])


# Labels


async def test_extra_labels_are_set_but_none_of_kubernetes_and_none_that_is_there(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1))
    rig.put(new_node(1, labels={"team": "theirs"}))
    extra = {"rack": "r1", "team": "ours", "node.kubernetes.io/bad": "x"}
    await controller(rig, extra_labels=extra).reconcile("n1")
    wire = rig.wire(1)
    assert wire is not None
    assert wire["metadata"]["labels"] == {**LABELS, "rack": "r1", "team": "theirs"}
    assert rig.events.reasons() == ["InvalidLabel", "Synced"]


async def test_the_old_label_is_the_one_believed_where_there_is_no_instance(rig: Rig) -> None:
    labels = {OLD_ZONE_LABEL: "z1", ZONE_LABEL: "z2", REGION_LABEL: "r"}
    queue = Queued("node")
    node = controller(rig, queue)
    rig.put(wire_node(1, provider_id="", labels=labels))
    assert queue.keys() == ["n1"]
    await node.reconcile("n1")
    wire = rig.wire(1)
    assert wire is not None
    assert wire["metadata"]["labels"] == {OLD_ZONE_LABEL: "z1", ZONE_LABEL: "z1", REGION_LABEL: "r"}
    assert len(rig.writes) == 1
