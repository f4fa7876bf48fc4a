"""When something is repaired, and how much at a time (pure): what was seen of a cluster goes in, a decision comes out.

The ladder: wait until a flap is over; start the API server's services again; replace the node. There is no rung with a
reboot, because the platform has none. A control plane is replaced only while the others are a quorum. Whatever looks
like a fault of our own network or of the platform, and not of single machines, freezes all of it and says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from kaas.domain.model import Cni, Event, Health, Node, Role, Snapshot
from kaas.domain.states import NodeState, OperationKind
from kaas.domain.store import Change, NewNode, NodeUpdate
from kaas.domain.texts import listed


class Machine(StrEnum):
    """What the platform says of a node's machine."""

    RUNS = "runs"
    DEAD = "dead"
    """It has failed, or is not there any more."""
    UNKNOWN = "unknown"
    """The platform did not answer, which means nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one node."""

    ready: bool
    machine: Machine = Machine.UNKNOWN
    message: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a cluster at one moment; of nodes nothing when its API did not answer."""

    at: datetime
    api_server: bool
    nodes: Mapping[str, Seen] = field(default_factory=lambda: MappingProxyType({}))
    """By name."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient repairs are and how much they may do."""

    patience: timedelta = timedelta(minutes=3)
    """How long a node may be not Ready before it is replaced."""
    patience_dead: timedelta = timedelta(seconds=45)
    """The same when the platform says that its machine is dead; two looks, since one may be wrong."""
    patience_api: timedelta = timedelta(minutes=3)
    patience_rest: timedelta = timedelta(minutes=10)
    """Between tries to finish what an operation has left undone."""
    group_share: float = 0.2
    """Part of a group that is replaced at one time; one node always may be."""
    freeze_share: float = 0.4
    """With more of all nodes unhealthy than this, and more than one, nothing is replaced."""
    budget: int = 5
    """Replaced nodes within `budget_window`."""
    budget_window: timedelta = timedelta(hours=2)
    deadline_s: float = 1800.0
    """Of a repair."""
    notice: timedelta = timedelta(days=60)
    """How long before the end of a control plane's certificates it is told."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be written and begun, and why in a sentence."""

    reason: str
    health: Health
    updates: Mapping[str, NodeUpdate] = field(default_factory=dict)
    """By the ids of nodes."""
    events: tuple[Event, ...] = ()
    change: Change | None = None
    """The operation that is to begin."""


_CERTIFICATES = timedelta(days=365)
_UNDONE = frozenset({NodeState.WANTED, NodeState.PROVISIONING, NodeState.JOINING, NodeState.LEAVING})


def decide(snapshot: Snapshot, look: Look, limits: Limits) -> Decision:
    """Say what becomes of a cluster that no operation runs on."""
    decision = _decide(snapshot, look, limits)
    ending = _ending(snapshot, look, limits)
    if not ending:
        return decision
    message = "; ".join(filter(None, (decision.health.message, ending)))
    told = () if ending in snapshot.cluster.health.message else (_event(snapshot, "CERTIFICATES_END", ending, "error"),)
    return replace(decision, health=replace(decision.health, message=message), events=(*decision.events, *told))


def _decide(snapshot: Snapshot, look: Look, limits: Limits) -> Decision:
    nodes = [node for node in snapshot.nodes if node.state in {NodeState.READY, NodeState.UNHEALTHY}]
    if not look.api_server:
        return _api_down(snapshot, look, nodes, limits)
    sick = [node for node in nodes if _is_sick(snapshot, _seen(look, node))]
    updates, events = _noted(nodes, sick, look)
    health = Health(
        api_server=True,
        nodes_total=len(snapshot.nodes) - sum(node.state is NodeState.GONE for node in snapshot.nodes),
        nodes_ready=sum(_seen(look, node).ready for node in nodes),
        message=listed([f"{node.name}: {_seen(look, node).message or 'not Ready'}" for node in sick]),
        checked_at=look.at,
    )
    ripe = [node for node in sick if _is_ripe(node, look, limits)]
    if frozen := _frozen_because(snapshot, nodes, sick, look, limits) if ripe else "":
        return _said(snapshot, Decision(frozen, health, updates, events), "REPAIR_FROZEN", "error")
    chosen, held = choose(snapshot, sick, ripe, limits)
    if chosen:
        return Decision(
            "replacing " + listed([f"{node.name} ({_seen(look, node).message or 'not Ready'})" for node in chosen]),
            health,
            updates,
            (*events, *(_event(snapshot, "NODE_REPLACED", _why(node, look), "warning", node) for node in chosen)),
            _replacement(snapshot, chosen, limits),
        )
    if held:
        return _said(snapshot, Decision(held, health, updates, events), "REPAIR_HELD", "warning")
    return _finished(snapshot, Decision(health.message or "healthy", health, updates, events), look, limits)


def _ending(snapshot: Snapshot, look: Look, limits: Limits) -> str:
    """Say whose certificates end soon: kubeadm gives those of a control plane a year, and nothing renews them."""
    made = [
        (node.created_at, node.name)
        for node in snapshot.nodes
        if node.role is Role.CONTROL_PLANE and node.state is not NodeState.GONE and node.created_at is not None
    ]
    if not made:
        return ""
    first, name = min(made)
    ends = first + _CERTIFICATES
    if look.at < ends - limits.notice:
        return ""
    advice = (
        "delete the machines of its control planes one after the other, each when the one before is replaced"
        if snapshot.cluster.spec.is_ha
        else "move what runs there to a new cluster"
    )
    return f"the certificates of {name} end about {ends:%Y-%m-%d}, and the cluster's API with them; {advice} before"


def _api_down(snapshot: Snapshot, look: Look, nodes: list[Node], limits: Limits) -> Decision:
    """Nothing is known of nodes now, so that none is judged; only the control planes are looked after."""
    planes = [node for node in nodes if node.role is Role.CONTROL_PLANE]
    alive = [node for node in planes if _seen(look, node).machine is not Machine.DEAD]
    message = f"the API server does not answer at {snapshot.cluster.endpoint}"
    if len(alive) <= len(planes) // 2:
        message += "; too few machines of control planes are left for etcd, which only a backup can bring back"
    health = replace(snapshot.cluster.health, api_server=False, nodes_ready=0, message=message, checked_at=look.at)
    since = [node.unhealthy_since for node in planes if node.unhealthy_since is not None]
    updates = {
        node.id: NodeUpdate(state=NodeState.UNHEALTHY, unhealthy_since=look.at)
        for node in planes
        if node.unhealthy_since is None
    }
    decision = Decision(message, health, updates)
    if not since or look.at - min(since) < limits.patience_api or len(alive) <= len(planes) // 2:
        return _said(snapshot, decision, "API_SERVER_DOWN", "error")
    return replace(
        decision,
        # The next try waits as long again.
        updates={node.id: NodeUpdate(state=NodeState.UNHEALTHY, unhealthy_since=look.at) for node in planes},
        events=(_event(snapshot, "API_SERVER_RESTARTED", f"{message}; its services are started again", "warning"),),
        change=_repair(snapshot, limits, reason=message),
    )


def _noted(nodes: list[Node], sick: list[Node], look: Look) -> tuple[dict[str, NodeUpdate], tuple[Event, ...]]:
    """Write down since when a node is not well, and that it is well again."""
    updates: dict[str, NodeUpdate] = {}
    events: list[Event] = []
    for node in nodes:
        seen = _seen(look, node)
        if seen.ready and node.state is NodeState.UNHEALTHY:
            updates[node.id] = NodeUpdate(state=NodeState.READY, clear_unhealthy=True)
            events.append(Event(node.cluster_id, "NODE_RECOVERED", f"{node.name} is Ready again", node_id=node.id))
        elif node in sick and node.unhealthy_since is None:
            updates[node.id] = NodeUpdate(state=NodeState.UNHEALTHY, unhealthy_since=look.at)
            events.append(Event(node.cluster_id, "NODE_UNHEALTHY", _why(node, look), "warning", node_id=node.id))
    return updates, tuple(events)


def _frozen_because(snapshot: Snapshot, nodes: list[Node], sick: list[Node], look: Look, limits: Limits) -> str:
    if len(sick) > max(1.0, limits.freeze_share * len(nodes)):
        return (
            f"{len(sick)} of {len(nodes)} nodes are unhealthy, which no single machine explains: "
            "nothing is replaced; look at the platform and its network"
        )
    recent = [
        node
        for node in snapshot.nodes
        if node.state in {NodeState.LEAVING, NodeState.GONE}
        and node.unhealthy_since is not None
        and look.at - node.unhealthy_since < limits.budget_window
    ]
    if len(recent) >= limits.budget:
        hours = limits.budget_window.total_seconds() / 3600
        return f"{len(recent)} nodes were replaced within {hours:g} hours without lasting success: nothing is replaced"
    return ""


def choose(snapshot: Snapshot, sick: list[Node], ripe: list[Node], limits: Limits) -> tuple[list[Node], str]:
    """Give what is replaced now: one control plane and nothing else, or some workers of each group; and what waits."""
    planes = [node for node in snapshot.nodes if node.role is Role.CONTROL_PLANE and node.state is not NodeState.GONE]
    healthy = sum(node.state is NodeState.READY and node not in sick for node in planes)
    sick_planes = [node for node in ripe if node.role is Role.CONTROL_PLANE]
    held = ""
    if sick_planes:
        if healthy > len(planes) // 2 and not any(node.state in _UNDONE for node in planes):
            return sick_planes[:1], ""
        held = f"{sick_planes[0].name} is not replaced: etcd would have no quorum ({healthy} of {len(planes)} are well)"
    chosen: list[Node] = []
    for group in snapshot.cluster.spec.worker_groups:
        members = snapshot.in_group(group.name)
        busy = sum(node.state in _UNDONE for node in members)
        room = max(1, int(limits.group_share * len(members))) - busy
        chosen += [node for node in ripe if node.group == group.name][: max(0, room)]
    return chosen, held


def _finished(snapshot: Snapshot, decision: Decision, look: Look, limits: Limits) -> Decision:
    """Begin again what an operation that failed has left undone, not too often."""
    undone = [node for node in snapshot.nodes if node.state in _UNDONE]
    if not undone:
        return decision
    tried = [node.unhealthy_since for node in undone if node.unhealthy_since is not None]
    stamps = {node.id: NodeUpdate(unhealthy_since=look.at) for node in undone}
    if not tried:
        return replace(decision, updates={**decision.updates, **stamps})
    if look.at - max(tried) < limits.patience_rest:
        return decision
    named = ", ".join(node.name for node in undone)
    return replace(
        decision,
        reason=f"finishing what was left undone: {named}",
        updates={**decision.updates, **stamps},
        events=(*decision.events, _event(snapshot, "REPAIR_STARTED", f"left undone, and begun again: {named}", "info")),
        change=_repair(snapshot, limits, reason=f"left undone: {named}"),
    )


def _replacement(snapshot: Snapshot, chosen: list[Node], limits: Limits) -> Change:
    return replace(
        _repair(snapshot, limits, reason="not healthy: " + ", ".join(node.name for node in chosen)),
        add=tuple(NewNode(node.group, node.role.value) for node in chosen),
        leave=tuple(node.id for node in chosen),
    )


def _repair(snapshot: Snapshot, limits: Limits, *, reason: str) -> Change:
    return Change(
        kind=OperationKind.REPAIR,
        spec=snapshot.cluster.spec,
        deadline_s=limits.deadline_s,
        arguments={"reason": reason},
    )


def _is_sick(snapshot: Snapshot, seen: Seen) -> bool:
    """Without a network of ours, nodes are not Ready until somebody brings one; then only dead machines tell."""
    return not seen.ready and (snapshot.cluster.spec.cni is not Cni.NONE or seen.machine is Machine.DEAD)


def _is_ripe(node: Node, look: Look, limits: Limits) -> bool:
    patience = limits.patience_dead if _seen(look, node).machine is Machine.DEAD else limits.patience
    return node.unhealthy_since is not None and look.at - node.unhealthy_since >= patience


def _seen(look: Look, node: Node) -> Seen:
    return look.nodes.get(node.name) or Seen(ready=False, message="it has no Node object")


def _why(node: Node, look: Look) -> str:
    seen = _seen(look, node)
    return f"{node.name}: {seen.message or 'not Ready'}; its machine: {seen.machine}"


def _said(snapshot: Snapshot, decision: Decision, code: str, severity: str) -> Decision:
    """Add an event once, not at each look: what was said last is in the cluster's health."""
    health = replace(decision.health, message=decision.reason)
    if decision.reason in snapshot.cluster.health.message:
        return replace(decision, health=health)
    event = _event(snapshot, code, decision.reason, severity)
    return replace(decision, health=health, events=(*decision.events, event))


def _event(snapshot: Snapshot, code: str, message: str, severity: str, node: Node | None = None) -> Event:
    return Event(snapshot.cluster.id, code, message, severity, node_id=node.id if node else "")
