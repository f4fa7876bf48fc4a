"""What the small kustomize here makes of `deploy/` is what kustomize makes of it."""

import asyncio
import json
import shutil
import subprocess

import pytest

from kaas.kube.addons import ccm, csi
from kaas.kube.addons.kustomize import Shipped
from kaas.kube.addons.marks import labelled
from kaas.kube.addons.platform import PlatformAccess
from kaas.kube.addons.settings import AddonSettings
from kaas.kube.addons.yaml_text import read_manifests
from tests.golden.render import DEPLOY, GOLDEN, MANAGER_OVERLAYS, OVERLAYS, SETTINGS
from tests.golden.tools import KUSTOMIZE
from tests.support.go_tools import NoGoError, obtain
from tests.unit.kaas.kube.addons.conftest import by_name

ALL = {**OVERLAYS, **MANAGER_OVERLAYS}
IMAGES = {
    "localhost/thecloud-kubernetes-controller": "registry.example.com:5000/csi/controller:1.2.3",
    "localhost/thecloud-kubernetes-ccm": f"registry.example.com/ccm@sha256:{'a' * 64}",
    "localhost/thecloud-kubernetes-node": "registry.example.com/csi/node",
}
ODD = 'https://cloud.example.com/?a="b": {c}\n#d'
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "volumesnapshots.snapshot.storage.k8s.io"},
}


@pytest.fixture(scope="module")
def kustomize(tmp_path_factory):
    """Run the real one on a kustomization beside a copy of the manifests."""
    if not KUSTOMIZE.path.exists():
        try:
            asyncio.run(obtain(KUSTOMIZE))
        except NoGoError as error:
            pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("rendering") / "deploy"
    shutil.copytree(DEPLOY, folder)

    def run(kustomization):
        (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
        done = subprocess.run(
            [KUSTOMIZE.path, "build", str(folder)], capture_output=True, text=True, timeout=50, check=False
        )
        assert done.returncode == 0, done.stderr
        return by_name(read_manifests(done.stdout, name="kustomize"))

    return run


@pytest.mark.parametrize("name", ALL)
def test_every_overlay_is_what_is_committed(shipped, name):
    filled = Shipped({**shipped.files, "settings/settings.env": SETTINGS})
    kind = "components" if ALL[name].startswith("components/") else "resources"
    golden = (GOLDEN / "kustomize" / f"{name}.yaml").read_text()
    assert by_name(filled.render({kind: [ALL[name]]})) == by_name(read_manifests(golden, name=name))


@pytest.mark.parametrize(
    ("overlay", "ca_pem"), [("default", b""), ("default", b"pem"), ("ha", b"pem"), ("devcloud", b""), ("strict", b"")]
)
def test_a_clusters_driver_is_what_kustomize_makes(shipped, kustomize, overlay, ca_pem):
    settings = AddonSettings(
        shipped,
        csi_overlay=f"overlays/{overlay}",
        images=IMAGES,
        controller_env={"TC_REQUESTS_PER_S": "50"},
        node_env={"TC_MAX_VOLUMES": "25"},
        snapshot_crds=(CRD,),
    )
    wish = csi.kustomization(settings, PlatformAccess(ODD, "cluster-1", "key", ca_pem))
    assert by_name(shipped.render(wish)) == kustomize(wish)


@pytest.mark.parametrize("overlay", ["default", "ha", "devcloud"])
def test_a_driver_without_snapshots_is_what_kustomize_makes(shipped, kustomize, overlay):
    settings = AddonSettings(shipped, csi_overlay=f"overlays/{overlay}")
    platform = PlatformAccess("https://cloud.example.com", "cluster-1", "key")
    wish = csi.kustomization(settings, platform)
    # kustomize leaves nothing out; what it makes of the tree differs by the component's own objects.
    found, whole = by_name(shipped.render(wish, without=["components/snapshots"])), kustomize(wish)
    assert {key: one for key, one in whole.items() if key in found} == found
    assert {key for key in whole if key not in found} == {
        ("ClusterRole", "", "thecloud-csi-snapshotter"),
        ("ClusterRoleBinding", "", "thecloud-csi-snapshotter"),
        ("VolumeSnapshotClass", "", "thecloud-block"),
        ("VolumeGroupSnapshotClass", "", "thecloud-block"),
    }


@pytest.mark.parametrize("overlay", ["default", "devcloud", "strict"])
def test_a_clusters_manager_is_what_kustomize_makes(shipped, kustomize, overlay):
    settings = AddonSettings(
        shipped, ccm_overlay=f"ccm/overlays/{overlay}", images=IMAGES, manager_env={"TC_LOG_LEVEL": "debug"}
    )
    wish = ccm.kustomization(settings, PlatformAccess(ODD, "cluster-1", "key", b"pem"), nodes=1)
    assert by_name(shipped.render(wish)) == kustomize(wish)


def test_rendering_changes_nothing_of_the_tree(shipped):
    first = shipped.render({"resources": ["overlays/devcloud"]})
    before = json.dumps(first)
    labelled("net", first)
    shipped.render({"resources": ["overlays/devcloud"], "images": [{"name": "x", "newName": "y"}]})
    assert json.dumps(shipped.render({"resources": ["overlays/devcloud"]})) == before


def test_what_is_alike_is_rendered_once_and_what_differs_is_filled_in():
    patch = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"of": "${OF}"}}}
    shipped = Shipped({"n.yaml": "{apiVersion: v1, kind: Namespace, metadata: {name: n, finalizers: [kubernetes]}}"})
    wish = {"resources": ["n.yaml"], "patches": [{"patch": json.dumps(patch)}]}
    found = [shipped.render(wish, texts={"${OF}": name}) for name in ("a", "b")]
    assert [one[0]["metadata"]["labels"]["of"] for one in found] == ["a", "b"]
    assert found[0][0]["metadata"]["finalizers"] is found[1][0]["metadata"]["finalizers"]
    for number in range(100):
        shipped.render({"resources": ["n.yaml"], "images": [{"name": "x", "newName": f"y{number}"}]})
    assert len(shipped._rendered) <= 16


def test_charts_templates_are_no_manifests(shipped):
    assert not [one for one in shipped.render({"resources": ["overlays/default"]}) if "{{" in json.dumps(one)]
