"""The cloud controller manager, from the shipped manifests."""

from typing import Any

from kaas.kube.addons.marks import Manifest, labelled
from kaas.kube.addons.platform import PlatformAccess, environment_patch, images_of, workload_patch
from kaas.kube.addons.settings import AddonSettings

ADDON = "ccm"
NAMESPACE = "thecloud-ccm"
_MANAGER = f"Deployment/{NAMESPACE}/thecloud-ccm"
_REPLICAS = 2


def ccm_objects(settings: AddonSettings, platform: PlatformAccess, *, nodes: int) -> list[Manifest]:
    """Give all objects, the Secret with the key among them. Raises ManifestError.

    It uses its hosts' network, so there are never more of it than `nodes`, or one would find no place.
    """
    objects = settings.shipped.render(kustomization(settings, platform, nodes=nodes), texts=platform.texts())
    return labelled(ADDON, [*objects, platform.secret(NAMESPACE)])


def kustomization(settings: AddonSettings, platform: PlatformAccess, *, nodes: int) -> dict[str, Any]:
    """Give what is laid over the shipped overlay; it holds no secret, and a mark for the cluster's id."""
    return {
        "resources": [settings.ccm_overlay],
        "components": ["ccm/components/private-ca"] if platform.ca_pem else [],
        "patches": [
            environment_patch(_MANAGER, "manager", {**settings.manager_env, **platform.environment()}),
            workload_patch(_MANAGER, {"replicas": max(1, min(_REPLICAS, nodes))}),
        ],
        "images": images_of(settings.images),
    }
