"""The project's own manifests, as steps install them."""

from dataclasses import replace
from pathlib import Path

import pytest

from kaas.domain.errors import StepError
from kaas.domain.model import Cni
from kaas.kube.addons.settings import AddonSettings, FlannelImages
from kaas.reconcile.steps.addons import ShippedAddons
from tests.support.kaas_flow import Rig, spec_of

DEPLOY = Path(__file__).parents[4] / "deploy"


def shipped() -> ShippedAddons:
    flannel = FlannelImages(daemon="registry.test/flannel:v1", plugin="registry.test/flannel-cni:v1")
    return ShippedAddons(AddonSettings.read(DEPLOY, flannel=flannel), "https://platform.test")


async def test_a_cluster_has_the_shipped_controller_and_driver_with_its_own_credential(rig: Rig) -> None:
    rig.planner = replace(rig.planner, addons=shipped())
    cluster_id = await rig.made(workers=1)
    objects = rig.sim.brain(cluster_id).objects
    assert "StorageClass//thecloud-block" in objects
    assert "Deployment/thecloud-ccm/thecloud-ccm" in objects
    assert "DaemonSet/thecloud-system/thecloud-csi-node" in objects
    assert {"Secret/thecloud-ccm/thecloud-api-credentials", "Secret/thecloud-system/thecloud-api-credentials"} <= set(
        objects
    )
    assert any(key.startswith("ClusterRoleBinding//kaas:") for key in objects)


def test_what_has_to_run_is_where_the_addons_are() -> None:
    namespaces = shipped().namespaces(spec_of())
    assert set(namespaces) == {"kube-system", "kube-flannel", "thecloud-ccm", "thecloud-system"}
    assert "kube-flannel" not in shipped().namespaces(spec_of(cni=Cni.BRIDGE))


def test_a_network_that_nobody_supplied_is_refused_with_a_reason() -> None:
    with pytest.raises(StepError, match="calico is not offered here"):
        shipped().network(spec_of(cni=Cni.CALICO))
