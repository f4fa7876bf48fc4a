"""Volumes: create, find, delete, resize, change; idempotent by key where the tier has keys.

Belongs here: the rules. Does not: attaching (`attachments.py`), HTTP, which tier answers how.
"""

import asyncio
import hashlib
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import msgspec

from devcloud import cuts, disks, events
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import (
    DeleteInUseError,
    GuardError,
    InvalidError,
    KeyReusedError,
    MissingError,
    NameTakenError,
    QuotaError,
)
from devcloud.rows import AVAILABLE, IN_USE, SNAPSHOTS, VOLUMES, Snapshot, Volume, new_id, now
from devcloud.settings import GIB, MAX_SIZE_GB, PERFORMANCE_CLASSES

VOLUME = "volume"


@dataclass(frozen=True, slots=True)
class NewVolume:
    """What a caller wants; `idem_key` None: every call makes another volume."""

    name: str
    size_gb: int
    tags: dict[str, str] = field(default_factory=dict)
    performance_class: str = ""
    zone: str = ""
    snapshot_id: str = ""
    source_volume_id: str = ""
    idem_key: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which objects a list shows; empty fields let everything pass."""

    name: str = ""
    tags: tuple[str, ...] = ()
    instance_id: str = ""
    volume_id: str = ""


def lock_of(volume_id: str) -> str:
    """Name the lock that every change of a volume holds."""
    return f"volume:{volume_id}"


def request_hash(request: object) -> str:
    """Give what two requests with one idempotency key must agree in."""
    return hashlib.sha256(msgspec.json.encode(request, order="sorted")).hexdigest()


def carries(tags: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """Tell whether all wanted tags are there; `key:value` splits at the first colon, a bare key asks for presence."""
    for want in wanted:
        key, colon, value = want.partition(":")
        if key not in tags or (colon and tags[key] != value):
            return False
    return True


def check_guard(resource: str, object_id: str, tags: Mapping[str, str], wanted: Sequence[str]) -> None:
    """Raise GuardError unless the object carries all wanted tags."""
    if not carries(tags, wanted):
        raise GuardError(f"{resource} {object_id} does not carry tag {', '.join(wanted)}; nothing was changed")


def parse_uuid(text: str) -> str | None:
    """Give the canonical text of a uuid in any form that the platform's parser takes; None for anything else."""
    try:
        parsed = str(uuid.UUID(text))
    except ValueError:
        return None
    plain = {parsed, parsed.replace("-", ""), f"{{{parsed}}}", f"urn:uuid:{parsed}"}
    return parsed if text.lower() in plain else None


def find(db: sqlite3.Connection, actor: Actor, ref: str) -> Volume:
    """Give a tenant's volume by id or name (a parsable uuid is an id); raises MissingError."""
    volume_id = parse_uuid(ref)
    column, value = ("id", volume_id) if volume_id else ("name", ref)
    found = VOLUMES.one(db, f"{column} = ? AND tenant_id = ?", value, actor.tenant_id)
    if found is None:
        raise MissingError(VOLUME, ref)
    return found


async def get(cloud: Cloud, scope: Scope, ref: str) -> Volume:
    """Give one volume; raises MissingError."""
    return await cloud.store.read(lambda db: find(db, scope.actor, ref), copy=scope.copy)


async def resolve_id(cloud: Cloud, actor: Actor, ref: str) -> str:
    """Give the id to lock for a reference; an id is taken as it is, a name looked up. Raises MissingError."""
    return parse_uuid(ref) or (await get(cloud, Scope(actor), ref)).id


async def list_all(cloud: Cloud, scope: Scope, wanted: Filter) -> list[Volume]:
    """Give the tenant's volumes that fit, newest first."""
    where, values = "tenant_id = ?", [scope.actor.tenant_id]
    if wanted.name:
        where, values = f"{where} AND name = ?", [*values, wanted.name]
    if wanted.instance_id:
        where, values = f"{where} AND instance_id = ?", [*values, wanted.instance_id]
    found = await cloud.store.read(lambda db: VOLUMES.all(db, where, *values), copy=scope.copy)
    return [volume for volume in found if carries(volume.tags, wanted.tags)]


async def create(cloud: Cloud, actor: Actor, new: NewVolume) -> Volume:
    """Make a volume, empty or from a source; the same key and request again gives the same volume.

    Raises NameTakenError, KeyReusedError, InvalidError, MissingError (source), QuotaError, BackendError.
    """
    asked = request_hash({**asdict(new), "idem_key": None})
    async with cloud.locks.hold(f"new-{VOLUME}:{actor.tenant_id}:{new.idem_key or new.name}"):
        made = await cloud.store.read(lambda db: _replay(db, actor, new, asked))
        if made is not None:
            return made
        wanted = Volume(
            id=new_id(),
            user_id=actor.user_id,
            tenant_id=actor.tenant_id,
            name=new.name,
            size_gb=new.size_gb,
            tags={key: value for key, value in new.tags.items() if value},
            performance_class=new.performance_class,
            zone=new.zone,
            source_snapshot_id=new.snapshot_id or None,
            source_volume_id=new.source_volume_id or None,
            idem_key=new.idem_key,
            idem_hash=asked if new.idem_key else "",
        )
        if new.snapshot_id:
            return await _create_from_snapshot(cloud, actor, wanted)
        if new.source_volume_id:
            return await _create_from_volume(cloud, actor, wanted)
        volume = complete(cloud, wanted)
        await _check_room(cloud, volume.size_gb)
        await asyncio.to_thread(cloud.volumes.create, volume.serial, volume.size_gb * GIB)
        return await insert(cloud, volume)


async def delete(cloud: Cloud, actor: Actor, ref: str, guard: Sequence[str] = ()) -> None:
    """Remove a volume and its image; in the strict tier its snapshots with it.

    Raises MissingError, GuardError, DeleteInUseError, DiskBusyError.
    """
    volume_id = await resolve_id(cloud, actor, ref)
    async with cloud.locks.hold(lock_of(volume_id)):
        volume = await get(cloud, Scope(actor), volume_id)
        check_guard(VOLUME, volume.id, volume.tags, guard)
        if volume.status == IN_USE:
            raise DeleteInUseError(volume.id, volume.instance_id)
        # A terminated instance may have left the disk in the machine.
        await cloud.machines.withdraw(volume.serial)
        removed = await cloud.store.write(lambda db: _delete_rows(db, actor, volume, cascade=cloud.is_strict))
    await asyncio.to_thread(cloud.volumes.remove, volume.serial)
    for snapshot_id in removed:
        await asyncio.to_thread(cloud.snapshots.remove, snapshot_id)
    cloud.hub.wake()


async def resize(cloud: Cloud, actor: Actor, ref: str, size_gb: int) -> Volume:
    """Make a volume larger, attached or not; the same size changes nothing.

    Raises MissingError, InvalidError for a smaller or too large size, QuotaError, BackendError.
    """
    volume_id = await resolve_id(cloud, actor, ref)
    async with cloud.locks.hold(lock_of(volume_id)):
        volume = await get(cloud, Scope(actor), volume_id)
        if size_gb < volume.size_gb:
            raise InvalidError(f"volume {volume.id} has {volume.size_gb} GB and cannot shrink to {size_gb} GB")
        _check_size(volume.performance_class, size_gb)
        await _check_room(cloud, size_gb - volume.size_gb)
        # The row comes last: what it promises, image and device already have.
        await asyncio.to_thread(cloud.volumes.grow, volume.serial, size_gb * GIB)
        await cloud.machines.grow(volume.serial)
        if size_gb == volume.size_gb:
            return volume
        grown = msgspec.structs.replace(volume, size_gb=size_gb, updated_at=now())
        await _update(cloud, grown, action="VOLUME_RESIZE", kind="volume.resized")
    return grown


async def modify(
    cloud: Cloud, actor: Actor, ref: str, *, performance_class: str | None, tags: Mapping[str, str]
) -> Volume:
    """Change class and tags (merged; an empty value removes the key); raises MissingError, InvalidError."""
    volume_id = await resolve_id(cloud, actor, ref)
    async with cloud.locks.hold(lock_of(volume_id)):
        volume = await get(cloud, Scope(actor), volume_id)
        wanted_class = volume.performance_class if performance_class is None else performance_class
        _check_size(wanted_class, volume.size_gb)
        merged = {key: value for key, value in {**volume.tags, **tags}.items() if value}
        changed = msgspec.structs.replace(volume, performance_class=wanted_class, tags=merged)
        if changed == volume:
            return volume
        changed = msgspec.structs.replace(changed, updated_at=now())
        await _update(cloud, changed, action="VOLUME_UPDATE", kind="volume.modified")
    return changed


def complete(cloud: Cloud, volume: Volume) -> Volume:
    """Fill in zone and class, and check both and the size; raises MissingError, InvalidError."""
    zone = volume.zone or cloud.settings.zones[0]
    if zone not in cloud.settings.zones:
        raise MissingError("zone", zone)
    performance_class = volume.performance_class or PERFORMANCE_CLASSES[0].name
    _check_size(performance_class, volume.size_gb)
    return msgspec.structs.replace(volume, zone=zone, performance_class=performance_class)


async def insert(cloud: Cloud, volume: Volume, action: str = "VOLUME_CREATE") -> Volume:
    """Add the row of a volume whose image is there; on failure the image goes. Raises NameTakenError."""

    def work(db: sqlite3.Connection) -> None:
        VOLUMES.insert(db, volume)
        _record(db, volume, action=action, kind="volume.created")

    try:
        await cloud.store.write(work)
    except BaseException as error:
        await asyncio.to_thread(cloud.volumes.remove, volume.serial)
        if isinstance(error, sqlite3.IntegrityError):
            raise NameTakenError(VOLUME, volume.name) from error
        raise
    cloud.hub.wake()
    return volume


async def available_bytes(cloud: Cloud) -> int:
    """Give how much new volumes may claim."""
    if not cloud.settings.capacity_gb:
        return await asyncio.to_thread(disks.free_bytes, cloud.settings.disks_dir)
    used_gb = await cloud.store.read(_used_gb)
    return max(0, cloud.settings.capacity_gb - used_gb) * GIB


async def _create_from_snapshot(cloud: Cloud, actor: Actor, wanted: Volume) -> Volume:
    snapshot_id = str(wanted.source_snapshot_id)
    async with cloud.locks.hold(f"snapshot:{snapshot_id}"):
        source = await cloud.store.read(
            lambda db: SNAPSHOTS.one(db, "id = ? AND tenant_id = ?", parse_uuid(snapshot_id), actor.tenant_id)
        )
        if source is None:
            raise MissingError("snapshot", snapshot_id)
        return await restore(cloud, source, wanted)


async def restore(cloud: Cloud, source: Snapshot, wanted: Volume) -> Volume:
    """Make a volume with a snapshot's content; the caller holds the snapshot's lock."""
    if source.status != AVAILABLE:
        raise InvalidError(f"snapshot {source.id} is {source.status}, not {AVAILABLE}")
    volume = complete(cloud, _like(wanted, source.size_gb, source.zone, source.performance_class))
    await _check_room(cloud, volume.size_gb)
    await asyncio.to_thread(cloud.volumes.copy, cloud.snapshots.path(source.id), volume.serial, volume.size_gb * GIB)
    return await insert(cloud, volume)


async def _create_from_volume(cloud: Cloud, actor: Actor, wanted: Volume) -> Volume:
    source_id = (await get(cloud, Scope(actor), str(wanted.source_volume_id))).id
    async with cloud.locks.hold(lock_of(source_id)):
        source = await get(cloud, Scope(actor), source_id)
        volume = complete(cloud, _like(wanted, source.size_gb, source.zone, source.performance_class))
        await _check_room(cloud, volume.size_gb)
        await cuts.take(cloud, [cuts.Cut(source.serial, cloud.volumes, volume.serial, volume.size_gb * GIB)])
        return await insert(cloud, volume)


def _like(wanted: Volume, size_gb: int, zone: str, performance_class: str) -> Volume:
    if wanted.size_gb < size_gb:
        raise InvalidError(f"size_gb is {wanted.size_gb}; the source has {size_gb} GB and its copy at least that")
    return msgspec.structs.replace(
        wanted, zone=wanted.zone or zone, performance_class=wanted.performance_class or performance_class
    )


def _check_size(performance_class: str, size_gb: int) -> None:
    known = {item.name: item.max_size_gb for item in PERFORMANCE_CLASSES}
    if performance_class not in known:
        raise MissingError("performance_class", performance_class)
    limit = min(known[performance_class], MAX_SIZE_GB)
    if size_gb > limit:
        raise InvalidError(f"size_gb is {size_gb}; class {performance_class} has volumes of at most {limit} GB")


async def _check_room(cloud: Cloud, more_gb: int) -> None:
    if cloud.settings.capacity_gb and more_gb * GIB > await available_bytes(cloud):
        raise QuotaError("storage")


def _replay(db: sqlite3.Connection, actor: Actor, new: NewVolume, asked: str) -> Volume | None:
    if new.idem_key is None:
        return None
    made = VOLUMES.one(db, "tenant_id = ? AND idem_key = ?", actor.tenant_id, new.idem_key)
    if made is not None and made.idem_hash != asked:
        raise KeyReusedError(VOLUME, new.idem_key)
    return made


def _used_gb(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT COALESCE(SUM(size_gb), 0) FROM volumes").fetchone()[0])


async def _update(cloud: Cloud, volume: Volume, *, action: str, kind: str) -> None:
    def work(db: sqlite3.Connection) -> None:
        VOLUMES.update(db, volume)
        _record(db, volume, action=action, kind=kind)

    await cloud.store.write(work)
    cloud.hub.wake()


def _delete_rows(db: sqlite3.Connection, actor: Actor, volume: Volume, *, cascade: bool) -> list[str]:
    """Remove the volume's row and give the ids of snapshots that went with it."""
    VOLUMES.delete(db, volume.id)
    _record(db, volume, action="VOLUME_DELETE", kind="volume.deleted", by=actor.user_id)
    if not cascade:
        return []
    gone = SNAPSHOTS.all(db, "volume_id = ?", volume.id)
    for snapshot in gone:
        SNAPSHOTS.delete(db, snapshot.id)
    return [snapshot.id for snapshot in gone]


def _record(db: sqlite3.Connection, volume: Volume, *, action: str, kind: str, **more: object) -> None:
    events.record(
        db,
        user_id=volume.user_id,
        tenant_id=volume.tenant_id,
        resource_id=volume.id,
        resource_type=VOLUME,
        action=action,
        kind=kind,
        name=volume.name,
        size_gb=volume.size_gb,
        **more,
    )
