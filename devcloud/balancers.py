"""Load balancers of the extended tier: make, find, change their groups, delete.

Belongs here: the rules of `docs/platform-network.md`. Does not: the strict tier (`strict_balancers.py`), making the
data path (`balancing/`), HTTP.
"""

import ipaddress
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import msgspec

from devcloud import addresses, elastic_ips, events, vpcs
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import (
    InvalidError,
    KeyReusedError,
    ListenerError,
    MissingError,
    PortTakenError,
    TargetError,
    VersionError,
)
from devcloud.network_rows import (
    ACTIVE,
    BALANCERS,
    CERTIFICATES,
    DELETED,
    ELASTIC_IPS,
    Address,
    Balancer,
    Group,
    Listener,
    Target,
)
from devcloud.rows import CREATING, ERROR, INSTANCES, Instance, new_id, now
from devcloud.volumes import Filter, carries, check_guard, parse_uuid, request_hash

BALANCER = "load_balancer"
_IPV4 = "ipv4"
_Change = Callable[[sqlite3.Connection, Balancer], Balancer]


@dataclass(frozen=True, slots=True)
class NewBalancer:
    """What a caller wants; `idem_key` None: every call makes another load balancer."""

    name: str
    vpc_id: str = ""
    internal: bool = False
    size: str = "small"
    families: tuple[str, ...] = (_IPV4,)
    static_addresses: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    idem_key: str | None = None


def find(db: sqlite3.Connection, actor: Actor, ref: str) -> Balancer:
    """Give a tenant's load balancer by id or name, of several the newest; raises MissingError."""
    balancer_id = parse_uuid(ref)
    column, value = ("id", balancer_id) if balancer_id else ("name", ref)
    found = BALANCERS.all(db, f"{column} = ? AND tenant_id = ?", value, actor.tenant_id)
    if not found:
        raise MissingError(BALANCER, ref)
    return found[0]


async def get(cloud: Cloud, scope: Scope, ref: str) -> Balancer:
    """Give one load balancer; raises MissingError."""
    return await cloud.store.read(lambda db: find(db, scope.actor, ref), copy=scope.copy)


async def list_all(cloud: Cloud, scope: Scope, wanted: Filter) -> list[Balancer]:
    """Give the tenant's load balancers that fit, newest first."""
    found = await cloud.store.read(
        lambda db: BALANCERS.all(db, "tenant_id = ?", scope.actor.tenant_id), copy=scope.copy
    )
    return [one for one in found if wanted.name in {"", one.name} and carries(one.tags, wanted.tags)]


async def create(cloud: Cloud, actor: Actor, new: NewBalancer) -> Balancer:
    """Make a load balancer; it has its addresses in the answer and is CREATING. The same key gives the same one.

    Raises KeyReusedError, InvalidError, MissingError (VPC), PortTakenError, AddressBusyError, QuotaError.
    """
    asked = request_hash({**asdict(new), "idem_key": None})
    if tuple(new.families) != (_IPV4,):
        raise InvalidError(f"families {', '.join(new.families) or '(none)'}: this platform has ipv4 and nothing else")

    def work(db: sqlite3.Connection) -> Balancer:
        made = _replay(db, actor, new, asked)
        if made is not None:
            return made
        vpc = vpcs.find(db, actor, new.vpc_id) if new.vpc_id else vpcs.ensure_default(db, actor)
        statics = [elastic_ips.available(db, actor, address) for address in dict.fromkeys(new.static_addresses)]
        found = [Address(one.public_ip, _IPV4, one.id) for one in statics]
        if not found:
            found = [Address(addresses.next_public_address(db, cloud.settings), _IPV4)]
        made = Balancer(
            id=new_id(),
            user_id=actor.user_id,
            tenant_id=actor.tenant_id,
            name=new.name,
            vpc_id=vpc.id,
            status=CREATING,
            tags=_kept(new.tags),
            internal=new.internal,
            size=new.size,
            families=list(new.families),
            addresses=found,
            groups=list(new.groups),
            idem_key=new.idem_key,
            idem_hash=asked if new.idem_key else "",
        )
        _check(cloud, db, made)
        BALANCERS.insert(db, made)
        for one in statics:
            elastic_ips.claim(db, actor, one.public_ip, lb_id=made.id, vpc_id=vpc.id)
        record(db, made, "lb.created", action="LB_CREATE")
        return made

    made = await cloud.store.write(work)
    cloud.hub.wake()
    return made


async def put_group(
    cloud: Cloud,
    actor: Actor,
    ref: str,
    name: str,
    *,
    listeners: Sequence[Listener] | None,
    targets: Sequence[Target] | None,
    version: int | None = None,
) -> Balancer:
    """Replace a group's listeners, targets or both, making it when there is none.

    Raises MissingError, VersionError, PortTakenError, InvalidError (TargetError, ListenerError).
    """

    def change(db: sqlite3.Connection, found: Balancer) -> Balancer:
        if version is not None and version != found.version:
            raise VersionError(BALANCER, found.id, found.version)
        old = found.group(name) or Group(name)
        wanted = Group(
            name,
            old.listeners if listeners is None else list(listeners),
            old.targets if targets is None else list(targets),
        )
        others = [group for group in found.groups if group.name != name]
        place = next((at for at, group in enumerate(found.groups) if group.name == name), len(others))
        changed = msgspec.structs.replace(found, groups=[*others[:place], wanted, *others[place:]])
        if changed.groups != found.groups:
            _check(cloud, db, changed, only=name)
        return changed

    return await _change(cloud, actor, ref, change)


async def delete_group(cloud: Cloud, actor: Actor, ref: str, name: str) -> Balancer:
    """Take a group away; none is no error. Raises MissingError for the load balancer."""

    def change(db: sqlite3.Connection, found: Balancer) -> Balancer:
        del db
        return msgspec.structs.replace(found, groups=[group for group in found.groups if group.name != name])

    return await _change(cloud, actor, ref, change)


async def modify(
    cloud: Cloud, actor: Actor, ref: str, *, name: str | None, size: str | None, tags: Mapping[str, str]
) -> Balancer:
    """Change name, size and tags (merged; an empty value removes the key); raises MissingError."""

    def change(db: sqlite3.Connection, found: Balancer) -> Balancer:
        del db
        merged = _kept({**found.tags, **tags})
        return msgspec.structs.replace(found, name=name or found.name, size=size or found.size, tags=merged)

    return await _change(cloud, actor, ref, change)


async def delete(cloud: Cloud, actor: Actor, ref: str, guard: Sequence[str] = ()) -> None:
    """Remove a load balancer; its elastic IPs stay allocated. Raises MissingError, GuardError."""

    def work(db: sqlite3.Connection) -> None:
        found = find(db, actor, ref)
        check_guard("load balancer", found.id, found.tags, guard)
        for one in ELASTIC_IPS.all(db, "lb_id = ?", found.id):
            elastic_ips.free(db, one)
        BALANCERS.delete(db, found.id)
        record(db, found, "lb.deleted", action="LB_DELETE")

    await cloud.store.write(work)
    cloud.hub.wake()


def take_from(db: sqlite3.Connection, instance: Instance) -> None:
    """Take an instance that goes away out of every group."""
    for found in BALANCERS.all(db, "tenant_id = ?", instance.tenant_id):
        groups = [
            msgspec.structs.replace(
                group, targets=[target for target in group.targets if target.instance_id != instance.id]
            )
            for group in found.groups
        ]
        if groups != found.groups:
            _store(db, msgspec.structs.replace(found, groups=groups))


def set_status(db: sqlite3.Connection, balancer_id: str, status: str, reason: str = "") -> bool:
    """Write what became of the data path; False when that is known, or the load balancer is gone.

    It leaves the version alone, which counts what callers changed.
    """
    found = BALANCERS.get(db, balancer_id)
    if found is None or found.status == DELETED or (found.status, found.status_reason) == (status, reason):
        return False
    changed = msgspec.structs.replace(found, status=status, status_reason=reason, updated_at=now())
    BALANCERS.update(db, changed)
    if status != found.status and status in {ACTIVE, ERROR}:
        record(db, changed, f"lb.{status.lower()}", **({"reason": reason} if reason else {}))
    return True


def record(db: sqlite3.Connection, row: Balancer, kind: str, *, action: str = "", **more: object) -> None:
    """Add an event of a load balancer."""
    events.record(
        db,
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        resource_id=row.id,
        resource_type=BALANCER,
        action=action,
        kind=kind,
        name=row.name,
        **more,
    )


async def _change(cloud: Cloud, actor: Actor, ref: str, change: _Change) -> Balancer:
    def work(db: sqlite3.Connection) -> Balancer:
        found = find(db, actor, ref)
        changed = change(db, found)
        return found if changed == found else _store(db, changed)

    changed = await cloud.store.write(work)
    cloud.hub.wake()
    return changed


def _store(db: sqlite3.Connection, changed: Balancer) -> Balancer:
    stored = msgspec.structs.replace(changed, version=changed.version + 1, updated_at=now())
    BALANCERS.update(db, stored)
    record(db, stored, "lb.modified")
    return stored


def _replay(db: sqlite3.Connection, actor: Actor, new: NewBalancer, asked: str) -> Balancer | None:
    if new.idem_key is None:
        return None
    made = BALANCERS.one(db, "tenant_id = ? AND idem_key = ?", actor.tenant_id, new.idem_key)
    if made is not None and made.idem_hash != asked:
        raise KeyReusedError(BALANCER, new.idem_key)
    return made


def _kept(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if value}


def _check(cloud: Cloud, db: sqlite3.Connection, balancer: Balancer, *, only: str | None = None) -> None:
    """Check the groups of a load balancer, or that one of them that changed."""
    names = [group.name for group in balancer.groups]
    if len(set(names)) < len(names):
        raise InvalidError("groups: two have one name")
    ports: dict[tuple[str, int], str] = {}
    # Groups that did not change come first, so that the changed one is refused a port and not the other.
    for group in sorted(balancer.groups, key=lambda group: group.name == only):
        for listener in group.listeners:
            if (listener.transport, listener.port) in ports:
                raise PortTakenError(ports[listener.transport, listener.port], listener.port)
            ports[listener.transport, listener.port] = group.name
    for group in balancer.groups:
        if only in {None, group.name}:
            _check_listeners(cloud, db, balancer, group)
            _check_targets(db, balancer, group)


def _check_listeners(cloud: Cloud, db: sqlite3.Connection, balancer: Balancer, group: Group) -> None:
    names = [listener.name for listener in group.listeners]
    if len(set(names)) < len(names):
        raise InvalidError(f"group {group.name!r}: two listeners have one name")
    for listener in group.listeners:
        seen = _contradiction(listener)
        if not seen and listener.transparent and not cloud.path.can_be_transparent:
            seen = "transparent is not offered here"
        for certificate_id in listener.certificate_ids:
            where = "id = ? AND tenant_id = ?"
            if CERTIFICATES.one(db, where, certificate_id, balancer.tenant_id) is None:
                seen = seen or f"there is no certificate {certificate_id[:64]!r}"
        if seen:
            raise ListenerError(group.name, listener.name, seen)


def _contradiction(listener: Listener) -> str:
    """Say what of a listener does not go together; empty when all does."""
    rules = (
        (listener.ends_tls and not listener.certificate_ids, f"{listener.protocol} needs certificate_ids"),
        (not listener.ends_tls and bool(listener.certificate_ids), "certificate_ids go with https and tls"),
        (listener.redirect_port and listener.protocol != "http", "redirect_port goes with http"),
        (listener.proxy_protocol and listener.protocol == "udp", "proxy_protocol does not go with udp"),
        (listener.proxy_protocol and listener.transparent, "proxy_protocol and transparent exclude each other"),
        (listener.sticky.mode == "cookie" and not listener.speaks_http, "a sticky cookie goes with http and https"),
    )
    said = next((text for is_wrong, text in rules if is_wrong), "")
    return said or _wrong_source(listener)


def _wrong_source(listener: Listener) -> str:
    for name, sources in (("allowed", listener.allowed_sources), ("denied", listener.denied_sources)):
        for source in sources:
            try:
                ipaddress.ip_network(source)
            except ValueError:
                return f"{name}_sources: {source[:64]!r} is no CIDR"
    return ""


def _check_targets(db: sqlite3.Connection, balancer: Balancer, group: Group) -> None:
    wanted = [target.instance_id for target in group.targets]
    for instance_id in wanted:
        found = INSTANCES.one(db, "id = ? AND tenant_id = ?", instance_id, balancer.tenant_id)
        if found is None:
            raise TargetError(instance_id, "there is no such instance")
        if found.vpc_id != balancer.vpc_id:
            raise TargetError(instance_id, f"it lies in VPC {found.vpc_id or '(none)'}, not in {balancer.vpc_id}")
        if wanted.count(instance_id) > 1:
            raise TargetError(instance_id, f"it is twice in group {group.name!r}")
