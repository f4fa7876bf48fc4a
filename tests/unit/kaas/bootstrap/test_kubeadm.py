"""What kubeadm is told: whole texts of both configuration versions, and what the real kubeadm says to them."""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaas.bootstrap.kubeadm import ClusterConfig, NodeConfig, init_config, join_config, minor_of, shared_host
from kaas.domain.errors import Code, KaasError
from kaas.domain.model import Taint
from tests.unit.kaas.bootstrap.real_kubeadm import kubeadm

GOLDEN = Path(__file__).parent / "golden"
TOKEN = "abcdef.0123456789abcdef"
CA_HASH = f"sha256:{'0a' * 32}"
QUIRKS = shared_host(reserved_memory="18Gi")
OLD = ClusterConfig(
    name="dev",
    version="v1.29.0",
    endpoint="10.0.0.100:6443",
    pod_cidr="192.168.0.0/16",
    service_cidr="10.96.0.0/12",
    cert_sans=("dev.example", "10.0.0.100"),
)
NEW = replace(
    OLD,
    version="v1.36.3",
    image_repository="images.example/kubernetes",
    dns_image_tag="v1.15.0",
    etcd_image_tag="3.6.16-0",
    proxy_mode="nftables",
    quirks=QUIRKS,
)
CONTROL_PLANE = NodeConfig("dev-control-plane-0", "10.0.0.11", control_plane=True)
WORKER = NodeConfig(
    "dev-gpu-3",
    "10.0.0.23",
    taints=(Taint("example.com/gpu", "yes", "NoSchedule"),),
    labels={"pool": "gpu", "example.com/kind": "a.b"},
    provider_id="thecloud://4f1c2d3e",
)


def _init(cluster: ClusterConfig) -> str:
    return init_config(cluster, CONTROL_PLANE, join_token=TOKEN)


def _join(cluster: ClusterConfig, node: NodeConfig = WORKER) -> str:
    return join_config(cluster, node, join_token=TOKEN, ca_cert_hash=CA_HASH)


TEXTS = {
    "init-v1.29": _init(OLD),
    "init-v1.36": _init(NEW),
    "join-worker-v1.29": _join(OLD),
    "join-worker-v1.36": _join(NEW),
    "join-control-plane-v1.29": _join(OLD, CONTROL_PLANE),
    "join-control-plane-v1.36": _join(NEW, CONTROL_PLANE),
}


def _documents(text: str) -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


@pytest.mark.parametrize("name", TEXTS)
def test_the_whole_text_is_as_it_was_checked(name: str):
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("KAAS_WRITE_GOLDEN"):
        path.write_text(TEXTS[name])
    assert path.read_text() == TEXTS[name]


@pytest.mark.parametrize("name", TEXTS)
async def test_the_real_kubeadm_takes_it(name: str, tmp_path: Path):
    program = kubeadm()
    path = tmp_path / "config.yaml"
    # This kubeadm installs its own version only; of the older configuration it knows every field.
    path.write_text(TEXTS[name].replace(OLD.version, NEW.version))
    process = await asyncio.create_subprocess_exec(
        *(program, "config", "validate", "--config", path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    # Fields that it does not know are warnings to it.
    warnings = [line for line in said.decode().splitlines() if line.startswith("W") and "deprecated API" not in line]
    assert warnings == []


@pytest.mark.parametrize(
    ("version", "api"),
    [("v1.29.0", "v1beta3"), ("v1.30.14", "v1beta3"), ("v1.31.0", "v1beta4"), ("v1.31.0-rc.1", "v1beta4")],
)
def test_the_version_of_kubernetes_decides_the_version_of_the_configuration(version: str, api: str):
    cluster = replace(OLD, version=version)
    for text in (_init(cluster), _join(cluster)):
        kinds = _documents(text)
        for document in kinds.values():
            if "kubeadm" in document["apiVersion"]:
                assert document["apiVersion"] == f"kubeadm.k8s.io/{api}"


@pytest.mark.parametrize("cluster", [OLD, NEW])
def test_the_cloud_provider_is_told_to_kubelet_and_controllers_and_never_to_the_api_server(cluster: ClusterConfig):
    documents = _documents(_init(cluster))
    configuration = documents["ClusterConfiguration"]
    external = {"cloud-provider": "external"} if cluster is OLD else [{"name": "cloud-provider", "value": "external"}]
    assert configuration["controllerManager"]["extraArgs"] == external
    assert "extraArgs" not in configuration["apiServer"]
    assert "cloud-provider" in json.dumps(documents["InitConfiguration"]["nodeRegistration"]["kubeletExtraArgs"])
    without = _init(replace(cluster, cloud_provider=False)) + _join(replace(cluster, cloud_provider=False))
    assert "cloud-provider" not in without


def test_the_endpoint_is_the_same_for_all_and_in_the_certificate():
    documents = _documents(_init(NEW))
    assert documents["ClusterConfiguration"]["controlPlaneEndpoint"] == "10.0.0.100:6443"
    sans = documents["ClusterConfiguration"]["apiServer"]["certSANs"]
    assert sans == ["10.0.0.100", "10.0.0.11", "127.0.0.1", "localhost", "dev.example"]
    join = _documents(_join(NEW))["JoinConfiguration"]
    assert join["discovery"]["bootstrapToken"]["apiServerEndpoint"] == "10.0.0.100:6443"


def test_joining_always_pins_the_authority():
    for cluster in (OLD, NEW):
        for node in (WORKER, CONTROL_PLANE):
            text = _join(cluster, node)
            token = _documents(text)["JoinConfiguration"]["discovery"]["bootstrapToken"]
            assert token["caCertHashes"] == [CA_HASH]
            assert "unsafeSkipCAVerification" not in text
    for wrong in ("", "sha256:", CA_HASH[:-1], CA_HASH.upper()):
        with pytest.raises(KaasError):
            join_config(NEW, WORKER, join_token=TOKEN, ca_cert_hash=wrong)


def test_only_control_planes_join_as_such():
    assert "controlPlane" not in _documents(_join(NEW))["JoinConfiguration"]
    assert _documents(_join(NEW, CONTROL_PLANE))["JoinConfiguration"]["controlPlane"] == {
        "localAPIEndpoint": {"advertiseAddress": "10.0.0.11", "bindPort": 6443}
    }


def test_init_makes_one_token_with_an_end():
    (token,) = _documents(_init(NEW))["InitConfiguration"]["bootstrapTokens"]
    assert (token["token"], token["ttl"]) == (TOKEN, "900s")


def test_the_gate_for_local_mode_is_set_only_where_there_is_one():
    gates = {
        minor: _documents(_init(replace(OLD, version=f"v1.{minor}.0")))["ClusterConfiguration"].get("featureGates")
        for minor in range(29, 38)
    }
    assert [minor for minor, gate in gates.items() if gate] == [31, 32, 33, 34, 35]


def test_an_ordinary_machine_has_no_quirks():
    text = _init(OLD) + _join(OLD)
    for word in ("ignorePreflightErrors", "imagePullPolicy", "failCgroupV1", "failSwapOn", "eviction", "conntrack"):
        assert word not in text
    assert "fsync" not in text
    kubelet = _documents(_init(replace(OLD, quirks=QUIRKS)))["KubeletConfiguration"]
    assert "failCgroupV1" not in kubelet, "kubelets before 1.31 do not know it"


def test_what_is_optional_is_left_out():
    node = NodeConfig("dev-default-pool-0", "10.0.0.21")
    registration = _documents(_join(OLD, node))["JoinConfiguration"]["nodeRegistration"]
    assert set(registration) == {"name", "criSocket", "kubeletExtraArgs"}
    assert registration["kubeletExtraArgs"] == {"node-ip": "10.0.0.21", "cloud-provider": "external"}
    untainted = _documents(_join(OLD, replace(node, taints=())))["JoinConfiguration"]["nodeRegistration"]
    assert untainted["taints"] == []


@pytest.mark.parametrize(
    "node",
    [
        replace(WORKER, labels={"a": "b,role=admin"}),
        replace(WORKER, labels={"a=b": "c"}),
        replace(WORKER, labels={"a b": "c"}),
        replace(WORKER, labels={"": "c"}),
        replace(WORKER, labels={"a": "x" * 64}),
        replace(WORKER, taints=(Taint("a", "b", "Never"),)),
        replace(WORKER, taints=(Taint("a", "b:c", "NoSchedule"),)),
        replace(WORKER, address="10.0.0.1,::"),
        replace(WORKER, address=""),
    ],
)
def test_what_would_become_other_flags_is_refused(node: NodeConfig):
    with pytest.raises(KaasError, match=WORKER.name) as caught:
        _join(NEW, node)
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize("version", ["", "1.36.3", "v1.36", "stable", "v2.0.0", "v1.36.3\n", "v1.36.3; id"])
def test_a_version_is_exact(version: str):
    with pytest.raises(KaasError) as caught:
        minor_of(version)
    assert caught.value.code is Code.INVALID
    with pytest.raises(KaasError):
        _init(replace(OLD, version=version))


@pytest.mark.parametrize("token", ["", "abcdef", "ABCDEF.0123456789abcdef", f"{TOKEN}\n"])
def test_a_token_is_in_kubeadms_form_and_is_not_quoted_when_it_is_not(token: str):
    for call in (
        lambda: init_config(OLD, CONTROL_PLANE, join_token=token),
        lambda: join_config(OLD, WORKER, join_token=token, ca_cert_hash=CA_HASH),
    ):
        with pytest.raises(KaasError) as caught:
            call()
        assert not token or token not in str(caught.value)
