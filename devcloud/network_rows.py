"""The rows of networks: VPCs, load balancers with what they are made of, elastic IPs, security groups, certificates.

Belongs here: shapes with their limits. Does not: rules across them. The structs of a listener and below are the wire's
as well (`docs/platform-network.md`).
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from devcloud.rows import Row, Table, now

ACTIVE = "ACTIVE"
DELETED = "DELETED"
ALLOCATED = "allocated"
ASSOCIATED = "associated"
ROUND_ROBIN: Literal["round-robin"] = "round-robin"

PORT_MAX = 65535
Port = Annotated[int, Meta(ge=1, le=PORT_MAX)]
Protocol = Literal["tcp", "udp", "http", "https", "tls"]
Size = Literal["small", "medium", "large"]
Family = Literal["ipv4", "ipv6"]
ObjectName = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
PartName = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9._-]+\Z")]
GroupName = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._-]+\Z")]
GROUP_NAME = r"[A-Za-z0-9._-]{1,128}"

_PATH = r"^/[A-Za-z0-9/._~!&()*+,;=:@%?-]*\Z"
_HOST = r"^[A-Za-z0-9.-]*\Z"
_CODES = r"^[1-5][0-9]{2}(-[1-5][0-9]{2})?(,[1-5][0-9]{2}(-[1-5][0-9]{2})?)*\Z"


class Sticky(msgspec.Struct, frozen=True):
    """What keeps a client with its target."""

    mode: Literal["none", "source-ip", "cookie"] = "none"
    cookie_name: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9_.-]*\Z")] = ""
    ttl_s: Annotated[int, Meta(ge=0, le=31_536_000)] = 0


class HealthCheck(msgspec.Struct, frozen=True):
    """How a target shows that it can be sent to."""

    protocol: Literal["tcp", "http", "https"]
    port: Port
    path: Annotated[str, Meta(max_length=1024, pattern=_PATH)] = "/healthz"
    host: Annotated[str, Meta(max_length=253, pattern=_HOST)] = ""
    codes: Annotated[str, Meta(max_length=128, pattern=_CODES)] = "200-299"
    interval_s: Annotated[int, Meta(ge=1, le=3600)] = 5
    timeout_s: Annotated[int, Meta(ge=1, le=3600)] = 3
    rise: Annotated[int, Meta(ge=1, le=100)] = 2
    fall: Annotated[int, Meta(ge=1, le=100)] = 3
    verify_tls: bool = False


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a load balancer, and how its traffic is passed on."""

    name: PartName
    protocol: Protocol
    port: Port
    target_port: Port
    certificate_ids: list[str] = []
    tls_policy: Literal["intermediate", "modern"] = "intermediate"
    redirect_port: Annotated[int, Meta(ge=0, le=PORT_MAX)] = 0
    proxy_protocol: Literal["", "v1", "v2"] = ""
    transparent: bool = False
    forwarded_for: bool = True
    algorithm: Literal["round-robin", "least-conn", "source"] = ROUND_ROBIN
    sticky: Sticky = Sticky()
    idle_timeout_s: Annotated[int, Meta(ge=1, le=86400)] = 300
    max_connections: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    allowed_sources: list[str] = []
    denied_sources: list[str] = []
    health_check: HealthCheck | None = None

    @property
    def transport(self) -> str:
        """Whose port it takes: that of UDP, or that of everything else."""
        return "udp" if self.protocol == "udp" else "tcp"

    @property
    def ends_tls(self) -> bool:
        """Whether clients speak TLS with the load balancer."""
        return self.protocol in {"https", "tls"}

    @property
    def speaks_http(self) -> bool:
        """Whether it understands what it passes on."""
        return self.protocol in {"http", "https"}


class Target(msgspec.Struct, frozen=True):
    """An instance that a group sends to."""

    instance_id: str
    weight: Annotated[int, Meta(ge=1, le=256)] = 1


class Group(msgspec.Struct, frozen=True):
    """What one user of a load balancer wants."""

    name: GroupName
    listeners: list[Listener] = []
    targets: list[Target] = []


class Address(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a load balancer answers."""

    address: str
    family: str
    elastic_ip_id: str = ""


class Vpc(Row, frozen=True, kw_only=True):
    """A network of a tenant."""

    user_id: str
    tenant_id: str
    name: str
    cidr_block: str
    network_id: str
    vxlan_id: int
    status: str = "active"
    idem_key: str | None = None


class Balancer(Row, frozen=True, kw_only=True):
    """A load balancer; `port` and `algorithm` are the strict tier's, `groups` the extended one's."""

    user_id: str
    tenant_id: str
    name: str
    vpc_id: str
    status: str
    status_reason: str = ""
    version: int = 1
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    internal: bool = False
    size: str = "small"
    families: list[str] = msgspec.field(default_factory=lambda: ["ipv4"])
    addresses: list[Address] = msgspec.field(default_factory=list)
    groups: list[Group] = msgspec.field(default_factory=list)
    port: int = 0
    algorithm: str = ROUND_ROBIN
    idem_key: str | None = None
    idem_hash: str = ""
    updated_at: str = msgspec.field(default_factory=now)

    def group(self, name: str) -> Group | None:
        """Give the group of a name, or None."""
        return next((group for group in self.groups if group.name == name), None)


class StrictTarget(Row, frozen=True, kw_only=True):
    """An instance that a load balancer of the strict tier sends to."""

    lb_id: str
    instance_id: str
    port: int
    weight: int


class ElasticIp(Row, frozen=True, kw_only=True):
    """An address that a tenant keeps."""

    user_id: str
    tenant_id: str
    public_ip: str
    status: str = ALLOCATED
    instance_id: str | None = None
    vpc_id: str = ""
    lb_id: str | None = None
    name: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    idem_key: str | None = None
    idem_hash: str = ""
    updated_at: str = msgspec.field(default_factory=now)


class SecurityGroup(Row, frozen=True, kw_only=True):
    """A set of rules that instances can have."""

    user_id: str
    tenant_id: str
    vpc_id: str
    name: str
    description: str = ""


class SecurityRule(Row, frozen=True, kw_only=True):
    """What a security group lets through."""

    group_id: str
    direction: str
    protocol: str
    port_min: int = 0
    port_max: int = 0
    cidr: str = ""
    priority: int = 0
    in_force: bool = True
    """Whether the network was told of it, which the strict tier puts off (platform contract 8); shown to nobody."""


class GroupMember(Row, frozen=True, kw_only=True):
    """An instance that has a security group."""

    group_id: str
    instance_id: str


class Certificate(Row, frozen=True, kw_only=True):
    """A certificate with its private key, which no answer shows."""

    user_id: str
    tenant_id: str
    name: str
    certificate_pem: str
    private_key_pem: str
    fingerprint_sha256: str
    not_after: str
    dns_names: list[str] = msgspec.field(default_factory=list)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    idem_key: str | None = None
    idem_hash: str = ""


VPCS = Table("vpcs", Vpc)
BALANCERS = Table("balancers", Balancer)
STRICT_TARGETS = Table("balancer_targets", StrictTarget)
ELASTIC_IPS = Table("elastic_ips", ElasticIp)
SECURITY_GROUPS = Table("security_groups", SecurityGroup)
SECURITY_RULES = Table("security_rules", SecurityRule)
GROUP_MEMBERS = Table("security_group_members", GroupMember)
CERTIFICATES = Table("certificates", Certificate)
