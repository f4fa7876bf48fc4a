"""Clusters and what belongs to them, as plain values. Sizes are counts of nodes; times are UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from kaas.domain.states import ClusterStatus, NodeState, OperationKind, OperationState, RefState, StepState

NO_LABELS: Mapping[str, str] = MappingProxyType({})
DEFAULT_GROUP = "default-pool"
CONTROL_PLANE_GROUP = "control-plane"


class Role(StrEnum):
    """What a node is for, as kubeadm and the platform's API call it."""

    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


class Cni(StrEnum):
    """Pod network that is installed."""

    CALICO = "calico"
    FLANNEL = "flannel"
    CILIUM = "cilium"
    BRIDGE = "bridge"
    """Routes of the platform's own network; for platforms that route pod ranges to instances, as devcloud does."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint that the nodes of a group register with."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """Nodes of one kind; `size` is what is wanted now, within the bounds."""

    name: str
    role: Role
    size: int
    min_size: int
    max_size: int
    instance_type: str
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True, slots=True)
class Access:
    """Who may reach what from outside of the cluster, as CIDRs; the seed's table opens both to everybody."""

    api: tuple[str, ...] = ("0.0.0.0/0",)
    node_ports: tuple[str, ...] = ("0.0.0.0/0",)
    open_node_network: bool = False
    """The documented profile: VXLAN, BGP and the kubelet are open to everybody, not only to the cluster's machines."""


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What is wanted; the API changes it, the reconciler makes it so. Stored as JSON with each generation."""

    version: str
    vpc_id: str
    pod_cidr: str
    service_cidr: str
    cni: Cni
    image: str
    """Image that its machines boot from."""
    groups: tuple[GroupSpec, ...]
    """The control plane is one of them."""
    network_isolation: bool = False
    access: Access = field(default_factory=Access)
    zones: tuple[str, ...] = ()
    """Zones that nodes are spread over; empty: the platform chooses."""

    @property
    def control_plane(self) -> GroupSpec:
        """The group of control planes."""
        return next(group for group in self.groups if group.role is Role.CONTROL_PLANE)

    @property
    def worker_groups(self) -> tuple[GroupSpec, ...]:
        """All other groups."""
        return tuple(group for group in self.groups if group.role is Role.WORKER)

    @property
    def is_ha(self) -> bool:
        """More than one control plane."""
        return self.control_plane.size > 1


@dataclass(frozen=True, slots=True)
class Scope:
    """Who asks: requests see the objects of their tenant only, in the query itself."""

    tenant_id: str
    user_id: str
    role: str
    """One of `kaas.domain.policy`: reader, member, admin."""
    request_id: str = ""
    action: str = ""
    """What is written down of a change, in the change's own commit; empty: whoever asks writes it."""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as it is known; `generation` counts the changes of `spec`, `observed_generation` is what is built."""

    id: str
    tenant_id: str
    user_id: str
    name: str
    spec: ClusterSpec
    status: ClusterStatus
    status_reason: str
    generation: int
    observed_generation: int
    endpoint: str
    """`host:port` of its API; empty until there is one."""
    health: "Health"
    created_at: datetime
    updated_at: datetime
    version: str = ""
    """Version of the control plane that runs; empty until it does."""


@dataclass(frozen=True, slots=True)
class Health:
    """What was last seen of a cluster from outside."""

    api_server: bool = False
    nodes_total: int = 0
    nodes_ready: int = 0
    message: str = ""
    checked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that is, becomes or was a node. Names are never used again."""

    id: str
    cluster_id: str
    group: str
    name: str
    role: Role
    state: NodeState
    instance_id: str = ""
    address: str = ""
    boot_phase: str = ""
    log_tail: str = ""
    ssh_host_key: str = ""
    """What the machine said at its first boot; pinned from then on."""
    version: str = ""
    unhealthy_since: datetime | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One wish of a user or of the reconciler, from its commit to its end."""

    id: str
    cluster_id: str
    kind: OperationKind
    state: OperationState
    generation: int
    requested_by: str
    request_id: str
    created_at: datetime
    updated_at: datetime
    deadline: datetime
    finished_at: datetime | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    error_code: str = ""
    error: str = ""
    cancel_requested: bool = False
    """Somebody asked for its end; the conductor ends it at the next step boundary."""
    progress: int = 0
    """How much of its steps was done when the last one began, in per cent; it only grows."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A line of an operation's ledger."""

    operation_id: str
    key: str
    seq: int
    state: StepState
    attempt: int
    inputs_hash: str
    result: Mapping[str, object]
    started_at: datetime | None = None
    """When the first try with these inputs began; further tries leave it."""
    finished_at: datetime | None = None
    next_try_at: datetime | None = None
    error_code: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ExternalRef:
    """Something outside that exists, or may exist, because of a cluster; written before the call that makes it."""

    id: str
    cluster_id: str
    kind: str
    """A `kaas.domain.ports.Kind`."""
    name: str
    state: RefState
    external_id: str = ""
    node_id: str = ""
    step: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a person may want to know about a cluster; never changed, never removed before its time."""

    cluster_id: str
    code: str
    message: str
    severity: str = "info"
    """info, warning or error."""
    operation_id: str = ""
    node_id: str = ""
    actor: str = ""
    created_at: datetime | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a cluster; every write of a conductor names `token`, which grows with each claim."""

    cluster_id: str
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is known of a cluster at one moment; what decisions are made from."""

    cluster: Cluster
    nodes: tuple[Node, ...]
    refs: tuple[ExternalRef, ...]
    operation: Operation | None
    """The one that is not ended, if any."""
    steps: tuple[StepRecord, ...] = ()
    """The ledger of that operation, by `seq`."""
    read_at: datetime | None = field(default=None, compare=False)
    """When it was read, by the clock that its times are of; None where nobody says."""

    def node(self, name: str) -> Node | None:
        """Give a node by its name."""
        return next((node for node in self.nodes if node.name == name), None)

    def in_group(self, group: str) -> tuple[Node, ...]:
        """Give the nodes of a group that are not gone."""
        return tuple(node for node in self.nodes if node.group == group and node.state is not NodeState.GONE)
