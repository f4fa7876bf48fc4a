"""Instances: launch, find, label, terminate.

Belongs here: the rules of platform contract 4. Does not: power (`power.py`), disks in general (`attachments.py`), HTTP.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from devcloud import attachments, balancers, boots, elastic_ips, events, vpcs
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import (
    CloudError,
    DanglingError,
    DiskBusyError,
    InvalidError,
    MissingError,
    QuotaError,
)
from devcloud.instance_types import INSTANCE_TYPES, InstanceType
from devcloud.network_rows import VPCS
from devcloud.rows import INSTANCES, SSH_KEYS, TENANTS, VOLUMES, Instance, Volume, now
from devcloud.volumes import carries, lock_of, parse_uuid

INSTANCE = "instance"


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
    if row.subnet_id:
        raise DanglingError("subnet", row.subnet_id)
    zone = row.zone or cloud.settings.zones[0]
    if zone not in cloud.settings.zones:
        raise MissingError("zone", zone)
    if not cloud.is_strict and not cloud.settings.has_image(row.image):
        raise MissingError("image", row.image)

    def work(db: sqlite3.Connection) -> Instance:
        if row.ssh_key_id and SSH_KEYS.one(db, "id = ? AND tenant_id = ?", row.ssh_key_id, actor.tenant_id) is None:
            raise MissingError("ssh_key", row.ssh_key_id)
        vpc_id = row.vpc_id
        if vpc_id and VPCS.one(db, "id = ? AND tenant_id = ?", vpc_id, actor.tenant_id) is None:
            raise DanglingError("vpc", vpc_id)
        if not vpc_id and not cloud.is_strict:
            vpc_id = vpcs.ensure_default(db, actor).id
        _reserve(cloud, db, actor, INSTANCE_TYPES[row.instance_type])
        hostname = row.hostname or f"thecloud-{row.id[:8]}"
        made = INSTANCES.insert(db, msgspec.structs.replace(row, zone=zone, hostname=hostname, vpc_id=vpc_id))
        _record(db, made, action="INSTANCE_LAUNCH", kind="instance.created")
        return made

    made = await cloud.store.write(work)
    cloud.hub.wake()
    cloud.tasks.spawn(_provision(cloud, actor, made, wanted.volumes), boots.task_of(made.id))
    return made


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
    """Remove an instance and take its disks away; raises MissingError, BackendError (then it is still there).

    A disk that somebody on this machine still uses stays in the machine and is taken by the next detach, delete or
    start. `wedge`: releasing the volumes fails, they stay IN-USE without an instance (platform contract 5.5).
    """
    name_first = cloud.is_strict
    instance = await get(cloud, Scope(actor), ref, name_first=name_first)
    await cloud.tasks.cancel(boots.task_of(instance.id))
    held = await cloud.store.read(lambda db: VOLUMES.all(db, "instance_id = ?", instance.id))
    async with cloud.locks.hold(boots.lock_of(instance.id), *(lock_of(volume.id) for volume in held)):
        # The machine goes first: with it go the mounts that keep its disks busy.
        await cloud.machines.remove(instance.id)
        if not wedge:
            for volume in held:
                await _take_away(cloud, volume)
        await cloud.store.write(lambda db: _remove(cloud, db, instance, wedge=wedge))
    cloud.hub.wake()


async def _take_away(cloud: Cloud, volume: Volume) -> None:
    try:
        await cloud.machines.withdraw(volume.serial)
    except DiskBusyError:
        # A machine that is gone cannot keep its row; the device is found again by its serial.
        return


async def _provision(cloud: Cloud, actor: Actor, instance: Instance, volumes: Sequence[str]) -> None:
    await asyncio.sleep(cloud.settings.instance_start_s)
    if not await boots.bring_up(cloud, instance.id):
        return
    try:
        for ref in volumes:
            await attachments.attach(cloud, actor, ref, attachments.Wanted(instance.id))
    except CloudError as error:
        async with cloud.locks.hold(boots.lock_of(instance.id)):
            await boots.fail(cloud, instance.id, f"a volume of the launch could not be attached: {error}")


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


def _remove(cloud: Cloud, db: sqlite3.Connection, instance: Instance, *, wedge: bool) -> None:
    if not cloud.is_strict:
        # In the strict tier an elastic IP stays associated with nobody (platform contract 11).
        elastic_ips.take_from(db, instance)
        balancers.take_from(db, instance)
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
