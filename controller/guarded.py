"""Attach and detach where the platform is idempotent and compares the instance itself: one call each."""

from controller.model import Volume
from controller.ports import Cause, CloudError, CloudVolumes
from controller.volumes import missing_volume, wedged
from csi.errors import CsiError, ErrorKind


class GuardedPairs:
    """Pairs of a platform that announces `volume.attach-wait` and `errors.precise`."""

    def __init__(self, volumes: CloudVolumes) -> None:
        self._volumes = volumes

    async def attach(self, volume_id: str, instance_id: str, *, read_only: bool, deadline: float) -> Volume:
        """Attach and give the volume as attached; the same pair again is a success.

        Raises CsiError as `Attachments.publish` does; a missing instance is CloudError MISSING.
        """
        try:
            volume = await self._volumes.attach(volume_id, instance_id, read_only=read_only, deadline=deadline)
        except CloudError as failure:
            if failure.cause is Cause.MISSING and failure.resource == "volume":
                raise missing_volume(volume_id) from failure
            if failure.cause is Cause.ATTACHED:
                raise _held(volume_id, instance_id, failure, read_only=read_only) from failure
            raise
        seen = volume or await self._volumes.get(volume_id, deadline=deadline)
        if seen is not None and seen.instance_id == instance_id:
            return seen
        if seen is not None and seen.is_wedged:
            raise wedged(volume_id)
        raise CsiError(
            ErrorKind.UNKNOWN_OUTCOME,
            f"volume {volume_id} was attached to instance {instance_id}, but is not shown there; ask again",
        )

    async def detach(self, volume_id: str, instance_id: str, *, deadline: float) -> str | None:
        """Detach if this instance holds the volume; a volume that is free or gone is a success.

        Gives None, or the id of another holder, which is left alone (empty when the platform does not name it).
        """
        try:
            await self._volumes.detach(volume_id, instance_id, deadline=deadline)
        except CloudError as failure:
            if failure.cause is Cause.BUSY:
                raise CsiError(
                    ErrorKind.PRECONDITION,
                    f"volume {volume_id} is still mounted or open on instance {instance_id}; it is detached as soon as "
                    f"it is unmounted there. {failure.message}",
                ) from failure
            if failure.cause is Cause.NOT_HOLDER:
                return failure.instance_id
            if failure.cause is not Cause.MISSING:
                raise
        return None


def _held(volume_id: str, instance_id: str, failure: CloudError, *, read_only: bool) -> CsiError:
    if not failure.instance_id:
        return wedged(volume_id)
    if failure.instance_id == instance_id:
        wanted, had = ("read-only", "writable") if read_only else ("writable", "read-only")
        return CsiError(
            ErrorKind.ALREADY_EXISTS,
            f"volume {volume_id} is attached to this node already, but {had}; {wanted} was asked for (readonly)",
        )
    return held_elsewhere(volume_id, failure.instance_id)


def held_elsewhere(volume_id: str, holder: str) -> CsiError:
    """Give the error for a volume that another instance holds."""
    return CsiError(
        ErrorKind.PRECONDITION,
        f"volume {volume_id} is attached to instance {holder}; it can be attached to one instance at a time and is "
        "never taken away. It becomes free when the pod there has ended and the volume is detached.",
    )
