"""Elastic IPs: addresses that a tenant keeps, for an instance or a load balancer.

Belongs here: the rules of platform contract 11 and their extensions. Does not: packets; an address of an instance is
bookkeeping in both tiers, one of a load balancer is where that answers.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import msgspec

from devcloud import addresses, events
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import AddressBusyError, InvalidError, KeyReusedError, MissingError
from devcloud.network_rows import ALLOCATED, ASSOCIATED, ELASTIC_IPS, ElasticIp
from devcloud.rows import INSTANCES, Instance, new_id, now
from devcloud.volumes import Filter, carries, check_guard, parse_uuid, request_hash

ELASTIC_IP = "elastic_ip"


@dataclass(frozen=True, slots=True)
class NewAddress:
    """What a caller wants; `idem_key` None: every call takes another address."""

    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    idem_key: str | None = None


def find(db: sqlite3.Connection, actor: Actor, ref: str) -> ElasticIp:
    """Give a tenant's elastic IP by id; raises InvalidError for what is no id, MissingError."""
    address_id = parse_uuid(ref)
    if address_id is None:
        raise InvalidError("invalid elastic IP ID")
    found = ELASTIC_IPS.one(db, "id = ? AND tenant_id = ?", address_id, actor.tenant_id)
    if found is None:
        raise MissingError(ELASTIC_IP, ref)
    return found


async def get(cloud: Cloud, scope: Scope, ref: str) -> ElasticIp:
    """Give one elastic IP; raises InvalidError, MissingError."""
    return await cloud.store.read(lambda db: find(db, scope.actor, ref), copy=scope.copy)


async def list_all(cloud: Cloud, scope: Scope, wanted: Filter) -> list[ElasticIp]:
    """Give the tenant's elastic IPs that fit, newest first."""
    found = await cloud.store.read(
        lambda db: ELASTIC_IPS.all(db, "tenant_id = ?", scope.actor.tenant_id), copy=scope.copy
    )
    return [one for one in found if wanted.name in {"", one.name} and carries(one.tags, wanted.tags)]


async def allocate(cloud: Cloud, actor: Actor, new: NewAddress) -> ElasticIp:
    """Take an address; the same key and request again gives the same one. Raises KeyReusedError, QuotaError."""
    asked = request_hash({**asdict(new), "idem_key": None})

    def work(db: sqlite3.Connection) -> ElasticIp:
        if new.idem_key is not None:
            made = ELASTIC_IPS.one(db, "tenant_id = ? AND idem_key = ?", actor.tenant_id, new.idem_key)
            if made is not None and made.idem_hash != asked:
                raise KeyReusedError(ELASTIC_IP, new.idem_key)
            if made is not None:
                return made
        made = ELASTIC_IPS.insert(
            db,
            ElasticIp(
                id=new_id(),
                user_id=actor.user_id,
                tenant_id=actor.tenant_id,
                public_ip=addresses.next_public_address(db, cloud.settings),
                name=new.name,
                tags={key: value for key, value in new.tags.items() if value},
                idem_key=new.idem_key,
                idem_hash=asked if new.idem_key else "",
            ),
        )
        _record(db, made, "EIP_ALLOCATE", "elastic_ip.allocated")
        return made

    made = await cloud.store.write(work)
    cloud.hub.wake()
    return made


async def release(cloud: Cloud, actor: Actor, ref: str, guard: Sequence[str] = ()) -> None:
    """Give an address back; raises MissingError, GuardError, AddressBusyError while it is associated."""

    def work(db: sqlite3.Connection) -> None:
        found = find(db, actor, ref)
        check_guard("elastic IP", found.id, found.tags, guard)
        if found.status == ASSOCIATED:
            raise _busy(found)
        ELASTIC_IPS.delete(db, found.id)
        _record(db, found, "EIP_RELEASE", "elastic_ip.released")

    await cloud.store.write(work)
    cloud.hub.wake()


async def associate(cloud: Cloud, actor: Actor, ref: str, instance_id: str) -> ElasticIp:
    """Let an instance have an address; the same pair again is fine. Raises MissingError, AddressBusyError."""

    def work(db: sqlite3.Connection) -> ElasticIp:
        found = find(db, actor, ref)
        instance = INSTANCES.one(db, "id = ? AND tenant_id = ?", instance_id, actor.tenant_id)
        if instance is None:
            raise MissingError("instance", instance_id)
        if found.status == ASSOCIATED and found.instance_id != instance.id:
            raise _busy(found)
        other = ELASTIC_IPS.one(db, "instance_id = ? AND id <> ?", instance.id, found.id)
        if other is not None:
            raise _busy(other)
        if found.status == ASSOCIATED:
            return found
        changed = msgspec.structs.replace(
            found, status=ASSOCIATED, instance_id=instance.id, vpc_id=instance.vpc_id, updated_at=now()
        )
        ELASTIC_IPS.update(db, changed)
        _record(db, changed, "EIP_ASSOCIATE", "elastic_ip.associated")
        return changed

    changed = await cloud.store.write(work)
    cloud.hub.wake()
    return changed


async def disassociate(cloud: Cloud, actor: Actor, ref: str) -> ElasticIp:
    """Take an address from its instance; raises MissingError, InvalidError when it has none, AddressBusyError."""

    def work(db: sqlite3.Connection) -> ElasticIp:
        found = find(db, actor, ref)
        if found.status != ASSOCIATED:
            raise InvalidError(f"elastic IP {found.id} is not associated")
        if found.lb_id is not None:
            raise _busy(found)
        return free(db, found)

    changed = await cloud.store.write(work)
    cloud.hub.wake()
    return changed


def free(db: sqlite3.Connection, found: ElasticIp) -> ElasticIp:
    """Leave an address without a user, still allocated."""
    changed = msgspec.structs.replace(
        found, status=ALLOCATED, instance_id=None, lb_id=None, vpc_id="", updated_at=now()
    )
    ELASTIC_IPS.update(db, changed)
    _record(db, changed, "EIP_DISASSOCIATE", "elastic_ip.disassociated")
    return changed


def take_from(db: sqlite3.Connection, instance: Instance) -> None:
    """Take the addresses of an instance that goes away."""
    for found in ELASTIC_IPS.all(db, "instance_id = ?", instance.id):
        free(db, found)


def claim(db: sqlite3.Connection, actor: Actor, address: str, *, lb_id: str, vpc_id: str) -> ElasticIp:
    """Let a load balancer have the elastic IP of an address; raises InvalidError, AddressBusyError.

    The load balancer's row has to be there.
    """
    found = available(db, actor, address)
    changed = msgspec.structs.replace(found, status=ASSOCIATED, lb_id=lb_id, vpc_id=vpc_id, updated_at=now())
    ELASTIC_IPS.update(db, changed)
    _record(db, changed, "EIP_ASSOCIATE", "elastic_ip.associated")
    return changed


def available(db: sqlite3.Connection, actor: Actor, address: str) -> ElasticIp:
    """Give the tenant's elastic IP of an address that nobody uses; raises InvalidError, AddressBusyError."""
    found = ELASTIC_IPS.one(db, "public_ip = ? AND tenant_id = ?", address, actor.tenant_id)
    if found is None:
        raise InvalidError(f"static_addresses: {address[:64]!r} is no elastic IP of the tenant")
    if found.status == ASSOCIATED:
        raise _busy(found)
    return found


def _busy(found: ElasticIp) -> AddressBusyError:
    return AddressBusyError(found.id, instance_id=found.instance_id or "", lb_id=found.lb_id or "")


def _record(db: sqlite3.Connection, row: ElasticIp, action: str, kind: str) -> None:
    events.record(
        db,
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        resource_id=row.id,
        resource_type=ELASTIC_IP,
        action=action,
        kind=kind,
        name=row.name,
        public_ip=row.public_ip,
    )
