"""What objects a cluster has, by name: to see that removing something leaves it as it was."""

from collections.abc import Mapping
from typing import Any

from tests.e2e.cluster.kubectl import Kubectl

_MOVING = frozenset(
    {
        *("pods", "events", "events.events.k8s.io", "leases.coordination.k8s.io"),
        *("endpoints", "endpointslices.discovery.k8s.io", "componentstatuses"),
        # One for each version of what somebody put there.
        *("replicasets.apps", "controllerrevisions.apps"),
    }
)
"""Resources that a cluster makes and drops by itself."""
_STAMPS = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "ownerReferences", "finalizers"}
)
_NOTES = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "kubectl.kubernetes.io/restartedAt",
        "deployment.kubernetes.io/revision",
        "deprecated.daemonset.template.generation",
        "meta.helm.sh/release-name",
        "meta.helm.sh/release-namespace",
        "app.kubernetes.io/managed-by",
    }
)
"""Annotations and labels that say how an object came, not what it is."""


async def names(kube: Kubectl) -> frozenset[str]:
    """Give `kind namespace name` of every object that somebody put into the cluster. Raises ClusterError."""
    listed = set((await kube.run("api-resources", "--verbs=list", "--output=name")).split()) - _MOVING
    columns = "KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name"
    found = await kube.run("get", ",".join(sorted(listed)), "-A", "--no-headers", "-o", f"custom-columns={columns}")
    return frozenset(" ".join(line.split()) for line in found.splitlines())


def substance(value: Any) -> Any:
    """Give an object, or a part of one, without its state and without marks of how it came to be."""
    if isinstance(value, Mapping):
        return {
            key: substance(part)
            for key, part in value.items()
            if key not in _STAMPS | _NOTES | {"status"} and not (key == "annotations" and not substance(part))
        }
    return [substance(part) for part in value] if isinstance(value, list) else value
