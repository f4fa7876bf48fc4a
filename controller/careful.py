"""Attach and detach where the platform checks nothing: look before, act once, look after (platform contract 5.5, 25.1).

The strict tier detaches whoever holds the volume and lets the later of two attaches win, its reads may be older than
its writes, and a call that got no answer may be carried out later. So nothing is taken from a holder that is not
certain, a read that contradicts what this process wrote a moment ago is not believed, and nothing is concluded that a
write under way could undo.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from controller.guarded import held_elsewhere
from controller.model import Volume
from controller.ports import Cause, CloudError, CloudVolumes, Lane
from controller.volumes import missing_volume, wedged
from controller.written import NOBODY, UNANSWERED_S, Written
from csi.errors import CsiError, ErrorKind

_ASK_AGAIN = "; ask again"

Meant = Callable[[str], Awaitable[bool]]
"""Says whether the instance of this id is the one to detach from."""


class CarefulPairs:
    """Pairs of a strict platform. The caller holds the volume's lock, and is the only writer of the tenant."""

    def __init__(
        self, volumes: CloudVolumes, *, clock: Callable[[], float], unanswered_s: float = UNANSWERED_S
    ) -> None:
        self._volumes = volumes
        self._written = Written(clock=clock, unanswered_s=unanswered_s)

    async def attach(self, volume_id: str, instance_id: str, *, read_only: bool, deadline: float) -> Volume:
        """Attach, look, and give the volume as attached; the same pair again is a success.

        Raises CsiError as `Attachments.publish` does; UNKNOWN CloudError when the volume is free afterwards, which
        a missing instance causes as well.
        """
        if read_only:
            raise CsiError(ErrorKind.INVALID, "readonly: the platform cannot attach a volume read-only")
        self._refuse_while(volume_id, lambda holder: holder != instance_id)
        unclear: CloudError | None = None
        try:
            with self._doubting(volume_id, instance_id, before=NOBODY):
                await self._volumes.attach(volume_id, instance_id, read_only=False, deadline=deadline)
            self._written.confirm(volume_id, instance_id, before=NOBODY)
        except CloudError as failure:
            if failure.cause not in (Cause.UNKNOWN, Cause.ATTACHED, Cause.CONFLICT):
                raise
            unclear = failure
        sent = f"the attach to instance {instance_id} {_came_to(unclear)}"
        volume, possible = await self._look_after(volume_id, sent, deadline=deadline)
        if volume is None:
            raise missing_volume(volume_id)
        if _holder_of(volume) not in (instance_id, NOBODY) and len(possible) > 1:
            raise _unknown(volume_id, f"{sent}, and it is {_one_of(possible)}")
        if not volume.in_use or volume.instance_id != instance_id:
            raise self._not_ours(volume, unclear)
        is_proved = unclear is None or (unclear.cause is not Cause.UNKNOWN and possible <= {instance_id, NOBODY})
        if not is_proved and self._written.may_be_former(volume_id, instance_id):
            raise _unknown(volume_id, f"{sent}, and a read that shows it there may be from before the last detach")
        self._written.learn(volume_id, instance_id)
        return volume

    async def detach(self, volume_id: str, meant: Meant, *, deadline: float) -> None:
        """Detach if the holder is meant; any other one is left alone, and that is a success.

        `meant` is asked about a holder only, so that a free volume costs one look. Raises CsiError as
        `Attachments.unpublish` does.
        """
        _, possible = await self._look(volume_id, deadline=deadline)
        holders = possible - {NOBODY}
        mine = [holder for holder in sorted(holders) if await meant(holder)]
        if not mine:
            return
        if len(holders) > 1:
            raise _unknown(volume_id, f"it is {_one_of(possible)}, and the platform's detach does not ask which")
        # With nobody but this holder, or nobody at all, a detach can take the volume from no other instance; where a
        # read cannot tell the two apart, the platform's answer does.
        await self._release(volume_id, mine[0], deadline=deadline)
        self._refuse_while(volume_id, lambda holder: holder == mine[0])

    async def _release(self, volume_id: str, instance_id: str, *, deadline: float) -> None:
        unclear: CloudError | None = None
        try:
            with self._doubting(volume_id, NOBODY, before=instance_id):
                await self._volumes.detach(volume_id, instance_id, deadline=deadline)
        except CloudError as failure:
            if failure.cause not in (Cause.UNKNOWN, Cause.REFUSED, Cause.CONFLICT, Cause.MISSING):
                raise
            unclear = failure
        if unclear is None:
            # The contract's advice to look after a detach (25.1) is for answers that leave a doubt. This one does not:
            # it was held by this instance and is free. A read could only repeat that, or be older and be wrong.
            self._written.confirm(volume_id, NOBODY, before=instance_id)
            return
        sent = f"the detach from instance {instance_id} {_came_to(unclear)}"
        after, _ = await self._look_after(volume_id, sent, deadline=deadline)
        holder = _holder_of(after)
        if holder == instance_id:
            raise _unknown(volume_id, f"{sent}, and the volume is still shown as attached there")
        # A refusal is the platform's own word that nobody has it; the read only shows that it meant that.
        if unclear.cause is Cause.UNKNOWN and self._written.may_be_former(volume_id, holder):
            raise _unknown(volume_id, f"{sent}, and a read that shows it free may be from before the last attach")
        self._written.learn(volume_id, holder)

    @contextmanager
    def _doubting(self, volume_id: str, holder: str, *, before: str) -> Iterator[None]:
        """Remember what a write may do or have done that got no clear answer, or that its caller gave up."""
        try:
            yield
        except CloudError as failure:
            if failure.cause is Cause.UNKNOWN:
                self._written.doubt(volume_id, holder, before=before, is_over=failure.is_answered)
            raise
        except asyncio.CancelledError:
            self._written.doubt(volume_id, holder, before=before, is_over=False)
            raise

    def _refuse_while(self, volume_id: str, would_undo: Callable[[str], bool]) -> None:
        """Conclude nothing while a write is under way whose holder would undo it."""
        for write in self._written.under_way(volume_id):
            if would_undo(write.holder):
                what = f"an attach to instance {write.holder}" if write.holder else "a detach"
                raise _unknown(volume_id, f"{what} that got no answer may still be under way at the platform")

    async def _look_after(self, volume_id: str, sent: str, *, deadline: float) -> tuple[Volume | None, frozenset[str]]:
        try:
            return await self._look(volume_id, deadline=deadline)
        except CsiError as blind:
            raise CsiError(
                ErrorKind.TIMEOUT if blind.kind is ErrorKind.TIMEOUT else ErrorKind.UNKNOWN_OUTCOME,
                f"volume {volume_id}: {sent}, and looking for what came of it did not tell: "
                f"{blind.message.removesuffix(_ASK_AGAIN)}{_ASK_AGAIN}",
            ) from blind

    async def _look(self, volume_id: str, *, deadline: float) -> tuple[Volume | None, frozenset[str]]:
        """Read a volume and give its possible holders; a read older than this process's own last write is refused."""
        volume = await self._volumes.get(volume_id, lane=Lane.ATTACH, deadline=deadline)
        seen = _holder_of(volume)
        possible = self._written.see(volume_id, seen)
        if seen not in possible:
            raise _unknown(
                volume_id,
                f"the platform shows it as {_one_of(frozenset({seen}))}, though by what was written a moment ago it is "
                f"{_one_of(possible)}; the answer may be old",
            )
        return volume, possible

    def _not_ours(self, volume: Volume, unclear: CloudError | None) -> CsiError:
        if volume.is_wedged:
            return wedged(volume.id)
        if volume.in_use:
            return held_elsewhere(volume.id, volume.instance_id)
        if unclear is not None and unclear.cause is Cause.UNKNOWN:
            return unclear
        return _unknown(
            volume.id,
            "it is shown as free, though the platform "
            f"{'refused the attach as taken' if unclear else 'said that it is attached'}",
        )


def _holder_of(volume: Volume | None) -> str:
    return volume.instance_id if volume is not None and volume.in_use else NOBODY


def _one_of(holders: frozenset[str]) -> str:
    return " or ".join(f"attached to instance {holder}" if holder else "free" for holder in sorted(holders))


def _came_to(unclear: CloudError | None) -> str:
    if unclear is None:
        return "is done"
    return f"{'may or may not have happened' if unclear.cause is Cause.UNKNOWN else 'was refused'} ({unclear.message})"


def _unknown(volume_id: str, seen: str) -> CsiError:
    return CsiError(ErrorKind.UNKNOWN_OUTCOME, f"volume {volume_id}: {seen}{_ASK_AGAIN}")
