"""The committed renderings of the manifests as objects, with the questions that the checks ask of them."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.golden.render import GOLDEN

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace (empty where there is none), name."""

NAMESPACE = "thecloud-system"
CONTROLLER: Key = ("Deployment", NAMESPACE, "thecloud-csi-controller")
NODE: Key = ("DaemonSet", NAMESPACE, "thecloud-csi-node")
CLUSTER_WIDE = frozenset(
    {
        "Namespace", "CSIDriver", "StorageClass", "ClusterRole", "ClusterRoleBinding", "VolumeSnapshotClass",
        "VolumeGroupSnapshotClass", "VolumeAttributesClass", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
)  # fmt: skip
WORKLOADS = frozenset({"Deployment", "DaemonSet", "StatefulSet", "Job"})


@functools.cache
def objects(tool: str, name: str) -> Mapping[Key, Object]:
    """Give the objects of a committed rendering: `kustomize` or `helm`, and the overlay's name."""
    return parse((GOLDEN / tool / f"{name}.yaml").read_text())


def parse(text: str) -> Mapping[Key, Object]:
    """Read objects; raises AssertionError for two of one name."""
    found: dict[Key, Object] = {}
    for document in yaml.safe_load_all(text):
        if document is not None:
            assert key_of(document) not in found, f"twice: {key_of(document)}"
            found[key_of(document)] = document
    return found


def key_of(document: Object) -> Key:
    """Name an object."""
    metadata = document["metadata"]
    return document["kind"], metadata.get("namespace", ""), metadata["name"]


def pods(found: Mapping[Key, Object]) -> Iterator[tuple[Key, Object]]:
    """Give the pod templates of all workloads."""
    for key, document in found.items():
        if key[0] in WORKLOADS:
            yield key, document["spec"]["template"]


def containers(template: Object) -> list[Object]:
    """Give all containers of a pod template."""
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def container(found: Mapping[Key, Object], workload: Key, name: str = "csi-driver") -> Object:
    """Give one container."""
    (one,) = [one for one in containers(found[workload]["spec"]["template"]) if one["name"] == name]
    return one


def rules(found: Mapping[Key, Object]) -> Iterator[tuple[Key, Object]]:
    """Give the rules of all roles."""
    for key, document in found.items():
        if key[0] in {"Role", "ClusterRole"}:
            for rule in document["rules"]:
                yield key, rule


def environment(one: Object, facts: Mapping[str, str]) -> dict[str, str]:
    """Give a container's environment as its process sees it; `facts` are what the kubelet fills in, by field path.

    A reference to a variable that is not defined before it stays as it is, as in Kubernetes.
    """
    seen: dict[str, str] = {}
    for entry in one.get("env", ()):
        value = facts[entry["valueFrom"]["fieldRef"]["fieldPath"]] if "valueFrom" in entry else entry["value"]
        for name, earlier in seen.items():
            value = value.replace(f"$({name})", earlier)
        seen[entry["name"]] = value
    return seen


def repository(path: Path) -> Path:
    """Give a path of this repository."""
    return Path(__file__).parents[3] / path
