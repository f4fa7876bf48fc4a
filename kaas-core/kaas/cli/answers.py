"""What the service answers, as far as commands look at it. Unknown fields are ignored, so that newer services do."""

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from kaas.cli.errors import CliError

Kind = TypeVar("Kind")
FINAL = frozenset({"succeeded", "failed", "cancelled", "superseded"})


class NodeGroup(msgspec.Struct, frozen=True):
    """A node group."""

    name: str
    instance_type: str
    min_size: int
    max_size: int
    current_size: int
    ready_size: int | None = None


class Cluster(msgspec.Struct, frozen=True):
    """A cluster."""

    id: str
    name: str
    version: str
    status: str
    worker_count: int
    vpc_id: str
    pod_cidr: str
    service_cidr: str
    ha_enabled: bool
    network_isolation: bool
    created_at: datetime
    control_plane_ips: list[str] | None = None
    node_groups: list[NodeGroup] | None = None
    status_reason: str = ""
    endpoint: str = ""
    cni: str = ""
    job_id: str = ""
    generation: int = 0


class Node(msgspec.Struct, frozen=True):
    """A node."""

    name: str
    role: str
    status: str
    node_group: str = ""
    address: str = ""
    version: str = ""
    boot_phase: str = ""
    log_tail: str = ""


class Health(msgspec.Struct, frozen=True):
    """What was last seen of a cluster."""

    status: str
    api_server: bool
    nodes_total: int
    nodes_ready: int
    message: str = ""


class Step(msgspec.Struct, frozen=True):
    """A step of an operation."""

    key: str
    state: str
    attempt: int = 1
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error_code: str = ""
    error: str = ""


class KeptVolume(msgspec.Struct, frozen=True):
    """A volume that outlives its cluster."""

    id: str
    name: str


class Operation(msgspec.Struct, frozen=True):
    """What is done to a cluster."""

    id: str
    cluster_id: str
    kind: str
    state: str
    created_at: datetime
    finished_at: datetime | None = None
    requested_by: str = ""
    error_code: str = ""
    error: str = ""
    progress_percent: int | None = None
    eta_s: float | None = None
    steps: list[Step] = []
    kept_volumes: list[KeptVolume] = []

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL


class Event(msgspec.Struct, frozen=True):
    """Something that happened."""

    id: str
    code: str
    message: str
    severity: str = "info"
    created_at: datetime | None = None


class Item(msgspec.Struct, frozen=True):
    """Things of one kind in a plan."""

    kind: str
    name: str
    count: int = 1
    detail: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What a change would do."""

    operation: str
    make: list[Item]
    keep: list[Item]
    remove: list[Item]
    usage_before: dict[str, int]
    usage_after: dict[str, int]
    warnings: list[str] = []


class SshKey(msgspec.Struct, frozen=True):
    """The key that machines trust."""

    private_key: str
    user: str
    addresses: dict[str, str] = {}


def read(data: Any, kind: type[Kind]) -> Kind:
    """Read a payload. Raises CliError when it is something else."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise CliError(
            f"the service's answer cannot be read ({error}); is --api-url that of a Kubernetes service?"
        ) from error
