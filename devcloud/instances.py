"""Instances: launch, find, change state, label, terminate.

Belongs here: the rules of platform contract 4. Does not: disks in general (`attachments.py`), HTTP.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from devcloud import attachments, events
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import (
    CloudError,
    ConflictError,
    DanglingError,
    DiskBusyError,
    InvalidError,
    MissingError,
    QuotaError,
)
from devcloud.rows import (
    ERROR,
    INSTANCES,
    PAUSED,
    RUNNING,
    SSH_KEYS,
    STARTING,
    STOPPED,
    TENANTS,
    VOLUMES,
    Instance,
    Volume,
    now,
)
from devcloud.seed import next_address
from devcloud.volumes import carries, parse_uuid

INSTANCE = "instance"


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A size that an instance can have (platform contract 4.6)."""

    id: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    price_per_hour: float


INSTANCE_TYPES = {
    item.id: item
    for item in (
        InstanceType("basic-1", 1, 512, 8, 0.005),
        InstanceType("basic-2", 1, 1024, 10, 0.01),
        InstanceType("standard-1", 2, 2048, 20, 0.02),
        InstanceType("standard-2", 2, 4096, 40, 0.04),
        InstanceType("standard-4", 4, 8192, 80, 0.08),
        InstanceType("performance-1", 4, 16384, 160, 0.16),
        InstanceType("performance-2", 8, 32768, 320, 0.32),
    )
}


@dataclass(frozen=True, slots=True)
class InstanceFilter:
    """Which instances a list shows; empty fields let everything pass."""

    name: str = ""
    hostname: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """What a launch does beside the row: volumes to attach by id or name."""

    row: Instance
    volumes: Sequence[str] = field(default_factory=tuple)


def find(db: sqlite3.Connection, actor: Actor, ref: str, *, name_first: bool = False) -> Instance:
    """Give a tenant's instance by id or name; raises MissingError.

    Terminate, logs, stats, console and resize look for the name first (platform contract 1.13).
    """
    instance_id = parse_uuid(ref)
    by_id = INSTANCES.one(db, "id = ? AND tenant_id = ?", instance_id, actor.tenant_id)
    if instance_id is not None and not name_first:
        found = by_id
    else:
        found = INSTANCES.one(db, "name = ? AND tenant_id = ?", ref, actor.tenant_id) or by_id
    if found is None:
        raise MissingError(INSTANCE, ref)
    return found


async def get(cloud: Cloud, scope: Scope, ref: str, *, name_first: bool = False) -> Instance:
    """Give one instance; raises MissingError."""
    return await cloud.store.read(lambda db: find(db, scope.actor, ref, name_first=name_first), copy=scope.copy)


async def list_all(cloud: Cloud, scope: Scope, wanted: InstanceFilter) -> list[Instance]:
    """Give the tenant's instances that fit, newest first; tags are compared with labels."""
    found = await cloud.store.read(
        lambda db: INSTANCES.all(db, "tenant_id = ?", scope.actor.tenant_id), copy=scope.copy
    )
    return [
        instance
        for instance in found
        if wanted.name in {"", instance.name}
        and wanted.hostname in {"", instance.hostname}
        and carries(instance.labels, wanted.tags)
    ]


async def launch(cloud: Cloud, actor: Actor, wanted: Launch) -> Instance:
    """Start an instance; it is STARTING in the answer. Raises InvalidError, MissingError (ssh key), QuotaError."""
    row = wanted.row
    if row.instance_type not in INSTANCE_TYPES:
        raise InvalidError(f"invalid instance type: {row.instance_type}")
    for resource, ref in (("vpc", row.vpc_id), ("subnet", row.subnet_id)):
        if ref:
            raise DanglingError(resource, ref)
    zone = row.zone or cloud.settings.zones[0]
    if zone not in cloud.settings.zones:
        raise MissingError("zone", zone)

    def work(db: sqlite3.Connection) -> Instance:
        if row.ssh_key_id and SSH_KEYS.one(db, "id = ? AND tenant_id = ?", row.ssh_key_id, actor.tenant_id) is None:
            raise MissingError("ssh_key", row.ssh_key_id)
        _reserve(cloud, db, actor, INSTANCE_TYPES[row.instance_type])
        made = INSTANCES.insert(
            db, msgspec.structs.replace(row, zone=zone, hostname=row.hostname or f"thecloud-{row.id[:8]}")
        )
        _record(db, made, action="INSTANCE_LAUNCH", kind="instance.created")
        return made

    made = await cloud.store.write(work)
    cloud.hub.wake()
    cloud.tasks.spawn(_provision(cloud, actor, made, wanted.volumes), f"provision {made.id}")
    return made


async def stop(cloud: Cloud, actor: Actor, ref: str) -> None:
    """Stop an instance; a stopped one is fine. Raises MissingError."""
    await cloud.store.write(lambda db: _move(db, find(db, actor, ref), STOPPED))


async def pause(cloud: Cloud, actor: Actor, ref: str) -> None:
    """Pause a running instance; raises MissingError, ConflictError."""
    await cloud.store.write(lambda db: _move(db, find(db, actor, ref), PAUSED, only_from=RUNNING))


async def resume(cloud: Cloud, actor: Actor, ref: str) -> None:
    """Let a paused instance run; raises MissingError, ConflictError."""
    await cloud.store.write(lambda db: _move(db, find(db, actor, ref), RUNNING, only_from=PAUSED))


async def label(
    cloud: Cloud, actor: Actor, instance_id: str, *, metadata: Mapping[str, str], labels: Mapping[str, str]
) -> None:
    """Merge metadata and labels; an empty value removes the key. Raises InvalidError, MissingError."""
    if parse_uuid(instance_id) is None:
        raise InvalidError("invalid instance ID")

    def work(db: sqlite3.Connection) -> None:
        found = find(db, actor, instance_id)
        INSTANCES.update(
            db,
            msgspec.structs.replace(
                found,
                metadata={key: value for key, value in {**found.metadata, **metadata}.items() if value},
                labels={key: value for key, value in {**found.labels, **labels}.items() if value},
                version=found.version + 1,
                updated_at=now(),
            ),
        )

    await cloud.store.write(work)


async def terminate(cloud: Cloud, actor: Actor, ref: str, *, wedge: bool = False) -> None:
    """Remove an instance and take its disks away; raises MissingError.

    A disk that somebody on this machine still uses stays in the machine and is taken by the next detach, delete or
    start. `wedge`: releasing the volumes fails, they stay IN-USE without an instance (platform contract 5.5).
    """
    name_first = cloud.is_strict
    instance = await get(cloud, Scope(actor), ref, name_first=name_first)
    held = await cloud.store.read(lambda db: VOLUMES.all(db, "instance_id = ?", instance.id))
    async with cloud.locks.hold(*(f"volume:{volume.id}" for volume in held)):
        if not wedge:
            for volume in held:
                await _take_away(cloud, volume)
        await cloud.store.write(lambda db: _remove(db, instance, wedge=wedge))
    cloud.hub.wake()


async def _take_away(cloud: Cloud, volume: Volume) -> None:
    try:
        await cloud.machines.withdraw(volume.serial)
    except DiskBusyError:
        # A machine that is gone cannot keep its row; the device is found again by its serial.
        return


async def _provision(cloud: Cloud, actor: Actor, instance: Instance, volumes: Sequence[str]) -> None:
    await asyncio.sleep(cloud.settings.instance_start_s)
    await cloud.store.write(lambda db: finish_start(db, instance.id))
    try:
        for ref in volumes:
            await attachments.attach(cloud, actor, ref, attachments.Wanted(instance.id))
    except CloudError:
        await cloud.store.write(
            lambda db: db.execute("UPDATE instances SET status = ? WHERE id = ?", (ERROR, instance.id))
        )


def finish_start(db: sqlite3.Connection, instance_id: str) -> None:
    """Let a STARTING instance run; one that is gone or in another state stays as it is."""
    found = INSTANCES.get(db, instance_id)
    if found is None or found.status != STARTING:
        return
    INSTANCES.update(
        db,
        msgspec.structs.replace(
            found,
            status=RUNNING,
            private_ip=found.private_ip or next_address(db),
            container_id=f"thecloud-{found.id[:8]}",
            version=found.version + 1,
            updated_at=now(),
        ),
    )


def _move(db: sqlite3.Connection, found: Instance, status: str, *, only_from: str = "") -> None:
    if only_from and found.status != only_from:
        raise ConflictError(f"instance {found.id} is {found.status}, not {only_from}")
    if found.status != status:
        INSTANCES.update(db, msgspec.structs.replace(found, status=status, version=found.version + 1, updated_at=now()))


def _reserve(cloud: Cloud, db: sqlite3.Connection, actor: Actor, wanted: InstanceType) -> None:
    """Count a launch against the quota of the tenant; memory counts in whole GB (platform contract 3)."""
    tenant = TENANTS.get(db, actor.tenant_id)
    if tenant is None:
        raise MissingError("tenant", actor.tenant_id)
    quota = cloud.settings.quota
    launched = "SELECT COUNT(*) FROM instances WHERE tenant_id = ? AND image <> 'this-machine'"
    if db.execute(launched, (tenant.id,)).fetchone()[0] >= quota.instances:
        raise QuotaError("instances")
    if tenant.vcpus_used + wanted.vcpus > quota.vcpus:
        raise QuotaError("vcpus")
    if tenant.memory_mb_used // 1024 + wanted.memory_mb // 1024 > quota.memory_gb:
        raise QuotaError("memory")
    _count(db, tenant.id, wanted, 1)


def _count(db: sqlite3.Connection, tenant_id: str, used: InstanceType, sign: int) -> None:
    db.execute(
        "UPDATE tenants SET vcpus_used = MAX(0, vcpus_used + ?), memory_mb_used = MAX(0, memory_mb_used + ?) "
        "WHERE id = ?",
        (sign * used.vcpus, sign * used.memory_mb, tenant_id),
    )


def _remove(db: sqlite3.Connection, instance: Instance, *, wedge: bool) -> None:
    if not wedge:
        attachments.release_all(db, instance)
    if instance.image != "this-machine":
        _count(db, instance.tenant_id, INSTANCE_TYPES[instance.instance_type], -1)
    # Volumes that were not released lose their instance by the foreign key and stay IN-USE.
    INSTANCES.delete(db, instance.id)
    _record(db, instance, action="INSTANCE_TERMINATE", kind="instance.deleted")


def _record(db: sqlite3.Connection, instance: Instance, *, action: str, kind: str) -> None:
    events.record(
        db,
        user_id=instance.user_id,
        tenant_id=instance.tenant_id,
        resource_id=instance.id,
        resource_type=INSTANCE,
        action=action,
        kind=kind,
        name=instance.name,
    )
