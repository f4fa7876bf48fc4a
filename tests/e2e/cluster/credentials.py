"""What our components on a cluster are given: a namespace each, the cluster id, and a Secret with the platform key."""

from typing import Any

from tests.e2e.cluster.kubectl import Kubectl
from tests.e2e.cluster.site import Site

NAMESPACE = "thecloud-system"
"""Of the driver."""
MANAGER_NAMESPACE = "thecloud-ccm"
SECRET = "thecloud-api-credentials"
CLUSTER_ID = "e2e"


async def give_credentials(site: Site, namespace: str) -> None:
    """Make a namespace and the Secret in it, as an administrator does first. Raises ClusterError."""
    kube = Kubectl(site)
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    await kube.apply(_secret(namespace, site.api_key()))


def _secret(namespace: str, key: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": namespace},
        "stringData": {"api-key": key},
    }
