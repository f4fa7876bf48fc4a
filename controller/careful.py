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
_NOBODY = ""


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
            if failure.cause is Cause.UNKNOWN:
                self._written.note_unclear(volume_id, instance_id)
            elif failure.cause not in (Cause.ATTACHED, Cause.CONFLICT):
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
        # After an unclear detach no read can tell whether it happened, but the platform's answer to another one can:
        # nobody else has got the volume since, as this is the only writer.
        if not self._written.is_unclear(volume_id, {instance_id, _NOBODY}):
            volume = await self._read(volume_id, deadline=deadline)
            if volume is None or not volume.in_use or volume.instance_id != instance_id:
                return
        unclear = await self._release(volume_id, instance_id, deadline=deadline)
        after = await self._read(volume_id, deadline=deadline)
        if after is not None and after.in_use and after.instance_id == instance_id:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"volume {volume_id} is still attached to instance {instance_id} after the detach"
                f"{f' ({unclear.message})' if unclear else ''}; ask again",
            )

    async def _release(self, volume_id: str, instance_id: str, *, deadline: float) -> CloudError | None:
        """Send the detach; gives the error of an answer that has to be judged by what is there afterwards."""
        try:
            await self._volumes.detach(volume_id, instance_id, deadline=deadline)
        except CloudError as failure:
            if failure.cause is Cause.UNKNOWN:
                self._written.note_unclear(volume_id, _NOBODY)
            elif failure.cause in (Cause.REFUSED, Cause.CONFLICT, Cause.MISSING):
                # What the platform refuses to detach is attached to nobody (platform contract 5.5).
                self._written.note(volume_id, _NOBODY)
            else:
                raise
            return failure
        self._written.note(volume_id, _NOBODY)
        return None

    async def _read(self, volume_id: str, *, deadline: float) -> Volume | None:
        """Read a volume; a read older than this process's own last write is refused as unknown."""
        volume = await self._volumes.get(volume_id, deadline=deadline)
        written = self._written.holders(volume_id)
        seen = volume.instance_id if volume is not None and volume.in_use else _NOBODY
        if written and seen not in written:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"volume {volume_id}: the platform shows the holder {seen or 'nobody'}, though "
                f"{' or '.join(sorted(holder or 'nobody' for holder in written))} was written a moment ago; the answer "
                "may be old, ask again",
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
    """Who may hold each volume by this process's own last writes, for as long as reads may be older than those."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: OrderedDict[str, tuple[frozenset[str], float]] = OrderedDict()

    def note(self, volume_id: str, holder: str) -> None:
        """Remember a write that the platform confirmed."""
        self._keep(volume_id, frozenset({holder}))

    def note_unclear(self, volume_id: str, holder: str) -> None:
        """Remember a write that may have happened; without a confirmed one before it, it says nothing."""
        before = self.holders(volume_id)
        if before:
            self._keep(volume_id, before | {holder})

    def holders(self, volume_id: str) -> frozenset[str]:
        """Give the possible holders (an empty text is nobody), or an empty set when nothing was written lately."""
        if volume_id not in self._entries or self._is_old(volume_id):
            return frozenset()
        return self._entries[volume_id][0]

    def is_unclear(self, volume_id: str, holders: set[str]) -> bool:
        """Say whether the volume has exactly these possible holders, and more than one."""
        return len(holders) > 1 and self.holders(volume_id) == holders

    def _keep(self, volume_id: str, holders: frozenset[str]) -> None:
        self._entries[volume_id] = (holders, self._clock())
        self._entries.move_to_end(volume_id)
        while self._entries and (len(self._entries) > _MAX_REMEMBERED or self._is_old(next(iter(self._entries)))):
            self._entries.popitem(last=False)

    def _is_old(self, volume_id: str) -> bool:
        return self._clock() - self._entries[volume_id][1] > REMEMBER_S
