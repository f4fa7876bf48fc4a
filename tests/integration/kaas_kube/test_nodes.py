"""Nodes on a real API server: what is seen, drain with budgets, end."""

import json

import pytest

from tests.integration.kaas_kube.conftest import by

pytestmark = pytest.mark.timeout(300)
MERGE = "application/merge-patch+json"


async def make_node(raw, name, *, ready=True, **spec):
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}
    await raw.request("POST", "/api/v1/nodes", body=body, deadline=by())
    condition = {"type": "Ready", "status": "True" if ready else "False", "message": "as told", "reason": "Test"}
    status = {"status": {"conditions": [condition], "nodeInfo": {"kubeletVersion": "v1.36.3"}}}
    await raw.request("PATCH", f"/api/v1/nodes/{name}/status", body=status, content_type=MERGE, deadline=by())


async def make_namespace(raw, name):
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await raw.request("POST", "/api/v1/namespaces", body=body, deadline=by())


async def make_pod(raw, node, namespace, name, **meta):
    """A pod that runs, as far as the API server knows; it ends at once, because no kubelet would end it."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}, **meta},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "none"}],
        },
    }
    pods = f"/api/v1/namespaces/{namespace}/pods"
    await raw.request("POST", pods, body=body, deadline=by())
    status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    await raw.request("PATCH", f"{pods}/{name}/status", body=status, content_type=MERGE, deadline=by())


async def make_budget(raw, namespace, name, *, allowed):
    budgets = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}}
    metadata = {"name": name, "namespace": namespace}
    body = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}
    await raw.request("POST", budgets, body=body, deadline=by())
    await allow(raw, namespace, name, allowed)


async def allow(raw, namespace, name, count):
    """Say what the disruption controller would."""
    path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/{name}/status"
    status = {
        "observedGeneration": 1,
        "disruptionsAllowed": count,
        "currentHealthy": 1,
        "desiredHealthy": 1 - count,
        "expectedPods": 1,
    }
    await raw.request("PATCH", path, body={"status": status}, content_type=MERGE, deadline=by())


async def pods_of(raw, namespace):
    found = json.loads(await raw.request("GET", f"/api/v1/namespaces/{namespace}/pods", deadline=by()))
    return {one["metadata"]["name"] for one in found["items"]}


async def test_what_is_seen_of_nodes(access, kube, raw, name):
    taint = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"}
    await make_node(raw, f"{name}-new", ready=False, taints=[taint])
    await make_node(raw, f"{name}-old", providerID="thecloud://i-1")
    found = {one.name: one for one in await kube.nodes(access, deadline=by())}
    new, old = found[f"{name}-new"], found[f"{name}-old"]
    assert (new.ready, new.initialised, new.message) == (False, False, "as told")
    assert (old.ready, old.initialised, old.provider_id, old.version) == (True, True, "thecloud://i-1", "v1.36.3")


async def test_drain_evicts_what_a_budget_allows(access, kube, raw, name):
    await make_node(raw, name)
    await make_node(raw, f"{name}-other")
    await make_namespace(raw, name)
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": True}
    await make_pod(raw, name, name, "plain")
    await make_pod(raw, name, name, "allowed")
    await make_pod(raw, name, name, "daemon", ownerReferences=[owner])
    await make_pod(raw, f"{name}-other", name, "elsewhere")
    await make_budget(raw, name, "allowed", allowed=1)
    assert await kube.drain(access, name, deadline=by()) == []
    assert await pods_of(raw, name) == {"daemon", "elsewhere"}
    node = next(one for one in await kube.nodes(access, deadline=by()) if one.name == name)
    assert not node.schedulable


async def test_drain_stops_before_a_budget_that_forbids(access, kube, raw, name):
    await make_node(raw, name)
    await make_namespace(raw, name)
    await make_pod(raw, name, name, "plain")
    await make_pod(raw, name, name, "forbidden")
    await make_budget(raw, name, "forbidden", allowed=0)
    left = await kube.drain(access, name, deadline=by(2))
    assert len(left) == 1
    assert left[0].startswith(f"pod {name}/forbidden: its disruption budget does not allow the eviction: ")
    assert await pods_of(raw, name) == {"forbidden"}
    await allow(raw, name, "forbidden", 1)
    assert await kube.drain(access, name, deadline=by()) == []
    assert await pods_of(raw, name) == set()


async def test_a_node_is_deleted_once(access, kube, raw, name):
    await make_node(raw, name)
    await kube.delete_node(access, name, deadline=by())
    assert name not in {one.name for one in await kube.nodes(access, deadline=by())}
    await kube.delete_node(access, name, deadline=by())
    assert list(await kube.drain(access, name, deadline=by())) == []
