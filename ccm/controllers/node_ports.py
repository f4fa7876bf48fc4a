"""What the node controllers need of Kubernetes and of the program around them, as narrow as they use it."""

from collections.abc import Callable, Iterable
from typing import Protocol

from ccm.controllers.object_client import ObjectClient
from ccm.kube.kinds import Kind
from ccm.kube.model import Node


class Nodes(Protocol):
    """The cached nodes; `ccm.kube.store.Store` is one."""

    def get(self, key: str) -> Node | None:
        """Give the node of this name, or None."""
        ...

    def values(self) -> Iterable[Node]:
        """Give all nodes."""
        ...

    def subscribe(self, handler: Callable[[Node | None, Node | None], None]) -> None:
        """Call with (old, new) for every change, and with (None, node) for what is there."""
        ...


class NodeClient(ObjectClient[Node], Protocol):
    """Reads and writes of nodes."""

    async def delete(self, kind: Kind[Node], name: str, namespace: str = "", *, uid: str, deadline: float) -> bool:
        """Delete the node if it has this uid; False when it is not there."""
        ...


class Recorder(Protocol):
    """Where events go; `ccm.kube.events.EventRecorder` is one. Neither method blocks or raises."""

    def normal(self, obj: Node, reason: str, message: str) -> None:
        """Say that something happened."""
        ...

    def warning(self, obj: Node, reason: str, message: str) -> None:
        """Say that something is wrong."""
        ...


class NodeMetrics(Protocol):
    """What is counted about nodes."""

    def node_initialized(self, age_s: float) -> None:
        """Count a node whose taint was taken, so long after it was made."""
        ...

    def node_written(self, what: str) -> None:
        """Count a write: `status`, `spec`, `shutdown`, `out-of-service`, `condition`, `delete`."""
        ...

    def deletions_stopped(self, reason: str) -> None:
        """Say why nodes are not deleted: `breaker`, `listing`, or an empty text when they may be."""
        ...

    def routes_synced(self) -> None:
        """Count a comparison of all routes."""
        ...


class NoMetrics:
    """Counts nothing."""

    def node_initialized(self, age_s: float) -> None:
        """Count nothing."""

    def node_written(self, what: str) -> None:
        """Count nothing."""

    def deletions_stopped(self, reason: str) -> None:
        """Count nothing."""

    def routes_synced(self) -> None:
        """Count nothing."""
