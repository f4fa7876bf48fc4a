"""The network of pods: what is made, what the operator supplies, what is refused."""

import dataclasses
import json

import pytest

from kaas.domain.errors import Code, StepError
from kaas.domain.model import Cni
from kaas.kube.addons import cni
from kaas.kube.addons.problems import ManifestError
from kaas.kube.addons.settings import AddonSettings, FlannelImages
from tests.golden.render import DEPLOY
from tests.unit.kaas.kube.addons.conftest import by_name

PODS = "192.168.0.0/16"
IMAGES = FlannelImages("registry.example.com/flannel:1", "registry.example.com/flannel-plugin:1")


@pytest.fixture
def flannel(settings):
    return dataclasses.replace(settings, flannel=IMAGES)


@pytest.mark.parametrize("network", [Cni.BRIDGE, Cni.NONE])
def test_nothing_is_installed_for_these(settings, network):
    assert cni.cni_problem(settings, network) is None
    assert cni.cni_objects(settings, network, pod_cidr=PODS) == []


@pytest.mark.parametrize("network", [Cni.CALICO, Cni.CILIUM, Cni.FLANNEL])
def test_what_is_not_configured_is_not_offered(settings, network):
    problem = cni.cni_problem(settings, network)
    assert problem is not None
    assert problem.field == "cni"
    assert f"{network} is not offered here" in problem.message
    with pytest.raises(StepError) as caught:
        cni.cni_objects(settings, network, pod_cidr=PODS)
    assert caught.value.code is Code.NOT_OFFERED
    assert not caught.value.retryable


def test_a_refusal_names_what_is_offered(flannel):
    problem = cni.cni_problem(flannel, Cni.CALICO)
    assert problem is not None
    assert problem.message.endswith("offered are flannel, bridge, none")


def test_the_operators_manifests_get_the_clusters_range(tmp_path):
    file = tmp_path / "calico.yaml"
    file.write_text(
        """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {net: '{"cidr": "${KAAS_POD_CIDR}"}', list: [1]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b}
data: {other: "${KAAS_POD_CIDR_NOT}"}
"""
    )
    settings = AddonSettings.read(DEPLOY, cni_manifests={Cni.CALICO: file})
    found = cni.cni_objects(settings, Cni.CALICO, pod_cidr=PODS)
    assert found[0]["data"] == {"net": f'{{"cidr": "{PODS}"}}', "list": [1]}
    assert found[1]["data"] == {"other": "${KAAS_POD_CIDR_NOT}"}
    assert {one["metadata"]["labels"]["kaas-addon"] for one in found} == {"cni"}
    assert cni.cni_problem(settings, Cni.CILIUM) is not None
    # The file's objects stay as they were, for the next cluster.
    assert PODS not in str(settings.cni_manifests)


@pytest.mark.parametrize("text", [None, "a: [", "words"])
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path, text):
    file = tmp_path / "calico.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ManifestError, match="calico"):
        AddonSettings.read(DEPLOY, cni_manifests={Cni.CALICO: file})


def test_a_file_without_objects_offers_nothing(tmp_path):
    file = tmp_path / "calico.yaml"
    file.write_text("# nothing\n")
    settings = AddonSettings.read(DEPLOY, cni_manifests={Cni.CALICO: file})
    assert cni.cni_problem(settings, Cni.CALICO) is not None


def test_flannel(flannel):
    found = by_name(cni.cni_objects(flannel, Cni.FLANNEL, pod_cidr=PODS))
    net = json.loads(found["ConfigMap", "kube-flannel", "kube-flannel-cfg"]["data"]["net-conf.json"])
    # The port that security groups open between the machines of a cluster.
    assert net == {"Network": PODS, "Backend": {"Type": "vxlan", "Port": 4789}}
    pod = found["DaemonSet", "kube-flannel", "kube-flannel"]["spec"]["template"]["spec"]
    images = [one["image"] for one in (*pod["initContainers"], *pod["containers"])]
    assert images == [IMAGES.plugin, IMAGES.daemon, IMAGES.daemon]
    volumes = {one["name"] for one in pod["volumes"]}
    mounted = {m["name"] for one in (*pod["initContainers"], *pod["containers"]) for m in one["volumeMounts"]}
    assert mounted == volumes
    labels = found["Namespace", "", "kube-flannel"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
    assert cni.NAMESPACES[Cni.FLANNEL] == "kube-flannel"


def test_the_file_of_a_bridge():
    file = cni.bridge_conflist("192.168.3.0/24")
    content = json.loads(file.content)
    assert file.mode == 0o644
    bridge, portmap = content["plugins"]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "192.168.3.0/24"}]]
    assert bridge["ipMasq"] is False
    assert portmap["type"] == "portmap"
    assert cni.BRIDGE_CONFLIST.startswith("/etc/cni/net.d/")


@pytest.mark.parametrize("text", ["", "pods", "192.168.3.1/24", '10.0.0.0/8", "x": "'])
def test_what_is_no_range_gets_no_file(text):
    with pytest.raises(StepError, match="is none"):
        cni.bridge_conflist(text)
