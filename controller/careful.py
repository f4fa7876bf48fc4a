"""Attach and detach where the platform checks nothing: look before, act once, look after (platform contract 5.5, 25.1).

The strict tier detaches whoever holds the volume and lets the later of two attaches win, and its reads may be older
than its writes. So every write is followed by a read, and a read that contradicts what this process wrote a moment ago
is not believed.
"""

from collections import OrderedDict
from collections.abc import Callable

from controller.guarded import held_elsewhere
from controller.model import Volume
from controller.ports import Cause, CloudError, CloudVolumes
from controller.volumes import missing_volume, wedged
from csi.errors import CsiError, ErrorKind

REMEMBER_S = 10.0
"""How long a write outweighs a read that contradicts it; longer than replicas of the platform's database lag."""
_MAX_REMEMBERED = 10_000


class CarefulPairs:
    """Pairs of a strict platform. The caller holds the volume's lock, and is the only writer of the tenant."""

    def __init__(self, volumes: CloudVolumes, *, clock: Callable[[], float]) -> None:
        self._volumes = volumes
        self._written = _RecentHolders(clock)

    async def attach(self, volume_id: str, instance_id: str, *, read_only: bool, deadline: float) -> Volume:
        """Attach, look, and give the volume as attached; the same pair again is a success.

        Raises CsiError as `Attachments.publish` does; UNKNOWN CloudError when the volume is free afterwards, which
        a missing instance causes as well.
        """
        if read_only:
            raise CsiError(ErrorKind.INVALID, "readonly: the platform cannot attach a volume read-only")
        unclear: CloudError | None = None
        try:
            await self._volumes.attach(volume_id, instance_id, read_only=False, deadline=deadline)
            self._written.note(volume_id, instance_id)
        except CloudError as failure:
            if failure.cause not in (Cause.ATTACHED, Cause.CONFLICT, Cause.UNKNOWN):
                raise
            unclear = failure
        volume = await self._read(volume_id, deadline=deadline)
        if volume is None:
            raise missing_volume(volume_id)
        if volume.in_use and volume.instance_id == instance_id:
            return volume
        raise self._not_ours(volume, unclear)

    async def detach(self, volume_id: str, instance_id: str, *, deadline: float) -> None:
        """Detach if this instance holds the volume; anything else is left alone and a success."""
        volume = await self._read(volume_id, deadline=deadline)
        if volume is None or not volume.in_use or volume.instance_id != instance_id:
            return
        unclear: CloudError | None = None
        try:
            await self._volumes.detach(volume_id, instance_id, deadline=deadline)
            self._written.note(volume_id, "")
        except CloudError as failure:
            if failure.cause not in (Cause.REFUSED, Cause.CONFLICT, Cause.MISSING, Cause.UNKNOWN):
                raise
            unclear = failure
        after = await self._read(volume_id, deadline=deadline)
        if after is not None and after.in_use and after.instance_id == instance_id:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"volume {volume_id} is still attached to instance {instance_id} after the detach"
                f"{f' ({unclear.message})' if unclear else ''}; ask again",
            )

    async def _read(self, volume_id: str, *, deadline: float) -> Volume | None:
        """Read a volume; a read older than this process's own last write is refused as unknown."""
        volume = await self._volumes.get(volume_id, deadline=deadline)
        written = self._written.holder(volume_id)
        if written is None:
            return volume
        seen = volume.instance_id if volume is not None and volume.in_use else ""
        if seen != written:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"volume {volume_id}: the platform shows the holder {seen or 'nobody'}, though "
                f"{written or 'nobody'} was written a moment ago; the answer may be old, ask again",
            )
        return volume

    def _not_ours(self, volume: Volume, unclear: CloudError | None) -> CsiError:
        if volume.is_wedged:
            return wedged(volume.id)
        if volume.in_use:
            return held_elsewhere(volume.id, volume.instance_id)
        if unclear is not None and unclear.cause is Cause.UNKNOWN:
            return unclear
        return CsiError(
            ErrorKind.UNKNOWN_OUTCOME,
            f"volume {volume.id} is shown as free, though the platform "
            f"{'refused the attach as taken' if unclear else 'said that it is attached'}; ask again",
        )


class _RecentHolders:
    """Who this process last gave each volume to, for as long as reads may be older than that."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def note(self, volume_id: str, holder: str) -> None:
        self._entries[volume_id] = (holder, self._clock())
        self._entries.move_to_end(volume_id)
        while self._entries and (len(self._entries) > _MAX_REMEMBERED or self._is_old(next(iter(self._entries)))):
            self._entries.popitem(last=False)

    def holder(self, volume_id: str) -> str | None:
        """Give the instance (empty: nobody) of the last write, or None when there was none lately."""
        if volume_id not in self._entries or self._is_old(volume_id):
            return None
        return self._entries[volume_id][0]

    def _is_old(self, volume_id: str) -> bool:
        return self._clock() - self._entries[volume_id][1] > REMEMBER_S
