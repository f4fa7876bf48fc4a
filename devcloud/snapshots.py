"""Snapshots of one volume: create, find, delete, restore.

Belongs here: the rules of both tiers. Does not: groups (`groups.py`), HTTP.

Strict tier: the row comes first, the copy is made after the answer and dies with the process (platform contract 6).
Extended tier: the copy is complete before the row is written, so the answer names data of that moment.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import msgspec

from devcloud import cuts, events
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import CloudError, InGroupError, InvalidError, KeyReusedError, MissingError, NameTakenError
from devcloud.rows import AVAILABLE, CREATING, ERROR, SNAPSHOTS, Snapshot, Volume, new_id
from devcloud.settings import GIB
from devcloud.volumes import (
    Filter,
    carries,
    check_guard,
    complete,
    find,
    insert,
    lock_of,
    parse_uuid,
    request_hash,
)
from devcloud.volumes import (
    get as get_volume,
)
from devcloud.volumes import (
    restore as copy_to_volume,
)

SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class NewSnapshot:
    """What a caller wants; `idem_key` None: every call makes another snapshot."""

    volume_id: str
    description: str = ""
    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    idem_key: str | None = None


def snapshot_lock(snapshot_id: str) -> str:
    """Name the lock that every use of a snapshot's image holds."""
    return f"snapshot:{snapshot_id}"


def make_row(volume: Volume, actor: Actor, status: str) -> Snapshot:
    """Give the row of a snapshot of a volume, with a fresh id."""
    return Snapshot(
        id=new_id(),
        user_id=actor.user_id,
        tenant_id=actor.tenant_id,
        volume_id=volume.id,
        volume_name=volume.name,
        size_gb=volume.size_gb,
        status=status,
        zone=volume.zone,
        performance_class=volume.performance_class,
    )


async def get(cloud: Cloud, scope: Scope, snapshot_id: str) -> Snapshot:
    """Give one snapshot; raises InvalidError for anything but a uuid, MissingError."""
    parsed = parse_uuid(snapshot_id)
    if parsed is None:
        raise InvalidError("invalid snapshot ID")
    where, owner = _owned(cloud, scope.actor)
    found = await cloud.store.read(lambda db: SNAPSHOTS.one(db, f"id = ? AND {where}", parsed, owner), copy=scope.copy)
    if found is None:
        raise MissingError(SNAPSHOT, parsed)
    return found


async def list_all(cloud: Cloud, scope: Scope, wanted: Filter) -> list[Snapshot]:
    """Give the snapshots that the caller sees and that fit, newest first."""
    where, owner = _owned(cloud, scope.actor)
    values = [owner]
    if wanted.name:
        where, values = f"{where} AND name = ?", [*values, wanted.name]
    if wanted.volume_id:
        where, values = f"{where} AND volume_id = ?", [*values, wanted.volume_id]
    found = await cloud.store.read(lambda db: SNAPSHOTS.all(db, where, *values), copy=scope.copy)
    return [snapshot for snapshot in found if carries(snapshot.tags, wanted.tags)]


async def create(cloud: Cloud, actor: Actor, new: NewSnapshot) -> Snapshot:
    """Take a snapshot; the same key and request again gives the same one.

    Raises InvalidError, MissingError (volume), NameTakenError, KeyReusedError, BackendError.
    """
    volume_id = parse_uuid(new.volume_id)
    if volume_id is None:
        raise InvalidError("invalid volume ID")
    if cloud.is_strict:
        return await _create_later(cloud, actor, volume_id, new.description)
    asked = request_hash({**asdict(new), "idem_key": None})
    # Retries of one request wait here for the first, however long its copy takes.
    async with cloud.locks.hold(f"new-{SNAPSHOT}:{actor.tenant_id}:{new.idem_key or new.name or new_id()}"):
        made = await cloud.store.read(lambda db: _replay(db, actor, new, asked))
        if made is not None:
            return made
        async with cloud.locks.hold(lock_of(volume_id)):
            volume = await get_volume(cloud, Scope(actor), volume_id)
            row = msgspec.structs.replace(
                make_row(volume, actor, CREATING if cloud.settings.snapshot_delay_s else AVAILABLE),
                description=new.description,
                name=new.name,
                tags={key: value for key, value in new.tags.items() if value},
                idem_key=new.idem_key,
                idem_hash=asked if new.idem_key else "",
            )
            await cuts.take(cloud, [cuts.Cut(volume.serial, cloud.snapshots, row.id, volume.size_gb * GIB)])
            await _insert(cloud, row)
    if row.status == CREATING:
        cloud.tasks.spawn(_finish_later(cloud, row.id), f"finish snapshot {row.id}")
    return row


async def delete(cloud: Cloud, actor: Actor, snapshot_id: str, guard: Sequence[str] = ()) -> None:
    """Remove a snapshot and its image; raises MissingError, GuardError, InGroupError."""
    known = await get(cloud, Scope(actor), snapshot_id)
    async with cloud.locks.hold(snapshot_lock(known.id)):
        snapshot = await get(cloud, Scope(actor), known.id)
        check_guard(SNAPSHOT, snapshot.id, snapshot.tags, guard)
        if snapshot.group_id is not None:
            raise InGroupError(snapshot.id, snapshot.group_id)
        await cloud.store.write(lambda db: delete_row(db, snapshot))
    await asyncio.to_thread(cloud.snapshots.remove, snapshot.id)
    cloud.hub.wake()


async def restore(cloud: Cloud, actor: Actor, snapshot_id: str, new_name: str) -> Volume:
    """Make a volume of the snapshot's size: with its content, or empty in the strict tier (platform contract 6).

    Raises MissingError, InvalidError when the snapshot is not AVAILABLE, NameTakenError.
    """
    known = await get(cloud, Scope(actor), snapshot_id)
    async with cloud.locks.hold(snapshot_lock(known.id)):
        snapshot = await get(cloud, Scope(actor), known.id)
        wanted = Volume(
            id=new_id(),
            user_id=actor.user_id,
            tenant_id=actor.tenant_id,
            name=new_name,
            size_gb=snapshot.size_gb,
            source_snapshot_id=snapshot.id,
        )
        if not cloud.is_strict:
            return await copy_to_volume(cloud, snapshot, wanted)
        if snapshot.status != AVAILABLE:
            raise InvalidError("snapshot is not available for restoration")
        volume = complete(cloud, wanted)
        await asyncio.to_thread(cloud.volumes.create, volume.serial, volume.size_gb * GIB)
        return await insert(cloud, volume, action="VOLUME_RESTORE")


def insert_row(db: sqlite3.Connection, snapshot: Snapshot) -> None:
    """Add a row and its event."""
    SNAPSHOTS.insert(db, snapshot)
    _record(db, snapshot, action="SNAPSHOT_CREATE", kind="snapshot.created")


def delete_row(db: sqlite3.Connection, snapshot: Snapshot) -> None:
    """Remove a row and record its event."""
    SNAPSHOTS.delete(db, snapshot.id)
    _record(db, snapshot, action="SNAPSHOT_DELETE", kind="snapshot.deleted")


def set_status(db: sqlite3.Connection, snapshot_id: str, status: str) -> bool:
    """Change a snapshot's status; False when it is gone."""
    return db.execute("UPDATE snapshots SET status = ? WHERE id = ?", (status, snapshot_id)).rowcount > 0


async def _create_later(cloud: Cloud, actor: Actor, volume_id: str, description: str) -> Snapshot:
    volume = await get_volume(cloud, Scope(actor), volume_id)
    row = msgspec.structs.replace(make_row(volume, actor, CREATING), description=description)
    await _insert(cloud, row)
    cloud.tasks.spawn(_fill(cloud, actor, row), f"fill snapshot {row.id}")
    return row


async def _fill(cloud: Cloud, actor: Actor, row: Snapshot) -> None:
    """Make the copy after the answer."""
    status = AVAILABLE
    try:
        async with cloud.locks.hold(lock_of(row.volume_id), snapshot_lock(row.id)):
            volume = await cloud.store.read(lambda db: find(db, actor, row.volume_id))
            await cuts.take(cloud, [cuts.Cut(volume.serial, cloud.snapshots, row.id, row.size_gb * GIB)])
        await asyncio.sleep(cloud.settings.snapshot_delay_s)
    except CloudError:
        status = ERROR
    if not await cloud.store.write(lambda db: set_status(db, row.id, status)):
        await asyncio.to_thread(cloud.snapshots.remove, row.id)


async def _finish_later(cloud: Cloud, snapshot_id: str) -> None:
    await asyncio.sleep(cloud.settings.snapshot_delay_s)
    await cloud.store.write(lambda db: set_status(db, snapshot_id, AVAILABLE))


async def _insert(cloud: Cloud, row: Snapshot) -> None:
    try:
        await cloud.store.write(lambda db: insert_row(db, row))
    except BaseException as error:
        await asyncio.to_thread(cloud.snapshots.remove, row.id)
        if isinstance(error, sqlite3.IntegrityError):
            raise NameTakenError(SNAPSHOT, row.name) from error
        raise
    cloud.hub.wake()


def _owned(cloud: Cloud, actor: Actor) -> tuple[str, str]:
    """Give the condition of visibility: the strict tier shows a user only its own (platform contract 1.10)."""
    return ("user_id = ?", actor.user_id) if cloud.is_strict else ("tenant_id = ?", actor.tenant_id)


def _replay(db: sqlite3.Connection, actor: Actor, new: NewSnapshot, asked: str) -> Snapshot | None:
    if new.idem_key is None:
        return None
    made = SNAPSHOTS.one(db, "tenant_id = ? AND idem_key = ?", actor.tenant_id, new.idem_key)
    if made is not None and made.idem_hash != asked:
        raise KeyReusedError(SNAPSHOT, new.idem_key)
    return made


def _record(db: sqlite3.Connection, snapshot: Snapshot, *, action: str, kind: str) -> None:
    events.record(
        db,
        user_id=snapshot.user_id,
        tenant_id=snapshot.tenant_id,
        resource_id=snapshot.id,
        resource_type=SNAPSHOT,
        action=action,
        kind=kind,
        volume_id=snapshot.volume_id,
    )
