"""What callers ask for, as they said it, and what holds where they said nothing. Judged in `requests`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from kaas.domain.model import NO_LABELS, Access, Cni, Taint
from kaas.domain.states import OperationKind

HA_CONTROL_PLANES = 3
DELETE_VOLUMES = "delete_volumes"
"""Argument of a delete operation: volumes of claims go too, with all that is on them."""
KEPT_VOLUMES = "kept-volumes"
"""Step of a delete operation that tells which ones stay; the result's field `VOLUMES` has an id and a name of each."""
VOLUMES = "volumes"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRequest:
    """A node group; sizes that are None follow from the others."""

    name: str
    instance_type: str = ""
    min_size: int | None = None
    max_size: int | None = None
    desired_size: int | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUpdate:
    """What is to change of a node group; None leaves it."""

    min_size: int | None = None
    max_size: int | None = None
    desired_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """A new cluster; empty texts and None stand for the defaults."""

    name: str
    vpc_id: str = ""
    version: str = ""
    workers: int | None = None
    ha: bool = False
    network_isolation: bool = False
    pod_cidr: str = ""
    service_cidr: str = ""
    cni: str = ""
    control_plane_type: str = ""
    worker_type: str = ""
    node_groups: tuple[GroupRequest, ...] = ()
    """Beside the default one, which `workers` is the size of."""
    access: Access = field(default_factory=Access)
    zones: tuple[str, ...] = ()


_DEADLINES_S: Mapping[OperationKind, float] = MappingProxyType(
    {
        OperationKind.CREATE: 3600.0,
        OperationKind.SCALE: 3600.0,
        OperationKind.REPAIR: 3600.0,
        OperationKind.DELETE: 3600.0,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds where a request says nothing, and the bounds of all requests."""

    version: str = "v1.29.0"
    workers: int = 2
    pod_cidr: str = "192.168.0.0/16"
    service_cidr: str = "10.96.0.0/12"
    cni: Cni = Cni.CALICO
    control_plane_type: str = "standard-2"
    worker_type: str = "standard-1"
    vpc_id: str = ""
    """VPC of clusters that name none; empty: a VPC has to be named."""
    node_network: str = ""
    """Range that the platform's machines have their addresses from, where one is known for all VPCs."""
    group_max_size: int = 10
    """Upper bound of a node group that names none (platform contract 15.3)."""
    max_nodes: int = 250
    """Nodes of one cluster, control planes included."""
    deadlines_s: Mapping[OperationKind, float] = field(default_factory=lambda: _DEADLINES_S)
    """How long an operation may take in all."""
