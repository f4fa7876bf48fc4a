"""The nodes that load balancers may send to, and one signal for many changes of them.

A burst of changes (a hundred nodes that join) is one signal, so that each service is looked at once and its targets are
written once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from ccm.desired.nodeset import NodeSet, is_eligible
from ccm.kube.model import Node
from ccm.names import GOING_TAINT


class FleetWatch:
    """Collects changes of nodes into one signal.

    `quiet_s` is how long nodes must have been quiet, `longest_s` how long a burst that does not end is waited for.
    """

    def __init__(
        self,
        nodes: Callable[[], Iterable[Node]],
        changed: Callable[[], None],
        *,
        quiet_s: float,
        longest_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._nodes = nodes
        self._tell = changed
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._sleep = sleep
        self._bell = asyncio.Event()
        self._current: NodeSet | None = None
        self._seen: frozenset[object] = frozenset()
        self._told: frozenset[object] | None = None

    def on_node(self, old: Node | None, new: Node | None) -> None:
        """Take a change of a node, as `Store.subscribe` gives it."""
        if old is not None and new is not None and _looks(old) == _looks(new) and not _was_freed(old, new):
            return
        self._current = None
        self._bell.set()

    def current(self) -> NodeSet:
        """Give the nodes that may be targets; worked out once for each change."""
        if self._current is None:
            eligible = [node for node in self._nodes() if is_eligible(node)]
            self._current = NodeSet(eligible)
            self._seen = frozenset(_looks(node) for node in eligible)
        return self._current

    async def run(self) -> None:
        """Tell of changes, for ever."""
        while True:
            await self._bell.wait()
            waited_s = 0.0
            while self._bell.is_set() and waited_s < self._longest_s:
                self._bell.clear()
                await self._sleep(self._quiet_s)
                waited_s += self._quiet_s
            self._bell.clear()
            self.current()
            if self._seen != self._told:
                self._told = self._seen
                self._tell()


def _looks(node: Node) -> object:
    """Give what decides about a node as a target, but for the autoscaler's taint.

    A node that gets the taint drains by its health check: to take it out at once would cut its connections.
    """
    labels = frozenset(node.labels.items())
    return node.metadata.name, node.metadata.uid, node.spec.provider_id, node.is_going, labels


def _is_leaving(node: Node) -> bool:
    return any(taint.key == GOING_TAINT for taint in node.taints)


def _was_freed(old: Node, new: Node) -> bool:
    return _is_leaving(old) and not _is_leaving(new)
