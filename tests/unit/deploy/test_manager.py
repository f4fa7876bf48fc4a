"""The manifests of the cloud controller manager: rights, limits, and what they tell the program."""

from pathlib import Path

import pytest

from ccm.settings import ManagerSettings
from process.settings import options_of, read_settings
from tests.golden.render import MANAGER_NAMESPACE as NAMESPACE
from tests.golden.render import MANAGER_OVERLAYS
from tests.unit.deploy.manifests import CLUSTER_WIDE, Key, container, containers, environment, objects, rules

MANAGER: Key = ("Deployment", NAMESPACE, "thecloud-ccm")
EVERY = pytest.mark.parametrize("name", MANAGER_OVERLAYS)
FACTS = {"status.hostIP": "192.0.2.7"}
RIGHTS = {
    "nodes": {"get", "list", "watch", "patch", "delete"},
    "nodes/status": {"patch"},
    "services": {"get", "list", "watch"},
    "services/status": {"patch"},
    "events": {"create", "patch"},
    "tokenreviews": {"create"},
    "subjectaccessreviews": {"create"},
}


def settings(name: str, folder: Path) -> ManagerSettings:
    one = container(objects("kustomize", name), MANAGER, "manager")
    seen = {key: value for key, value in environment(one, FACTS).items() if key.startswith("TC_")}
    for place in ("/etc/thecloud", "/etc/autoscaler", "/etc/node-groups"):
        seen = {key: value.replace(place, str(folder)) for key, value in seen.items()}
    for file in ("api-key", "ca.crt", "tls.crt", "tls.key", "groups.yaml"):
        (folder / file).write_text("x")
    return read_settings(ManagerSettings, one["args"], seen)


@EVERY
def test_every_object_is_complete_and_in_its_place(name: str) -> None:
    for (kind, namespace, _), document in objects("kustomize", name).items():
        allowed = {""} if kind in CLUSTER_WIDE else {NAMESPACE, "kube-system"}
        assert namespace in allowed, f"{kind} in {namespace!r}"
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "thecloud-kubernetes"


@EVERY
def test_the_program_takes_its_settings(name: str, tmp_path: Path) -> None:
    known = {option.variable for option in options_of(ManagerSettings)}
    given = {entry["name"] for entry in container(objects("kustomize", name), MANAGER, "manager")["env"]}
    assert {variable for variable in given if variable.startswith("TC_")} <= known
    found = settings(name, tmp_path)
    assert found.platform_url.startswith("http")
    assert found.cluster_id
    assert (found.autoscaler_endpoint is not None) == (name == "ccm-autoscaler")
    assert (found.ca_file is not None) == (name == "ccm-autoscaler")


@EVERY
def test_probes_ask_where_the_program_answers(name: str, tmp_path: Path) -> None:
    one = container(objects("kustomize", name), MANAGER, "manager")
    endpoint = settings(name, tmp_path).http_endpoint
    assert endpoint is not None
    for kind, path in (("liveness", "/healthz"), ("readiness", "/readyz")):
        probe = one[f"{kind}Probe"]["httpGet"]
        assert probe == {"scheme": "HTTPS", "host": endpoint.host, "path": path, "port": "https"}
    assert next(port["containerPort"] for port in one["ports"] if port["name"] == "https") == endpoint.port


@EVERY
def test_it_can_start_before_there_is_a_network_a_dns_or_an_initialised_node(name: str) -> None:
    spec = objects("kustomize", name)[MANAGER]["spec"]["template"]["spec"]
    assert spec["hostNetwork"] is True
    assert spec["dnsPolicy"] == "Default"
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-cluster-critical"


@EVERY
def test_it_has_no_rights_on_its_host(name: str) -> None:
    template = objects("kustomize", name)[MANAGER]["spec"]["template"]
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    assert not [volume for volume in template["spec"]["volumes"] if "hostPath" in volume]
    for one in containers(template):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(one["resources"]["limits"]) == {"memory"}


@EVERY
def test_it_outlives_a_node_and_two_never_want_one_port(name: str) -> None:
    found = objects("kustomize", name)
    spec = found[MANAGER]["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert found["PodDisruptionBudget", NAMESPACE, "thecloud-ccm"]["spec"]["maxUnavailable"] == 1


@EVERY
def test_its_role_is_what_it_needs_and_no_secret_is_readable_unasked(name: str) -> None:
    found = objects("kustomize", name)
    role = found["ClusterRole", "", "thecloud-ccm"]
    rights = {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}
    assert rights == RIGHTS
    bound = {document["roleRef"]["name"] for (kind, _, _), document in found.items() if kind.endswith("RoleBinding")}
    assert "thecloud-ccm-certificates" not in bound
    for _, rule in rules(found):
        words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not [word for word in words if "*" in word]
    assert not [key for key in found if key[0] == "Secret"]
