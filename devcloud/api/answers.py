"""Payloads of answers, as the wire has them."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from devcloud.rows import Health


class Message(msgspec.Struct, frozen=True):
    """A payload that only says what was done."""

    message: str


class VolumeView(msgspec.Struct, frozen=True, kw_only=True):
    """A volume."""

    id: str
    user_id: str
    tenant_id: str
    name: str
    size_gb: int
    status: str
    instance_id: str | UnsetType = UNSET
    backend_path: str | UnsetType = UNSET
    mount_path: str | UnsetType = UNSET
    encrypted: bool = False
    created_at: str
    updated_at: str


class VolumeViewExtended(VolumeView, frozen=True, kw_only=True):
    """A volume with the extensions."""

    serial: str
    tags: dict[str, str]
    performance_class: str
    zone: str
    source_snapshot_id: str | UnsetType = UNSET
    source_volume_id: str | UnsetType = UNSET
    allocated_bytes: int
    read_only: bool
    health: list[Health]


class Attached(msgspec.Struct, frozen=True):
    """Answer of an attach."""

    message: str
    device_path: str
    volume: VolumeViewExtended | UnsetType = UNSET


class SnapshotView(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot."""

    id: str
    user_id: str
    tenant_id: str | UnsetType = UNSET
    volume_id: str
    volume_name: str
    size_gb: int
    status: str
    description: str | UnsetType = UNSET
    created_at: str


class SnapshotViewExtended(SnapshotView, frozen=True, kw_only=True):
    """A snapshot with the extensions."""

    name: str
    tags: dict[str, str]
    group_id: str | UnsetType = UNSET
    size_bytes: int
    zone: str


class GroupView(msgspec.Struct, frozen=True):
    """A snapshot group."""

    id: str
    name: str
    status: str
    tags: dict[str, str]
    created_at: str
    snapshots: list[SnapshotViewExtended]


class InstanceView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An instance."""

    id: str
    user_id: str
    tenant_id: str
    name: str
    image: str
    container_id: str = ""
    status: str
    ports: str = ""
    vpc_id: str = ""
    subnet_id: str = ""
    private_ip: str = ""
    instance_type: str
    volume_binds: list[str] = []
    env: list[str] = []
    cmd: list[str] = []
    cpu_limit: int = 0
    memory_limit: int = 0
    disk_limit: int = 0
    metadata: dict[str, str] = {}
    labels: dict[str, str] = {}
    ssh_key_id: str = ""
    version: int
    created_at: str
    updated_at: str


class InstanceViewExtended(InstanceView, frozen=True, kw_only=True):
    """An instance with the extensions."""

    hostname: str
    zone: str
    region: str
    max_volumes: int
    public_ip: str = ""


class InstanceTypeView(msgspec.Struct, frozen=True):
    """A size that an instance can have."""

    id: str
    name: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    network_mbps: int
    price_per_hour: float
    category: str


class ResizedInstance(msgspec.Struct, frozen=True):
    """Answer of resizing an instance."""

    message: str
    instance_type: str
    status: str


class InstanceStats(msgspec.Struct, frozen=True):
    """Use of resources."""

    cpu_percentage: float = 0.0
    memory_usage_bytes: int = 0
    memory_limit_bytes: int = 0
    memory_percentage: float = 0.0


class UserView(msgspec.Struct, frozen=True):
    """A user."""

    id: str
    tenant_id: str
    default_tenant_id: str
    email: str
    name: str
    role: str
    created_at: str
    updated_at: str


class LoginView(msgspec.Struct, frozen=True):
    """Answer of a login; the only place beside key creation where a key is shown."""

    user: UserView
    api_key: str


class KeyView(msgspec.Struct, frozen=True):
    """An API key; `key` is there right after it was made and never again."""

    id: str
    user_id: str
    tenant_id: str
    name: str
    created_at: str
    last_used: str
    default_tenant_id: str | UnsetType = UNSET
    key: str | UnsetType = UNSET


class TenantView(msgspec.Struct, frozen=True):
    """A tenant."""

    id: str
    name: str
    slug: str
    owner_id: str
    plan: str
    status: str
    created_at: str
    updated_at: str


class EventView(msgspec.Struct, frozen=True):
    """An event of the list."""

    id: str
    user_id: str
    tenant_id: str
    action: str
    resource_id: str
    resource_type: str
    metadata: dict[str, Any]
    created_at: str


class Capabilities(msgspec.Struct, frozen=True):
    """What the platform can do."""

    tier: str
    features: list[str]


class PerformanceClassView(msgspec.Struct, frozen=True):
    """A kind of storage."""

    name: str
    description: str
    max_size_gb: int


class Capacity(msgspec.Struct, frozen=True):
    """How much storage new volumes may claim."""

    available_bytes: int
    minimum_volume_size_gb: int
    maximum_volume_size_gb: int


class ZoneView(msgspec.Struct, frozen=True):
    """A zone."""

    name: str
    region: str
