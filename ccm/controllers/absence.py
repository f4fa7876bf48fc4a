"""When an instance counts as gone, and when nobody is believed: the rules of evidence, pure.

A wrong "gone" deletes a Node with everything that runs on it, so three things have to agree: a series of definite
answers by id, a listing of the fleet that shows it is the right one and whole, and a small number of losses at a time.
Anything else is "unknown", which never deletes. Times are of one monotonic clock, in seconds.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum

from ccm.model import Fleet


class Existence(Enum):
    """What the platform says of one instance."""

    EXISTS = "exists"
    GONE = "gone"
    """A definite answer to the question for this id."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Proof:
    """How many definite answers make an instance gone."""

    answers: int = 3
    over_s: float = 30.0
    """Least time from the first answer to the last."""
    gap_s: float = 90.0
    """Answers further apart are not one series: the process stood still, or the clock jumped."""

    @property
    def spacing_s(self) -> float:
        """Time between two questions that lets the series end as early as it may."""
        return self.over_s / max(1, self.answers - 1)


@dataclass(frozen=True, slots=True)
class Series:
    """Unbroken equal answers about one instance: that it is not there, or that it is stopped."""

    instance_id: str
    since: float
    last: float
    answers: int = 1

    def is_proved(self, proof: Proof) -> bool:
        """Say whether the series is long enough."""
        return self.answers >= proof.answers and self.last - self.since >= proof.over_s

    def is_due(self, at: float, proof: Proof) -> bool:
        """Say whether it is time for the next question; a clock that went back makes it so."""
        return not 0 <= at - self.last < proof.spacing_s


def continued(series: Series | None, instance_id: str, *, holds: bool, at: float, proof: Proof) -> Series | None:
    """Give the series after one more answer to a question sent at `at`.

    An answer that says otherwise, or nothing, ends it (`holds` is False). Another instance, a gap, and a clock that
    went back begin a new one.
    """
    if not holds:
        return None
    if series is None or series.instance_id != instance_id or not 0 <= at - series.last <= proof.gap_s:
        return Series(instance_id, since=at, last=at)
    return replace(series, last=at, answers=series.answers + 1)


@dataclass(frozen=True, slots=True)
class Limit:
    """How many nodes may be lost at once before the platform is believed less than the nodes."""

    fraction: float = 0.2
    floor: int = 1
    """Losses that are believed in a cluster however small."""
    window_s: float = 600.0
    """A deletion counts as one of the losses for so long, so that a whole cluster does not go a fifth at a time."""

    def of(self, nodes: int) -> int:
        """Give the most losses among so many nodes that are believed."""
        return max(self.floor, int(self.fraction * nodes))


@dataclass(frozen=True, slots=True)
class Expected:
    """Instances of the nodes that a listing is measured by."""

    ready: Collection[str]
    """Of nodes that are Ready and meant to stay: they lived a moment ago."""
    others: Collection[str]
    """Of all nodes of ours, whatever they do."""


def why_doubted(fleet: Fleet, expected: Expected, limit: Limit) -> str:
    """Say why nothing may be concluded from what a listing lacks; empty when it is plausible.

    It has to hold an instance of a node of this cluster: that proves that the key still is this tenant's. And it has to
    hold the instances of the nodes that are Ready, save as many as may be lost at once: that proves that it is whole.
    """
    if not fleet.instances:
        return "the platform's listing of instances is empty"
    if not any(instance_id in fleet.by_id for instance_id in expected.others):
        return f"the platform lists {len(fleet.instances)} instances, none of which is behind a node of this cluster"
    lacking = [instance_id for instance_id in expected.ready if instance_id not in fleet.by_id]
    if len(lacking) > limit.of(len(expected.ready)):
        return (
            f"the platform's listing lacks the instances of {len(lacking)} of {len(expected.ready)} nodes that are "
            f"Ready ({_some(lacking)})"
        )
    return ""


def why_stopped(lost: Collection[str], recent: int, nodes: int, limit: Limit) -> str:
    """Say why so many losses are not believed; empty when they are.

    `lost` names the nodes that seem to be gone now, `recent` counts those deleted within the window, `nodes` is how
    many there are with an instance of this platform, the lost ones among them.
    """
    total, among = len(lost) + recent, nodes + recent
    if total <= limit.of(among):
        return ""
    return (
        f"{total} of {among} nodes seem to have lost their instance ({_some(lost)}"
        f"{f'; {recent} deleted shortly before' if recent else ''}), more than {limit.of(among)} at once"
    )


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:5]) + (", …" if len(ordered) > 5 else "")  # noqa: PLR2004 - enough to start looking
