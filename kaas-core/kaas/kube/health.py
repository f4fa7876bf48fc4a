"""What a cluster's health is, from what was seen of it; pure."""

from collections.abc import Collection, Sequence
from datetime import datetime

from kaas.domain.model import Health
from kaas.domain.ports import KubeNode

_MOST_NODES = 5


def assess(
    nodes: Sequence[KubeNode], readiness: str, *, expected: Collection[str] = (), checked_at: datetime
) -> Health:
    """Give the health and its sentence.

    `readiness` is what `KubeApi.readiness` said: empty when the API server is ready. `expected` are the names of nodes
    that are to be there; one without a Node object counts as a node that is not ready.
    """
    if readiness:
        return Health(message=f"the API server is not ready: {readiness}", checked_at=checked_at)
    missing = sorted(set(expected) - {node.name for node in nodes})
    troubled = [f"{name}: it has no Node object" for name in missing]
    troubled += [f"{node.name}: {node.message or 'not ready'}" for node in nodes if not node.ready]
    total = len(nodes) + len(missing)
    ready = sum(node.ready for node in nodes)
    return Health(
        api_server=True,
        nodes_total=total,
        nodes_ready=ready,
        message=_sentence(total, ready, troubled),
        checked_at=checked_at,
    )


def unusable(node: KubeNode) -> str:
    """Say why nothing new runs on a node; empty when it can be used."""
    if not node.ready:
        return f"node {node.name}: {node.message or 'not ready'}"
    if not node.initialised:
        return f"node {node.name}: the cloud controller manager has not initialised it yet"
    if not node.schedulable:
        return f"node {node.name}: it is cordoned"
    return ""


def _sentence(total: int, ready: int, troubled: Sequence[str]) -> str:
    if not total:
        return "the API server is ready; there are no nodes"
    if not troubled:
        return "the only node is ready" if total == 1 else f"all {total} nodes are ready"
    more = f"; and {len(troubled) - _MOST_NODES} more" if len(troubled) > _MOST_NODES else ""
    return f"{ready} of {total} nodes are ready; {'; '.join(troubled[:_MOST_NODES])}{more}"
