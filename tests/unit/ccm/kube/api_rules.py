"""What controllers rely on the API server for; holds for the fake one and for a real one alike."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ccm.kube import patch
from ccm.kube.client import ApiError, KubeClient
from ccm.kube.events import EVENTS
from ccm.kube.kinds import LEASES, NODES, SERVICES
from ccm.kube.model import Ingress, NodeAddress, Taint

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
Rule = Callable[[KubeClient], Awaitable[None]]


def by(seconds: float = 30.0) -> float:
    return asyncio.get_running_loop().time() + seconds


def node_wire(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}


def service_wire(name: str) -> dict[str, Any]:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


async def a_provider_id_is_written_once(client: KubeClient) -> None:
    await client.create(NODES, node_wire("once"), deadline=by())
    found = await client.patch(NODES, "once", body=patch.provider_id("thecloud://1"), deadline=by())
    assert found is not None
    assert found.spec.provider_id == "thecloud://1"
    with pytest.raises(ApiError, match="providerID") as refused:
        await client.patch(NODES, "once", body=patch.provider_id("thecloud://2"), deadline=by())
    assert refused.value.status == 422


async def a_nodes_status_takes_labels_and_addresses_and_no_spec(client: KubeClient) -> None:
    await client.create(NODES, node_wire("status"), deadline=by())
    addresses = [NodeAddress(type="InternalIP", address=one) for one in ("10.0.0.1", "10.0.0.2")]
    taint = Taint(key="k", effect="NoSchedule")
    body = patch.merged(
        patch.metadata(labels={"zone": "z"}, annotations={"a": "b"}),
        patch.addresses(addresses),
        patch.provider_id("thecloud://1"),
        patch.taints([taint]),
    )
    found = await client.patch(NODES, "status", subresource="status", body=body, deadline=by())
    assert found is not None
    assert found.addresses == tuple(addresses)
    assert (found.labels["zone"], found.annotations["a"]) == ("z", "b")
    assert found.spec.provider_id == ""
    assert taint not in found.taints
    found = await client.patch(NODES, "status", body=patch.addresses([]) | patch.taints([taint]), deadline=by())
    assert found is not None
    assert found.addresses == tuple(addresses)
    assert [one.key for one in found.taints] == ["k"]


async def a_new_node_is_tainted_until_it_is_ready(client: KubeClient) -> None:
    made = await client.create(NODES, node_wire("tainted"), deadline=by())
    assert made.taints == (Taint(key="node.kubernetes.io/not-ready", effect="NoSchedule"),)


async def a_services_status_takes_metadata_and_no_spec(client: KubeClient) -> None:
    await client.create(SERVICES, service_wire("status"), "default", deadline=by())
    body = patch.merged(
        patch.metadata(finalizers=[FINALIZER], annotations={"a": "b"}),
        patch.ingress([Ingress(ip="192.0.2.1")]),
        {"spec": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}},
    )
    found = await client.patch(SERVICES, "status", "default", subresource="status", body=body, deadline=by())
    assert found is not None
    assert found.finalizers == (FINALIZER,)
    assert found.annotations["a"] == "b"
    assert [(one.ip, one.ip_mode) for one in found.ingress] == [("192.0.2.1", "VIP")]
    assert found.spec.load_balancer_source_ranges is None
    body = patch.ingress([Ingress(hostname="x.example", ip_mode="Proxy")])
    with pytest.raises(ApiError) as refused:
        await client.patch(SERVICES, "status", "default", subresource="status", body=body, deadline=by())
    assert refused.value.status == 422


async def finalizers_hold_a_deletion_and_none_may_come(client: KubeClient) -> None:
    body = service_wire("held")
    body["metadata"]["finalizers"] = [FINALIZER]
    made = await client.create(SERVICES, body, "default", deadline=by())
    assert await client.delete(SERVICES, "held", "default", uid=made.metadata.uid, deadline=by())
    going = await client.get(SERVICES, "held", "default", deadline=by())
    assert going is not None
    assert going.is_going
    more = patch.metadata(finalizers=[FINALIZER, "example.org/more"])
    with pytest.raises(ApiError, match="finalizer") as refused:
        await client.patch(SERVICES, "held", "default", subresource="status", body=more, deadline=by())
    assert refused.value.status == 422
    none = patch.metadata(finalizers=[])
    last = await client.patch(SERVICES, "held", "default", subresource="status", body=none, deadline=by())
    assert last is not None
    assert await client.get(SERVICES, "held", "default", deadline=by()) is None


async def preconditions_are_kept(client: KubeClient) -> None:
    made = await client.create(NODES, node_wire("guarded"), deadline=by())
    await client.patch(NODES, "guarded", body=patch.metadata(labels={"a": "b"}), deadline=by())
    stale = patch.taints([]) | patch.metadata(resource_version=made.metadata.resource_version)
    with pytest.raises(ApiError) as refused:
        await client.patch(NODES, "guarded", body=stale, deadline=by())
    assert refused.value.is_conflict
    with pytest.raises(ApiError) as refused:
        await client.delete(NODES, "guarded", uid="another", deadline=by())
    assert refused.value.is_conflict
    assert await client.delete(NODES, "guarded", uid=made.metadata.uid, deadline=by()) is True
    assert await client.delete(NODES, "guarded", uid=made.metadata.uid, deadline=by()) is False


async def a_write_that_changes_nothing_makes_no_version(client: KubeClient) -> None:
    await client.create(NODES, node_wire("same"), deadline=by())
    first = await client.patch(NODES, "same", body=patch.metadata(labels={"a": "b"}), deadline=by())
    second = await client.patch(NODES, "same", body=patch.metadata(labels={"a": "b"}), deadline=by())
    assert first is not None
    assert second is not None
    assert first.metadata.resource_version == second.metadata.resource_version


async def a_name_is_taken_once(client: KubeClient) -> None:
    await client.create(NODES, node_wire("taken"), deadline=by())
    with pytest.raises(ApiError) as refused:
        await client.create(NODES, node_wire("taken"), deadline=by())
    assert (refused.value.status, refused.value.reason) == (409, "AlreadyExists")


async def a_lease_is_replaced_by_version(client: KubeClient) -> None:
    spec = {"holderIdentity": "one", "leaseDurationSeconds": 15}
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "rule"}, "spec": spec}
    made = await client.create(LEASES, body, "default", deadline=by())
    with pytest.raises(ApiError) as refused:
        await client.replace(LEASES, "rule", "default", body=body, deadline=by())
    assert refused.value.status == 422
    meta = {"name": "rule", "resourceVersion": made.metadata.resource_version}
    free = {"holderIdentity": "", "leaseDurationSeconds": 1}
    found = await client.replace(
        LEASES, "rule", "default", body={**body, "metadata": meta, "spec": free}, deadline=by()
    )
    assert found is not None
    assert found.spec.holder_identity == ""
    with pytest.raises(ApiError) as refused:
        await client.replace(LEASES, "rule", "default", body={**body, "metadata": meta}, deadline=by())
    assert refused.value.is_conflict


async def an_event_is_made_under_its_own_name(client: KubeClient) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web.1", "namespace": "default"},
        "involvedObject": {"kind": "Service", "apiVersion": "v1", "namespace": "default", "name": "web", "uid": "u"},
        "type": "Normal",
        "reason": "Ensured",
        "message": "done",
        "source": {"component": "x"},
        "count": 1,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    await client.create(EVENTS, body, "default", deadline=by())
    assert await client.patch(EVENTS, "web.1", "default", body={"count": 2}, deadline=by()) is not None


RULES: tuple[Rule, ...] = (
    a_provider_id_is_written_once,
    a_nodes_status_takes_labels_and_addresses_and_no_spec,
    a_new_node_is_tainted_until_it_is_ready,
    a_services_status_takes_metadata_and_no_spec,
    finalizers_hold_a_deletion_and_none_may_come,
    preconditions_are_kept,
    a_write_that_changes_nothing_makes_no_version,
    a_name_is_taken_once,
    a_lease_is_replaced_by_version,
    an_event_is_made_under_its_own_name,
)
