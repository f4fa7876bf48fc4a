"""A strict platform of one volume in virtual time: slow writes, lost answers, replicas that lag."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controller.model import GIB, Volume
from controller.ports import Cause, CloudError, Lane

VOLUME = "11111111-1111-4111-8111-111111111111"
NOBODY = ""


def answered(text: str = "500") -> CloudError:
    """Give the error of a call that the platform has ended without saying what it did."""
    return CloudError(Cause.UNKNOWN, text, is_answered=True)


def unanswered(text: str = "no answer") -> CloudError:
    """Give the error of a call that the platform may still be working on."""
    return CloudError(Cause.UNKNOWN, text)


@dataclass
class StrictPlatform:
    """Implements `CloudVolumes` as far as pairs need it.

    `shown` is what reads show (None: the truth); `next_write` replaces what the next attach or detach does.
    """

    holder: str = NOBODY
    shown: str | None = None
    is_there: bool = True
    reads_fail: CloudError | None = None
    now: float = 1000.0
    log: list[str] = field(default_factory=list)
    next_write: Callable[[Callable[[], None]], None] | None = None

    def clock(self) -> float:
        return self.now

    async def get(self, volume_id: str, *, lane: Lane = Lane.READ, deadline: float) -> Volume | None:
        assert lane is Lane.ATTACH
        self.log.append("read")
        if self.reads_fail is not None:
            raise self.reads_fail
        return self.volume(self.holder if self.shown is None else self.shown) if self.is_there else None

    def volume(self, holder: str) -> Volume:
        made = datetime(2020, 1, 1, tzinfo=UTC)
        return Volume(
            id=VOLUME, name="n", size_bytes=GIB, created_at=made, serial="s", in_use=bool(holder), instance_id=holder
        )

    async def attach(self, volume_id: str, instance_id: str, *, read_only: bool, deadline: float) -> None:
        self.log.append(f"attach {instance_id}")
        self._write(lambda: self.apply_attach(instance_id))

    async def detach(self, volume_id: str, instance_id: str, *, deadline: float) -> None:
        self.log.append("detach")
        self._write(self.apply_detach)

    def apply_attach(self, instance_id: str) -> None:
        if self.holder:
            raise CloudError(Cause.CONFLICT, "409 volume is already attached to an instance")
        self.holder = instance_id

    def apply_detach(self) -> None:
        if not self.holder:
            raise CloudError(Cause.REFUSED, "400 volume is not attached")
        self.holder = NOBODY

    def _write(self, act: Callable[[], None]) -> None:
        special, self.next_write = self.next_write, None
        if special is None:
            act()
        else:
            special(act)

    # What can happen to the next write.

    def lose_answer(self) -> None:
        """Carry it out; the answer is lost."""
        self.next_write = _then(unanswered())

    def fail_after(self) -> None:
        """Carry it out and answer 500."""
        self.next_write = _then(answered())

    def fail_before(self) -> None:
        """Answer 500 without an effect."""
        self.next_write = _instead(answered())

    def refuse(self, text: str) -> None:
        """Answer 400 without an effect."""
        self.next_write = _instead(CloudError(Cause.REFUSED, text))

    def delay(self, error: BaseException | None = None) -> Callable[[], None]:
        """Leave it unanswered and undone; gives what carries it out later."""
        kept: list[Callable[[], None]] = []

        def keep(act: Callable[[], None]) -> None:
            kept.append(act)
            raise error or unanswered()

        self.next_write = keep

        def carry_out() -> None:
            try:
                kept[0]()
            except CloudError:
                self.log.append("late write refused")

        return carry_out


def _then(error: BaseException) -> Callable[[Callable[[], None]], None]:
    def act_and_fail(act: Callable[[], None]) -> None:
        act()
        raise error

    return act_and_fail


def _instead(error: BaseException) -> Callable[[Callable[[], None]], None]:
    def fail(_act: Callable[[], None]) -> None:
        raise error

    return fail
