"""Who comes, who goes and who stays in one operation; the same answer from its first step to its last."""

from collections.abc import Sequence
from dataclasses import dataclass

from kaas.domain.model import Node, Role, Snapshot
from kaas.domain.states import NodeState, OperationKind

_COMING = frozenset({NodeState.WANTED, NodeState.PROVISIONING, NodeState.JOINING})
MACHINE = "machine"
GONE = "gone"
INIT = "init"


@dataclass(frozen=True, slots=True)
class Members:
    """The nodes of an operation; each tuple in the order of their numbers, control planes apart from workers."""

    planes: tuple[Node, ...]
    """Control planes that are in the cluster already and stay."""
    new_planes: tuple[Node, ...]
    new_workers: tuple[Node, ...]
    leaving_planes: tuple[Node, ...]
    leaving_workers: tuple[Node, ...]
    staying: tuple[Node, ...]
    """All that are there at the end."""
    initialises: bool
    """The cluster has never run: the first of `new_planes` begins it."""

    @property
    def new(self) -> tuple[Node, ...]:
        """Give all that come."""
        return (*self.new_planes, *self.new_workers)

    @property
    def leaving(self) -> tuple[Node, ...]:
        """Give all that go."""
        return (*self.leaving_planes, *self.leaving_workers)


def members_of(snapshot: Snapshot) -> Members:
    """Say what the operation of a snapshot does with each node."""
    keys = {record.key for record in snapshot.steps}
    initialises = _initialises(snapshot, keys)
    ordered = sorted(snapshot.nodes, key=_order)
    leaving = [
        node
        for node in ordered
        if node.state is NodeState.LEAVING or (node.state is NodeState.GONE and f"{GONE}/{node.name}" in keys)
    ]
    staying = [node for node in ordered if node.state not in {NodeState.LEAVING, NodeState.GONE}]
    new = [node for node in staying if initialises or node.state in _COMING or f"{MACHINE}/{node.name}" in keys]
    return Members(
        planes=tuple(node for node in _planes(staying) if node not in new),
        new_planes=tuple(_planes(new)),
        new_workers=tuple(node for node in new if node.role is Role.WORKER),
        leaving_planes=tuple(_planes(leaving)),
        leaving_workers=tuple(node for node in leaving if node.role is Role.WORKER),
        staying=tuple(staying),
        initialises=initialises,
    )


def _initialises(snapshot: Snapshot, keys: set[str]) -> bool:
    operation = snapshot.operation
    if operation is not None and operation.kind is OperationKind.CREATE:
        return True
    # A repair may take up a creation that failed; once `init` is done the cluster has a version.
    return not snapshot.cluster.version or any(key.startswith(f"{INIT}/") for key in keys)


def _planes(nodes: Sequence[Node]) -> list[Node]:
    return [node for node in nodes if node.role is Role.CONTROL_PLANE]


def _order(node: Node) -> tuple[str, int, str]:
    number = node.name.rpartition("-")[2]
    return node.group, int(number) if number.isdigit() else 0, node.name
