"""The ports on top of `thecloud`: translation of objects, no rules. Errors are translated in `cloud_errors`."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from controller.cloud_errors import cloud_error
from controller.model import (
    GIB,
    MAX_VOLUME_BYTES,
    MIN_VOLUME_BYTES,
    Capacity,
    Group,
    Health,
    HealthProblem,
    Instance,
    NewGroup,
    NewSnapshot,
    NewVolume,
    Snapshot,
    SnapshotState,
    Source,
    SourceKind,
    Volume,
)
from controller.ports import Cloud, Lane
from thecloud import call, errors, wire
from thecloud.client import Client
from thecloud.presence import Gone
from thecloud.snapshots import name_of
from thecloud.volumes import serial_of

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_UNNAMED_REASON = "Reported"
RELIST_PAUSE_S = 1.0
"""Nodes that are not found cost the platform one listing in this time, however many ask."""

LANE_OF_LOOK = {Lane.DELETE: call.Lane.DELETE, Lane.ATTACH: call.Lane.ATTACH, Lane.READ: call.Lane.READ}
_STATE_OF_STATUS = {
    wire.SnapshotStatus.AVAILABLE: SnapshotState.AVAILABLE,
    wire.SnapshotStatus.ERROR: SnapshotState.ERROR,
}
_HEALTH_OF_STATUS = {
    wire.HealthStatus.INACCESSIBLE: Health.INACCESSIBLE,
    wire.HealthStatus.DATA_LOSS: Health.DATA_LOSS,
}


def open_cloud(client: Client, *, relist_pause_s: float = RELIST_PAUSE_S) -> Cloud:
    """Give all ports on top of one client, which the caller opens and closes.

    `relist_pause_s` lies between two listings of all instances at least.
    """
    return Cloud(
        volumes=PlatformVolumes(client),
        snapshots=PlatformSnapshots(client),
        groups=PlatformGroups(client),
        instances=PlatformInstances(client, relist_pause_s=relist_pause_s),
        offer=PlatformOffer(client),
    )


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except errors.PlatformError as error:
        raise cloud_error(error, doing) from error


class PlatformVolumes:
    """Volumes, by `thecloud.volumes`."""

    def __init__(self, client: Client) -> None:
        self._volumes = client.volumes

    async def create(self, new: NewVolume, *, deadline: float) -> Volume:
        """Make a volume."""
        source_id = new.source.id if new.source is not None else ""
        is_restore = new.source is not None and new.source.kind is SourceKind.SNAPSHOT
        with _translated(f"making volume {new.name} ({new.size_bytes // GIB} GiB)"):
            return _volume(
                await self._volumes.create(
                    name=new.name,
                    size_gb=new.size_bytes // GIB,
                    tags=new.tags,
                    performance_class=new.performance_class,
                    zone=new.zone,
                    snapshot_id=source_id if is_restore else "",
                    source_volume_id="" if is_restore else source_id,
                    idempotency_key=new.key,
                    deadline=deadline,
                )
            )

    async def get(self, volume_id: str, *, lane: Lane = Lane.READ, deadline: float) -> Volume | None:
        """Read a volume."""
        with _translated(f"reading volume {volume_id}"):
            found = await self._volumes.get(volume_id, deadline=deadline, lane=LANE_OF_LOOK[lane])
        return None if isinstance(found, Gone) else _volume(found)

    async def find(self, name: str, *, deadline: float) -> Volume | None:
        """Find a volume; names are unique at the platform."""
        with _translated(f"looking for volume {name}"):
            found = await self._volumes.find_by_name(name, deadline=deadline)
        return _volume(found[0]) if found else None

    async def all(self, *, deadline: float) -> Sequence[Volume]:
        """List volumes."""
        with _translated("listing volumes"):
            return [_volume(volume) for volume in await self._volumes.list(deadline=deadline)]

    async def delete(self, volume_id: str, *, guard: tuple[str, str] | None, deadline: float) -> None:
        """Delete a volume."""
        with _translated(f"deleting volume {volume_id}"):
            await self._volumes.delete(volume_id, guard_tag=guard, deadline=deadline)

    async def attach(self, volume_id: str, instance_id: str, *, read_only: bool, deadline: float) -> Volume | None:
        """Attach a volume."""
        with _translated(f"attaching volume {volume_id} to instance {instance_id}"):
            answer = await self._volumes.attach(volume_id, instance_id, read_only=read_only, deadline=deadline)
        return None if answer.volume is None else _volume(answer.volume)

    async def detach(self, volume_id: str, instance_id: str, *, deadline: float) -> None:
        """Detach a volume."""
        with _translated(f"detaching volume {volume_id} from instance {instance_id}"):
            await self._volumes.detach(volume_id, instance_id, deadline=deadline)

    async def resize(self, volume_id: str, size_bytes: int, *, deadline: float) -> Volume:
        """Grow a volume."""
        with _translated(f"growing volume {volume_id} to {size_bytes} bytes"):
            return _volume(await self._volumes.resize(volume_id, size_gb=size_bytes // GIB, deadline=deadline))

    async def modify(
        self, volume_id: str, *, performance_class: str, tags: Mapping[str, str], deadline: float
    ) -> Volume:
        """Change class and tags."""
        with _translated(f"changing volume {volume_id}"):
            return _volume(
                await self._volumes.modify(volume_id, performance_class=performance_class, tags=tags, deadline=deadline)
            )


class PlatformSnapshots:
    """Snapshots, by `thecloud.snapshots`."""

    def __init__(self, client: Client) -> None:
        self._snapshots = client.snapshots

    async def create(self, new: NewSnapshot, *, deadline: float) -> Snapshot:
        """Take a snapshot."""
        with _translated(f"taking snapshot {new.name} of volume {new.volume_id}"):
            return _snapshot(
                await self._snapshots.create(
                    volume_id=new.volume_id, name=new.name, tags=new.tags, idempotency_key=new.key, deadline=deadline
                )
            )

    async def get(self, snapshot_id: str, *, deadline: float) -> Snapshot | None:
        """Read a snapshot."""
        with _translated(f"reading snapshot {snapshot_id}"):
            found = await self._snapshots.get(snapshot_id, deadline=deadline)
        return None if isinstance(found, Gone) else _snapshot(found)

    async def find(self, name: str, *, deadline: float) -> Snapshot | None:
        """Find a snapshot."""
        with _translated(f"looking for snapshot {name}"):
            found = await self._snapshots.find_by_name(name, deadline=deadline)
        return _snapshot(found[0]) if found else None

    async def all(self, *, volume_id: str = "", lane: Lane = Lane.READ, deadline: float) -> Sequence[Snapshot]:
        """List snapshots."""
        with _translated(f"listing snapshots of {f'volume {volume_id}' if volume_id else 'all volumes'}"):
            found = (
                await self._snapshots.find_by_volume(volume_id, deadline=deadline, lane=LANE_OF_LOOK[lane])
                if volume_id
                else await self._snapshots.list(deadline=deadline, lane=LANE_OF_LOOK[lane])
            )
        return [_snapshot(snapshot) for snapshot in found]

    async def delete(self, snapshot_id: str, *, guard: tuple[str, str] | None, deadline: float) -> None:
        """Delete a snapshot."""
        with _translated(f"deleting snapshot {snapshot_id}"):
            await self._snapshots.delete(snapshot_id, guard_tag=guard, deadline=deadline)


class PlatformGroups:
    """Group snapshots, by `thecloud.groups`."""

    def __init__(self, client: Client) -> None:
        self._groups = client.groups

    async def create(self, new: NewGroup, *, deadline: float) -> Group:
        """Take a group snapshot."""
        with _translated(f"taking group snapshot {new.name} of {len(new.volume_ids)} volumes"):
            return _group(
                await self._groups.create(
                    name=new.name, volume_ids=new.volume_ids, tags=new.tags, idempotency_key=new.key, deadline=deadline
                )
            )

    async def get(self, group_id: str, *, deadline: float) -> Group | None:
        """Read a group."""
        with _translated(f"reading group snapshot {group_id}"):
            found = await self._groups.get(group_id, deadline=deadline)
        return None if isinstance(found, Gone) else _group(found)

    async def find(self, name: str, *, deadline: float) -> Group | None:
        """Find a group."""
        with _translated(f"looking for group snapshot {name}"):
            found = await self._groups.find_by_name(name, deadline=deadline)
        return _group(found[0]) if found else None

    async def delete(self, group_id: str, *, guard: tuple[str, str] | None, deadline: float) -> None:
        """Delete a group."""
        with _translated(f"deleting group snapshot {group_id}"):
            await self._groups.delete(group_id, guard_tag=guard, deadline=deadline)


class PlatformInstances:
    """Instances, by `thecloud.instances`, with the last listing kept."""

    def __init__(self, client: Client, *, relist_pause_s: float) -> None:
        self._instances = client.instances
        self._relist_pause_s = relist_pause_s
        self._listing: tuple[Instance, ...] = ()
        self._asked_at = float("-inf")

    async def all(self, *, max_age_s: float, deadline: float) -> Sequence[Instance]:
        """List instances; the listing's age counts from when it was asked for."""
        clock = asyncio.get_running_loop().time
        oldest = clock() - max_age_s
        if self._asked_at < oldest:
            await asyncio.sleep(max(0.0, min(self._asked_at + self._relist_pause_s, deadline) - clock()))
        # Somebody else may have brought a listing meanwhile that is young enough.
        if self._asked_at < oldest:
            asked_at = clock()
            with _translated("listing instances"):
                found = await self._instances.list(deadline=deadline, lane=call.Lane.ATTACH)
            if asked_at > self._asked_at:
                self._listing, self._asked_at = tuple(_instance(instance) for instance in found), asked_at
        return self._listing

    async def get(self, instance_id: str, *, deadline: float) -> Instance | None:
        """Read an instance."""
        with _translated(f"reading instance {instance_id}"):
            found = await self._instances.get(instance_id, deadline=deadline, lane=call.Lane.ATTACH)
        return None if isinstance(found, Gone) else _instance(found)


class PlatformOffer:
    """Features and capacity."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def features(self, *, deadline: float) -> frozenset[str]:
        """Give the features."""
        with _translated("asking the platform what it offers"):
            return (await self._client.features(deadline)).names

    async def zones(self, *, max_age_s: float, deadline: float) -> frozenset[str]:
        """Give the zones."""
        with _translated("listing zones"):
            found = await self._client.capacity.zones(deadline=deadline, max_age_s=max_age_s)
        return frozenset(zone.name for zone in found)

    async def capacity(self, *, zone: str, performance_class: str, deadline: float) -> Capacity:
        """Give the capacity."""
        with _translated("asking for the capacity"):
            found = await self._client.capacity.get(zone=zone, performance_class=performance_class, deadline=deadline)
        largest, smallest = found.maximum_volume_size_gb, found.minimum_volume_size_gb
        return Capacity(
            available_bytes=found.available_bytes,
            minimum_volume_bytes=smallest * GIB if smallest else MIN_VOLUME_BYTES,
            maximum_volume_bytes=largest * GIB if largest else MAX_VOLUME_BYTES,
        )


def _volume(found: wire.Volume) -> Volume:
    # In a state that is not known here (attaching, detaching …), a volume is not free while it names a holder.
    is_between = found.status is not wire.VolumeStatus.AVAILABLE and found.instance_id is not None
    return Volume(
        id=found.id,
        name=found.name,
        size_bytes=found.size_bytes,
        created_at=found.created_at or _NO_TIME,
        serial=found.serial or serial_of(found.id),
        in_use=found.status is wire.VolumeStatus.IN_USE or is_between,
        instance_id=found.instance_id or "",
        read_only=bool(found.read_only),
        allocated_bytes=found.allocated_bytes,
        tags=found.tags,
        performance_class=found.performance_class or "",
        zone=found.zone or "",
        source=_source(found),
        health=tuple(
            HealthProblem(
                _HEALTH_OF_STATUS.get(problem.status, Health.DEGRADED),
                problem.reason or _UNNAMED_REASON,
                problem.message,
            )
            for problem in found.health
        ),
    )


def _source(found: wire.Volume) -> Source | None:
    if found.source_snapshot_id:
        return Source(SourceKind.SNAPSHOT, found.source_snapshot_id)
    if found.source_volume_id:
        return Source(SourceKind.VOLUME, found.source_volume_id)
    return None


def _snapshot(found: wire.Snapshot) -> Snapshot:
    return Snapshot(
        id=found.id,
        name=name_of(found),
        volume_id=found.volume_id,
        size_bytes=found.restore_size_bytes,
        created_at=found.created_at or _NO_TIME,
        state=_STATE_OF_STATUS.get(found.status, SnapshotState.CREATING),
        tags=found.tags,
        group_id=found.group_id or "",
    )


def _group(found: wire.SnapshotGroup) -> Group:
    return Group(
        id=found.id,
        name=found.name,
        created_at=found.created_at or _NO_TIME,
        state=_STATE_OF_STATUS.get(found.status, SnapshotState.CREATING),
        snapshots=tuple(_snapshot(snapshot) for snapshot in found.snapshots),
        tags=found.tags,
    )


def _instance(found: wire.Instance) -> Instance:
    return Instance(id=found.id, name=found.name, hostname=found.hostname or "", zone=found.zone or "")
