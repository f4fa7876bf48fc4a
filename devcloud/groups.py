"""Snapshot groups: snapshots of several volumes at one moment, all or none."""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import msgspec

from devcloud import cuts
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import InvalidError, KeyReusedError, MissingError, NameTakenError
from devcloud.rows import AVAILABLE, SNAPSHOT_GROUPS, SNAPSHOTS, Snapshot, SnapshotGroup, new_id
from devcloud.settings import GIB
from devcloud.snapshots import delete_row, insert_row, make_row, snapshot_lock
from devcloud.volumes import Filter, carries, check_guard, lock_of, parse_uuid, request_hash
from devcloud.volumes import get as get_volume

GROUP = "snapshot_group"
MAX_MEMBERS = 100


@dataclass(frozen=True, slots=True)
class NewGroup:
    """What a caller wants; `idem_key` None: every call makes another group."""

    name: str
    volume_ids: tuple[str, ...]
    tags: dict[str, str] = field(default_factory=dict)
    idem_key: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A group with its members."""

    row: SnapshotGroup
    snapshots: list[Snapshot]


async def create(cloud: Cloud, actor: Actor, new: NewGroup) -> Group:
    """Take all snapshots at one moment; the same key and request again gives the same group.

    Raises InvalidError, MissingError (a volume), NameTakenError, KeyReusedError, BackendError; then none was taken.
    """
    volume_ids = [parse_uuid(volume_id) for volume_id in new.volume_ids]
    if not volume_ids or None in volume_ids or len(set(volume_ids)) < len(volume_ids) or len(volume_ids) > MAX_MEMBERS:
        raise InvalidError(f"volume_ids must be 1 to {MAX_MEMBERS} different uuids")
    asked = request_hash({**asdict(new), "idem_key": None})
    async with cloud.locks.hold(f"new-{GROUP}:{actor.tenant_id}:{new.idem_key or new.name}"):
        made = await cloud.store.read(lambda db: _replay(db, actor, new, asked))
        if made is not None:
            return made
        row = SnapshotGroup(
            id=new_id(),
            user_id=actor.user_id,
            tenant_id=actor.tenant_id,
            name=new.name,
            status=AVAILABLE,
            tags={key: value for key, value in new.tags.items() if value},
            idem_key=new.idem_key,
            idem_hash=asked if new.idem_key else "",
        )
        async with cloud.locks.hold(*(lock_of(str(volume_id)) for volume_id in volume_ids)):
            return await _take(cloud, actor, row, [str(volume_id) for volume_id in volume_ids])


async def get(cloud: Cloud, scope: Scope, group_id: str) -> Group:
    """Give one group; raises MissingError."""
    found = await cloud.store.read(lambda db: _find(db, scope.actor, group_id), copy=scope.copy)
    if found is None:
        raise MissingError(GROUP, group_id)
    return found


async def list_all(cloud: Cloud, scope: Scope, wanted: Filter) -> list[Group]:
    """Give the tenant's groups that fit, newest first."""

    def work(db: sqlite3.Connection) -> list[Group]:
        where, values = "tenant_id = ?", [scope.actor.tenant_id]
        if wanted.name:
            where, values = f"{where} AND name = ?", [*values, wanted.name]
        rows = SNAPSHOT_GROUPS.all(db, where, *values)
        return [_with_members(db, row) for row in rows if carries(row.tags, wanted.tags)]

    return await cloud.store.read(work, copy=scope.copy)


async def delete(cloud: Cloud, actor: Actor, group_id: str, guard: Sequence[str] = ()) -> None:
    """Remove a group with all its snapshots; raises MissingError, GuardError."""
    known = await get(cloud, Scope(actor), group_id)
    async with cloud.locks.hold(f"{GROUP}:{known.row.id}", *(snapshot_lock(item.id) for item in known.snapshots)):
        group = await get(cloud, Scope(actor), known.row.id)
        check_guard(GROUP, group.row.id, group.row.tags, guard)
        await cloud.store.write(lambda db: _delete_rows(db, group))
    for snapshot in group.snapshots:
        await asyncio.to_thread(cloud.snapshots.remove, snapshot.id)
    cloud.hub.wake()


async def _take(cloud: Cloud, actor: Actor, row: SnapshotGroup, volume_ids: Sequence[str]) -> Group:
    volumes = [await get_volume(cloud, Scope(actor), volume_id) for volume_id in volume_ids]
    members = [
        msgspec.structs.replace(make_row(volume, actor, AVAILABLE), group_id=row.id, tags=row.tags)
        for volume in volumes
    ]
    await cuts.take(
        cloud,
        [
            cuts.Cut(volume.serial, cloud.snapshots, member.id, volume.size_gb * GIB)
            for volume, member in zip(volumes, members, strict=True)
        ],
    )

    def work(db: sqlite3.Connection) -> None:
        SNAPSHOT_GROUPS.insert(db, row)
        for member in members:
            insert_row(db, member)

    try:
        await cloud.store.write(work)
    except BaseException as error:
        for member in members:
            await asyncio.to_thread(cloud.snapshots.remove, member.id)
        if isinstance(error, sqlite3.IntegrityError):
            raise NameTakenError(GROUP, row.name) from error
        raise
    cloud.hub.wake()
    return Group(row, members)


def _find(db: sqlite3.Connection, actor: Actor, group_id: str) -> Group | None:
    row = SNAPSHOT_GROUPS.one(db, "id = ? AND tenant_id = ?", parse_uuid(group_id), actor.tenant_id)
    return None if row is None else _with_members(db, row)


def _with_members(db: sqlite3.Connection, row: SnapshotGroup) -> Group:
    return Group(row, SNAPSHOTS.all(db, "group_id = ?", row.id))


def _replay(db: sqlite3.Connection, actor: Actor, new: NewGroup, asked: str) -> Group | None:
    if new.idem_key is None:
        return None
    made = SNAPSHOT_GROUPS.one(db, "tenant_id = ? AND idem_key = ?", actor.tenant_id, new.idem_key)
    if made is None:
        return None
    if made.idem_hash != asked:
        raise KeyReusedError(GROUP, new.idem_key)
    return _with_members(db, made)


def _delete_rows(db: sqlite3.Connection, group: Group) -> None:
    for snapshot in group.snapshots:
        delete_row(db, snapshot)
    SNAPSHOT_GROUPS.delete(db, group.row.id)
