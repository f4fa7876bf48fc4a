"""What this process wrote about the holders of volumes, and what of it may still happen (platform contract 1.6, 1.9).

Belongs here: which holders a volume may have by our own writes and looks, without a word to the platform. Does not
belong here: what to do about it (`controller.careful`).

A holder is the id of an instance, or NOBODY. This process is the only writer of the tenant: what it neither wrote nor
saw does not happen, except that an instance which is terminated gives its volumes free.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

NOBODY = ""
REMEMBER_S = 10.0
"""How long a write outweighs a read that contradicts it; longer than replicas of the platform's database lag."""
UNANSWERED_S = 30.0
"""How long the platform may go on with a call that it has not answered: its own limit for one (contract 1.6)."""
_MAX_REMEMBERED = 10_000
_LONG_AGO = float("-inf")
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A write without an answer, which the platform may still carry out."""

    holder: str
    """Who holds the volume once it is carried out."""
    until: float
    other: str | None
    """Another holder that the volume is known to have had without it: a change to `holder` proves it carried out."""
    is_alone: bool
    """Whether nothing else was in doubt when it was sent."""


@dataclass(frozen=True, slots=True)
class _Known:
    holders: frozenset[str]
    until: float
    """Up to then a read may be older than the last write."""
    is_complete: bool = True
    """Whether nobody but `holders` can hold the volume."""
    former: frozenset[str] = _NONE
    """Who may have held it before the last write: a read that shows one of these may be older than that write."""
    under_way: tuple[UnderWay, ...] = ()


class Written:
    """The possible holders of the volumes that this process works on. The caller holds the volume's lock."""

    def __init__(self, *, clock: Callable[[], float], unanswered_s: float = UNANSWERED_S) -> None:
        self._clock = clock
        self._unanswered_s = unanswered_s
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def confirm(self, volume_id: str, holder: str, *, before: str) -> None:
        """Note a write of ours that the platform confirmed, which it only does if `before` was the holder."""
        under_way = tuple(
            replace(write, other=None if write.holder == holder else holder)
            for write in self._unexplained(volume_id, before)
        )
        self._keep_certain(volume_id, holder, under_way, former=frozenset({before}))

    def learn(self, volume_id: str, holder: str) -> None:
        """Note the holder that a read shows which is certainly not older than our last write."""
        self._keep_certain(volume_id, holder, self._unexplained(volume_id, holder))

    def doubt(self, volume_id: str, holder: str, *, before: str, is_over: bool) -> None:
        """Note a write that may have happened, if `before` was the holder, or may happen yet, unless it `is_over`."""
        known = self._known.get(volume_id)
        recent = self._recent(volume_id)
        under_way = tuple(replace(write, other=None, is_alone=False) for write in self.under_way(volume_id))
        if not is_over:
            others = known.holders if known is not None and known.is_complete else _NONE
            other = next(iter(others)) if len(others) == 1 and holder not in others else None
            until = self._clock() + self._unanswered_s
            under_way = (*under_way, UnderWay(holder, until, other, is_alone=recent is None))
        base = recent or _Known(_NONE, _LONG_AGO, is_complete=False)
        former = base.former | base.holders | {before}
        self._keep(volume_id, replace(base, holders=base.holders | {holder}, former=former, under_way=under_way))

    def see(self, volume_id: str, seen: str) -> frozenset[str]:
        """Take a read into account; gives all possible holders.

        When `seen` is none of them, the read is older than our last write.
        """
        recent = self._recent(volume_id)
        if recent is None:
            self._put(volume_id, _Known(frozenset({seen}), _LONG_AGO))
            return frozenset({seen})
        if recent.is_complete:
            return recent.holders
        # Before the writes in doubt there was none for a while, so this is how the volume was before or after them.
        under_way = recent.under_way
        if len(under_way) == 1 and under_way[0].is_alone and under_way[0].holder != seen:
            under_way = (replace(under_way[0], other=seen),)
        found = replace(recent, holders=recent.holders | {seen}, is_complete=True, under_way=under_way)
        self._put(volume_id, found)
        return found.holders

    def may_be_former(self, volume_id: str, holder: str) -> bool:
        """Say whether a read that shows this holder may be older than our last write, so that it proves nothing."""
        recent = self._recent(volume_id)
        return recent is not None and holder in recent.former

    def under_way(self, volume_id: str) -> tuple[UnderWay, ...]:
        """Give the writes that may still be carried out."""
        known = self._known.get(volume_id)
        now = self._clock()
        return tuple(write for write in known.under_way if write.until > now) if known else ()

    def _recent(self, volume_id: str) -> _Known | None:
        known = self._known.get(volume_id)
        return known if known is not None and known.until >= self._clock() else None

    def _unexplained(self, volume_id: str, holder: str) -> tuple[UnderWay, ...]:
        """Give what is still under way if this is the holder; a write that alone explains it has been carried out."""
        under_way = self.under_way(volume_id)
        is_explained = len(under_way) == 1 and under_way[0].holder == holder and under_way[0].other is not None
        return () if is_explained else under_way

    def _keep_certain(
        self, volume_id: str, holder: str, under_way: tuple[UnderWay, ...], *, former: frozenset[str] = _NONE
    ) -> None:
        recent = self._recent(volume_id)
        if recent:
            former |= recent.former | recent.holders
        certain = _Known(frozenset({holder}), _LONG_AGO, former=former - {holder}, under_way=under_way)
        self._keep(volume_id, certain)

    def _keep(self, volume_id: str, known: _Known) -> None:
        """Remember as of a write or look of this moment; what is under way may still change it."""
        last = max((write.until for write in known.under_way), default=self._clock())
        holders = known.holders | {write.holder for write in known.under_way}
        self._put(volume_id, replace(known, holders=holders, until=last + REMEMBER_S))

    def _put(self, volume_id: str, known: _Known) -> None:
        self._known[volume_id] = known
        self._known.move_to_end(volume_id)
        if len(self._known) > _MAX_REMEMBERED:
            self._known.popitem(last=False)
