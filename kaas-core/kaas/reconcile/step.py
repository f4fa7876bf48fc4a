"""A step: one thing that becomes so. Load, act, apply, each apart from the other (no transaction while waiting)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kaas.domain.model import Lease, Snapshot
from kaas.domain.ports import Driver, Kube, Remote, Sealed
from kaas.domain.store import Boots, Conducting
from kaas.reconcile.accesses import Accesses

Result = Mapping[str, object]
NOTHING: Result = {}


@dataclass(frozen=True, slots=True)
class Tools:
    """What steps work with; one for all clusters of a conductor."""

    driver: Driver
    remote: Remote
    kube: Kube
    sealed: Sealed
    store: Conducting
    boots: Boots
    accesses: Accesses = field(default_factory=Accesses)
    """`kube` tells it which ones were refused."""
    gone_gap_s: float = 2.0
    """Between the two definite answers that make a machine gone."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one run of one step has: the cluster as it is now, and the right to write."""

    tools: Tools
    lease: Lease
    snapshot: Snapshot
    deadline: float
    """Loop time by which the run has to end."""
    results: Mapping[str, Result]
    """Results of the steps that are done, by key."""


class Step(Protocol):
    """One thing that becomes so. Every method may be called again after a crash at any point of it.

    Raises StepError; `LeaseLostError` passes through. What is made outside is intended first (`Conducting.intend`).
    """

    @property
    def key(self) -> str:
        """What it is called in the ledger: `machine/dev-default-pool-0`."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """Keys of steps that are done before."""
        ...

    @property
    def deadline_s(self) -> float:
        """How long all tries together may take."""
        ...

    @property
    def inputs(self) -> Mapping[str, object]:
        """What it depends on; a step that is done runs again only when this changed."""
        ...

    async def check(self, work: Work) -> Result | None:
        """Look whether it is so already; None when not."""
        ...

    async def apply(self, work: Work) -> None:
        """Do it."""
        ...

    async def verify(self, work: Work) -> Result:
        """Wait until it is so, and give what later steps need. Raises StepError while it is not."""
        ...
