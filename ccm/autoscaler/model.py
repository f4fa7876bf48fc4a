"""What the autoscaler bridge knows: plain values, no wire format.

A **slot** is one machine that a group wants: made by an increase, ended by a deletion, and named once in the group's
lifetime. The target size of a group is the number of its slots, so that ending a slot twice lowers it once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ccm.model import InstanceState

CLUSTER_LABEL = "thecloud.io/cluster"
"""On instances: the cluster's id. Only what carries it is ours."""
GROUP_LABEL = "thecloud.io/node-group"
"""On instances and nodes: the group's name."""
SLOT_LABEL = "thecloud.io/node-slot"
"""On instances: the slot of the group that the instance fills."""
REQUEST_LABEL = "thecloud.io/launch-request"
"""On instances: the launch that made it; two instances of one slot differ in it."""

PROVIDER_PREFIX = "thecloud://"
_PENDING = PROVIDER_PREFIX + "pending/"


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint that new nodes of a group carry."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a new machine of a group is made of, and what its Node will look like."""

    instance_type: str
    image: str
    zone: str = ""
    region: str = ""
    vpc_id: str = ""
    subnet_id: str = ""
    ssh_key_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the Node."""
    taints: tuple[Taint, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of the instance."""
    instance_labels: Mapping[str, str] = field(default_factory=dict)
    """Of the instance, besides those of the bridge itself."""
    cmd: tuple[str, ...] = field(default=(), repr=False)
    """Commands that the machine runs at its first start."""
    cmd_file: Path | None = None
    """A file whose content is one more command, read at each launch: its token may be short-lived."""
    capacity: Mapping[str, str] = field(default_factory=dict)
    """Quantities by resource, as in a Node's status."""
    allocatable: Mapping[str, str] = field(default_factory=dict)
    """What is left for pods; what is not named is as in `capacity`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup:
    """A group of like machines, as the configuration describes it."""

    name: str
    min_size: int
    max_size: int
    template: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An instance that carries this cluster's label."""

    id: str
    name: str
    state: InstanceState
    labels: Mapping[str, str]
    created_at: datetime | None = None

    @property
    def group(self) -> str:
        """The group that it belongs to; empty for none."""
        return self.labels.get(GROUP_LABEL, "")

    @property
    def slot(self) -> str:
        """The slot that it fills. One that somebody else made for the group fills a slot of its own."""
        return self.labels.get(SLOT_LABEL) or self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineType:
    """What the platform sells under a name."""

    name: str
    vcpus: int
    memory_mb: int
    price_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A machine to be made. The labels are in the request itself: a later update of them can orphan the machine."""

    name: str
    template: Template = field(repr=False)
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a slot has no machine yet."""

    code: str
    message: str
    is_out_of_resources: bool
    """Quota or stock, as opposed to anything else."""
    count: int
    """How often in a row."""
    retry_at: float
    """Loop time before which it is not tried again."""


@dataclass(frozen=True, slots=True)
class Member:
    """A machine of a group, or the place of one that is not there yet."""

    id: str
    """As the provider id of its Node."""
    state: str
    """`running`, `creating` or `deleting`."""
    error_code: str = ""
    error_message: str = ""
    is_out_of_resources: bool = False


def provider_id(machine_id: str) -> str:
    """Give the provider id of a machine's Node."""
    return PROVIDER_PREFIX + machine_id


def pending_id(group: str, slot: str) -> str:
    """Give the id under which a slot without a machine is shown; no Node ever has it."""
    return f"{_PENDING}{group}/{slot}"


def parse_pending(node_id: str) -> tuple[str, str] | None:
    """Give group and slot of a `pending_id`, or None for any other id."""
    if not node_id.startswith(_PENDING):
        return None
    group, slash, slot = node_id.removeprefix(_PENDING).partition("/")
    return (group, slot) if group and slash and slot else None
