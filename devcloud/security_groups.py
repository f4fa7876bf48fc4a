"""Security groups: make, find, delete, their rules, and who has them.

Belongs here: the rules of platform contract 8 and their extensions. Does not: packets; what a group says is kept and
shown, and nothing between the instances of this platform enforces it.
"""

import ipaddress
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from devcloud import events, vpcs
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import (
    DanglingError,
    DeniedError,
    InvalidError,
    MissingError,
    NameTakenError,
    UntypedError,
)
from devcloud.network_rows import (
    GROUP_MEMBERS,
    SECURITY_GROUPS,
    SECURITY_RULES,
    VPCS,
    GroupMember,
    SecurityGroup,
    SecurityRule,
)
from devcloud.rows import INSTANCES, Instance, new_id
from devcloud.volumes import parse_uuid

SECURITY_GROUP = "security_group"
ARP = "arp"
EVERYBODY = "0.0.0.0/0"
_WITH_PORTS = frozenset({"tcp", "udp"})


@dataclass(frozen=True, slots=True)
class Whole:
    """A security group with its rules, the highest priority first, and the instances that have it."""

    row: SecurityGroup
    rules: Sequence[SecurityRule] = ()
    instance_ids: Sequence[str] = ()


def find(db: sqlite3.Connection, actor: Actor, ref: str, vpc_id: str | None = None) -> SecurityGroup:
    """Give a tenant's security group by id, or by name in a VPC; raises MissingError."""
    group_id = parse_uuid(ref)
    if group_id is not None:
        found = SECURITY_GROUPS.one(db, "id = ? AND tenant_id = ?", group_id, actor.tenant_id)
    else:
        where = "name = ? AND vpc_id = ? AND tenant_id = ?"
        found = SECURITY_GROUPS.one(db, where, ref, vpc_id or "", actor.tenant_id)
    if found is None:
        raise MissingError(SECURITY_GROUP, ref)
    return found


async def create(cloud: Cloud, actor: Actor, *, vpc_id: str, name: str, description: str) -> Whole:
    """Make a security group without rules; raises NameTakenError, DanglingError (VPC).

    Strict tier: the answer lists two rules for ARP that are not there.
    """

    def work(db: sqlite3.Connection) -> SecurityGroup:
        if VPCS.one(db, "id = ? AND tenant_id = ?", vpc_id, actor.tenant_id) is None:
            raise DanglingError(vpcs.VPC, vpc_id)
        if SECURITY_GROUPS.one(db, "vpc_id = ? AND name = ?", vpc_id, name) is not None:
            raise NameTakenError(SECURITY_GROUP, name)
        made = SecurityGroup(
            id=new_id(),
            user_id=actor.user_id,
            tenant_id=actor.tenant_id,
            vpc_id=vpc_id,
            name=name,
            description=description,
        )
        SECURITY_GROUPS.insert(db, made)
        _record(db, made, "created")
        return made

    made = await cloud.store.write(work)
    cloud.hub.wake()
    return Whole(made, [_arp(made, direction) for direction in ("ingress", "egress")] if cloud.is_strict else ())


async def get(cloud: Cloud, scope: Scope, ref: str, vpc_id: str | None) -> Whole:
    """Give one security group; raises MissingError."""
    return await cloud.store.read(lambda db: _whole(db, find(db, scope.actor, ref, vpc_id)), copy=scope.copy)


async def list_all(cloud: Cloud, scope: Scope, vpc_id: str) -> list[Whole]:
    """Give the tenant's security groups in a VPC, newest first."""

    def work(db: sqlite3.Connection) -> list[Whole]:
        found = SECURITY_GROUPS.all(db, "vpc_id = ? AND tenant_id = ?", vpc_id, scope.actor.tenant_id)
        return [_whole(db, row) for row in found]

    return await cloud.store.read(work, copy=scope.copy)


async def delete(cloud: Cloud, actor: Actor, group_id: str) -> None:
    """Remove a security group with its rules, also while instances have it.

    Raises MissingError in the extended tier only.
    """

    def work(db: sqlite3.Connection) -> None:
        try:
            found = find(db, actor, group_id)
        except MissingError:
            if cloud.is_strict:
                return
            raise
        SECURITY_GROUPS.delete(db, found.id)
        _record(db, found, "deleted")

    await cloud.store.write(work)
    cloud.hub.wake()


async def add_rule(cloud: Cloud, actor: Actor, rule: SecurityRule) -> SecurityRule:
    """Add a rule to the group that it names; raises MissingError, InvalidError, UntypedError (strict tier).

    Extended tier: a rule that is there already is given again. Strict tier: what the group had before counts from
    here, and this rule does not yet.
    """
    if not cloud.is_strict:
        _check(rule)

    def work(db: sqlite3.Connection) -> SecurityRule:
        group = find(db, actor, rule.group_id)
        made = msgspec.structs.replace(rule, group_id=group.id, in_force=not cloud.is_strict)
        before = SECURITY_RULES.all(db, "group_id = ?", group.id)
        same = next((one for one in before if _says(one) == _says(made)), None)
        if same is not None and not cloud.is_strict:
            return same
        _put_in_force(db, group.id, in_force=True)
        try:
            SECURITY_RULES.insert(db, made)
        except sqlite3.IntegrityError as error:
            raise UntypedError(f"the rule cannot be stored: {error}") from error
        _record(db, group, "modified")
        return made

    made = await cloud.store.write(work)
    cloud.hub.wake()
    return made


async def remove_rule(cloud: Cloud, actor: Actor, rule_id: str) -> None:
    """Take a rule away; raises MissingError."""

    def work(db: sqlite3.Connection) -> None:
        found = SECURITY_RULES.get(db, rule_id)
        if found is None:
            raise MissingError("security_rule", rule_id)
        group = SECURITY_GROUPS.one(db, "id = ? AND tenant_id = ?", found.group_id, actor.tenant_id)
        if group is None:
            raise MissingError("security_rule", rule_id)
        SECURITY_RULES.delete(db, found.id)
        _record(db, group, "modified")

    await cloud.store.write(work)
    cloud.hub.wake()


async def attach(cloud: Cloud, actor: Actor, group_id: str, instance_id: str) -> None:
    """Let an instance have a security group; the same again is fine.

    Raises MissingError, DeniedError (strict tier: of another tenant), InvalidError (extended tier: of another VPC).
    """

    def change(db: sqlite3.Connection, group: SecurityGroup, instance: Instance) -> None:
        if not cloud.is_strict and instance.vpc_id != group.vpc_id:
            raise InvalidError(f"instance {instance.id} does not lie in VPC {group.vpc_id}, as the security group does")
        _put_in_force(db, group.id, in_force=True)
        if _member(db, group, instance) is None:
            GROUP_MEMBERS.insert(db, GroupMember(id=new_id(), group_id=group.id, instance_id=instance.id))

    await _change_members(cloud, actor, group_id, instance_id, change)


async def detach(cloud: Cloud, actor: Actor, group_id: str, instance_id: str) -> None:
    """Take a security group from an instance; the same again is fine. Raises MissingError, DeniedError.

    Strict tier: its rules count for nobody until the next attach.
    """

    def change(db: sqlite3.Connection, group: SecurityGroup, instance: Instance) -> None:
        if cloud.is_strict:
            _put_in_force(db, group.id, in_force=False)
        member = _member(db, group, instance)
        if member is not None:
            GROUP_MEMBERS.delete(db, member.id)

    await _change_members(cloud, actor, group_id, instance_id, change)


async def _change_members(
    cloud: Cloud,
    actor: Actor,
    group_id: str,
    instance_id: str,
    change: Callable[[sqlite3.Connection, SecurityGroup, Instance], None],
) -> None:
    def work(db: sqlite3.Connection) -> None:
        group, instance = SECURITY_GROUPS.get(db, group_id), INSTANCES.get(db, instance_id)
        for found, kind, ref in ((group, SECURITY_GROUP, group_id), (instance, "instance", instance_id)):
            if found is None or (found.tenant_id != actor.tenant_id and not cloud.is_strict):
                raise MissingError(kind, ref)
            if found.tenant_id != actor.tenant_id:
                raise DeniedError(f"{kind.replace('_', ' ')} {ref} belongs to another tenant")
        if group is not None and instance is not None:
            change(db, group, instance)
            _record(db, group, "modified")

    await cloud.store.write(work)
    cloud.hub.wake()


def _member(db: sqlite3.Connection, group: SecurityGroup, instance: Instance) -> GroupMember | None:
    return GROUP_MEMBERS.one(db, "group_id = ? AND instance_id = ?", group.id, instance.id)


def _whole(db: sqlite3.Connection, row: SecurityGroup) -> Whole:
    rules = SECURITY_RULES.all(db, "group_id = ?", row.id)
    members = GROUP_MEMBERS.all(db, "group_id = ?", row.id)
    return Whole(row, sorted(rules, key=lambda rule: -rule.priority), [member.instance_id for member in members])


def _put_in_force(db: sqlite3.Connection, group_id: str, *, in_force: bool) -> None:
    db.execute("UPDATE security_rules SET in_force = ? WHERE group_id = ?", (in_force, group_id))


def _says(rule: SecurityRule) -> tuple[str, str, int, int, str, int]:
    return (rule.direction, rule.protocol, rule.port_min, rule.port_max, rule.cidr, rule.priority)


def _check(rule: SecurityRule) -> None:
    """Raise InvalidError for a rule that cannot be."""
    try:
        ipaddress.IPv4Network(rule.cidr)
    except ValueError as error:
        raise InvalidError(f"cidr: {error}") from error
    if rule.protocol not in _WITH_PORTS:
        if rule.port_min or rule.port_max:
            raise InvalidError(f"port_min, port_max: protocol {rule.protocol} has no ports")
    elif not 1 <= rule.port_min <= rule.port_max:
        raise InvalidError(f"port_min, port_max: {rule.port_min} to {rule.port_max} is no range of ports")


def _arp(group: SecurityGroup, direction: str) -> SecurityRule:
    return SecurityRule(id=new_id(), group_id=group.id, direction=direction, protocol=ARP, cidr=EVERYBODY, priority=100)


def _record(db: sqlite3.Connection, group: SecurityGroup, what: str) -> None:
    events.record(
        db,
        user_id=group.user_id,
        tenant_id=group.tenant_id,
        resource_id=group.id,
        resource_type=SECURITY_GROUP,
        kind=f"security_group.{what}",
        name=group.name,
    )
