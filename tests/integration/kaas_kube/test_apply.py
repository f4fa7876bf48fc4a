"""Applying on a real API server: what is shipped is accepted, twice is once, what is no longer there goes."""

import json

import pytest

from kaas.domain.errors import Code, StepError
from kaas.domain.model import Cni
from kaas.kube.addons import ccm, cni, csi, rbac
from kaas.kube.addons.marks import labelled
from kaas.kube.addons.platform import PlatformAccess
from kaas.kube.addons.settings import AddonSettings, FlannelImages
from kaas.kube.apply import name_of, namespace_of
from kaas.kube.discovery import Discovery
from tests.golden.render import DEPLOY
from tests.integration.kaas_kube.conftest import by
from tests.support.cache import cache_folder

pytestmark = pytest.mark.timeout(300)
PLATFORM = PlatformAccess("https://cloud.example.com", "cluster-1", "key", b"pem")
SNAPSHOT_CRDS = next(iter(sorted(cache_folder().glob("cluster/manifests/snapshot-crds-*"))), None)


def crd(name):
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    plural = name.replace("-", "") + "s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{name}.example.org"},
        "spec": {
            "group": f"{name}.example.org",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural[:-1], "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def namespace(name):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def config(name, namespace, **data):
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def versions(raw, objects):
    """The resource version of each object, which changes with every write that changes something."""
    places = Discovery(raw, deadline=by())
    found = {}
    for one in objects:
        place = await places.resource(one["apiVersion"], one["kind"])
        path = place.path(name_of(one), namespace_of(one))
        found[path] = json.loads(await raw.request("GET", path, deadline=by()))["metadata"]["resourceVersion"]
    return found


def shipped(addon):
    settings = AddonSettings.read(
        DEPLOY, snapshot_crd_dir=SNAPSHOT_CRDS, flannel=FlannelImages("registry/a:1", "registry/b:1")
    )
    return {
        "ccm": lambda: ccm.ccm_objects(settings, PLATFORM, nodes=3),
        "csi": lambda: csi.csi_objects(settings, PLATFORM),
        "cni": lambda: cni.cni_objects(settings, Cni.FLANNEL, pod_cidr="192.168.0.0/16"),
        "rbac": rbac.role_objects,
    }[addon]()


@pytest.mark.parametrize("addon", ["ccm", "csi", "cni", "rbac"])
async def test_an_addon_applied_twice_changes_nothing(access, kube, raw, addon):
    if addon == "csi" and SNAPSHOT_CRDS is None:
        pytest.skip("the CRDs of snapshots are not in the cache: `make cluster` gets them")
    objects = shipped(addon)
    await kube.apply(access, objects, deadline=by())
    first = await versions(raw, objects)
    assert len(first) == len(objects)
    await kube.apply(access, objects, deadline=by())
    # The server itself writes the status of CRDs and policies in the meantime.
    changing = ("/customresourcedefinitions/", "/validatingadmissionpolicies/")
    stable = {path: version for path, version in first.items() if not any(one in path for one in changing)}
    again = await versions(raw, objects)
    assert {path: again[path] for path in stable} == stable
    assert await kube.prune(access, addon, objects, deadline=by()) == []


async def test_new_kinds_and_namespaces_come_before_what_needs_them(access, kube, raw, name):
    widget = {
        "apiVersion": f"{name}.example.org/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": name},
        "spec": {"size": 1},
    }
    await kube.apply(access, [widget, crd(name), namespace(name)], deadline=by())
    assert len(await versions(raw, [widget])) == 1


async def test_what_others_changed_is_taken_back(access, kube, raw, name):
    objects = [namespace(name), config("c", name, a="1")]
    await kube.apply(access, objects, deadline=by())
    path = f"/api/v1/namespaces/{name}/configmaps/c"
    body = {"data": {"a": "2", "b": "theirs"}}
    await raw.request("PATCH", path, body=body, content_type="application/merge-patch+json", deadline=by())
    await kube.apply(access, objects, deadline=by())
    found = json.loads(await raw.request("GET", path, deadline=by()))
    assert found["data"] == {"a": "1", "b": "theirs"}


async def test_a_field_that_is_no_longer_wished_goes(access, kube, raw, name):
    await kube.apply(access, [namespace(name), config("c", name, a="1", b="2")], deadline=by())
    await kube.apply(access, [config("c", name, a="1")], deadline=by())
    found = json.loads(await raw.request("GET", f"/api/v1/namespaces/{name}/configmaps/c", deadline=by()))
    assert found["data"] == {"a": "1"}


async def test_prune_deletes_what_an_addon_no_longer_has(access, kube, raw, name):
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [],
    }
    objects = labelled(name, [namespace(name), config("kept", name), config("old", name), role])
    await kube.apply(access, [*objects, config("users", name)], deadline=by())
    assert sorted(await kube.prune(access, name, objects[1:2], deadline=by())) == [
        f"ClusterRole {name}",
        f"ConfigMap {name}/old",
    ]
    left = json.loads(await raw.request("GET", f"/api/v1/namespaces/{name}/configmaps", deadline=by()))
    assert {one["metadata"]["name"] for one in left["items"]} >= {"kept", "users"}
    assert "old" not in {one["metadata"]["name"] for one in left["items"]}
    # Namespaces stay, although this one is no longer among the objects.
    assert json.loads(await raw.request("GET", f"/api/v1/namespaces/{name}", deadline=by()))["status"]["phase"] == (
        "Active"
    )
    assert await kube.prune(access, name, objects[1:2], deadline=by()) == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"data": {"a": 1}}, r"PATCH ConfigMap .*/c at https://127\.0\.0\.1"),
        ({"dta": {}}, "dta"),
        ({"metadata": {"name": "Not A Name"}}, "Not A Name"),
    ],
)
async def test_a_broken_object_is_refused_by_name(access, kube, name, broken, said):
    await kube.apply(access, [namespace(name)], deadline=by())
    one = config("c", name) | broken
    one["metadata"] = {"namespace": name, **one["metadata"]}
    with pytest.raises(StepError, match=said) as caught:
        await kube.apply(access, [one], deadline=by())
    assert caught.value.code is Code.ADDON_FAILED


async def test_a_namespace_that_is_missing_is_said(access, kube, name):
    with pytest.raises(StepError, match=f'404 NotFound: namespaces "{name}" not found') as caught:
        await kube.apply(access, [config("c", name)], deadline=by())
    assert caught.value.code is Code.ADDON_FAILED


async def test_a_kind_that_the_cluster_does_not_have_is_named(access, kube):
    one = {"apiVersion": "none.example.org/v1", "kind": "Gadget", "metadata": {"name": "g"}}
    with pytest.raises(StepError, match="the cluster has no kind Gadget"):
        await kube.apply(access, [one], deadline=by())


async def test_a_broken_secret_is_not_quoted(access, kube, name):
    await kube.apply(access, [namespace(name)], deadline=by())
    one = config("c", name) | {"kind": "Secret", "data": {"key": "not base64: hidden"}}
    with pytest.raises(StepError) as caught:
        await kube.apply(access, [one], deadline=by())
    assert "hidden" not in str(caught.value)
    assert f"Secret {name}/c" in str(caught.value)


async def test_roles_of_groups(cluster, access, kube):
    await kube.apply(access, rbac.role_objects(), deadline=by())
    for group, may in (("kaas:admin", True), ("kaas:view", True), ("kaas:nobody", False)):
        mine = cluster.access(group)
        if may:
            await kube.nodes(mine, deadline=by())
        else:
            with pytest.raises(StepError, match="403 Forbidden"):
                await kube.nodes(mine, deadline=by())
    with pytest.raises(StepError, match="403 Forbidden"):
        await kube.apply(cluster.access("kaas:view"), [namespace("never")], deadline=by())
