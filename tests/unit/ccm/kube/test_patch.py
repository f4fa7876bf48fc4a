"""Patches change what they name, and nothing else."""

import pytest

from ccm.kube import patch
from ccm.kube.kinds import NODES, SERVICES
from ccm.kube.model import Ingress, NodeAddress, PortStatus, Taint
from tests.support.socket_time import on_virtual_time
from tests.unit.ccm.kube.rig import by, server_and_client, service

FOREIGN = {"key": "theirs", "effect": "NoExecute", "value": "x", "timeAdded": "2026-01-01T00:00:00Z"}


@on_virtual_time
async def test_a_node_is_patched_in_two_requests():
    async with server_and_client() as (api, client):
        meta = {"name": "a", "labels": {"keep": "1", "drop": "1"}, "annotations": {"keep": "1"}}
        ours = {"key": "uninitialized", "effect": "NoSchedule"}
        spec = {"podCIDR": "10.0.0.0/24", "taints": [ours, FOREIGN]}
        api.put({"kind": "Node", "metadata": meta, "spec": spec, "status": {"nodeInfo": {"osImage": "x"}}})
        addresses = [NodeAddress(type="InternalIP", address=one) for one in ("10.0.0.1", "fd00::1")]
        first = patch.merged(patch.metadata(labels={"zone": "z", "drop": None}), patch.addresses(addresses))
        found = await client.patch(NODES, "a", subresource="status", body=first, deadline=by())
        assert found.addresses == tuple(addresses)
        version = found.metadata.resource_version
        second = patch.merged(
            patch.provider_id("thecloud://1"),
            patch.taints(one for one in found.taints if one.key == "theirs"),
            patch.metadata(resource_version=version),
        )
        assert await client.patch(NODES, "a", body=second, deadline=by()) is not None
        after = api.get("nodes", "a")
        assert after["metadata"]["labels"] == {"keep": "1", "zone": "z"}
        assert after["metadata"]["annotations"] == {"keep": "1"}
        assert after["spec"] == {"podCIDR": "10.0.0.0/24", "taints": [FOREIGN], "providerID": "thecloud://1"}
        assert after["status"]["nodeInfo"] == {"osImage": "x"}


@on_virtual_time
async def test_a_services_status_is_set_and_taken_away():
    async with server_and_client() as (api, client):
        api.put(service())
        points = [
            Ingress(ip="192.0.2.1", ip_mode="Proxy", ports=(PortStatus(port=80), PortStatus(port=53, protocol="UDP")))
        ]
        body = patch.merged(patch.metadata(annotations={"x": "y"}, finalizers=["a/b"]), patch.ingress(points))
        found = await client.patch(SERVICES, "web", "default", subresource="status", body=body, deadline=by())
        assert found.ingress == tuple(points)
        wire = api.get("services", "web")["status"]["loadBalancer"]["ingress"]
        assert wire[0]["ports"] == [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
        found = await client.patch(
            SERVICES, "web", "default", subresource="status", body=patch.ingress([]), deadline=by()
        )
        assert found.ingress == ()
        assert found.finalizers == ("a/b",)


def test_nothing_to_change_is_nothing():
    assert patch.metadata() == {}
    assert patch.merged(patch.metadata(), {}) == {}
    assert patch.metadata(finalizers=()) == {"metadata": {"finalizers": []}}
    assert patch.taints([]) == {"spec": {"taints": []}}
    assert patch.taints([Taint(key="k", effect="NoSchedule")]) == {
        "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}
    }


def test_finalizers_keep_their_order():
    assert patch.with_finalizer(("a", "b"), "c") == ("a", "b", "c")
    assert patch.with_finalizer(("a", "b"), "a") == ("a", "b")
    assert patch.without_finalizer(("a", "b", "c"), "b") == ("a", "c")


def test_parts_are_left_as_they_were_and_do_not_contradict():
    first = patch.metadata(labels={"a": "1"})
    assert patch.merged(first, patch.metadata(labels={"b": "2"})) == {"metadata": {"labels": {"a": "1", "b": "2"}}}
    assert first == {"metadata": {"labels": {"a": "1"}}}
    with pytest.raises(ValueError, match=r"metadata\.labels\.a"):
        patch.merged(first, patch.metadata(labels={"a": "2"}))
