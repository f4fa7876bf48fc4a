"""Load balancers of the strict tier: one HTTP port each, targets one by one, a worker that makes and forgets them.

Belongs here: the rules and quirks of platform contract 9. Does not: the data path (`balancing/`), HTTP.
"""

import sqlite3
from dataclasses import dataclass

import msgspec

from devcloud import vpcs
from devcloud.balancers import BALANCER, record
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import InvalidError, MissingError, TargetError, UntypedError
from devcloud.network_rows import BALANCERS, DELETED, ROUND_ROBIN, STRICT_TARGETS, Balancer, StrictTarget
from devcloud.rows import CREATING, INSTANCES, new_id, now
from devcloud.volumes import parse_uuid

_MAX_KEY_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class NewStrictBalancer:
    """What a caller wants. No key is an empty one, and that is unique on the platform like every other."""

    name: str
    vpc_id: str
    port: int
    algorithm: str = ""
    idem_key: str = ""


def find(db: sqlite3.Connection, actor: Actor, ref: str) -> Balancer:
    """Give a user's load balancer by id or name, deleted ones included; raises MissingError."""
    balancer_id = parse_uuid(ref)
    column, value = ("id", balancer_id) if balancer_id else ("name", ref)
    found = BALANCERS.one(db, f"{column} = ? AND user_id = ?", value, actor.user_id)
    if found is None:
        raise MissingError(BALANCER, ref)
    return found


async def get(cloud: Cloud, scope: Scope, ref: str) -> Balancer:
    """Give one load balancer; raises MissingError."""
    return await cloud.store.read(lambda db: find(db, scope.actor, ref), copy=scope.copy)


async def list_all(cloud: Cloud, scope: Scope) -> list[Balancer]:
    """Give the user's load balancers, deleted ones included, newest first."""
    return await cloud.store.read(lambda db: BALANCERS.all(db, "user_id = ?", scope.actor.user_id), copy=scope.copy)


async def create(cloud: Cloud, actor: Actor, new: NewStrictBalancer) -> Balancer:
    """Make a load balancer; a known key gives the one that has it, even a deleted one, whatever else is asked for.

    Raises MissingError (VPC), UntypedError for a key that is too long, somebody else's, or missing a second time.
    """
    if len(new.idem_key) > _MAX_KEY_CHARACTERS:
        raise UntypedError(f"an idempotency key has at most {_MAX_KEY_CHARACTERS} characters")

    def work(db: sqlite3.Connection) -> Balancer:
        holder = BALANCERS.one(db, "idem_key = ?", new.idem_key)
        if new.idem_key and holder is not None and holder.user_id == actor.user_id:
            return holder
        vpc = vpcs.find(db, actor, new.vpc_id)
        if holder is not None:
            raise UntypedError("the idempotency key is taken")
        made = Balancer(
            id=new_id(),
            user_id=actor.user_id,
            tenant_id=actor.tenant_id,
            name=new.name,
            vpc_id=vpc.id,
            status=CREATING,
            port=new.port,
            algorithm=new.algorithm or ROUND_ROBIN,
            idem_key=new.idem_key,
        )
        BALANCERS.insert(db, made)
        record(db, made, "lb.created", action="LB_CREATE")
        return made

    return await cloud.store.write(work)


async def delete(cloud: Cloud, actor: Actor, ref: str) -> None:
    """Let the worker forget a load balancer; until then it is shown as DELETED. Raises MissingError."""

    def work(db: sqlite3.Connection) -> None:
        found = find(db, actor, ref)
        if found.status == DELETED:
            return
        changed = msgspec.structs.replace(found, status=DELETED, version=found.version + 1, updated_at=now())
        BALANCERS.update(db, changed)
        record(db, changed, "lb.deleted", action="LB_DELETE")

    await cloud.store.write(work)


async def add_target(cloud: Cloud, actor: Actor, ref: str, target: StrictTarget) -> None:
    """Send to an instance; raises MissingError, TargetError (another VPC, or none), UntypedError when it is there."""
    balancer_id = _id_of(ref)

    def work(db: sqlite3.Connection) -> None:
        found = find(db, actor, balancer_id)
        instance = INSTANCES.one(db, "id = ? AND tenant_id = ?", target.instance_id, actor.tenant_id)
        if instance is None:
            raise MissingError("instance", target.instance_id)
        if instance.vpc_id != found.vpc_id:
            raise TargetError(instance.id, "instance and load balancer must be in the same VPC")
        if STRICT_TARGETS.one(db, "lb_id = ? AND instance_id = ?", found.id, instance.id) is not None:
            raise UntypedError(f"instance {instance.id} is a target already")
        row = msgspec.structs.replace(target, lb_id=found.id, instance_id=instance.id, weight=target.weight or 1)
        STRICT_TARGETS.insert(db, row)

    await cloud.store.write(work)


async def list_targets(cloud: Cloud, scope: Scope, ref: str) -> list[StrictTarget]:
    """Give the targets of a load balancer, whoever's it is; none for one that is not there."""
    balancer_id = _id_of(ref)
    return await cloud.store.read(lambda db: STRICT_TARGETS.all(db, "lb_id = ?", balancer_id), copy=scope.copy)


async def remove_target(cloud: Cloud, actor: Actor, ref: str, instance_ref: str) -> None:
    """Send to an instance no more; raises MissingError for the load balancer or the target."""
    balancer_id, instance_id = _id_of(ref), _id_of(instance_ref)

    def work(db: sqlite3.Connection) -> None:
        found = find(db, actor, balancer_id)
        target = STRICT_TARGETS.one(db, "lb_id = ? AND instance_id = ?", found.id, instance_id)
        if target is None:
            raise MissingError("target", instance_id)
        STRICT_TARGETS.delete(db, target.id)

    await cloud.store.write(work)


def purge(db: sqlite3.Connection) -> list[str]:
    """Forget the deleted load balancers and give their ids."""
    gone = BALANCERS.all(db, "status = ?", DELETED)
    for found in gone:
        BALANCERS.delete(db, found.id)
    return [found.id for found in gone]


def _id_of(ref: str) -> str:
    found = parse_uuid(ref)
    if found is None:
        raise InvalidError("invalid ID")
    return found
