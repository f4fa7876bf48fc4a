"""Rules for snapshots: taken once per name, deleted only with this cluster's mark."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from controller.model import NewSnapshot, Snapshot, SnapshotState
from controller.names import Ownership, is_uuid
from controller.ports import Cause, Cloud, CloudError
from controller.topology import Requirement, candidate_zones
from controller.uses import Uses, name_key, snapshot_key, volume_key
from csi.driver import DRIVER_NAME
from csi.errors import CsiError, ErrorKind

ZONES_CACHE_S = 60.0
"""How old the list of zones may be that has a zone; one that it lacks is looked for in a fresh one."""


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """A snapshot as Kubernetes asks for it, every field checked for its form."""

    csi_name: str
    volume_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    requirement: Requirement = field(default_factory=Requirement)


class Snapshots:
    """Takes, deletes and reads snapshots. Only for platforms that announce what CREATE_DELETE_SNAPSHOT needs."""

    def __init__(self, cloud: Cloud, ownership: Ownership, uses: Uses) -> None:
        self._cloud = cloud
        self._ownership = ownership
        self._uses = uses

    async def create(self, request: SnapshotRequest, *, deadline: float) -> Snapshot:
        """Give the snapshot of this name, taken now or earlier; it may not be ready yet.

        Idempotent by name. Raises CsiError ALREADY_EXISTS when the name belongs to a snapshot of another volume,
        NOT_FOUND for the volume, EXHAUSTED (also for zones that do not exist), BUSY, UNKNOWN_OUTCOME after a failed
        one, which is deleted, so that asking again takes another.
        """
        if not is_uuid(request.volume_id):
            raise CsiError(
                ErrorKind.NOT_FOUND,
                f"source_volume_id: {request.volume_id[:80]!r} is no volume of this driver. A snapshot class of "
                f"{DRIVER_NAME} is for claims of {DRIVER_NAME}: use a class of the driver that made the claim's volume",
            )
        await self._check_reach(request.requirement, deadline=deadline)
        new = NewSnapshot(
            name=self._ownership.name(request.csi_name),
            volume_id=request.volume_id.lower(),
            key=self._ownership.key("snapshot", request.csi_name),
            tags=self._ownership.marked(request.tags),
        )
        with (
            self._uses.alone(name_key("snapshot", request.csi_name)),
            self._uses.as_source(volume_key(request.volume_id)),
        ):
            try:
                snapshot = await self._cloud.snapshots.create(new, deadline=deadline)
            except CloudError as failure:
                if failure.cause is Cause.MISSING:
                    raise _missing_source(request.volume_id) from failure
                if failure.cause not in (Cause.KEY_REUSED, Cause.NAME_TAKEN):
                    raise
                snapshot = await self._find_taken(new, failure, deadline=deadline)
            self._check_fit(snapshot, new)
            if snapshot.state is SnapshotState.ERROR:
                await self._clear_failed(snapshot, deadline=deadline)
        return snapshot

    async def delete(self, snapshot_id: str, *, deadline: float) -> None:
        """Delete a snapshot of this cluster; one that is gone is a success.

        Raises CsiError PRECONDITION without this cluster's mark, INVALID for a member of a group, BUSY while a volume
        is made from it.
        """
        if not is_uuid(snapshot_id):
            return
        with self._uses.alone(snapshot_key(snapshot_id)):
            try:
                await self._cloud.snapshots.delete(snapshot_id, guard=self._ownership.tag, deadline=deadline)
            except CloudError as failure:
                if failure.cause is Cause.MISSING:
                    return
                if failure.cause is Cause.IN_GROUP:
                    raise CsiError(
                        ErrorKind.INVALID,
                        f"snapshot_id: snapshot {snapshot_id} belongs to a group snapshot and is deleted with it only",
                    ) from failure
                if failure.cause is Cause.GUARD:
                    raise foreign("snapshot", snapshot_id) from failure
                raise

    async def get(self, snapshot_id: str, *, deadline: float) -> Snapshot:
        """Read a snapshot. Raises CsiError NOT_FOUND when it is definitely not there."""
        snapshot = await self._look(snapshot_id, deadline=deadline)
        if snapshot is None:
            raise CsiError(
                ErrorKind.NOT_FOUND, f"snapshot_id: snapshot {snapshot_id[:80]} does not exist at the platform"
            )
        return snapshot

    async def list(self, *, snapshot_id: str, volume_id: str, deadline: float) -> Sequence[Snapshot]:
        """List snapshots, all or those of one id or one volume; ids that do not exist give an empty list."""
        if snapshot_id:
            snapshot = await self._look(snapshot_id, deadline=deadline)
            fits = snapshot is not None and volume_id in ("", snapshot.volume_id)
            return (snapshot,) if snapshot is not None and fits else ()
        if volume_id and not is_uuid(volume_id):
            return ()
        return await self._cloud.snapshots.all(volume_id=volume_id.lower(), deadline=deadline)

    async def _check_reach(self, requirement: Requirement, *, deadline: float) -> None:
        """Refuse a reach that cannot be had: a snapshot can be restored in every zone that the platform has."""
        (first, *others) = candidate_zones(requirement, "")
        if not first or not requirement.requisite:
            return
        for max_age_s in (ZONES_CACHE_S, 0.0):
            existing = await self._cloud.offer.zones(max_age_s=max_age_s, deadline=deadline)
            if not existing.isdisjoint((first, *others)):
                return
        raise CsiError(
            ErrorKind.EXHAUSTED,
            f"accessibility_requirements: none of the zones {', '.join((first, *others))} exists at the platform",
        )

    async def _look(self, snapshot_id: str, *, deadline: float) -> Snapshot | None:
        if not is_uuid(snapshot_id):
            return None
        return await self._cloud.snapshots.get(snapshot_id, deadline=deadline)

    async def _find_taken(self, new: NewSnapshot, failure: CloudError, *, deadline: float) -> Snapshot:
        existing = await self._cloud.snapshots.find(new.name, deadline=deadline)
        if existing is None:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"snapshot {new.name}: the platform says that it exists, but does not list it; ask again. "
                f"{failure.message}",
            ) from failure
        return existing

    async def _clear_failed(self, snapshot: Snapshot, *, deadline: float) -> None:
        """Delete a snapshot that failed: its name and key would give it again for ever. Raises CsiError."""
        with self._uses.alone(snapshot_key(snapshot.id)):
            await clear_failed(
                "snapshot",
                snapshot.id,
                self._cloud.snapshots.delete(snapshot.id, guard=self._ownership.tag, deadline=deadline),
            )

    def _check_fit(self, snapshot: Snapshot, new: NewSnapshot) -> None:
        if not self._ownership.owns(snapshot.name, snapshot.tags):
            raise CsiError(
                ErrorKind.ALREADY_EXISTS,
                f"snapshot {snapshot.id} has the name {snapshot.name}, but not the mark of this cluster",
            )
        if snapshot.volume_id != new.volume_id:
            raise CsiError(
                ErrorKind.ALREADY_EXISTS,
                f"snapshot {snapshot.id} ({snapshot.name}) exists already and is of volume {snapshot.volume_id}, asked "
                f"for is {new.volume_id} (source_volume_id)",
            )


async def clear_failed(kind: str, object_id: str, delete: Awaitable[None]) -> NoReturn:
    """Run the guarded delete of an object that the platform failed to make; raises CsiError, also when it worked."""
    came_to = "was deleted; asking again takes another one"
    try:
        await delete
    except CloudError as failure:
        if failure.cause is Cause.GUARD:
            raise foreign(kind, object_id) from failure
        if failure.cause is not Cause.MISSING:
            came_to = f"could not be deleted, which has to be before another one is taken: {failure.message}; ask again"
    raise CsiError(
        ErrorKind.UNKNOWN_OUTCOME,
        f"{kind} {object_id} failed at the platform and {came_to}. If this repeats, the platform's storage has to be "
        "looked at.",
    )


def foreign(kind: str, object_id: str) -> CsiError:
    """Give the error for an object that does not carry this cluster's mark."""
    return CsiError(
        ErrorKind.PRECONDITION,
        f"{kind} {object_id} does not carry the mark of this cluster and is not deleted; delete it at the platform, "
        "then remove the Kubernetes object",
    )


def _missing_source(volume_id: str) -> CsiError:
    return CsiError(ErrorKind.NOT_FOUND, f"source_volume_id: volume {volume_id[:80]} does not exist at the platform")
