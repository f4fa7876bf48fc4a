"""Rules for group snapshots: all members at one point, or none."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from controller.model import Group, NewGroup, SnapshotState
from controller.names import Ownership, is_uuid
from controller.ports import Cause, Cloud, CloudError
from controller.snapshots import clear_failed, foreign
from controller.uses import Uses, group_key, name_key, volume_key
from csi.errors import CsiError, ErrorKind


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """A group snapshot as Kubernetes asks for it, every field checked for its form."""

    csi_name: str
    volume_ids: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)


class Groups:
    """Takes, deletes and reads group snapshots. Only for platforms that announce `snapshot.group`."""

    def __init__(self, cloud: Cloud, ownership: Ownership, uses: Uses) -> None:
        self._cloud = cloud
        self._ownership = ownership
        self._uses = uses

    async def create(self, request: GroupRequest, *, deadline: float) -> Group:
        """Give the group of this name, taken now or earlier; it may not be ready yet.

        Idempotent by name. Raises CsiError ALREADY_EXISTS when the name belongs to a group of other volumes, NOT_FOUND
        when one of the volumes does not exist, BUSY, UNKNOWN_OUTCOME after a failed one, which is deleted, so that
        asking again takes another.
        """
        for volume_id in request.volume_ids:
            if not is_uuid(volume_id):
                raise _missing_source(volume_id)
        new = NewGroup(
            name=self._ownership.name(request.csi_name),
            volume_ids=tuple(sorted(volume_id.lower() for volume_id in request.volume_ids)),
            key=self._ownership.key("group", request.csi_name),
            tags=self._ownership.marked(request.tags),
        )
        with ExitStack() as held:
            held.enter_context(self._uses.alone(name_key("group snapshot", request.csi_name)))
            for volume_id in new.volume_ids:
                held.enter_context(self._uses.as_source(volume_key(volume_id)))
            try:
                group = await self._cloud.groups.create(new, deadline=deadline)
            except CloudError as failure:
                if failure.cause is Cause.MISSING:
                    raise _missing_source(", ".join(new.volume_ids), failure.message) from failure
                if failure.cause not in (Cause.KEY_REUSED, Cause.NAME_TAKEN):
                    raise
                group = await self._find_taken(new, failure, deadline=deadline)
            self._check_fit(group, new)
            if group.state is SnapshotState.ERROR:
                await self._clear_failed(group, deadline=deadline)
        return group

    async def delete(self, group_id: str, snapshot_ids: Sequence[str], *, deadline: float) -> None:
        """Delete a group of this cluster with its snapshots; one that is gone is a success.

        Raises CsiError INVALID when `snapshot_ids` are given and are not its members, PRECONDITION without this
        cluster's mark.
        """
        if not is_uuid(group_id):
            return
        with self._uses.alone(group_key(group_id)):
            if snapshot_ids:
                group = await self._cloud.groups.get(group_id, deadline=deadline)
                # A read may be older than the group, so that only the platform's answer to the delete says "gone".
                if group is not None:
                    _check_members(group, snapshot_ids)
            try:
                await self._cloud.groups.delete(group_id, guard=self._ownership.tag, deadline=deadline)
            except CloudError as failure:
                if failure.cause is Cause.GUARD:
                    raise foreign("group snapshot", group_id) from failure
                if failure.cause is not Cause.MISSING:
                    raise

    async def get(self, group_id: str, snapshot_ids: Sequence[str], *, deadline: float) -> Group:
        """Read a group. Raises CsiError NOT_FOUND, INVALID when `snapshot_ids` are given and are not its members."""
        group = await self._cloud.groups.get(group_id, deadline=deadline) if is_uuid(group_id) else None
        if group is None:
            raise CsiError(
                ErrorKind.NOT_FOUND,
                f"group_snapshot_id: group snapshot {group_id[:80]} does not exist at the platform",
            )
        _check_members(group, snapshot_ids)
        return group

    async def _find_taken(self, new: NewGroup, failure: CloudError, *, deadline: float) -> Group:
        existing = await self._cloud.groups.find(new.name, deadline=deadline)
        if existing is None:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"group snapshot {new.name}: the platform says that it exists, but does not list it; ask again. "
                f"{failure.message}",
            ) from failure
        return existing

    async def _clear_failed(self, group: Group, *, deadline: float) -> None:
        """Delete a group that failed: its name and key would give it again for ever. Raises CsiError."""
        with self._uses.alone(group_key(group.id)):
            await clear_failed(
                "group snapshot",
                group.id,
                self._cloud.groups.delete(group.id, guard=self._ownership.tag, deadline=deadline),
            )

    def _check_fit(self, group: Group, new: NewGroup) -> None:
        if not self._ownership.owns(group.name, group.tags):
            raise CsiError(
                ErrorKind.ALREADY_EXISTS,
                f"group snapshot {group.id} has the name {group.name}, but not the mark of this cluster",
            )
        members = sorted(snapshot.volume_id for snapshot in group.snapshots)
        if members != list(new.volume_ids):
            raise CsiError(
                ErrorKind.ALREADY_EXISTS,
                f"group snapshot {group.id} ({group.name}) exists already and is of the volumes {', '.join(members)}, "
                f"asked for are {', '.join(new.volume_ids)} (source_volume_ids)",
            )


def _check_members(group: Group, snapshot_ids: Sequence[str]) -> None:
    members = {snapshot.id for snapshot in group.snapshots}
    given = {snapshot_id.lower() for snapshot_id in snapshot_ids}
    if given and given != members:
        raise CsiError(
            ErrorKind.INVALID,
            f"snapshot_ids: group snapshot {group.id} has the members {', '.join(sorted(members))}; the request names "
            f"{len(given - members)} that are not in it and leaves out {len(members - given)}",
        )


def _missing_source(volume_ids: str, seen: str = "") -> CsiError:
    return CsiError(
        ErrorKind.NOT_FOUND,
        f"source_volume_ids: {volume_ids[:300]}: not every one of these volumes exists at the platform"
        f"{f' ({seen})' if seen else ''}",
    )
