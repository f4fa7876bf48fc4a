"""The platform's network objects as they travel (docs/platform-network.md; platform contract 7, 9, 11).

Read as those in `thecloud.wire` are. Words that may grow, such as a listener's protocol, are texts here: one listener
that we do not know must not make a whole listing unreadable. What a word means is the caller's to decide.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from thecloud.wire import drop_empty, drop_zero_time, fill


class LoadBalancerStatus(StrEnum):
    """State of a load balancer; a word that we do not know reads as `UNKNOWN`."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"
    DELETED = "DELETED"
    """Strict tier: deleted, and not yet forgotten (platform contract 9.3)."""
    UNKNOWN = "UNKNOWN"

    @classmethod
    def _missing_(cls, value: object) -> "LoadBalancerStatus":
        return cls.UNKNOWN


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a target shows that it can be sent to."""

    protocol: str
    port: int
    path: str = ""
    host: str = ""
    codes: str = ""
    interval_s: int = 5
    timeout_s: int = 3
    rise: int = 2
    fall: int = 3
    verify_tls: bool = False


class Sticky(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How clients stay with a target."""

    mode: str = "none"
    cookie_name: str = ""
    ttl_s: int = 0


if TYPE_CHECKING:
    # Readers see what __post_init__ leaves, as in thecloud.wire.
    Tags = Mapping[str, str]
    Texts = tuple[str, ...]
    Stickiness = Sticky
    Listeners = tuple["Listener", ...]
    Targets = tuple["Target", ...]
    Groups = tuple["TargetGroup", ...]
    Addresses = tuple["LoadBalancerAddress", ...]
    Rules = tuple["SecurityRule", ...]
else:
    Tags = Mapping[str, str] | None
    Texts = tuple[str, ...] | None
    Stickiness = Sticky | None
    Listeners = tuple["Listener", ...] | None
    Targets = tuple["Target", ...] | None
    Groups = tuple["TargetGroup", ...] | None
    Addresses = tuple["LoadBalancerAddress", ...] | None
    Rules = tuple["SecurityRule", ...] | None


class Listener(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A port of a load balancer, in requests as in answers; an empty text stands for the platform's default."""

    name: str
    protocol: str
    port: int
    target_port: int
    certificate_ids: Texts = ()
    tls_policy: str = ""
    redirect_port: int = 0
    proxy_protocol: str = ""
    transparent: bool = False
    forwarded_for: bool = True
    algorithm: str = "round-robin"
    sticky: Stickiness = Sticky()
    idle_timeout_s: int = 300
    max_connections: int = 0
    allowed_sources: Texts = ()
    denied_sources: Texts = ()
    health_check: HealthCheck | None = None

    def __post_init__(self) -> None:
        for name in ("certificate_ids", "allowed_sources", "denied_sources"):
            fill(self, name, ())
        fill(self, "sticky", Sticky())


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that a group sends to; `address` and `health` (by listener) come in answers only."""

    instance_id: str
    weight: int = 1
    address: str | None = None
    health: Tags = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        drop_empty(self, "address")
        fill(self, "health", {})


class TargetGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What one user of a load balancer has on it."""

    name: str
    listeners: Listeners = ()
    targets: Targets = ()

    def __post_init__(self) -> None:
        fill(self, "listeners", ())
        fill(self, "targets", ())


class LoadBalancerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address at which a load balancer answers."""

    address: str
    family: str = ""
    elastic_ip_id: str | None = None

    def __post_init__(self) -> None:
        drop_empty(self, "elastic_ip_id")


class LoadBalancer(msgspec.Struct, frozen=True, kw_only=True):
    """A load balancer of the extended tier (`lb.listeners`)."""

    id: str
    name: str
    status: LoadBalancerStatus
    groups: Groups
    status_reason: str = ""
    version: int = 0
    tags: Tags = msgspec.field(default_factory=dict)
    vpc_id: str | None = None
    internal: bool = False
    size: str = ""
    families: Texts = ()
    addresses: Addresses = ()
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        drop_empty(self, "vpc_id")
        drop_zero_time(self)
        fill(self, "tags", {})
        for name in ("groups", "families", "addresses"):
            fill(self, name, ())


class PortBalancer(msgspec.Struct, frozen=True, kw_only=True):
    """A load balancer of the strict tier: one HTTP port, no address (platform contract 9.1)."""

    id: str
    name: str
    port: int
    status: LoadBalancerStatus
    algorithm: str = ""
    vpc_id: str | None = None
    idempotency_key: str | None = None
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        drop_empty(self, "vpc_id", "idempotency_key")
        drop_zero_time(self)


class PortTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A target of a load balancer of the strict tier."""

    instance_id: str
    port: int
    weight: int = 1


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate; its private key is never given out."""

    id: str
    name: str
    fingerprint_sha256: str
    not_after: datetime | None = None
    dns_names: Texts = ()
    tags: Tags = msgspec.field(default_factory=dict)
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        drop_zero_time(self)
        fill(self, "dns_names", ())
        fill(self, "tags", {})


class Vpc(msgspec.Struct, frozen=True, kw_only=True):
    """A private network (platform contract 7.1)."""

    id: str
    name: str
    tenant_id: str | None = None
    cidr_block: str = ""
    status: str = ""
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        drop_zero_time(self)


class ElasticIp(msgspec.Struct, frozen=True, kw_only=True):
    """A public address of the tenant (platform contract 11)."""

    id: str
    public_ip: str
    status: str
    """`allocated` or `associated`. Associated without a user: its instance was terminated."""
    instance_id: str | None = None
    lb_id: str | None = None
    name: str | None = None
    tags: Tags = msgspec.field(default_factory=dict)
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "public_ip", self.public_ip.partition("/")[0])
        drop_empty(self, "instance_id", "lb_id", "name")
        drop_zero_time(self)
        fill(self, "tags", {})


class SecurityRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a security group lets through; both ports are 0 where the protocol has none."""

    id: str
    direction: str
    """`ingress` or `egress`."""
    protocol: str
    cidr: str
    port_min: int = 0
    port_max: int = 0
    priority: int = 0


class SecurityGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A set of rules that instances can have (platform contract 8)."""

    id: str
    name: str
    vpc_id: str
    description: str = ""
    rules: Rules = ()
    """Listings of the strict tier show none."""
    instance_ids: tuple[str, ...] | None = None
    """Who has it; None where the platform does not tell."""
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        drop_zero_time(self)
        fill(self, "rules", ())
