"""What runs, with which rights and limits: the rules of docs/security.md, held by the manifests."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from csi.server import ROLLBACK_S
from node.settings import NodeSettings
from tests.golden.render import DEPLOY, GOLDENS, OVERLAYS
from tests.unit.deploy.manifests import (
    CLUSTER_WIDE,
    CONTROLLER,
    NAMESPACE,
    NODE,
    Object,
    container,
    containers,
    objects,
    pods,
    rules,
)

EVERY = pytest.mark.parametrize("name", OVERLAYS)
WHOLE = pytest.mark.parametrize("name", [name for name in OVERLAYS if name != "snapshot-controller"])
NODE_RIGHTS = {
    ("", "nodes", "get"),
    ("", "nodes", "patch"),
    ("storage.k8s.io", "csinodes", "get"),
    ("storage.k8s.io", "volumeattachments", "get"),
    ("storage.k8s.io", "volumeattachments", "list"),
}
LAST_STEPS_S = 5.0
"""What a process needs beside its grace and rollback time to end."""
DRAIN_WAIT_S = 90.0
"""How long the node plugin's pre-stop hook waits at most."""


def test_every_rendering_is_committed() -> None:
    assert [golden.path for golden in GOLDENS if not golden.path.exists()] == []


@EVERY
def test_every_object_is_complete_and_in_its_place(name: str) -> None:
    for (kind, namespace, _), document in objects("kustomize", name).items():
        assert document["apiVersion"]
        assert namespace == ("" if kind in CLUSTER_WIDE else NAMESPACE), f"{kind} in {namespace!r}"
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "thecloud-kubernetes"


@EVERY
def test_selectors_find_their_pods(name: str) -> None:
    found = objects("kustomize", name)
    labels = [template["metadata"]["labels"] for _, template in pods(found)]
    for (kind, _, _), document in found.items():
        spec = document.get("spec", {})
        if kind in {"Deployment", "DaemonSet"}:
            assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        elif kind in {"Service", "PodDisruptionBudget", "NetworkPolicy"}:
            wanted = spec.get("podSelector", spec["selector"] if kind == "Service" else spec.get("selector"))
            wanted = wanted.get("matchLabels", wanted)
            assert any(wanted.items() <= some.items() for some in labels)


@EVERY
def test_every_container_is_bounded_and_pinned(name: str) -> None:
    for _, template in pods(objects("kustomize", name)):
        for one in containers(template):
            resources = one["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), one["name"]
            # A limit of processor time would slow an fsck or an attach at the worst moment.
            assert set(resources["limits"]) == {"memory"}, one["name"]
            repository, _, tag = one["image"].rpartition(":")
            assert re.fullmatch(r"v?[0-9]+\.[0-9]+\.[0-9]+", tag), one["image"]
            assert "/" in repository
            assert one["imagePullPolicy"] == "IfNotPresent"
            assert one["terminationMessagePolicy"] == "FallbackToLogsOnError"


def sources(pattern: str) -> Iterator[tuple[Path, Object]]:
    for path in sorted(DEPLOY.rglob(pattern)):
        if not {"chart", "examples"} & set(path.parts):
            for document in yaml.safe_load_all(path.read_text()):
                yield path, document


def image_names(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "image" and isinstance(item, str):
                yield item
            else:
                yield from image_names(item)
    elif isinstance(value, list):
        for item in value:
            yield from image_names(item)


def named_images() -> dict[str, str]:
    named: dict[str, str] = {}
    for _, document in sources("kustomization.yaml"):
        for entry in document.get("images", ()):
            assert entry["name"] not in named, f"{entry['name']} is named twice"
            named[entry["name"]] = f"{entry['newName']}:{entry['newTag']}"
    return named


def test_each_image_is_named_in_one_place() -> None:
    used = {name for _, document in sources("*.yaml") for name in image_names(document)}
    assert used == set(named_images())


def test_the_chart_names_the_same_images() -> None:
    values = yaml.safe_load((DEPLOY / "chart" / "values.yaml").read_text())["images"]
    theirs = {f"{value['repository']}:{value['tag']}" for value in values.values() if isinstance(value, dict)}
    assert theirs == {image for name, image in named_images().items() if name not in {"snapshot-controller", "ccm"}}


@EVERY
def test_only_the_node_plugin_has_rights_on_its_host(name: str) -> None:
    for key, template in pods(objects("kustomize", name)):
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in containers(template):
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
        if key == NODE:
            continue
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert not [volume for volume in spec.get("volumes", ()) if "hostPath" in volume]
        for one in containers(template):
            context = one["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not context.get("privileged")


@WHOLE
def test_the_node_plugin_is_one_container_without_any_secret(name: str) -> None:
    spec = objects("kustomize", name)[NODE]["spec"]["template"]["spec"]
    (only,) = spec["containers"]
    assert "initContainers" not in spec
    assert "secret" not in repr(spec["volumes"]).lower()
    assert "secretKeyRef" not in repr(only)
    assert "envFrom" not in only
    assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} == {"hostPath"}
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-node-critical"


@WHOLE
def test_what_the_node_plugin_mounts_reaches_the_host_and_outlives_it(name: str) -> None:
    found = objects("kustomize", name)
    only = container(found, NODE)
    mounts = {mount["name"]: mount for mount in only["volumeMounts"]}
    volumes = {volume["name"]: volume["hostPath"] for volume in found[NODE]["spec"]["template"]["spec"]["volumes"]}
    assert mounts.keys() == volumes.keys()
    kubelet = volumes["kubelet-dir"]["path"]
    # The kubelet names its paths as the host has them.
    assert mounts["kubelet-dir"]["mountPath"] == kubelet
    assert mounts["kubelet-dir"]["mountPropagation"] == "Bidirectional"
    assert volumes["plugin-dir"] == {"path": f"{kubelet}/plugins/csi.thecloud.io", "type": "DirectoryOrCreate"}
    assert volumes["registration-dir"] == {"path": f"{kubelet}/plugins_registry", "type": "Directory"}
    assert only["securityContext"]["privileged"] is True


@WHOLE
def test_keys_are_apart(name: str) -> None:
    """The driver holds the platform's key and nothing of the cluster; the sidecars the other way round."""
    spec = objects("kustomize", name)[CONTROLLER]["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    by_container = {one["name"]: {mount["name"] for mount in one["volumeMounts"]} for one in spec["containers"]}
    assert by_container.pop("csi-driver") == {"socket-dir", "credentials"}
    assert set(map(frozenset, by_container.values())) == {frozenset({"socket-dir", "kube-api-access"})}
    assert [volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume] == [
        "thecloud-api-credentials"
    ]


@EVERY
def test_no_secret_comes_with_the_manifests(name: str) -> None:
    assert not [key for key in objects("kustomize", name) if key[0] == "Secret"]


def test_the_settings_file_is_committed_empty() -> None:
    lines = (DEPLOY / "settings" / "settings.env").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["TC_PLATFORM_URL=", "TC_CLUSTER_ID="]


@EVERY
def test_roles_name_what_they_need_and_no_secret(name: str) -> None:
    for key, rule in rules(objects("kustomize", name)):
        words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not [word for word in words if "*" in word], key
        assert "nonResourceURLs" not in rule
        assert not {"secrets", "pods/exec", "serviceaccounts/token", "nodes/proxy"} & set(rule["resources"]), key
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"]), key


@WHOLE
def test_the_node_plugin_may_do_nothing_else(name: str) -> None:
    found = objects("kustomize", name)
    bindings = [
        document
        for (kind, _, _), document in found.items()
        if kind.endswith("RoleBinding")
        and any(subject["name"] == "thecloud-csi-node" for subject in document["subjects"])
    ]
    assert [binding["roleRef"]["name"] for binding in bindings] == ["thecloud-csi-node"]
    role = found["ClusterRole", "", "thecloud-csi-node"]
    rights = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert rights == NODE_RIGHTS


@WHOLE
def test_the_node_plugins_writes_are_narrowed_down_to_its_own_taint(name: str) -> None:
    found = objects("kustomize", name)
    policy = found["ValidatingAdmissionPolicy", "", "thecloud-csi-node"]["spec"]
    account = found[NODE]["spec"]["template"]["spec"]["serviceAccountName"]
    (condition,) = policy["matchConditions"]
    assert condition["expression"] == f"request.userInfo.username == 'system:serviceaccount:{NAMESPACE}:{account}'"
    assert policy["failurePolicy"] == "Fail"
    assert "csi.thecloud.io/agent-not-ready" in repr(policy["validations"])
    binding = found["ValidatingAdmissionPolicyBinding", "", "thecloud-csi-node"]["spec"]
    assert binding == {"policyName": "thecloud-csi-node", "validationActions": ["Deny"]}


@WHOLE
def test_running_calls_get_their_time_to_end(name: str) -> None:
    found = objects("kustomize", name)
    ends_in_s = NodeSettings.__dataclass_fields__["grace_s"].default + ROLLBACK_S + LAST_STEPS_S
    assert found[CONTROLLER]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= ends_in_s
    assert found[NODE]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= DRAIN_WAIT_S + ends_in_s


@WHOLE
def test_the_controller_outlives_a_node(name: str) -> None:
    found = objects("kustomize", name)
    spec = found[CONTROLLER]["spec"]
    assert spec["replicas"] >= 2
    assert found["PodDisruptionBudget", NAMESPACE, "thecloud-csi-controller"]["spec"]["maxUnavailable"] == 1
    assert {entry["topologyKey"] for entry in spec["template"]["spec"]["topologySpreadConstraints"]} >= {
        "kubernetes.io/hostname"
    }
    first, *others = spec["template"]["spec"]["containers"]
    assert first["name"] == "csi-driver"
    for one in others:
        assert "--leader-election" in one["args"], one["name"]
