"""Payloads of answers about networks, as the wire has them."""

import msgspec
from msgspec import UNSET, UnsetType

from devcloud.network_rows import Address, Listener


class VpcView(msgspec.Struct, frozen=True, kw_only=True):
    """A VPC; its key is shown in the create answer only."""

    id: str
    user_id: str
    tenant_id: str
    name: str
    cidr_block: str
    network_id: str
    vxlan_id: int
    status: str
    arn: str
    created_at: str
    idempotency_key: str | UnsetType = UNSET


class BalancerView(msgspec.Struct, frozen=True, kw_only=True):
    """A load balancer of the published platform; it has no address."""

    id: str
    user_id: str
    tenant_id: str
    idempotency_key: str | UnsetType = UNSET
    name: str
    vpc_id: str
    port: int
    algorithm: str
    status: str
    version: int
    created_at: str


class StrictTargetView(msgspec.Struct, frozen=True):
    """A target of the published platform."""

    id: str
    lb_id: str
    instance_id: str
    port: int
    weight: int
    health: str


class TargetView(msgspec.Struct, frozen=True):
    """A target; `health` by the name of the listener."""

    instance_id: str
    weight: int
    address: str
    health: dict[str, str]


class GroupOfBalancerView(msgspec.Struct, frozen=True):
    """A group with its targets' health."""

    name: str
    listeners: list[Listener]
    targets: list[TargetView]


class BalancerViewExtended(msgspec.Struct, frozen=True, kw_only=True):
    """A load balancer with addresses and groups."""

    id: str
    user_id: str
    tenant_id: str
    name: str
    status: str
    status_reason: str
    version: int
    tags: dict[str, str]
    vpc_id: str
    internal: bool
    size: str
    families: list[str]
    addresses: list[Address]
    groups: list[GroupOfBalancerView]
    created_at: str
    updated_at: str


class ElasticIpView(msgspec.Struct, frozen=True, kw_only=True):
    """An elastic IP."""

    id: str
    user_id: str
    tenant_id: str
    public_ip: str
    instance_id: str | UnsetType = UNSET
    vpc_id: str | UnsetType = UNSET
    status: str
    arn: str
    created_at: str
    updated_at: str


class ElasticIpViewExtended(ElasticIpView, frozen=True, kw_only=True):
    """An elastic IP with the extensions."""

    name: str
    tags: dict[str, str]
    family: str
    lb_id: str | UnsetType = UNSET


class RuleView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule of a security group."""

    id: str
    group_id: str
    direction: str
    protocol: str
    port_min: int = 0
    port_max: int = 0
    cidr: str
    priority: int
    created_at: str


class SecurityGroupView(msgspec.Struct, frozen=True, kw_only=True):
    """A security group; a list of the published platform does not show its rules."""

    id: str
    user_id: str
    tenant_id: str
    vpc_id: str
    name: str
    description: str
    arn: str
    rules: list[RuleView] | UnsetType = UNSET
    created_at: str


class SecurityGroupViewExtended(SecurityGroupView, frozen=True, kw_only=True):
    """A security group with those who have it."""

    instance_ids: list[str]


class CertificateView(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate; its private key is never given out."""

    id: str
    name: str
    fingerprint_sha256: str
    not_after: str
    dns_names: list[str]
    tags: dict[str, str]
    created_at: str
