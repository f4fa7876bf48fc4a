"""Which nodes get the traffic of load balancers (pure).

The stable node set of Kubernetes (KEP-3458): readiness is not asked. The health checks of the load balancer decide from
moment to moment; a target that comes and goes with every flap would cut connections.
"""

from collections.abc import Iterable

from ccm.desired.selector import Selector
from ccm.kube.model import Node
from ccm.model import Target
from ccm.names import EXCLUDE_LABEL, GOING_TAINT
from ccm.provider_id import parse_provider_id

_FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})


def excluded_because(node: Node) -> str:
    """Say why a node is never a target; empty when it may be one."""
    if node.is_going:
        return "it is being deleted"
    label = node.labels.get(EXCLUDE_LABEL)
    # What cannot be read as false excludes, the empty value among them: so does Kubernetes.
    if label is not None and label not in _FALSE:
        return f"its label {EXCLUDE_LABEL} says so"
    if any(taint.key == GOING_TAINT for taint in node.taints):
        return f"its taint {GOING_TAINT} says that it is about to go"
    return _unknown_because(node)


def skipped_because(node: Node) -> str:
    """Say why a node is no target although nobody has asked for that; empty for every other node."""
    why = _unknown_because(node)
    return why if why and excluded_because(node) == why else ""


def is_eligible(node: Node) -> bool:
    """Say whether a node may be a target of load balancers."""
    return not excluded_because(node)


class NodeSet:
    """The nodes that may be targets at one moment; the targets for a selector are worked out once."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._labels = {
            found: node.labels
            for node in nodes
            if is_eligible(node) and (found := parse_provider_id(node.spec.provider_id)) is not None
        }
        self._targets: dict[Selector, tuple[Target, ...]] = {}

    def targets(self, selector: Selector) -> tuple[Target, ...]:
        """Give the instances behind the nodes that the selector takes, in a fixed order."""
        known = self._targets.get(selector)
        if known is None:
            known = tuple(Target(one) for one in sorted(self._labels) if selector.matches(self._labels[one]))
            self._targets[selector] = known
        return known


def _unknown_because(node: Node) -> str:
    if parse_provider_id(node.spec.provider_id) is not None:
        return ""
    seen = node.spec.provider_id[:80]
    return f"its provider id {seen!r} is not of this platform" if seen else "it has no provider id"
