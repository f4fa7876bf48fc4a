"""What the autoscaler bridge needs from elsewhere, and how it says no to its caller.

Deadlines are absolute times of the running loop's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ccm.autoscaler.model import Launch, Machine, MachineType, NodeGroup


class Problem(Enum):
    """Why a call is refused, as far as its caller may act on it."""

    INVALID = "invalid"
    NO_GROUP = "no_group"
    PRECONDITION = "precondition"
    """What is there forbids it; asking again changes nothing."""
    UNAVAILABLE = "unavailable"
    """Something that it needs gave no usable answer; ask again."""
    UNIMPLEMENTED = "unimplemented"


class AutoscalerError(Exception):
    """A call that is not done. Its text is for people."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem = problem
        self.message = message


class DefinitionsError(Exception):
    """The description of the node groups cannot be read or is wrong; the text names every fault."""


class NodeGroups(Protocol):
    """Where node groups are described."""

    async def load(self) -> Mapping[str, NodeGroup]:
        """Give the groups by name, as they are described now; raises DefinitionsError."""
        ...


class StoreConflict(Exception):  # noqa: N818 - it says what happened
    """What is stored is another version than the one that was to be replaced."""


class StoreUnavailable(Exception):  # noqa: N818 - it says what happened
    """No usable answer: a write may or may not have happened."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored text and the version of what holds it."""

    text: str
    version: str
    """Opaque; empty: nothing is stored yet."""


class TargetStore(Protocol):
    """Keeps one text, replaced by compare and set."""

    async def get(self, *, deadline: float) -> Stored:
        """Give what is stored now; raises StoreUnavailable."""
        ...

    async def put(self, text: str, *, version: str, deadline: float) -> Stored:
        """Replace what is stored if it still has that version.

        Raises StoreConflict when it has not, StoreUnavailable when nobody knows whether it happened.
        """
        ...


class Machines(Protocol):
    """Instances of this cluster. Every method raises `ccm.ports.CloudError`."""

    async def list(self, *, deadline: float) -> tuple[Machine, ...]:
        """List the instances with this cluster's label; as fresh as the question, one call to the platform."""
        ...

    async def look_up(self, machine_id: str, *, deadline: float) -> Machine | None:
        """Ask for one instance, whoever's it is; None only when the platform says definitely that it is gone."""
        ...

    async def launch(self, launch: Launch, *, deadline: float) -> Machine:
        """Make an instance. Not idempotent: with cause UNKNOWN there may be one, found by its labels."""
        ...

    async def terminate(self, machine_id: str, *, group: str, deadline: float) -> None:
        """Delete an instance if it carries the labels of this cluster and group; one that is gone is no error.

        Raises CloudError with cause GUARD, and deletes nothing, when it carries others.
        """
        ...

    async def types(self, *, deadline: float) -> tuple[MachineType, ...]:
        """List what the platform sells."""
        ...
