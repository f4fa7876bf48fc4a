"""The cloud controller manager, the CSI driver and the roles, as one cluster gets them."""

import base64
import dataclasses

import pytest

from kaas.crypto.kubeconfig import GROUPS
from kaas.domain.errors import StepError
from kaas.kube.addons import ccm, csi, rbac
from kaas.kube.addons.marks import ADDON_LABEL, labelled
from kaas.kube.addons.platform import PlatformAccess
from kaas.kube.addons.problems import ManifestError
from kaas.kube.addons.settings import AddonSettings
from tests.golden.render import DEPLOY
from tests.unit.kaas.kube.addons.conftest import by_name

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "volumesnapshots.snapshot.storage.k8s.io"},
}
MANAGER = ("Deployment", "thecloud-ccm", "thecloud-ccm")
CONTROLLER = ("Deployment", "thecloud-system", "thecloud-csi-controller")
NODE = ("DaemonSet", "thecloud-system", "thecloud-csi-node")


def containers(workload):
    return {one["name"]: one for one in workload["spec"]["template"]["spec"]["containers"]}


def environment(workload, container):
    return {one["name"]: one.get("value") for one in containers(workload)[container]["env"]}


def test_the_manager_is_told_of_its_cluster(settings, platform):
    found = by_name(ccm.ccm_objects(settings, platform, nodes=3))
    env = environment(found[MANAGER], "manager")
    assert (env["TC_PLATFORM_URL"], env["TC_CLUSTER_ID"]) == ("https://cloud.example.com", "0b2c8d4e")
    assert "TC_CA_FILE" not in env
    secret = found["Secret", "thecloud-ccm", "thecloud-api-credentials"]
    assert base64.b64decode(secret["data"]["api-key"]) == b"key-text"
    assert set(secret["data"]) == {"api-key"}


@pytest.mark.parametrize(("nodes", "replicas"), [(0, 1), (1, 1), (2, 2), (50, 2)])
def test_there_are_no_more_managers_than_nodes(settings, platform, nodes, replicas):
    found = by_name(ccm.ccm_objects(settings, platform, nodes=nodes))
    assert found[MANAGER]["spec"]["replicas"] == replicas


def test_a_private_authority_is_given_to_both(settings, platform):
    private = dataclasses.replace(platform, ca_pem=b"pem")
    for objects, name, container in (
        (ccm.ccm_objects(settings, private, nodes=1), MANAGER, "manager"),
        (csi.csi_objects(settings, private), CONTROLLER, "csi-driver"),
    ):
        found = by_name(objects)
        assert environment(found[name], container)["TC_CA_FILE"] == "/etc/thecloud/ca.crt"
        secret = next(one for key, one in found.items() if key[0] == "Secret")
        assert base64.b64decode(secret["data"]["ca.crt"]) == b"pem"


def test_the_clusters_own_address_wins_over_that_of_the_overlay(shipped, platform):
    settings = AddonSettings(
        shipped,
        csi_overlay="overlays/devcloud",
        ccm_overlay="ccm/overlays/devcloud",
        node_env={"TC_LOOP_DISK_DIR": "/data/disks"},
        controller_env={"TC_CLUSTER_ID": "wrong", "TC_REQUESTS_PER_S": "50"},
    )
    found = by_name([*csi.csi_objects(settings, platform), *ccm.ccm_objects(settings, platform, nodes=1)])
    assert environment(found[CONTROLLER], "csi-driver")["TC_PLATFORM_URL"] == "https://cloud.example.com"
    assert environment(found[CONTROLLER], "csi-driver")["TC_CLUSTER_ID"] == "0b2c8d4e"
    assert environment(found[CONTROLLER], "csi-driver")["TC_REQUESTS_PER_S"] == "50"
    assert environment(found[MANAGER], "manager")["TC_CLUSTER_ID"] == "0b2c8d4e"
    assert environment(found[NODE], "csi-driver")["TC_LOOP_DISK_DIR"] == "/data/disks"


def test_the_class_is_the_default_one_unless_it_shall_not(settings, platform):
    key = ("StorageClass", "", "thecloud-block")
    mark = {"storageclass.kubernetes.io/is-default-class": "true"}
    assert by_name(csi.csi_objects(settings, platform))[key]["metadata"]["annotations"] == mark
    other = dataclasses.replace(settings, is_default_class=False)
    assert "annotations" not in by_name(csi.csi_objects(other, platform))[key]["metadata"]


@pytest.mark.parametrize("overlay", ["default", "ha", "devcloud"])
def test_snapshots_are_there_with_their_kinds_only(shipped, platform, overlay):
    settings = AddonSettings(shipped, csi_overlay=f"overlays/{overlay}")
    without = by_name(csi.csi_objects(settings, platform))
    assert "csi-snapshotter" not in containers(without[CONTROLLER])
    assert all("image" in one for one in containers(without[CONTROLLER]).values())
    assert not [key for key in without if "snapshot" in key[0].lower() or "snapshot" in key[2]]
    found = by_name(csi.csi_objects(dataclasses.replace(settings, snapshot_crds=(CRD,)), platform))
    assert "csi-snapshotter" in containers(found[CONTROLLER])
    assert ("VolumeSnapshotClass", "", "thecloud-block") in found
    assert ("CustomResourceDefinition", "", "volumesnapshots.snapshot.storage.k8s.io") in found
    assert ("Deployment", "thecloud-system", "snapshot-controller") in found


@pytest.mark.parametrize(
    ("version", "policies"), [("", 2), ("v1.36.3", 2), ("v1.30.0", 2), ("v1.29.14", 0), ("v1.9.0", 0), ("v2.0.0", 2)]
)
def test_kinds_that_an_old_cluster_does_not_have_are_left_out(settings, platform, version, policies):
    objects = csi.csi_objects(settings, platform, version=version)
    assert sum(one["kind"].startswith("ValidatingAdmissionPolicy") for one in objects) == policies


def test_what_is_no_version_is_refused(settings, platform):
    with pytest.raises(StepError, match="'newest' is no version"):
        csi.csi_objects(settings, platform, version="newest")


def test_images_are_replaced(settings, platform):
    images = {"localhost/thecloud-kubernetes-ccm": "registry.example.com/ccm:9"}
    found = by_name(ccm.ccm_objects(dataclasses.replace(settings, images=images), platform, nodes=1))
    assert containers(found[MANAGER])["manager"]["image"] == "registry.example.com/ccm:9"


def test_every_object_has_the_label_of_its_addon_and_no_pod_has(settings, platform):
    for name, objects in (
        ("ccm", ccm.ccm_objects(settings, platform, nodes=1)),
        ("csi", csi.csi_objects(settings, platform)),
        ("rbac", rbac.role_objects()),
    ):
        assert {one["metadata"]["labels"][ADDON_LABEL] for one in objects} == {name}
        assert not [one for one in objects if ADDON_LABEL in str(one.get("spec"))]


def test_labelling_keeps_labels_and_changes_no_original():
    one = {"metadata": {"name": "a", "labels": {"x": "y"}}}
    assert labelled("net", [one])[0]["metadata"]["labels"] == {"x": "y", ADDON_LABEL: "net"}
    assert one["metadata"]["labels"] == {"x": "y"}


def test_the_key_is_in_no_text_but_the_secret(settings, platform):
    assert "key-text" not in repr(platform)
    assert "key-text" not in repr(csi.kustomization(settings, platform))
    objects = csi.csi_objects(settings, platform)
    assert [one["kind"] for one in objects if base64.b64encode(b"key-text").decode() in str(one)] == ["Secret"]


def test_roles():
    found = by_name(rbac.role_objects())
    bound = {
        (subject["name"], one["roleRef"]["name"])
        for one in found.values()
        if one["kind"] == "ClusterRoleBinding"
        for subject in one["subjects"]
    }
    assert bound == {
        ("kaas:admin", "cluster-admin"),
        ("kaas:edit", "edit"),
        ("kaas:edit", "kaas:cluster-reader"),
        ("kaas:view", "view"),
        ("kaas:view", "kaas:cluster-reader"),
    }
    assert {group for group, _ in bound} == set(GROUPS.values())
    reader = found["ClusterRole", "", "kaas:cluster-reader"]
    assert {verb for rule in reader["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert "secrets" not in {kind for rule in reader["rules"] for kind in rule["resources"]}


def test_reading_settings(tmp_path):
    (tmp_path / "crd.yaml").write_text("{apiVersion: v1, kind: CustomResourceDefinition, metadata: {name: a}}")
    found = AddonSettings.read(DEPLOY, snapshot_crd_dir=tmp_path, images={"a": "b"})
    assert [one["metadata"]["name"] for one in found.snapshot_crds] == ["a"]
    assert found.images == {"a": "b"}


def test_settings_that_name_nothing_are_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"has no \.yaml file"):
        AddonSettings.read(DEPLOY, snapshot_crd_dir=tmp_path)
    with pytest.raises(ManifestError, match="no such folder"):
        AddonSettings.read(tmp_path / "none")


def test_two_platforms_do_not_share_what_is_rendered(settings):
    first = by_name(ccm.ccm_objects(settings, PlatformAccess("https://a", "1", "k"), nodes=1))
    second = by_name(ccm.ccm_objects(settings, PlatformAccess("https://b", "2", "k"), nodes=1))
    assert environment(first[MANAGER], "manager")["TC_CLUSTER_ID"] == "1"
    assert environment(second[MANAGER], "manager")["TC_CLUSTER_ID"] == "2"
