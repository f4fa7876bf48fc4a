"""What the cloud controller manager can be told. The dataclasses are the table of flags, variables and the reference.

Flags have the names that users of other cloud controller managers know. Not here: reading (`process.settings`), the
platform's options (`thecloud.options`), and what is accepted without effect (`ccm.compatibility`).
"""
# ruff: noqa: RUF009 - the calls in the dataclasses declare fields

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

from ccm.compatibility import CompatibilityOptions
from ccm.model import SIZES
from ccm.names import BALANCER_CLASS, MANAGER
from ccm.selection import ALIASES, ALL, CONTROLLERS, is_selected, unknown_words
from process.address import MAX_PORT, TcpEndpoint
from process.kinds import (
    DURATION,
    LOG_FORMAT,
    LOG_LEVEL,
    OPTIONAL_HOST_PORT,
    PATH,
    REQUIRED_TEXT,
    SWITCH,
    TEXT,
    WORDS,
    OptionKind,
    decimal,
    whole_number,
)
from process.logs import LogFormat, LogLevel
from process.settings import option
from thecloud.options import PlatformAccess

Network = IPv4Network | IPv6Network

DEBUG_VERBOSITY = 4
"""`-v` from which Kubernetes' programs log what is for debugging."""
ELECTION_JITTER = 1.2
"""A renewal is tried again after the retry period times at most this."""
_CLASS_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


_RATE = decimal()


def _fraction(text: str) -> float:
    value = _RATE.parse(text)
    if value > 1:
        raise ValueError("0 to 1 is allowed")
    return value


def _address(text: str) -> str:
    return str(ip_address(text))


def _networks(text: str) -> tuple[Network, ...]:
    found = tuple(ip_network(word.strip()) for word in text.split(",") if word.strip())
    if len({network.version for network in found}) != len(found):
        raise ValueError("one network for each family is allowed")
    return found


def _show_networks(networks: tuple[Network, ...]) -> str:
    return ",".join(map(str, networks))


_FRACTION = OptionKind("fraction", _fraction, "{:g}".format)
_IP_ADDRESS: OptionKind[str] = OptionKind("address", _address)
_NETWORKS: OptionKind[tuple[Network, ...]] = OptionKind("networks", _networks, _show_networks)
_PORT = whole_number(most=MAX_PORT)
_WORKERS = whole_number(least=1, most=1000)


@dataclass(frozen=True, kw_only=True)
class KubernetesOptions:
    """How the API server is reached, and what the program says of itself."""

    kubeconfig: Path | None = option(PATH, "File that says how to reach Kubernetes. Without it: the pod's own account.")
    master: str = option(TEXT, "Address of the API server, in place of the one in the kubeconfig.", default="")
    kube_api_qps: float = option(
        _RATE, "Mean rate of requests to Kubernetes; 0 leaves it to the API server's own fairness.", default=0.0
    )
    kube_api_burst: int = option(whole_number(), "Requests at once, with --kube-api-qps.", default=100)
    controllers: tuple[str, ...] = option(
        WORDS,
        "Which controllers run: `*` for all, `name`, `-name` for not this one. Names: "
        + ", ".join(f"{name} ({short})" for short, name in ALIASES.items())
        + ".",
        default=(ALL,),
    )
    grace_s: float = option(
        DURATION, "Time that work which has begun gets to end after SIGTERM, in seconds.", default=20.0
    )
    log_level: LogLevel = option(LOG_LEVEL, "Least level that is logged.", default=LogLevel.INFO)
    log_format: LogFormat = option(LOG_FORMAT, "Form of a log line.", default=LogFormat.TEXT)
    v: int | None = option(
        whole_number(most=10), f"As for Kubernetes' programs: {DEBUG_VERBOSITY} and more is --log-level debug."
    )
    logging_format: LogFormat | None = option(LOG_FORMAT, "Another name of --log-format.")


@dataclass(frozen=True, kw_only=True)
class ElectionOptions:
    """How the one that works is found among several that run."""

    leader_elect: bool = option(SWITCH, "Work only while holding the Lease; needed with more than one.", default=True)
    lease_duration_s: float = option(
        DURATION, "Age at which a Lease that is not renewed is free.", default=15.0, name="leader-elect-lease-duration"
    )
    renew_deadline_s: float = option(
        DURATION,
        "Time without a renewal after which the leader stops its work.",
        default=10.0,
        name="leader-elect-renew-deadline",
    )
    retry_period_s: float = option(
        DURATION, "Pause between two tries to get or renew the Lease.", default=2.0, name="leader-elect-retry-period"
    )
    leader_elect_resource_name: str = option(REQUIRED_TEXT, "Name of the Lease.", default=MANAGER)
    leader_elect_resource_namespace: str = option(REQUIRED_TEXT, "Namespace of the Lease.", default="kube-system")


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Health, metrics and who may read them."""

    bind_address: str = option(_IP_ADDRESS, "Address that HTTPS is served on.", default="127.0.0.1")
    secure_port: int = option(_PORT, "Port of /healthz, /livez, /readyz, /metrics, /configz; 0: none.", default=10258)
    tls_cert_file: Path | None = option(
        PATH, "PEM file of the server's certificate, read again when it changes. Without it: one that signs itself."
    )
    tls_private_key_file: Path | None = option(PATH, "PEM file of the key of --tls-cert-file.")
    client_ca_file: Path | None = option(
        PATH,
        "PEM file of the authorities whose client certificates name a user. Without it: those of the API server.",
    )
    authentication_skip_lookup: bool = option(
        SWITCH, "Do not ask Kubernetes for the API server's client authorities.", default=False
    )
    token_ttl_s: float = option(
        DURATION,
        "How long a token that was found good or bad is remembered.",
        default=10.0,
        name="authentication-token-webhook-cache-ttl",
    )
    allowed_ttl_s: float = option(
        DURATION,
        "How long a permission is remembered.",
        default=10.0,
        name="authorization-webhook-cache-authorized-ttl",
    )
    denied_ttl_s: float = option(
        DURATION,
        "How long a refusal is remembered.",
        default=10.0,
        name="authorization-webhook-cache-unauthorized-ttl",
    )
    authorization_always_allow_paths: tuple[str, ...] = option(
        WORDS,
        "Paths that everyone may read, separated by commas; `/x/*` is everything below /x.",
        default=("/healthz", "/readyz", "/livez"),
    )


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """What is done for nodes."""

    concurrent_node_syncs: int = option(_WORKERS, "Nodes that are worked on at once.", default=32)
    node_status_update_frequency_s: float = option(
        DURATION,
        "How often addresses and labels of all nodes are compared with the platform, in one listing.",
        default=60.0,
        name="node-status-update-frequency",
    )
    node_monitor_period_s: float = option(
        DURATION, "How often nodes that are not Ready are looked at.", default=5.0, name="node-monitor-period"
    )
    absence_confirmations: int = option(
        whole_number(least=2, most=100),
        "Definite answers in a row that an instance is gone, before its Node is deleted.",
        default=3,
    )
    absence_time_s: float = option(
        DURATION, "Least time from the first of these answers to the last.", default=30.0, name="absence-time"
    )
    absence_breaker_fraction: float = option(
        _FRACTION,
        "Share of the nodes that may be lost within ten minutes; with more, none is deleted and an event says so.",
        default=0.2,
    )
    absence_breaker_floor: int = option(
        whole_number(least=1), "Nodes that may be lost within ten minutes in a cluster however small.", default=1
    )
    out_of_service_after_s: float = option(
        DURATION,
        "How long the platform must have reported an instance as stopped before its Node gets the out-of-service "
        "taint, so that its volumes move at once; it is taken away when the instance runs. 0: never.",
        default=0.0,
        name="out-of-service-after",
    )
    cluster_cidr: tuple[Network, ...] = option(
        _NETWORKS, "Networks of the pods that routes are kept for, one for each family; empty: none.", default=()
    )
    configure_cloud_routes: bool = option(SWITCH, "Keep routes, with --cluster-cidr.", default=True)
    route_reconciliation_period_s: float = option(
        DURATION,
        "Least time between two comparisons of the routes.",
        default=10.0,
        name="route-reconciliation-period",
    )


@dataclass(frozen=True, kw_only=True)
class BalancerOptions:
    """What is done for services."""

    concurrent_service_syncs: int = option(_WORKERS, "Services that are worked on at once.", default=10)
    load_balancer_class: str = option(
        TEXT, "The loadBalancerClass that is served, besides services without any.", default=BALANCER_CLASS
    )
    load_balancer_size: str = option(
        REQUIRED_TEXT, "Size of load balancers whose service asks for none: small, medium or large.", default="small"
    )
    load_balancer_vpc: str = option(
        TEXT,
        "Id of the network of the nodes, in which load balancers are made. Empty: the platform's choice.",
        default="",
    )
    drift_period_s: float = option(
        DURATION,
        "How often every load balancer is compared with its service, in turn; only a difference is written.",
        default=600.0,
        name="drift-period",
    )
    delete_orphans: bool = option(
        SWITCH,
        "Delete load balancers with this cluster's mark whose service is gone; otherwise they are only reported.",
        default=True,
    )
    orphan_grace_s: float = option(
        DURATION, "How long a load balancer must have been an orphan for that.", default=1800.0, name="orphan-grace"
    )
    load_balancer_address: str = option(
        TEXT,
        "Address at which load balancers answer on a platform that does not tell it (strict tier). Empty: their "
        "services get none, and their condition says why (`NoAddress`).",
        default="",
    )


@dataclass(frozen=True, kw_only=True)
class AutoscalerOptions:
    """The gRPC service for the cluster autoscaler (externalgrpc)."""

    autoscaler_endpoint: TcpEndpoint | None = option(
        OPTIONAL_HOST_PORT, "host:port of the service; `off` serves none.", default=None
    )
    autoscaler_cert_file: Path | None = option(PATH, "PEM file of the service's certificate.")
    autoscaler_key_file: Path | None = option(PATH, "PEM file of its key.")
    autoscaler_client_ca_file: Path | None = option(
        PATH, "PEM file of the authorities of the autoscaler's certificate. The service deletes machines: it is needed."
    )
    autoscaler_client_names: tuple[str, ...] = option(
        WORDS,
        "Names of which the autoscaler's certificate must carry one; empty: any that the authority signed.",
        default=(),
    )
    autoscaler_allow_plaintext: bool = option(
        SWITCH, "Serve without TLS, on a loopback address only: whoever may connect may delete machines.", default=False
    )
    autoscaler_groups_file: Path | None = option(PATH, "File with the groups of nodes.")
    autoscaler_name_prefix: str = option(
        TEXT, "Start of the names of new instances; empty: the start of --cluster-id.", default=""
    )
    autoscaler_namespace: str = option(
        REQUIRED_TEXT, "Namespace of the ConfigMap that keeps the groups' target sizes.", default="thecloud-ccm"
    )
    autoscaler_provision_limit_s: float = option(
        DURATION,
        "How long a new instance may take to become a node before it counts as failed.",
        default=900.0,
        name="autoscaler-provision-limit",
    )


@dataclass(frozen=True, kw_only=True)
class ManagerSettings(
    CompatibilityOptions,
    AutoscalerOptions,
    BalancerOptions,
    NodeOptions,
    ServerOptions,
    ElectionOptions,
    KubernetesOptions,
    PlatformAccess,
):
    """Everything that `tc-ccm` can be told."""

    def problems(self) -> Sequence[str]:
        """Say what does not go together; empty when all is well."""
        return [
            *super().problems(),
            *_controller_problems(self),
            *_election_problems(self),
            *_server_problems(self),
            *_autoscaler_problems(self),
            *_balancer_problems(self),
        ]

    def runs(self, controller: str) -> bool:
        """Say whether a controller of `ccm.selection` is to run."""
        return is_selected(controller, self.controllers)

    @property
    def level(self) -> LogLevel:
        """The least level that is logged, whichever way it was given."""
        return LogLevel.DEBUG if self.v is not None and self.v >= DEBUG_VERBOSITY else self.log_level

    @property
    def form(self) -> LogFormat:
        """The form of a log line, whichever way it was given."""
        return self.logging_format or self.log_format

    @property
    def http_endpoint(self) -> TcpEndpoint | None:
        """Where HTTPS is served, or None."""
        return TcpEndpoint(self.bind_address, self.secure_port) if self.secure_port else None


def _controller_problems(settings: KubernetesOptions) -> list[str]:
    found = [
        f"--controllers: {word[:80]!r} is no controller; known are {', '.join(CONTROLLERS)}"
        for word in unknown_words(settings.controllers)
    ]
    if not any(is_selected(name, settings.controllers) for name in CONTROLLERS):
        found.append("--controllers leaves no controller to run")
    if settings.kube_api_qps and not settings.kube_api_burst:
        found.append("--kube-api-burst is 0, which lets no request through with --kube-api-qps; 1 or more is needed")
    return found


def _election_problems(settings: ElectionOptions) -> list[str]:
    lease_s, renew_s, retry_s = settings.lease_duration_s, settings.renew_deadline_s, settings.retry_period_s
    found = []
    if lease_s < 1:
        found.append(f"--leader-elect-lease-duration is {lease_s:g} s; 1 or more is needed, a Lease counts whole ones")
    if not renew_s < lease_s:
        found.append(
            f"--leader-elect-renew-deadline ({renew_s:g} s) must be below --leader-elect-lease-duration ({lease_s:g} s)"
        )
    if not 0 < retry_s * ELECTION_JITTER < renew_s:
        found.append(
            f"--leader-elect-retry-period ({retry_s:g} s) must be above 0 and, times {ELECTION_JITTER}, below "
            f"--leader-elect-renew-deadline ({renew_s:g} s)"
        )
    return found


def _server_problems(settings: ServerOptions) -> list[str]:
    found = []
    if (settings.tls_cert_file is None) != (settings.tls_private_key_file is None):
        found.append("--tls-cert-file and --tls-private-key-file are needed together")
    found += [
        f"--authorization-always-allow-paths: {path[:80]!r} does not begin with a slash"
        for path in settings.authorization_always_allow_paths
        if not path.startswith("/")
    ]
    return found


def _autoscaler_problems(settings: AutoscalerOptions) -> list[str]:
    if settings.autoscaler_endpoint is None:
        return []
    needed = {"--autoscaler-groups-file": settings.autoscaler_groups_file}
    if not settings.autoscaler_allow_plaintext:
        needed |= {
            "--autoscaler-cert-file": settings.autoscaler_cert_file,
            "--autoscaler-key-file": settings.autoscaler_key_file,
            "--autoscaler-client-ca-file": settings.autoscaler_client_ca_file,
        }
    return [f"{flag} is needed with --autoscaler-endpoint" for flag, path in needed.items() if path is None]


def _balancer_problems(settings: BalancerOptions) -> list[str]:
    name, size, found = settings.load_balancer_class, settings.load_balancer_size, []
    if name and not _CLASS_NAME.fullmatch(name):
        text = f"--load-balancer-class is {name[:80]!r}; a name with a prefix is needed, such as {BALANCER_CLASS}"
        found.append(text)
    if size not in SIZES:
        found.append(f"--load-balancer-size is {size[:80]!r}; {', '.join(SIZES)} are allowed")
    return found
