"""The CSI driver with its StorageClass `thecloud-block`, from the shipped manifests."""

import json
import re
from collections.abc import Mapping
from typing import Any

from kaas.domain.errors import Code, StepError
from kaas.kube.addons.marks import Manifest, labelled
from kaas.kube.addons.platform import PlatformAccess, environment_patch, images_of, workload_patch
from kaas.kube.addons.settings import AddonSettings

ADDON = "csi"
NAMESPACE = "thecloud-system"
STORAGE_CLASS = "thecloud-block"
_CONTROLLER = f"Deployment/{NAMESPACE}/thecloud-csi-controller"
_NODE = f"DaemonSet/{NAMESPACE}/thecloud-csi-node"
_POLICIES_SINCE = (1, 30)
_SNAPSHOTS = "components/snapshots"
_SNAPSHOT_CONTROLLER = "components/snapshot-controller"


def csi_objects(settings: AddonSettings, platform: PlatformAccess, *, version: str = "") -> list[Manifest]:
    """Give all objects: CRDs of snapshots if there are any, the driver, its Secret. Raises ManifestError.

    `version` is the cluster's, such as `v1.29.0`; without it the cluster is taken for a new one. Before 1.30 there are
    no admission policies, and nothing narrows the node plugin's right to patch Nodes.
    """
    objects = settings.shipped.render(
        kustomization(settings, platform),
        without=() if settings.snapshot_crds else (_SNAPSHOTS,),
        texts=platform.texts(),
    )
    if version and _minor(version) < _POLICIES_SINCE:
        objects = [one for one in objects if not one["kind"].startswith("ValidatingAdmissionPolicy")]
    return labelled(ADDON, [*settings.snapshot_crds, *objects, platform.secret(NAMESPACE)])


def kustomization(settings: AddonSettings, platform: PlatformAccess) -> dict[str, Any]:
    """Give what is laid over the shipped overlay; it holds no secret, and a mark for the cluster's id."""
    controller = {**settings.controller_env, **platform.environment()}
    patches = [environment_patch(_CONTROLLER, "csi-driver", controller)]
    if settings.node_env:
        patches.append(environment_patch(_NODE, "csi-driver", settings.node_env))
    if not settings.snapshot_crds:
        patches.append(_without_snapshotter())
    if settings.is_default_class:
        patches.append(_default_class())
    return {
        "resources": [settings.csi_overlay],
        "components": [
            *([_SNAPSHOT_CONTROLLER] if settings.snapshot_crds else []),
            *(["components/private-ca"] if platform.ca_pem else []),
        ],
        "patches": patches,
        "images": images_of(settings.images),
    }


def _minor(version: str) -> tuple[int, int]:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found is None:
        raise StepError(Code.BUG, f"{version!r} is no version of Kubernetes")
    return int(found[1]), int(found[2])


def _without_snapshotter() -> Mapping[str, str]:
    """Take the sidecar away: an overlay that sizes it would leave a container without an image."""
    sidecar = {"name": "csi-snapshotter", "$patch": "delete"}
    return workload_patch(_CONTROLLER, {"template": {"spec": {"containers": [sidecar]}}})


def _default_class() -> Mapping[str, str]:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    metadata = {"name": STORAGE_CLASS, "annotations": annotations}
    patch = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata}
    return {"patch": json.dumps(patch)}
