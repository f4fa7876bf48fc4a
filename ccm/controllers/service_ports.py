"""What the service controller needs of Kubernetes, as narrow as it uses it."""

from collections.abc import Callable, Iterable
from typing import Protocol

from ccm.kube.model import Node, Service


class Services(Protocol):
    """The cached services; `ccm.kube.store.Store` is one."""

    def get(self, key: str) -> Service | None:
        """Give the service of this `namespace/name`, or None."""
        ...

    def values(self) -> Iterable[Service]:
        """Give all services."""
        ...

    def subscribe(self, handler: Callable[[Service | None, Service | None], None]) -> None:
        """Call with (old, new) for every change, and with (None, service) for what is there."""
        ...

    def add_index(self, name: str, keys_of: Callable[[Service], Iterable[str]]) -> None:
        """Keep an index, before anything else is done with it."""
        ...

    def by_index(self, name: str, value: str) -> tuple[Service, ...]:
        """Give the services that an index has under a value."""
        ...


class Nodes(Protocol):
    """The cached nodes; `ccm.kube.store.Store` is one."""

    def values(self) -> Iterable[Node]:
        """Give all nodes."""
        ...

    def subscribe(self, handler: Callable[[Node | None, Node | None], None]) -> None:
        """Call with (old, new) for every change, and with (None, node) for what is there."""
        ...


class ServiceMetrics(Protocol):
    """What is counted about services."""

    def balancer_synced(self) -> None:
        """Count a pass over the load balancer of a service."""
        ...

    def nodes_synced(self, duration_s: float) -> None:
        """Count the time from a change of nodes until all load balancers had their new targets."""
        ...

    def node_sync_failed(self) -> None:
        """Count a load balancer that did not take new targets."""
        ...

    def targets_written(self, duration_s: float) -> None:
        """Count the time until one load balancer had new targets."""
        ...


class NoServiceMetrics:
    """Counts nothing."""

    def balancer_synced(self) -> None:
        """Count nothing."""

    def nodes_synced(self, duration_s: float) -> None:
        """Count nothing."""

    def node_sync_failed(self) -> None:
        """Count nothing."""

    def targets_written(self, duration_s: float) -> None:
        """Count nothing."""
