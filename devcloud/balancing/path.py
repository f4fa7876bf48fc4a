"""The port to what carries the traffic of load balancers, and the one that carries none."""

from collections.abc import Collection, Mapping
from typing import Protocol

from devcloud.balancing.plan import Plan

HEALTHY = "healthy"
UNHEALTHY = "unhealthy"
UNKNOWN = "unknown"

Key = tuple[str, str, str]
"""Group, listener, instance."""


class DataPath(Protocol):
    """What the platform needs from whatever stands behind its load balancers."""

    @property
    def can_be_transparent(self) -> bool:
        """Whether targets can see the client's address as the source."""
        ...

    @property
    def needs_looking(self) -> bool:
        """Whether it changes by itself, so that it is worth looking again without a new plan."""
        ...

    async def open(self) -> None:
        """Make ready and take over what a killed platform left; raises BackendError."""
        ...

    async def close(self) -> None:
        """Stop carrying traffic."""
        ...

    async def keep(self, plans: Collection[Plan]) -> None:
        """Remove what belongs to load balancers that are not among these, and have all their addresses.

        Raises BackendError.
        """
        ...

    async def apply(self, plan: Plan) -> None:
        """Make the data path of one load balancer as planned, without breaking connections that it keeps.

        Cheap when it is so already. Raises BackendError; then what was there before goes on.
        """
        ...

    async def look(self) -> bool:
        """Find out which targets are healthy; True when that has changed."""
        ...

    def health(self, balancer_id: str) -> Mapping[Key, str]:
        """Give what is known of a load balancer's targets since the last look; what is missing is unknown."""
        ...

    async def clear(self) -> None:
        """Remove everything from this host, also what a crash left; raises BackendError."""
        ...


class NoPath:
    """Carries nothing: a load balancer is a row."""

    can_be_transparent = False
    needs_looking = False

    async def open(self) -> None:
        """Nothing to make ready."""

    async def close(self) -> None:
        """Nothing to stop."""

    async def keep(self, plans: Collection[Plan]) -> None:
        """Nothing to remove."""

    async def apply(self, plan: Plan) -> None:
        """Let it be made."""

    async def look(self) -> bool:
        """Nothing to find out."""
        return False

    def health(self, balancer_id: str) -> Mapping[Key, str]:
        """Nothing is known."""
        del balancer_id
        return {}

    async def clear(self) -> None:
        """Nothing to remove."""
