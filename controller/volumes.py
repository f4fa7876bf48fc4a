"""Rules for volumes that exist: delete, expand, modify, read.

Creation has its own module; attachments too.
"""

import asyncio

from controller import features as offer
from controller.model import MIN_VOLUME_BYTES, Volume
from controller.names import Ownership, is_uuid
from controller.parameters import Changes
from controller.ports import Cause, Cloud, CloudError, Lane
from controller.sizes import check_size, round_up
from controller.uses import Uses, volume_key
from csi.errors import CsiError, ErrorKind

ABSENCE_CONFIRM_S = 2.0
"""Pause between the two strict-tier listings that must agree before a volume counts as gone (contract 25.1)."""


class Volumes:
    """Everything that happens to a volume between its creation and its end, except attachments."""

    def __init__(
        self, cloud: Cloud, ownership: Ownership, uses: Uses, *, absence_confirm_s: float = ABSENCE_CONFIRM_S
    ) -> None:
        self._cloud = cloud
        self._ownership = ownership
        self._uses = uses
        self._absence_confirm_s = absence_confirm_s

    async def get(self, volume_id: str, *, deadline: float) -> Volume:
        """Read a volume. Raises CsiError NOT_FOUND when it is definitely not there."""
        volume = await self._look(volume_id, deadline=deadline)
        if volume is None:
            raise missing_volume(volume_id)
        return volume

    async def delete(self, volume_id: str, *, deadline: float) -> None:
        """Delete a volume of this cluster; one that is gone is a success.

        Raises CsiError PRECONDITION for a volume that is attached, that has snapshots which would vanish with it, or
        that does not carry this cluster's mark; BUSY while it is worked on.
        """
        if not is_uuid(volume_id):
            # No object of the platform has such an id, and as a path it would be read as a name.
            return
        features = await self._cloud.offer.features(deadline=deadline)
        with self._uses.alone(volume_key(volume_id)):
            if features >= offer.GUARDED_DELETE:
                if offer.RESTORE not in features:
                    await self._check_snapshots(volume_id, deadline=deadline)
                await self._delete_guarded(volume_id, deadline=deadline)
            else:
                await self._delete_carefully(volume_id, deadline=deadline)

    async def expand(self, volume_id: str, required_bytes: int, limit_bytes: int, *, deadline: float) -> Volume:
        """Grow a volume to at least `required_bytes`, never shrinking it; 0 asks for no growth.

        Idempotent. Raises CsiError OUT_OF_RANGE, NOT_FOUND, EXHAUSTED, BUSY.
        """
        size_bytes = max(round_up(required_bytes), MIN_VOLUME_BYTES)
        check_size(size_bytes, required_bytes, limit_bytes)
        _require_id(volume_id)
        with self._uses.alone(volume_key(volume_id)):
            try:
                return await self._cloud.volumes.resize(volume_id, size_bytes, deadline=deadline)
            except CloudError as failure:
                if failure.cause is Cause.MISSING:
                    raise missing_volume(volume_id) from failure
                if failure.cause is not Cause.REFUSED:
                    raise
                refusal = failure
            volume = await self.get(volume_id, deadline=deadline)
        if volume.size_bytes < size_bytes or (limit_bytes and volume.size_bytes > limit_bytes):
            raise CsiError(
                ErrorKind.OUT_OF_RANGE,
                f"volume {volume_id} has {volume.size_bytes} bytes and cannot get {size_bytes}: {refusal.message}",
            )
        return volume

    async def modify(self, volume_id: str, changes: Changes, *, deadline: float) -> None:
        """Change a volume's class and tags. Raises CsiError NOT_FOUND, INVALID for a class that does not exist."""
        _require_id(volume_id)
        with self._uses.alone(volume_key(volume_id)):
            if not changes.performance_class and not changes.tags:
                await self.get(volume_id, deadline=deadline)
                return
            try:
                await self._cloud.volumes.modify(
                    volume_id, performance_class=changes.performance_class, tags=changes.tags, deadline=deadline
                )
            except CloudError as failure:
                if failure.cause is not Cause.MISSING:
                    raise
                if failure.resource == "performance_class":
                    raise CsiError(
                        ErrorKind.INVALID,
                        f"mutable_parameters['performanceClass'] is {changes.performance_class!r}, which is no class "
                        "of the platform",
                    ) from failure
                raise missing_volume(volume_id) from failure

    async def _look(self, volume_id: str, *, deadline: float) -> Volume | None:
        if not is_uuid(volume_id):
            return None
        return await self._cloud.volumes.get(volume_id, deadline=deadline)

    async def _delete_guarded(self, volume_id: str, *, deadline: float) -> None:
        try:
            await self._cloud.volumes.delete(volume_id, guard=self._ownership.tag, deadline=deadline)
        except CloudError as failure:
            if failure.cause is Cause.MISSING:
                return
            if failure.cause is Cause.ATTACHED:
                raise _attached(volume_id, failure.instance_id) from failure
            if failure.cause is not Cause.GUARD:
                raise
        else:
            return
        # No tag of ours. A volume made before the platform had tags, or by a driver whose volumes were adopted, is
        # told by its name.
        await self._delete_by_name(volume_id, deadline=deadline)

    async def _delete_by_name(self, volume_id: str, *, deadline: float) -> None:
        volume = await self._cloud.volumes.get(volume_id, lane=Lane.DELETE, deadline=deadline)
        if volume is None:
            # The guard compared the tags of a volume that exists, so this read is older, or the volume went since.
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"volume {volume_id} is there by the platform's refusal to delete it without this cluster's tag, but "
                "is not found when read; ask again",
            )
        self._check_owner(volume)
        try:
            await self._cloud.volumes.delete(volume_id, guard=None, deadline=deadline)
        except CloudError as failure:
            if failure.cause is Cause.ATTACHED:
                raise _attached(volume_id, failure.instance_id) from failure
            if failure.cause is not Cause.MISSING:
                raise

    async def _delete_carefully(self, volume_id: str, *, deadline: float) -> None:
        volume = await self._look_twice(volume_id, deadline=deadline)
        if volume is None:
            return
        self._check_owner(volume)
        if volume.in_use:
            raise _attached(volume_id, volume.instance_id)
        await self._check_snapshots(volume_id, deadline=deadline)
        try:
            await self._cloud.volumes.delete(volume_id, guard=None, deadline=deadline)
        except CloudError as failure:
            if failure.cause is Cause.MISSING:
                return
            if failure.cause not in (Cause.UNKNOWN, Cause.REFUSED, Cause.CONFLICT):
                raise
            await self._judge_delete(volume_id, failure, deadline=deadline)

    async def _judge_delete(self, volume_id: str, unclear: CloudError, *, deadline: float) -> None:
        """Find out what a delete did that the platform did not answer clearly."""
        volume = await self._cloud.volumes.get(volume_id, lane=Lane.DELETE, deadline=deadline)
        if volume is None:
            return
        if volume.in_use:
            raise _attached(volume_id, volume.instance_id) from unclear
        raise CsiError(
            ErrorKind.UNKNOWN_OUTCOME,
            f"volume {volume_id} is still there after the delete ({unclear.message}); ask again",
        ) from unclear

    async def _look_twice(self, volume_id: str, *, deadline: float) -> Volume | None:
        """Read a volume where reads may be old: it is gone only if it still is a little later."""
        volume = await self._cloud.volumes.get(volume_id, lane=Lane.DELETE, deadline=deadline)
        if volume is not None:
            return volume
        if asyncio.get_running_loop().time() + self._absence_confirm_s >= deadline:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"volume {volume_id} was not found once, and there is no time left to look again",
            )
        await asyncio.sleep(self._absence_confirm_s)
        return await self._cloud.volumes.get(volume_id, lane=Lane.DELETE, deadline=deadline)

    async def _check_snapshots(self, volume_id: str, *, deadline: float) -> None:
        snapshots = await self._cloud.snapshots.all(volume_id=volume_id, lane=Lane.DELETE, deadline=deadline)
        if snapshots:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {volume_id} has {len(snapshots)} snapshot(s), which the platform would delete with it: "
                f"{', '.join(snapshot.id for snapshot in snapshots[:8])}. Delete them first.",
            )

    def _check_owner(self, volume: Volume) -> None:
        if not self._ownership.owns(volume.name, volume.tags):
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"volume {volume.id} ({volume.name}) does not carry the mark of this cluster and is not deleted. If it "
                "was made for this cluster by another driver, start the controller with --adopt-name-prefix and the "
                "start of its name; else delete it at the platform and remove the PersistentVolume.",
            )


def missing_volume(volume_id: str) -> CsiError:
    """Give the error for a volume that is definitely not there."""
    return CsiError(ErrorKind.NOT_FOUND, f"volume_id: volume {volume_id[:80]} does not exist at the platform")


def wedged(volume_id: str) -> CsiError:
    """Give the error for a volume in use by nobody, which only the platform's owner can repair (contract 5.5)."""
    return CsiError(
        ErrorKind.PRECONDITION,
        f"volume {volume_id} is in use, but the platform does not know by which instance: it cannot be attached, "
        "detached or deleted. An administrator of the platform has to set it to AVAILABLE after making sure that no "
        "instance has the disk.",
    )


def _attached(volume_id: str, instance_id: str) -> CsiError:
    if not instance_id:
        return wedged(volume_id)
    return CsiError(
        ErrorKind.PRECONDITION,
        f"volume {volume_id} is attached to instance {instance_id} and is not deleted; detach it first",
    )


def _require_id(volume_id: str) -> None:
    if not is_uuid(volume_id):
        raise missing_volume(volume_id)
