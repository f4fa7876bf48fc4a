"""When a loss is not one cluster's matter (pure): many clusters that lose nodes at once share what carries them.

Each cluster's own brakes (`kaas.domain.repair`) see that cluster alone, so that one fault of the platform would begin a
replacement in every one of a thousand clusters. Before a replacement begins by itself, the fleet is looked at.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from kaas.domain.model import Event, Snapshot
from kaas.domain.repair import Decision, Limits, choose
from kaas.domain.states import NodeState
from kaas.domain.store import Change, Losses, NewNode

SUSPENDED = "REPAIR_SUSPENDED"
_TOLD = "replacing nodes by itself is suspended"


@dataclass(frozen=True, slots=True)
class Breaker:
    """How many clusters may lose nodes at about the same time before nothing is replaced by itself."""

    share: float = 0.2
    """Part of the clusters that run."""
    floor: int = 3
    """With fewer clusters than this it never holds anything back."""
    window: timedelta = timedelta(minutes=10)
    """Losses so far apart from each other are at the same time, and what was replaced counts for so long."""


def why_suspended(losses: Losses, breaker: Breaker) -> str:
    """Say why nothing may be replaced by itself now; empty when it may."""
    if losses.losing < breaker.floor or losses.losing <= breaker.share * losses.running:
        return ""
    return (
        f"{_TOLD}: {losses.losing} of {losses.running} clusters lost nodes at about the same time, which is a fault of "
        "the platform or of its network and not of machines; look there first; it goes on by itself when nodes come "
        "back, and `cloud k8s repair` goes on with a cluster by hand"
    )


def suspended(snapshot: Snapshot, decision: Decision, reason: str) -> Decision:
    """Give the decision without the replacement that it begins. It is told once, not at each look."""
    events = tuple(event for event in decision.events if event.code != "NODE_REPLACED")
    # The numbers in the reason change from look to look.
    if _TOLD not in snapshot.cluster.health.message:
        events = (*events, Event(snapshot.cluster.id, SUSPENDED, reason, "error"))
    message = "; ".join(filter(None, (reason, decision.health.message)))
    health = replace(decision.health, message=message)
    return replace(decision, reason=reason, health=health, events=events, change=None)


def by_hand(snapshot: Snapshot, change: Change) -> Change:
    """Give a repair that somebody asks for, with what is not replaced by itself in a cluster that is held back.

    As many nodes as would be by itself, and as carefully: whoever asks says that the loss is real, and no more.
    """
    if _TOLD not in snapshot.cluster.health.message:
        return change
    sick = [node for node in snapshot.nodes if node.state is NodeState.UNHEALTHY]
    chosen = [node for node in choose(snapshot, sick, sick, Limits())[0] if node.id not in change.leave]
    return replace(
        change,
        add=(*change.add, *(NewNode(node.group, node.role.value) for node in chosen)),
        leave=(*change.leave, *(node.id for node in chosen)),
    )
