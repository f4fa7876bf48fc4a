"""VPCs: make, find, rename, delete; and the one that a tenant has without asking.

Belongs here: the rules of platform contract 7.1. Does not: packets; all instances of a platform share one network, and
a VPC says only who may be a target of whose load balancer.
"""

import ipaddress
import sqlite3

import msgspec

from devcloud import events
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import InUseError, InvalidError, MissingError, NameTakenError, UntypedError
from devcloud.network_rows import BALANCERS, DELETED, VPCS, Vpc
from devcloud.rows import INSTANCES, new_id
from devcloud.volumes import parse_uuid

VPC = "vpc"
DEFAULT_NAME = "default"
_DEFAULT_CIDR = "10.0.0.0/16"
_FIRST_VXLAN = 100
_VXLANS = 256
_MAX_KEY_CHARACTERS = 64


def find(db: sqlite3.Connection, actor: Actor, ref: str) -> Vpc:
    """Give a tenant's VPC by id or name; raises MissingError."""
    vpc_id = parse_uuid(ref)
    column, value = ("id", vpc_id) if vpc_id else ("name", ref)
    found = VPCS.one(db, f"{column} = ? AND tenant_id = ?", value, actor.tenant_id)
    if found is None:
        raise MissingError(VPC, ref)
    return found


def ensure_default(db: sqlite3.Connection, actor: Actor, cidr_block: str = _DEFAULT_CIDR) -> Vpc:
    """Give the tenant's first VPC, making one where there is none; raises InvalidError for no tenant."""
    if not actor.tenant_id:
        raise InvalidError("X-Tenant-ID header required or default tenant not set")
    of_tenant = VPCS.all(db, "tenant_id = ?", actor.tenant_id)
    if of_tenant:
        return of_tenant[-1]
    name = DEFAULT_NAME if VPCS.one(db, "name = ?", DEFAULT_NAME) is None else f"{DEFAULT_NAME}-{actor.tenant_id}"
    return VPCS.insert(db, _new(db, actor, name, cidr_block, None))


async def get(cloud: Cloud, scope: Scope, ref: str) -> Vpc:
    """Give one VPC; raises MissingError."""
    return await cloud.store.read(lambda db: find(db, scope.actor, ref), copy=scope.copy)


async def list_all(cloud: Cloud, scope: Scope) -> list[Vpc]:
    """Give the tenant's VPCs, newest first."""
    return await cloud.store.read(lambda db: VPCS.all(db, "tenant_id = ?", scope.actor.tenant_id), copy=scope.copy)


async def create(cloud: Cloud, actor: Actor, name: str, cidr_block: str, idem_key: str | None) -> Vpc:
    """Make a VPC; the same key gives the same one, whatever else is asked for (platform contract 1.8).

    Raises InvalidError for a range that is none, NameTakenError, UntypedError for a key of somebody else.
    """
    _check_range(cidr_block or _DEFAULT_CIDR, strict=cloud.is_strict)
    if idem_key is not None and len(idem_key) > _MAX_KEY_CHARACTERS:
        raise UntypedError(f"an idempotency key has at most {_MAX_KEY_CHARACTERS} characters")

    def work(db: sqlite3.Connection) -> Vpc:
        if idem_key:
            made = VPCS.one(db, "idem_key = ? AND user_id = ?", idem_key, actor.user_id)
            if made is not None:
                return made
            if VPCS.one(db, "idem_key = ?", idem_key) is not None:
                raise UntypedError("the idempotency key belongs to another user")
        if VPCS.one(db, "name = ?", name) is not None:
            raise NameTakenError(VPC, name)
        made = VPCS.insert(db, _new(db, actor, name, cidr_block or _DEFAULT_CIDR, idem_key or None))
        _record(db, made, "VPC_CREATE", "vpc.created")
        return made

    made = await cloud.store.write(work)
    cloud.hub.wake()
    return made


async def rename(cloud: Cloud, actor: Actor, ref: str, name: str) -> Vpc:
    """Give a VPC another name; raises MissingError, NameTakenError."""

    def work(db: sqlite3.Connection) -> Vpc:
        found = find(db, actor, ref)
        if found.name == name:
            return found
        if VPCS.one(db, "name = ?", name) is not None:
            raise NameTakenError(VPC, name)
        return VPCS.update(db, msgspec.structs.replace(found, name=name))

    return await cloud.store.write(work)


async def delete(cloud: Cloud, actor: Actor, ref: str) -> None:
    """Remove a VPC that nothing lies in; raises MissingError, InUseError.

    Strict tier: what still lies in it, but for load balancers, is noticed by the database only (UntypedError).
    """

    def work(db: sqlite3.Connection) -> None:
        found = find(db, actor, ref)
        user = BALANCERS.one(db, "vpc_id = ? AND status <> ?", found.id, DELETED)
        if user is not None:
            raise InUseError(VPC, found.id, f"load balancer {user.id}")
        instance = INSTANCES.one(db, "vpc_id = ?", found.id)
        if instance is not None and not cloud.is_strict:
            raise InUseError(VPC, found.id, f"instance {instance.id}")
        if instance is not None or BALANCERS.one(db, "vpc_id = ?", found.id) is not None:
            raise UntypedError(f"VPC {found.id} is referred to")
        VPCS.delete(db, found.id)
        _record(db, found, "VPC_DELETE", "vpc.deleted")

    await cloud.store.write(work)
    cloud.hub.wake()


def _new(db: sqlite3.Connection, actor: Actor, name: str, cidr_block: str, idem_key: str | None) -> Vpc:
    vpc_id = new_id()
    count = db.execute("SELECT COUNT(*) FROM vpcs").fetchone()[0]
    return Vpc(
        id=vpc_id,
        user_id=actor.user_id,
        tenant_id=actor.tenant_id,
        name=name,
        cidr_block=cidr_block,
        network_id=f"br-vpc-{vpc_id[:8]}",
        vxlan_id=_FIRST_VXLAN + count % _VXLANS,
        idem_key=idem_key,
    )


def _check_range(text: str, *, strict: bool) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidError(f"cidr_block {text[:64]!r} is no range of addresses") from error
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        if strict:
            raise UntypedError("the range has host bits") from error
        raise InvalidError(f"cidr_block: {error}") from error


def _record(db: sqlite3.Connection, vpc: Vpc, action: str, kind: str) -> None:
    events.record(
        db,
        user_id=vpc.user_id,
        tenant_id=vpc.tenant_id,
        resource_id=vpc.id,
        resource_type=VPC,
        action=action,
        kind=kind,
        name=vpc.name,
    )
