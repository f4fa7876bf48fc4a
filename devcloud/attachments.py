"""Attaching and detaching: which instance has which disk.

Belongs here: the rules of both tiers and the order of row and device. Does not: HTTP.

The row of an attachment is written before the device is presented and cleared after it is withdrawn. So whatever dies
in between, the row says at least as much as the machine has, and the next start makes the machine agree.
"""

import asyncio
import sqlite3
from dataclasses import dataclass

import msgspec

from devcloud import events
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import (
    AttachedError,
    BackendError,
    DanglingError,
    DiskBusyError,
    FullError,
    InvalidError,
    NotAttachedError,
    NotHolderError,
    NotRunningError,
    TimedOutError,
    ZoneError,
)
from devcloud.machines import Disk
from devcloud.rows import AVAILABLE, IN_USE, INSTANCES, PAUSED, RUNNING, VOLUMES, Instance, Volume, new_id, now
from devcloud.volumes import find, get, lock_of, parse_uuid, resolve_id

_BUSY_LOOK_S = 0.02
STRICT_BUSY_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Rival:
    """Another instance that attaches the volume at the worst moment (fault injection); None: any other one."""

    instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The attachment that a caller wants."""

    instance_id: str
    read_only: bool = False
    mount_path: str = ""
    wait_s: float = 30.0


async def attach(
    cloud: Cloud, actor: Actor, ref: str, wanted: Wanted, rival: Rival | None = None
) -> tuple[Volume, str]:
    """Give a volume to an instance; returns the volume and the device's path.

    Extended tier: the same attachment again succeeds. Raises MissingError, AttachedError, InvalidError,
    NotRunningError, ZoneError, FullError, BackendError, and TimedOutError after `wait_s` (the attachment stands).
    """
    volume_id = await resolve_id(cloud, actor, ref)
    async with cloud.locks.hold(lock_of(volume_id)):
        if rival is not None and not cloud.is_strict:
            await cloud.store.write(lambda db: _let_rival_win(db, actor, volume_id, wanted, rival))
        volume, is_new = await cloud.store.write(lambda db: _attach_row(cloud, db, actor, volume_id, wanted))
        if is_new:
            cloud.hub.wake()
        try:
            path = await _present(cloud, volume, wanted.wait_s)
        except (BackendError, DiskBusyError):
            if is_new:
                await cloud.store.write(lambda db: _release(db, volume))
            raise
        if rival is not None and cloud.is_strict:
            await cloud.store.write(lambda db: _let_rival_win(db, actor, volume_id, wanted, rival))
    return volume, path


async def detach(cloud: Cloud, actor: Actor, ref: str, instance_id: str | None, wait_s: float) -> Volume:
    """Take a volume from the instance that has it, or (`instance_id`) from that one only.

    Without a guard a free volume raises NotAttachedError; with it, a free volume is fine. Raises MissingError,
    NotHolderError, DiskBusyError after `wait_s`, BackendError.
    """
    volume_id = await resolve_id(cloud, actor, ref)
    async with cloud.locks.hold(lock_of(volume_id)):
        volume = await get(cloud, Scope(actor), volume_id)
        if instance_id is None and (volume.status != IN_USE or volume.instance_id is None):
            raise NotAttachedError(volume.id)
        if instance_id is not None and volume.status == IN_USE and volume.instance_id != instance_id:
            raise NotHolderError(volume.id, volume.instance_id)
        await withdraw(cloud, volume.serial, wait_s)
        if volume.status != IN_USE:
            return volume
        freed = await cloud.store.write(lambda db: _release(db, volume))
    cloud.hub.wake()
    return freed


async def withdraw(cloud: Cloud, serial: str, wait_s: float) -> None:
    """Take a disk out of the machine, waiting for whoever has it open; raises DiskBusyError, BackendError."""
    give_up_at = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            await cloud.machines.withdraw(serial)
        except DiskBusyError:
            if asyncio.get_running_loop().time() + _BUSY_LOOK_S >= give_up_at:
                raise
            await asyncio.sleep(_BUSY_LOOK_S)
        else:
            return


async def wedge(cloud: Cloud, actor: Actor, ref: str, *, wedged: bool) -> Volume:
    """Leave a volume IN-USE without an instance (platform contract 5.5), or repair it; raises MissingError."""
    volume_id = await resolve_id(cloud, actor, ref)
    async with cloud.locks.hold(lock_of(volume_id)):
        volume = await get(cloud, Scope(actor), volume_id)
        if not wedged:
            await withdraw(cloud, volume.serial, STRICT_BUSY_WAIT_S)
        changed = msgspec.structs.replace(
            volume, status=IN_USE if wedged else AVAILABLE, instance_id=None, updated_at=now()
        )
        return await cloud.store.write(lambda db: VOLUMES.update(db, changed))


async def _present(cloud: Cloud, volume: Volume, wait_s: float) -> str:
    disk = Disk(volume.serial, cloud.volumes.path(volume.serial), str(volume.instance_id), volume.read_only)
    work = cloud.tasks.spawn(cloud.machines.present(disk), f"present {volume.serial}")
    try:
        async with asyncio.timeout(wait_s):
            return str(await asyncio.shield(work))
    except TimeoutError as error:
        raise TimedOutError(
            f"instance {volume.instance_id} does not have disk {volume.serial} after {wait_s:g} s; "
            "the attachment stands, ask again"
        ) from error


def _attach_row(
    cloud: Cloud, db: sqlite3.Connection, actor: Actor, volume_id: str, wanted: Wanted
) -> tuple[Volume, bool]:
    """Write the attachment; gives the volume and whether it is new. The order of checks is platform contract 5.5's."""
    volume = find(db, actor, volume_id)
    if volume.status == IN_USE:
        same = volume.instance_id == parse_uuid(wanted.instance_id) and volume.read_only == wanted.read_only
        if cloud.is_strict or not same:
            raise AttachedError(volume.id, volume.instance_id, read_only=volume.read_only)
        return volume, False
    instance_id = parse_uuid(wanted.instance_id)
    if instance_id is None:
        raise InvalidError("invalid instance ID")
    if not cloud.is_strict:
        _check_instance(cloud, db, actor, volume, instance_id)
    attached = msgspec.structs.replace(
        volume,
        status=IN_USE,
        instance_id=instance_id,
        read_only=wanted.read_only,
        mount_path=wanted.mount_path,
        updated_at=now(),
    )
    try:
        VOLUMES.update(db, attached)
    except sqlite3.IntegrityError as error:
        raise DanglingError("instance", instance_id) from error
    _record(db, attached, "volume.attached", instance_id)
    return attached, True


def _check_instance(cloud: Cloud, db: sqlite3.Connection, actor: Actor, volume: Volume, instance_id: str) -> None:
    instance = INSTANCES.one(db, "id = ? AND tenant_id = ?", instance_id, actor.tenant_id)
    if instance is None:
        raise DanglingError("instance", instance_id)
    if instance.status not in {RUNNING, PAUSED}:
        raise NotRunningError(instance.id, instance.status)
    if instance.zone != volume.zone:
        raise ZoneError(volume.id, volume.zone, instance.zone)
    held = db.execute("SELECT COUNT(*) FROM volumes WHERE instance_id = ?", (instance_id,)).fetchone()[0]
    if held >= cloud.settings.max_volumes:
        raise FullError(instance.id, cloud.settings.max_volumes)


def _release(db: sqlite3.Connection, volume: Volume) -> Volume:
    freed = msgspec.structs.replace(
        volume, status=AVAILABLE, instance_id=None, read_only=False, mount_path="", updated_at=now()
    )
    VOLUMES.update(db, freed)
    _record(db, freed, "volume.detached", str(volume.instance_id))
    return freed


def release_all(db: sqlite3.Connection, instance: Instance) -> list[Volume]:
    """Clear the rows of all volumes of an instance that goes away; gives the volumes as they were."""
    held = VOLUMES.all(db, "instance_id = ?", instance.id)
    for volume in held:
        _release(db, volume)
    return held


def _let_rival_win(db: sqlite3.Connection, actor: Actor, volume_id: str, wanted: Wanted, rival: Rival) -> None:
    other = rival.instance_id
    if other is None:
        found = INSTANCES.one(db, "id <> ? AND tenant_id = ?", wanted.instance_id, actor.tenant_id)
        other = found.id if found is not None else _make_rival(db, actor)
    volume = find(db, actor, volume_id)
    won = msgspec.structs.replace(volume, status=IN_USE, instance_id=other, updated_at=now())
    VOLUMES.update(db, won)
    _record(db, won, "volume.attached", other)


def _make_rival(db: sqlite3.Connection, actor: Actor) -> str:
    rival = Instance(
        id=new_id(), user_id=actor.user_id, tenant_id=actor.tenant_id, name="rival", image="none", status=RUNNING
    )
    return INSTANCES.insert(db, rival).id


def _record(db: sqlite3.Connection, volume: Volume, kind: str, instance_id: str) -> None:
    events.record(
        db,
        user_id=volume.user_id,
        tenant_id=volume.tenant_id,
        resource_id=volume.id,
        resource_type="volume",
        kind=kind,
        instance_id=instance_id,
    )
