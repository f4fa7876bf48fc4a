"""What a conductor needs of an engine, and what the store tells one: that a cluster may have work. Nothing else."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from process.life import Stop

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Handler = Callable[[str], Coroutine[Any, Any, None]]
"""Looks at a cluster, by its id, and does what there is to do. Called twice for nothing, it does nothing."""


class Wakeups(Protocol):
    """How a committed request reaches a conductor at once. A wake-up that is lost costs time, never work."""

    async def enqueue(self, connection: "AsyncConnection", cluster_id: str) -> None:
        """Wake somebody when the transaction of `connection` is committed, nobody when it is rolled back."""
        ...

    def committed(self, cluster_id: str) -> None:
        """Be told that a transaction with a wake-up is committed."""
        ...


class Engine(Protocol):
    """Calls a handler for clusters that are due or were woken."""

    async def run(self, handler: Handler, *, concurrency: int, stop: Stop) -> None:
        """Call `handler` until `stop` asks for the end: at most so many at one time, never two of one cluster here.

        Then nothing new is begun; handlers that do not end by themselves within a grace are cancelled and waited for.
        What a handler raises is logged and stops nothing; the cluster is due again by its row.
        """
        ...


class EngineObserver(Protocol):
    """Is told what an engine does, for metrics."""

    def running(self, clusters: int) -> None:
        """Note that so many clusters are worked on now."""
        ...

    def oldest_due(self, age_s: float) -> None:
        """Note for how long the oldest cluster that is due has been seen as such; 0 when none is."""
        ...


class NoEngineObserver:
    """Notes nothing."""

    def running(self, clusters: int) -> None:
        """Note nothing."""

    def oldest_due(self, age_s: float) -> None:
        """Note nothing."""
