"""What the manifests tell the programs is what they understand, and ports, probes and folders meet."""

import re
from pathlib import Path

import pytest

from controller.doctor import DoctorSettings
from controller.settings import ControllerSettings
from csi.endpoint import UnixEndpoint
from csi.identity import DRIVER_NAME
from node.settings import EXTENDED_PLUGIN_CAPABILITIES, NodeSettings
from process.settings import options_of, read_settings
from tests.golden.render import OVERLAYS
from tests.unit.deploy.manifests import CONTROLLER, NAMESPACE, NODE, Object, container, containers, environment, objects

WHOLE = [name for name in OVERLAYS if name != "snapshot-controller"]
EVERY = pytest.mark.parametrize("name", WHOLE)
FACTS = {
    "status.podIP": "192.0.2.7",
    "spec.nodeName": "worker-1",
    "metadata.name": "thecloud-csi-controller-0",
    "metadata.namespace": NAMESPACE,
}
IPV6 = {**FACTS, "status.podIP": "2001:db8::7"}
PAGES = {"/healthz", "/readyz", "/metrics"}
ONLY_EXTENDED = {
    "--strict-topology",
    "--enable-capacity",
    "--capacity-ownerref-level=2",
    "--kube-api-capacity-qps=20",
    "--kube-api-capacity-burst=100",
}


def controller_settings(name: str, folder: Path, facts: dict[str, str] = FACTS) -> ControllerSettings:
    seen = environment(container(objects("kustomize", name), CONTROLLER), facts)
    for file in ("api-key", "ca.crt"):
        (folder / file).write_text("x")
    return read_settings(
        ControllerSettings, [], {key: value.replace("/etc/thecloud", str(folder)) for key, value in seen.items()}
    )


def node_settings(name: str, facts: dict[str, str] = FACTS) -> NodeSettings:
    return read_settings(NodeSettings, [], environment(container(objects("kustomize", name), NODE), facts))


@EVERY
def test_every_setting_is_known(name: str) -> None:
    for workload, settings in ((CONTROLLER, ControllerSettings), (NODE, NodeSettings)):
        one = container(objects("kustomize", name), workload)
        given = {entry["name"] for entry in one["env"] if entry["name"].startswith("TC_")}
        assert given <= {option.variable for option in options_of(settings)}
        # All by the environment: `doctor` and the pre-stop hook, started in the container, read the same.
        assert "args" not in one
        assert "command" not in one


@EVERY
def test_the_controller_takes_its_settings(name: str, tmp_path: Path) -> None:
    settings = controller_settings(name, tmp_path)
    assert settings.endpoint == UnixEndpoint(Path("/csi/csi.sock"))
    assert settings.api_key_file == tmp_path / "api-key"
    assert (settings.ca_file is not None) == (name == "production")
    assert settings.platform_url.startswith("http")


@EVERY
def test_the_doctors_need_no_more_than_the_containers_environment(name: str, tmp_path: Path) -> None:
    found = objects("kustomize", name)
    (tmp_path / "ca.crt").touch()
    seen = environment(container(found, CONTROLLER), FACTS)
    given = {key: value.replace("/etc/thecloud", str(tmp_path)) for key, value in seen.items()}
    assert read_settings(DoctorSettings, [], given).platform_url.startswith("http")


@EVERY
def test_the_node_plugin_takes_its_settings_and_finds_its_folders(name: str) -> None:
    settings = node_settings(name)
    assert settings.node_name == "worker-1"
    found = objects("kustomize", name)
    volumes = {volume["name"]: volume for volume in found[NODE]["spec"]["template"]["spec"]["volumes"]}
    host_path = {
        mount["mountPath"]: volumes[mount["name"]]["hostPath"]["path"]
        for mount in container(found, NODE)["volumeMounts"]
    }
    assert isinstance(settings.endpoint, UnixEndpoint)
    socket = settings.endpoint.path
    assert Path(host_path[str(socket.parent)]) / socket.name == settings.socket_for_kubelet
    assert host_path[str(settings.registration_dir)] == f"{settings.kubelet_dir}/plugins_registry"
    # Records outlive the container: their folder is the host's.
    assert settings.state_folder.is_relative_to(host_path[str(settings.kubelet_dir)])
    assert settings.plugin_capabilities == (
        ("CONTROLLER_SERVICE",) if name == "strict" else EXTENDED_PLUGIN_CAPABILITIES
    )


def test_a_pod_of_ipv6_addresses_listens_as_well(tmp_path: Path) -> None:
    for settings in (controller_settings("default", tmp_path, IPV6), node_settings("default", IPV6)):
        assert settings.http_endpoint is not None
        assert settings.http_endpoint.authority == "[2001:db8::7]:9808"


@EVERY
def test_probes_ask_where_the_program_answers(name: str, tmp_path: Path) -> None:
    found = objects("kustomize", name)
    for workload, settings in ((CONTROLLER, controller_settings(name, tmp_path)), (NODE, node_settings(name))):
        one = container(found, workload)
        assert settings.http_endpoint is not None
        assert settings.http_endpoint.host == FACTS["status.podIP"]
        assert one["ports"] == [{"name": "metrics", "containerPort": settings.http_endpoint.port}]
        probes = {kind: one[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")}
        assert probes["liveness"] == {"path": "/healthz", "port": "metrics"}
        assert probes["readiness"] == {"path": "/readyz", "port": "metrics"}
        assert {probe["path"] for probe in probes.values()} <= PAGES


def sidecars(name: str) -> list[Object]:
    return containers(objects("kustomize", name)[CONTROLLER]["spec"]["template"])[1:]


@EVERY
def test_sidecars_reach_the_driver_and_serve_metrics_where_they_say(name: str) -> None:
    for one in sidecars(name):
        assert "--csi-address=/csi/csi.sock" in one["args"]
        (port,) = one["ports"]
        assert f"--http-endpoint=:{port['containerPort']}" in one["args"]
        assert port["name"] == one["name"].removeprefix("csi-")
        assert len({flag.partition("=")[0] for flag in one["args"]}) == len(one["args"])


@EVERY
def test_no_two_containers_of_a_pod_want_one_port(name: str) -> None:
    for workload in (CONTROLLER, NODE):
        ports = [
            port["containerPort"]
            for one in containers(objects("kustomize", name)[workload]["spec"]["template"])
            for port in one["ports"]
        ]
        assert len(set(ports)) == len(ports)


def test_prometheus_is_let_in_to_every_port_that_it_is_told_of() -> None:
    found = objects("kustomize", "production")
    ports = {
        port["name"]: port["containerPort"]
        for workload in (CONTROLLER, NODE)
        for one in containers(found[workload]["spec"]["template"])
        for port in one["ports"]
    }
    (monitor,) = [document for (kind, _, _), document in found.items() if kind == "ServiceMonitor"]
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} == set(ports)
    (rule,) = found["NetworkPolicy", NAMESPACE, "thecloud-csi-metrics"]["spec"]["ingress"]
    assert {port["port"] for port in rule["ports"]} == set(ports)
    for (kind, _, _), document in found.items():
        if kind == "Service":
            assert document["metadata"]["labels"].items() >= monitor["spec"]["selector"]["matchLabels"].items()
            for port in document["spec"]["ports"]:
                assert port["name"] == port["targetPort"]
                assert ports[port["targetPort"]] == port["port"]


@EVERY
def test_without_monitoring_nobody_is_let_in(name: str) -> None:
    policies = {key[2]: document for key, document in objects("kustomize", name).items() if key[0] == "NetworkPolicy"}
    assert policies["thecloud-csi"]["spec"]["policyTypes"] == ["Ingress"]
    assert "ingress" not in policies["thecloud-csi"]["spec"]
    assert (len(policies) == 2) == (name == "production")


@EVERY
def test_the_driver_object_says_what_the_driver_does(name: str) -> None:
    spec = objects("kustomize", name)["CSIDriver", "", DRIVER_NAME]["spec"]
    assert spec == {
        "attachRequired": True,
        "podInfoOnMount": False,
        "requiresRepublish": False,
        "fsGroupPolicy": "File",
        "seLinuxMount": True,
        "storageCapacity": name != "strict",
        "nodeAllocatableUpdatePeriodSeconds": 60,
        "volumeLifecycleModes": ["Persistent"],
    }


@EVERY
def test_classes_belong_to_the_driver_and_wait_for_the_pod(name: str) -> None:
    found = objects("kustomize", name)
    storage = found["StorageClass", "", "thecloud-block"]
    assert storage["provisioner"] == DRIVER_NAME
    assert storage["volumeBindingMode"] == "WaitForFirstConsumer"
    assert storage["allowVolumeExpansion"] is (name != "strict")
    snapshots = [document["driver"] for key, document in found.items() if key[0].endswith("SnapshotClass")]
    assert snapshots == ([] if name == "strict" else [DRIVER_NAME, DRIVER_NAME])


def test_a_strict_platform_gets_nothing_that_it_cannot_do() -> None:
    by_name = {one["name"]: one["args"] for one in sidecars("strict")}
    assert set(by_name) == {"csi-provisioner", "csi-attacher"}
    usual = {one["name"]: one["args"] for one in sidecars("default")}
    assert by_name["csi-attacher"] == usual["csi-attacher"]
    assert by_name["csi-provisioner"] == [flag for flag in usual["csi-provisioner"] if flag not in ONLY_EXTENDED]
    assert set(usual["csi-provisioner"]) > ONLY_EXTENDED
    roles = {key[2] for key in objects("kustomize", "strict") if key[0] == "ClusterRole"}
    assert roles == {"thecloud-csi-provisioner", "thecloud-csi-attacher", "thecloud-csi-node"}


def test_the_pages_are_those_of_the_programs() -> None:
    text = (Path(__file__).parents[3] / "csi" / "program.py").read_text()
    assert set(re.findall(r'"(/[a-z]+)": health', text)) == PAGES
