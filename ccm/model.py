"""What the controllers know of the platform: plain values, no wire format, no Kubernetes.

Addresses are texts in their canonical form, times are seconds unless a name says otherwise. `docs/platform-network.md`
says what the fields of a load balancer mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


class InstanceState(Enum):
    """What an instance does, as far as a controller tells it apart."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    PAUSED = "PAUSED"
    ERROR = "ERROR"
    UNKNOWN = "UNKNOWN"
    """A word that we do not know: it exists, and nothing else may be concluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A machine of the platform."""

    id: str
    name: str
    state: InstanceState
    hostname: str = ""
    private_addresses: tuple[str, ...] = ()
    """In the platform's order: the first of a family is the primary one."""
    public_addresses: tuple[str, ...] = ()
    zone: str = ""
    region: str = ""
    instance_type: str = ""
    vpc_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """All instances of the tenant at one moment."""

    instances: tuple[Instance, ...]
    taken_at: float
    """When the question was sent, in the loop's time: what is here was true after it."""
    by_id: Mapping[str, Instance]


class Protocol(Enum):
    """What a listener speaks."""

    TCP = "tcp"
    UDP = "udp"
    HTTP = "http"
    HTTPS = "https"
    TLS = "tls"


class Algorithm(Enum):
    """How a listener chooses a target."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONN = "least-conn"
    SOURCE = "source"


class StickyMode(Enum):
    """What keeps a client with its target."""

    NONE = "none"
    SOURCE_IP = "source-ip"
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sticky:
    """How clients stay with a target."""

    mode: StickyMode = StickyMode.NONE
    cookie_name: str = ""
    ttl_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How a target shows that it can be sent to."""

    protocol: str
    """`tcp`, `http` or `https`."""
    port: int
    path: str = ""
    host: str = ""
    codes: str = ""
    interval_s: int = 5
    timeout_s: int = 3
    rise: int = 2
    fall: int = 3
    verify_tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A port of a load balancer, and where its traffic goes."""

    name: str
    protocol: Protocol
    port: int
    target_port: int
    certificate_ids: tuple[str, ...] = ()
    tls_policy: str = ""
    redirect_port: int = 0
    proxy_protocol: str = ""
    """Empty, `v1` or `v2`."""
    transparent: bool = False
    forwarded_for: bool = True
    algorithm: Algorithm = Algorithm.ROUND_ROBIN
    sticky: Sticky = Sticky()
    idle_timeout_s: int = 300
    max_connections: int = 0
    allowed_sources: tuple[str, ...] = ()
    denied_sources: tuple[str, ...] = ()
    health_check: HealthCheck | None = None


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """An instance that a group sends to."""

    instance_id: str
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What one service has on a load balancer; the name is the service's uid."""

    name: str
    listeners: tuple[Listener, ...] = ()
    targets: tuple[Target, ...] = ()


SIZES = ("small", "medium", "large")
"""Of load balancers."""


class BalancerState(Enum):
    """How far a load balancer is."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"
    GOING = "DELETED"
    """Deleted, not yet forgotten by the platform (strict tier)."""
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class BalancerAddress:
    """An address at which a load balancer answers."""

    address: str
    is_static: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is fixed when a load balancer is made; to change it means to make another, with other addresses."""

    internal: bool = False
    families: tuple[str, ...] = ("ipv4",)
    """`ipv4`, `ipv6`, in the order that they are wanted."""
    static_addresses: tuple[str, ...] = ()
    vpc_id: str = ""
    """Empty: the platform's choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancer:
    """A load balancer as the platform has it."""

    id: str
    name: str
    state: BalancerState
    state_reason: str = ""
    shape: Shape = Shape()
    size: str = "small"
    tags: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[BalancerAddress, ...] = ()
    groups: tuple[Group, ...] = ()
    version: int = 0
    created_at: datetime | None = None

    def group(self, name: str) -> Group | None:
        """Give the group of this name, or None."""
        return next((one for one in self.groups if one.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBalancer:
    """A load balancer to be made."""

    name: str
    shape: Shape
    size: str
    tags: Mapping[str, str]
    group: Group
    idempotency_key: str
    """At most 64 characters; the same key gives the same load balancer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate that the platform holds; its key never comes back."""

    id: str
    name: str
    fingerprint_sha256: str
    tags: Mapping[str, str] = field(default_factory=dict)
