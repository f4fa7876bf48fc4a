"""Bodies of requests, as the wire has them, with the limits that the platform checks before anything else."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from devcloud.network_rows import PORT_MAX, Family, Group, Listener, ObjectName, Port, Size, Target
from devcloud.settings import MAX_SIZE_GB, MIN_SIZE_GB

Name = Annotated[str, Meta(min_length=3, max_length=64)]
SizeGb = Annotated[int, Meta(ge=MIN_SIZE_GB, le=MAX_SIZE_GB)]
Text = Annotated[str, Meta(min_length=1)]
TagKey = Annotated[str, Meta(min_length=1, max_length=128)]
TagValue = Annotated[str, Meta(max_length=256)]
Tags = Annotated[dict[TagKey, TagValue], Meta(max_length=64)]
RulePort = Annotated[int, Meta(ge=0, le=PORT_MAX)]
WaitS = Annotated[float, Meta(ge=0, le=60)]
Email = Annotated[str, Meta(max_length=255, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
Password = Annotated[str, Meta(min_length=8, max_length=72)]


_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOSTNAME = rf"^({_LABEL}(\.{_LABEL})*)?$"
"""What a host name may be (RFC 1123); empty: the platform gives one."""


class Register(msgspec.Struct, frozen=True):
    """Request of a new user."""

    email: Email
    password: Password
    name: Annotated[str, Meta(min_length=2, max_length=100)]


class Login(msgspec.Struct, frozen=True):
    """Request of a key by password."""

    email: Text
    password: Text


class KeyRequest(msgspec.Struct, frozen=True):
    """Request of an API key."""

    name: Text


class CreateTenant(msgspec.Struct, frozen=True):
    """Request of a new tenant."""

    name: Text
    slug: Text


class AddMember(msgspec.Struct, frozen=True):
    """Request to let a user into a tenant."""

    email: Text
    role: Text


class LaunchVolume(msgspec.Struct, frozen=True):
    """A volume that an instance gets at launch."""

    volume_id: Text
    mount_path: Annotated[str, Meta(pattern="^/")]


class LaunchInstance(msgspec.Struct, frozen=True):
    """Request of a new instance."""

    name: Text
    image: Text
    instance_type: str = ""
    ports: str = ""
    vpc_id: str = ""
    subnet_id: str = ""
    volumes: list[LaunchVolume] = []
    volume_binds: list[str] = []
    env: list[str] = []
    cmd: list[str] = []
    cpu_limit: int = 0
    memory_limit: int = 0
    disk_limit: int = 0
    ssh_key_id: str = ""
    metadata: dict[str, str] = {}
    labels: dict[str, str] = {}


class LaunchInstanceExtended(LaunchInstance, frozen=True):
    """The same with a zone and a host name."""

    zone: str = ""
    hostname: Annotated[str, Meta(max_length=253, pattern=HOSTNAME)] = ""


class PowerDown(msgspec.Struct, frozen=True):
    """Request to stop or reboot an instance."""

    force: bool = False


class UpdateMetadata(msgspec.Struct, frozen=True):
    """Request to merge metadata and labels."""

    metadata: dict[str, str] = {}
    labels: dict[str, str] = {}


class UpdateTags(msgspec.Struct, frozen=True):
    """Request to merge labels."""

    tags: dict[str, str]


class ResizeInstance(msgspec.Struct, frozen=True):
    """Request of another instance type."""

    instance_type: Text


class CreateSshKey(msgspec.Struct, frozen=True):
    """Request to keep a public key."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    public_key: Text


class CreateImage(msgspec.Struct, frozen=True):
    """Request to register an image."""

    name: Text
    description: str = ""
    os: str = ""
    version: str = ""
    is_public: bool = False


class CreateVolume(msgspec.Struct, frozen=True):
    """Request of a volume."""

    name: Name
    size_gb: SizeGb


class CreateVolumeExtended(CreateVolume, frozen=True):
    """The same with tags, class, zone and a source."""

    tags: Tags = {}
    performance_class: str = ""
    zone: str = ""
    snapshot_id: str = ""
    source_volume_id: str = ""


class AttachVolume(msgspec.Struct, frozen=True):
    """Request of an attachment."""

    instance_id: Text
    mount_path: Text


class AttachVolumeExtended(msgspec.Struct, frozen=True):
    """Request of an attachment that is waited for."""

    instance_id: Text
    mount_path: str = ""
    read_only: bool = False
    wait_s: WaitS = 30.0


class DetachVolume(msgspec.Struct, frozen=True):
    """Request to detach from one instance."""

    instance_id: Text
    wait_s: WaitS = 5.0


class ResizeVolume(msgspec.Struct, frozen=True):
    """Request of a larger volume."""

    size_gb: SizeGb


class ModifyVolume(msgspec.Struct, frozen=True):
    """Request to change class or tags."""

    performance_class: str | None = None
    tags: Tags = {}


class CreateSnapshot(msgspec.Struct, frozen=True):
    """Request of a snapshot."""

    volume_id: Text
    description: str = ""


class CreateSnapshotExtended(CreateSnapshot, frozen=True):
    """The same with name and tags."""

    name: Annotated[str, Meta(max_length=128)] = ""
    tags: Tags = {}


class RestoreSnapshot(msgspec.Struct, frozen=True):
    """Request of a volume from a snapshot."""

    new_volume_name: Name


class CreateGroup(msgspec.Struct, frozen=True):
    """Request of snapshots at one moment."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    volume_ids: list[str]
    tags: Tags = {}


class CreateVpc(msgspec.Struct, frozen=True):
    """Request of a VPC."""

    name: Text
    cidr_block: str = ""


class RenameVpc(msgspec.Struct, frozen=True):
    """Request of another name of a VPC."""

    name: Text


class CreateBalancer(msgspec.Struct, frozen=True):
    """Request of a load balancer with its one port."""

    name: Text
    vpc_id: Text
    port: Port
    algorithm: str = ""


class CreateBalancerExtended(msgspec.Struct, frozen=True):
    """Request of a load balancer with groups; `port` is only there to be refused."""

    name: ObjectName
    vpc_id: str = ""
    internal: bool = False
    size: Size = "small"
    families: Annotated[list[Family], Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: ["ipv4"]
    )
    static_addresses: Annotated[list[str], Meta(max_length=16)] = []
    tags: Tags = {}
    groups: list[Group] = []
    port: int = 0


class ModifyBalancer(msgspec.Struct, frozen=True):
    """Request to change name, size or tags."""

    name: ObjectName | None = None
    size: Size | None = None
    tags: Tags = {}


class PutGroup(msgspec.Struct, frozen=True):
    """Request to replace a group, or a part of it."""

    listeners: list[Listener] | None = None
    targets: list[Target] | None = None
    version: int | None = None


class AddTarget(msgspec.Struct, frozen=True):
    """Request to send to an instance."""

    instance_id: Text
    port: Port
    weight: Annotated[int, Meta(ge=0)] = 0


class AllocateAddress(msgspec.Struct, frozen=True):
    """Request of an elastic IP."""

    name: Annotated[str, Meta(max_length=128)] = ""
    tags: Tags = {}
    family: Family = "ipv4"


class AssociateAddress(msgspec.Struct, frozen=True):
    """Request to let an instance have an elastic IP."""

    instance_id: Text


class CreateSecurityGroup(msgspec.Struct, frozen=True):
    """Request of a security group."""

    vpc_id: Text
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    description: str = ""


class AddRule(msgspec.Struct, frozen=True):
    """Request of a rule, as the published platform takes it: nothing is needed and nothing checked."""

    id: str | None = None
    direction: str = ""
    protocol: str = ""
    port_min: int = 0
    port_max: int = 0
    cidr: str = ""
    priority: int = 0


class AddRuleExtended(msgspec.Struct, frozen=True):
    """Request of a rule that can be."""

    direction: Literal["ingress", "egress"]
    protocol: Literal["tcp", "udp", "icmp", "arp", "all"]
    cidr: Text
    port_min: RulePort = 0
    port_max: RulePort = 0
    priority: Annotated[int, Meta(ge=0, le=65535)] = 100


class GroupOfInstance(msgspec.Struct, frozen=True):
    """Request to attach a security group to an instance, or to detach it."""

    instance_id: Text
    group_id: Text


class CreateCertificate(msgspec.Struct, frozen=True):
    """Request to keep a certificate with its key."""

    name: ObjectName
    certificate_pem: Text
    private_key_pem: Text
    tags: Tags = {}
