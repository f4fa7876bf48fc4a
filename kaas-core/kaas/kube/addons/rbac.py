"""What the groups in issued client certificates may do in a cluster.

Access is taken back by taking a group's binding away, since nothing revokes a certificate in Kubernetes.
"""

from collections.abc import Mapping

from kaas.kube.addons.marks import Manifest, labelled

ADDON = "rbac"
GROUP_PREFIX = "kaas:"
READER = "kaas:cluster-reader"
_API = "rbac.authorization.k8s.io"
ROLES: Mapping[str, tuple[str, ...]] = {
    "admin": ("cluster-admin",),
    "edit": ("edit", READER),
    "view": ("view", READER),
}
"""Cluster roles by the end of a group's name, `kaas:<end>` (`kaas.crypto.kubeconfig.GROUPS`).

`edit` and `view` alone know nothing that is in no namespace, without which `kubectl get nodes` fails.
"""


def role_objects() -> list[Manifest]:
    """Give the bindings of all groups, and the role that lets them see what is in no namespace."""
    bindings = [
        {
            "apiVersion": f"{_API}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"{GROUP_PREFIX}{role}:{given.removeprefix(GROUP_PREFIX)}"},
            "roleRef": {"apiGroup": _API, "kind": "ClusterRole", "name": given},
            "subjects": [{"apiGroup": _API, "kind": "Group", "name": f"{GROUP_PREFIX}{role}"}],
        }
        for role, all_given in ROLES.items()
        for given in all_given
    ]
    return labelled(ADDON, [_reader(), *bindings])


def _reader() -> Manifest:
    kinds = {
        "": ["nodes", "namespaces", "persistentvolumes"],
        "storage.k8s.io": ["storageclasses", "volumeattributesclasses", "csinodes", "csidrivers"],
        "scheduling.k8s.io": ["priorityclasses"],
        "apiextensions.k8s.io": ["customresourcedefinitions"],
        "metrics.k8s.io": ["nodes", "pods"],
    }
    rules = [
        {"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch"]}
        for group, resources in kinds.items()
    ]
    return {"apiVersion": f"{_API}/v1", "kind": "ClusterRole", "metadata": {"name": READER}, "rules": rules}
