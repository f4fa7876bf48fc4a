"""Flannel with VXLAN, as data."""

import json
from typing import Any

from kaas.kube.addons.marks import Manifest
from kaas.kube.addons.settings import FlannelImages

NAMESPACE = "kube-flannel"
VXLAN_PORT = 4789
"""The registered one, which the clusters' security groups open; Linux' own default is another."""
_NAME = "kube-flannel"
_CONFIG = "kube-flannel-cfg"
_CNI_FOLDER = "/etc/cni/net.d"
_PLUGINS = "/opt/cni/bin"
_LABELS = {"app.kubernetes.io/name": "flannel"}


def objects(images: FlannelImages, *, pod_cidr: str) -> list[Manifest]:
    """Give all objects; `pod_cidr` is what the controller manager takes the nodes' ranges from."""
    privileged = {"pod-security.kubernetes.io/enforce": "privileged"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": privileged}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta("flannel")},
        _role(),
        _binding(),
        _config(pod_cidr),
        _daemon_set(images),
    ]


def _meta(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": NAMESPACE}


def _role() -> Manifest:
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
    ]
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    return {**kind, "metadata": {"name": "flannel"}, "rules": rules}


def _binding() -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "flannel"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flannel"},
        "subjects": [{"kind": "ServiceAccount", "name": "flannel", "namespace": NAMESPACE}],
    }


def _config(pod_cidr: str) -> Manifest:
    cni = {
        "name": "cbr0",
        "cniVersion": "1.0.0",
        "plugins": [
            {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    net = {"Network": pod_cidr, "Backend": {"Type": "vxlan", "Port": VXLAN_PORT}}
    data = {"cni-conf.json": json.dumps(cni, indent=2), "net-conf.json": json.dumps(net, indent=2)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(_CONFIG), "data": data}


def _daemon_set(images: FlannelImages) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": _meta(_NAME),
        "spec": {
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": _pod(images)},
        },
    }


def _pod(images: FlannelImages) -> dict[str, Any]:
    return {
        "hostNetwork": True,
        "priorityClassName": "system-node-critical",
        "serviceAccountName": "flannel",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        # A node is tainted until it has this network.
        "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
        "initContainers": [
            _copier("install-plugin", images.plugin, "/flannel", f"{_PLUGINS}/flannel", ("plugins", _PLUGINS)),
            _copier(
                "install-config",
                images.daemon,
                "/etc/kube-flannel/cni-conf.json",
                f"{_CNI_FOLDER}/10-flannel.conflist",
                ("cni", _CNI_FOLDER),
            ),
        ],
        "containers": [_daemon(images.daemon)],
        "volumes": [
            {"name": "run", "hostPath": {"path": "/run/flannel", "type": "DirectoryOrCreate"}},
            {"name": "plugins", "hostPath": {"path": _PLUGINS, "type": "DirectoryOrCreate"}},
            {"name": "cni", "hostPath": {"path": _CNI_FOLDER, "type": "DirectoryOrCreate"}},
            {"name": "config", "configMap": {"name": _CONFIG}},
            {"name": "xtables-lock", "hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}},
        ],
    }


def _copier(name: str, image: str, source: str, target: str, volume: tuple[str, str]) -> dict[str, Any]:
    mounts = [{"name": volume[0], "mountPath": volume[1]}, {"name": "config", "mountPath": "/etc/kube-flannel/"}]
    command = {"command": ["cp"], "args": ["-f", source, target]}
    return {"name": name, "image": image, **command, "volumeMounts": mounts}


def _daemon(image: str) -> dict[str, Any]:
    return {
        "name": "kube-flannel",
        "image": image,
        "command": ["/opt/bin/flanneld"],
        "args": ["--ip-masq", "--kube-subnet-mgr"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "50Mi"}},
        "securityContext": {"privileged": False, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
        "volumeMounts": [
            {"name": "run", "mountPath": "/run/flannel"},
            {"name": "config", "mountPath": "/etc/kube-flannel/"},
            {"name": "xtables-lock", "mountPath": "/run/xtables.lock"},
        ],
    }
