"""Rows of networks as the wire has them, per tier."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from devcloud.api import network_answers as answers
from devcloud.balancing.path import UNKNOWN
from devcloud.cloud import Cloud, Scope
from devcloud.network_rows import (
    ELASTIC_IPS,
    Balancer,
    Certificate,
    ElasticIp,
    Group,
    SecurityRule,
    StrictTarget,
    Vpc,
)
from devcloud.rows import INSTANCES, ZERO_UUID, Instance
from devcloud.security_groups import Whole


def view_vpc(row: Vpc, *, is_new: bool = False) -> answers.VpcView:
    """Give a VPC, with its key where it was just made."""
    return answers.VpcView(
        id=row.id,
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        name=row.name,
        cidr_block=row.cidr_block,
        network_id=row.network_id,
        vxlan_id=row.vxlan_id,
        status=row.status,
        arn=f"arn:thecloud:vpc:local:{row.tenant_id}:vpc/{row.id}",
        created_at=row.created_at,
        idempotency_key=row.idem_key if is_new and row.idem_key else UNSET,
    )


def view_strict_balancer(row: Balancer, *, is_new: bool = False) -> answers.BalancerView:
    """Give a load balancer of the strict tier, whose tenant only the create answer shows (platform contract 9.1)."""
    return answers.BalancerView(
        id=row.id,
        user_id=row.user_id,
        tenant_id=row.tenant_id if is_new else ZERO_UUID,
        idempotency_key=row.idem_key or UNSET,
        name=row.name,
        vpc_id=row.vpc_id,
        port=row.port,
        algorithm=row.algorithm,
        status=row.status,
        version=row.version,
        created_at=row.created_at,
    )


def view_strict_target(row: StrictTarget) -> answers.StrictTargetView:
    """Give a target of the strict tier; nobody ever finds out its health (platform contract 9.4)."""
    return answers.StrictTargetView(row.id, row.lb_id, row.instance_id, row.port, row.weight, UNKNOWN)


async def view_balancer(cloud: Cloud, scope: Scope, row: Balancer) -> answers.BalancerViewExtended:
    """Give a load balancer with what is known of its targets."""
    return (await view_balancers(cloud, scope, [row]))[0]


async def view_balancers(cloud: Cloud, scope: Scope, rows: Sequence[Balancer]) -> list[answers.BalancerViewExtended]:
    """Give load balancers with what is known of their targets."""
    addresses = await cloud.store.read(lambda db: _addresses(db, scope.actor.tenant_id), copy=scope.copy)
    return [_view_balancer(cloud, row, addresses) for row in rows]


async def public_addresses(cloud: Cloud, scope: Scope, rows: Sequence[Instance]) -> dict[str, str]:
    """Give the elastic IPs of instances by the instance's id."""
    if cloud.is_strict or not rows:
        return {}

    def work(db: sqlite3.Connection) -> dict[str, str]:
        found = ELASTIC_IPS.all(db, "tenant_id = ? AND instance_id IS NOT NULL", scope.actor.tenant_id)
        return {str(one.instance_id): one.public_ip for one in found}

    return await cloud.store.read(work, copy=scope.copy)


def view_elastic_ip(cloud: Cloud, row: ElasticIp) -> answers.ElasticIpView:
    """Give an elastic IP."""
    plain: dict[str, Any] = {
        "id": row.id,
        "user_id": row.user_id,
        "tenant_id": row.tenant_id,
        "public_ip": row.public_ip,
        "instance_id": row.instance_id or UNSET,
        "vpc_id": row.vpc_id or UNSET,
        "status": row.status,
        "arn": f"arn:thecloud:vpc:local:{row.tenant_id}:eip/{row.id}",
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
    if cloud.is_strict:
        return answers.ElasticIpView(**plain)
    return answers.ElasticIpViewExtended(**plain, name=row.name, tags=row.tags, family="ipv4", lb_id=row.lb_id or UNSET)


def view_rule(row: SecurityRule) -> answers.RuleView:
    """Give a rule of a security group; ports that say nothing are left out."""
    return answers.RuleView(
        id=row.id,
        group_id=row.group_id,
        direction=row.direction,
        protocol=row.protocol,
        port_min=row.port_min,
        port_max=row.port_max,
        cidr=row.cidr,
        priority=row.priority,
        created_at=row.created_at,
    )


def view_security_group(cloud: Cloud, found: Whole, *, in_list: bool = False) -> answers.SecurityGroupView:
    """Give a security group; the strict tier shows no rules in lists, and none as if there were no such field."""
    row = found.row
    rules = [view_rule(rule) for rule in found.rules]
    shown: dict[str, Any] = {
        "id": row.id,
        "user_id": row.user_id,
        "tenant_id": row.tenant_id,
        "vpc_id": row.vpc_id,
        "name": row.name,
        "description": row.description,
        "arn": f"arn:thecloud:vpc:local:{row.user_id}:security-group/{row.id}",
        "created_at": row.created_at,
    }
    if cloud.is_strict:
        return answers.SecurityGroupView(**shown, rules=UNSET if in_list or not rules else rules)
    return answers.SecurityGroupViewExtended(**shown, rules=rules, instance_ids=list(found.instance_ids))


def view_certificate(row: Certificate) -> answers.CertificateView:
    """Give a certificate without its key."""
    return answers.CertificateView(
        id=row.id,
        name=row.name,
        fingerprint_sha256=row.fingerprint_sha256,
        not_after=row.not_after,
        dns_names=row.dns_names,
        tags=row.tags,
        created_at=row.created_at,
    )


def _addresses(db: sqlite3.Connection, tenant_id: str) -> dict[str, str]:
    return {row.id: row.private_ip for row in INSTANCES.all(db, "tenant_id = ?", tenant_id)}


def _view_balancer(cloud: Cloud, row: Balancer, addresses: dict[str, str]) -> answers.BalancerViewExtended:
    return answers.BalancerViewExtended(
        id=row.id,
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        name=row.name,
        status=row.status,
        status_reason=row.status_reason,
        version=row.version,
        tags=row.tags,
        vpc_id=row.vpc_id,
        internal=row.internal,
        size=row.size,
        families=row.families,
        addresses=row.addresses,
        groups=[_view_group(cloud, row.id, group, addresses) for group in row.groups],
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _view_group(cloud: Cloud, balancer_id: str, group: Group, addresses: dict[str, str]) -> answers.GroupOfBalancerView:
    health = cloud.path.health(balancer_id)
    targets = [
        answers.TargetView(
            target.instance_id,
            target.weight,
            addresses.get(target.instance_id, ""),
            {
                listener.name: health.get((group.name, listener.name, target.instance_id), UNKNOWN)
                for listener in group.listeners
            },
        )
        for target in group.targets
    ]
    return answers.GroupOfBalancerView(group.name, group.listeners, targets)
