"""What kubeadm is told: configuration (v1beta4) of the first control plane and of the nodes that join.

Pure: facts in, text out. JSON, because it is YAML as well. The reasons for unusual values are kernel limits of machines
that share one host.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

API_PORT = 6443
CRI_SOCKET = "unix:///run/containerd/containerd.sock"
SERVICE_RANGE = "10.96.0.0/12"
POD_RANGE = "192.168.0.0/16"
_API = "kubeadm.k8s.io/v1beta4"


@dataclass(frozen=True, slots=True)
class Member:
    """A machine that becomes a node."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What the whole cluster has in common."""

    kubernetes_version: str
    dns_tag: str
    etcd_tag: str
    endpoint: str
    """Address of the API, without its port."""
    token: str
    """Bootstrap token: six characters, a dot, sixteen characters."""
    reserved_memory: str
    """Kept from pods on each node, which would otherwise count the whole host's memory as its own."""


def init_config(plan: Plan, member: Member) -> str:
    """Give the configuration for `kubeadm init`."""
    return _documents(
        {
            "apiVersion": _API,
            "kind": "InitConfiguration",
            "bootstrapTokens": [
                {
                    "token": plan.token,
                    "ttl": "0s",
                    "usages": ["signing", "authentication"],
                    "groups": ["system:bootstrappers:kubeadm:default-node-token"],
                }
            ],
            "localAPIEndpoint": {"advertiseAddress": member.address, "bindPort": API_PORT},
            "nodeRegistration": _registration(member),
        },
        {
            "apiVersion": _API,
            "kind": "ClusterConfiguration",
            # Named, or kubeadm asks the internet for the newest one.
            "kubernetesVersion": plan.kubernetes_version,
            "controlPlaneEndpoint": f"{plan.endpoint}:{API_PORT}",
            "networking": {"podSubnet": POD_RANGE, "serviceSubnet": SERVICE_RANGE},
            "dns": {"imageTag": plan.dns_tag},
            # Nobody keeps such a cluster through a power cut.
            "etcd": {"local": {"imageTag": plan.etcd_tag, "extraArgs": [{"name": "unsafe-no-fsync", "value": "true"}]}},
        },
        _kubelet(plan),
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            # The machine's own limit cannot be set from inside of a network namespace.
            "conntrack": {"maxPerCore": 0},
        },
    )


def join_config(plan: Plan, member: Member, *, ca_hash: str) -> str:
    """Give the configuration for `kubeadm join`; `ca_hash` is `sha256:` and the digest of the CA's public key."""
    return _documents(
        {
            "apiVersion": _API,
            "kind": "JoinConfiguration",
            "discovery": {
                "bootstrapToken": {
                    "apiServerEndpoint": f"{plan.endpoint}:{API_PORT}",
                    "token": plan.token,
                    "caCertHashes": [ca_hash],
                }
            },
            "nodeRegistration": _registration(member),
        }
    )


def _registration(member: Member) -> dict[str, object]:
    return {
        "name": member.name,
        "criSocket": CRI_SOCKET,
        "imagePullPolicy": "Never",
        # These hosts may have cgroup v1, which the kubelet runs on when it is told to.
        "ignorePreflightErrors": ["SystemVerification"],
        "kubeletExtraArgs": [
            {"name": "node-ip", "value": member.address},
            {"name": "cloud-provider", "value": "external"},
        ],
    }


def _kubelet(plan: Plan) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "failCgroupV1": False,
        "failSwapOn": False,
        # All nodes see the host's disk; how full that is says nothing about them, and images cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "systemReserved": {"memory": plan.reserved_memory},
        "enforceNodeAllocatable": [],
    }


def _documents(*documents: Mapping[str, object]) -> str:
    return "\n---\n".join(json.dumps(document, indent=2) for document in documents) + "\n"
