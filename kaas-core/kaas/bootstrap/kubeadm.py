"""What kubeadm is told, from one model: v1beta3 for Kubernetes up to 1.30, v1beta4 from 1.31.

Pure: facts in, text out. JSON, because it is YAML as well. Everything is decided here that kubeadm would otherwise
look up on the internet, guess from the machine, or leave open for ever: version, addresses, tokens with an end.
"""

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from kaas.bootstrap.tokens import JOIN_TOKEN
from kaas.domain.errors import Code, KaasError
from kaas.domain.model import NO_LABELS, Taint

API_PORT = 6443
CRI_SOCKET = "unix:///run/containerd/containerd.sock"
JOIN_TOKEN_TTL_S = 900
"""Of the token that `kubeadm init` makes; each later node gets one of its own."""
_FIRST_V1BETA4 = 31
_FIRST_CGROUP_CHOICE = 31
_LOCAL_MODE_GATE = range(31, 36)
"""Minor versions in which a kubelet of a control plane talks to its own API server only behind a feature gate."""
_VERSION = re.compile(r"v(1)\.([0-9]{1,3})\.[0-9]{1,3}(-[0-9A-Za-z.-]+)?")
_CA_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class HostQuirks:
    """What machines need that share one host with others, such as those of devcloud; real ones need none of it."""

    ignore_preflight_errors: tuple[str, ...] = ()
    """`SystemVerification` lets kubeadm run on cgroup v1."""
    allow_cgroup_v1: bool = False
    allow_swap: bool = False
    image_pull_policy: str = ""
    """`Never` where all images are on the machine and nothing can be pulled."""
    eviction_hard: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    """Thresholds in place of the kubelet's; machines that see the host's disk judge its fullness by these."""
    image_gc_high_threshold_percent: int | None = None
    system_reserved: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    """Kept from pods, where a machine sees the memory of the whole host; not enforced by a cgroup then."""
    conntrack_max_per_core: int | None = None
    """0 leaves the limit alone, which cannot be set inside of a network namespace."""
    etcd_arguments: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    """`unsafe-no-fsync: true` where nobody keeps the cluster through a power cut."""


def shared_host(*, reserved_memory: str) -> HostQuirks:
    """Give the quirks of containers that are machines on one host, whose images are all there already.

    `reserved_memory` is what each of them leaves to the others, such as 18Gi.
    """
    return HostQuirks(
        ignore_preflight_errors=("SystemVerification",),
        allow_cgroup_v1=True,
        allow_swap=True,
        image_pull_policy="Never",
        eviction_hard={
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        image_gc_high_threshold_percent=100,
        system_reserved={"memory": reserved_memory},
        conntrack_max_per_core=0,
        etcd_arguments={"unsafe-no-fsync": "true"},
    )


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What all nodes of a cluster have in common."""

    name: str
    version: str
    """Exact, such as v1.36.3."""
    endpoint: str
    """`host:port` of the API for all, stable from the first init on."""
    pod_cidr: str
    service_cidr: str
    cert_sans: tuple[str, ...] = ()
    """Names and addresses that the API is reached by, besides the endpoint and each control plane's own."""
    cloud_provider: bool = True
    """A cloud controller manager initialises the nodes; they are tainted until it has."""
    image_repository: str = ""
    """Where images come from, when not from kubeadm's default."""
    dns_image_tag: str = ""
    etcd_image_tag: str = ""
    proxy_mode: str = ""
    """Of kube-proxy: `iptables`, `nftables`, or its own choice."""
    quirks: HostQuirks = field(default_factory=HostQuirks)

    @property
    def api(self) -> str:
        """The group and version of kubeadm's configuration that this version of Kubernetes reads."""
        return "kubeadm.k8s.io/v1beta4" if minor_of(self.version) >= _FIRST_V1BETA4 else "kubeadm.k8s.io/v1beta3"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What is a node's own."""

    name: str
    address: str
    control_plane: bool = False
    taints: tuple[Taint, ...] | None = None
    """None: what kubeadm gives, which is one for control planes only."""
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    provider_id: str = ""
    """Empty: the cloud controller manager says it."""


def minor_of(version: str) -> int:
    """Give the minor number of a version such as v1.36.3. Raises KaasError (INVALID)."""
    found = _VERSION.fullmatch(version)
    if found is None:
        raise KaasError(Code.INVALID, f"a version of Kubernetes is written like v1.36.3, not {version!r}")
    return int(found[2])


def init_config(cluster: ClusterConfig, node: NodeConfig, *, join_token: str) -> str:
    """Give the configuration for `kubeadm init` on the first control plane. Raises KaasError (INVALID).

    `join_token` is the one token that it makes; with none given it would make one of its own that lives for a day.
    """
    _check(cluster, node)
    _check_token(join_token)
    init: dict[str, object] = {
        "apiVersion": cluster.api,
        "kind": "InitConfiguration",
        "bootstrapTokens": [
            {
                "token": join_token,
                "ttl": f"{JOIN_TOKEN_TTL_S}s",
                "usages": ["signing", "authentication"],
                "groups": ["system:bootstrappers:kubeadm:default-node-token"],
            }
        ],
        "localAPIEndpoint": {"advertiseAddress": node.address, "bindPort": API_PORT},
        "nodeRegistration": _registration(cluster, node),
        **_timeouts(cluster),
    }
    return _documents(init, _cluster(cluster, node), _kubelet(cluster), _proxy(cluster))


def join_config(cluster: ClusterConfig, node: NodeConfig, *, join_token: str, ca_cert_hash: str) -> str:
    """Give the configuration for `kubeadm join`. Raises KaasError (INVALID).

    The cluster is known by the hash of its authority; joining one without is not offered.
    """
    _check(cluster, node)
    _check_token(join_token)
    if not _CA_HASH.fullmatch(ca_cert_hash):
        raise KaasError(Code.INVALID, "the hash of the cluster's authority is `sha256:` and 64 digits")
    discovery: dict[str, object] = {
        "bootstrapToken": {
            "token": join_token,
            "apiServerEndpoint": cluster.endpoint,
            "caCertHashes": [ca_cert_hash],
        }
    }
    if not _is_v1beta4(cluster):
        discovery["timeout"] = "5m0s"
    join: dict[str, object] = {
        "apiVersion": cluster.api,
        "kind": "JoinConfiguration",
        "discovery": discovery,
        "nodeRegistration": _registration(cluster, node),
        **_timeouts(cluster),
    }
    if node.control_plane:
        join["controlPlane"] = {"localAPIEndpoint": {"advertiseAddress": node.address, "bindPort": API_PORT}}
    return _documents(join)


def _cluster(cluster: ClusterConfig, node: NodeConfig) -> dict[str, object]:
    host = cluster.endpoint.rpartition(":")[0].strip("[]")
    sans = dict.fromkeys((host, node.address, "127.0.0.1", "localhost", *cluster.cert_sans))
    api_server: dict[str, object] = {"certSANs": list(sans)}
    document: dict[str, object] = {
        "apiVersion": cluster.api,
        "kind": "ClusterConfiguration",
        "clusterName": cluster.name,
        "kubernetesVersion": cluster.version,
        "controlPlaneEndpoint": cluster.endpoint,
        "certificatesDir": "/etc/kubernetes/pki",
        "networking": {
            "podSubnet": cluster.pod_cidr,
            "serviceSubnet": cluster.service_cidr,
            "dnsDomain": "cluster.local",
        },
        "apiServer": api_server,
        "etcd": {"local": _etcd(cluster)},
    }
    if cluster.cloud_provider:
        # Never for the API server: it has no such flag any more and would not start.
        document["controllerManager"] = {"extraArgs": _arguments(cluster, {"cloud-provider": "external"})}
    if cluster.image_repository:
        document["imageRepository"] = cluster.image_repository
    if cluster.dns_image_tag:
        document["dns"] = {"imageTag": cluster.dns_image_tag}
    if _is_v1beta4(cluster):
        # As our authorities have; an RSA key takes a small machine a second each.
        document["encryptionAlgorithm"] = "ECDSA-P256"
    else:
        api_server["timeoutForControlPlane"] = "4m0s"
    if minor_of(cluster.version) in _LOCAL_MODE_GATE:
        document["featureGates"] = {"ControlPlaneKubeletLocalMode": True}
    return document


def _etcd(cluster: ClusterConfig) -> dict[str, object]:
    etcd: dict[str, object] = {"dataDir": "/var/lib/etcd"}
    if cluster.etcd_image_tag:
        etcd["imageTag"] = cluster.etcd_image_tag
    if cluster.quirks.etcd_arguments:
        etcd["extraArgs"] = _arguments(cluster, cluster.quirks.etcd_arguments)
    return etcd


def _registration(cluster: ClusterConfig, node: NodeConfig) -> dict[str, object]:
    flags = {"node-ip": node.address}
    if cluster.cloud_provider:
        flags["cloud-provider"] = "external"
    if node.provider_id:
        flags["provider-id"] = node.provider_id
    if node.labels:
        flags["node-labels"] = ",".join(f"{key}={value}" for key, value in sorted(node.labels.items()))
    registration: dict[str, object] = {
        "name": node.name,
        "criSocket": CRI_SOCKET,
        "kubeletExtraArgs": _arguments(cluster, flags),
    }
    if node.taints is not None:
        registration["taints"] = [
            {"key": taint.key, "value": taint.value, "effect": taint.effect} for taint in node.taints
        ]
    if cluster.quirks.ignore_preflight_errors:
        registration["ignorePreflightErrors"] = list(cluster.quirks.ignore_preflight_errors)
    if cluster.quirks.image_pull_policy:
        registration["imagePullPolicy"] = cluster.quirks.image_pull_policy
    return registration


def _kubelet(cluster: ClusterConfig) -> dict[str, object]:
    quirks = cluster.quirks
    document: dict[str, object] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "rotateCertificates": True,
    }
    # Older kubelets run on cgroup v1 anyway, and do not know the field.
    if quirks.allow_cgroup_v1 and minor_of(cluster.version) >= _FIRST_CGROUP_CHOICE:
        document["failCgroupV1"] = False
    if quirks.allow_swap:
        document["failSwapOn"] = False
    if quirks.image_gc_high_threshold_percent is not None:
        document["imageGCHighThresholdPercent"] = quirks.image_gc_high_threshold_percent
    if quirks.eviction_hard:
        document["evictionHard"] = dict(quirks.eviction_hard)
    if quirks.system_reserved:
        document["systemReserved"] = dict(quirks.system_reserved)
        document["enforceNodeAllocatable"] = []
    return document


def _proxy(cluster: ClusterConfig) -> dict[str, object]:
    document: dict[str, object] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
    }
    if cluster.proxy_mode:
        document["mode"] = cluster.proxy_mode
    if cluster.quirks.conntrack_max_per_core is not None:
        document["conntrack"] = {"maxPerCore": cluster.quirks.conntrack_max_per_core}
    return document


def _timeouts(cluster: ClusterConfig) -> dict[str, object]:
    if not _is_v1beta4(cluster):
        return {}
    return {
        "timeouts": {
            "controlPlaneComponentHealthCheck": "4m0s",
            "kubeletHealthCheck": "4m0s",
            "kubernetesAPICall": "1m0s",
            "etcdAPICall": "2m0s",
            "tlsBootstrap": "5m0s",
            "discovery": "5m0s",
        }
    }


def _arguments(cluster: ClusterConfig, flags: Mapping[str, str]) -> object:
    if _is_v1beta4(cluster):
        return [{"name": name, "value": value} for name, value in flags.items()]
    return dict(flags)


def _is_v1beta4(cluster: ClusterConfig) -> bool:
    return cluster.api.endswith("v1beta4")


def _check(cluster: ClusterConfig, node: NodeConfig) -> None:
    """Refuse what would become other flags than it was meant as; whoever takes requests says more about it."""
    wrong = [f"label {key}={value}" for key, value in node.labels.items() if not _is_label(key, value)]
    wrong += [
        f"taint {taint.key}={taint.value}:{taint.effect}"
        for taint in node.taints or ()
        if not _is_label(taint.key, taint.value) or taint.effect not in _EFFECTS
    ]
    try:
        ipaddress.ip_address(node.address)
    except ValueError:
        wrong.append(f"address {node.address!r}")
    minor_of(cluster.version)
    if wrong:
        raise KaasError(Code.INVALID, f"node {node.name!r} cannot be configured with {', '.join(wrong)}")


def _check_token(join_token: str) -> None:
    if not JOIN_TOKEN.fullmatch(join_token):
        raise KaasError(Code.INVALID, "a token that nodes join with is six characters, a dot, and sixteen characters")


def _is_label(key: str, value: str) -> bool:
    return _LABEL_KEY.fullmatch(key) is not None and _LABEL_VALUE.fullmatch(value) is not None


def _documents(*documents: Mapping[str, object]) -> str:
    return "\n---\n".join(json.dumps(document, indent=2) for document in documents) + "\n"
