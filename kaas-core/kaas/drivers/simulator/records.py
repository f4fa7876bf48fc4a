"""What the simulated world consists of. Records change only inside of a transaction of `Ground`."""

from typing import Any, ClassVar

import msgspec


class Record(msgspec.Struct, kw_only=True):
    """A thing of the world; stored as JSON under its kind and id."""

    kind: ClassVar[str]
    id: str = ""
    cluster: str = ""
    """The cluster's id, which everything carries as its mark."""
    name: str = ""
    address: str = ""
    """Where it is reached, if anywhere."""
    gone_at: float | None = None
    """When it is not there any more, once somebody asked for its end."""

    @property
    def waits(self) -> bool:
        """Whether it has something to do by itself."""
        return False


class Machine(Record):
    """An instance, with what is on its disk as far as somebody asks for it."""

    kind: ClassVar[str] = "machine"
    image: str
    instance_type: str
    vpc_id: str
    zone: str
    key_pair_id: str
    security_group_id: str
    user_data: list[str]
    labels: dict[str, str]
    host_key: str
    ready_at: float
    boots_at: float | None
    """When it tells its host key; None: never."""
    failed: str = ""
    """What the platform says of a machine that did not come up."""
    boot_error: str = ""
    """What it tells instead of a success when it boots."""
    dead_at: float | None = None
    reported: bool = False
    files: dict[str, bytes] = msgspec.field(default_factory=dict)
    brain_id: str = ""
    half: str = ""
    """Which kubeadm command began and did not end; only a reset makes another one possible."""
    is_control_plane: bool = False
    api_stopped: bool = False
    kubelet_stopped_at: float | None = None

    @property
    def waits(self) -> bool:
        """Whether it has still to tell of its boot."""
        return not self.reported and self.boots_at is not None

    def lives(self, now: float) -> bool:
        """Tell whether it runs."""
        return self.dead_at is None and self.gone_at is None and not self.failed and now >= self.ready_at

    def down_since(self) -> float | None:
        """Give the moment since which its kubelet does not answer."""
        moments = [at for at in (self.dead_at, self.gone_at, self.kubelet_stopped_at) if at is not None]
        return min(moments) if moments else None


class Endpoint(Record):
    """A load balancer before an API."""

    kind: ClassVar[str] = "endpoint"
    vpc_id: str
    port: int
    targets: list[str]
    sources: list[str]
    ready_at: float


class SecurityGroup(Record):
    """A security group; rules as tuples of protocol, lowest and highest port, and source."""

    kind: ClassVar[str] = "security-group"
    vpc_id: str
    rules: list[tuple[str, int, int, str]]
    members: list[str] = msgspec.field(default_factory=list)
    """Addresses that rules for the group's own machines let in, as of the last change."""


class KeyPair(Record):
    """A public key that machines trust."""

    kind: ClassVar[str] = "key-pair"
    public_key: str


class Credential(Record):
    """A cluster's own access to the platform."""

    kind: ClassVar[str] = "credential"
    secret: str


class Balancer(Record):
    """A load balancer that the cluster itself made for a Service."""

    kind: ClassVar[str] = "load-balancer"


class Volume(Record):
    """A volume that the cluster itself made for a claim."""

    kind: ClassVar[str] = "volume"


class NodeObject(msgspec.Struct, kw_only=True):
    """A Node of a cluster's API."""

    machine_id: str
    version: str
    joined_at: float
    schedulable: bool = True
    initialised: bool = False


class Brain(Record):
    """What a cluster's etcd knows."""

    kind: ClassVar[str] = "brain"
    ca_pem: bytes
    members: list[str]
    """Ids of the machines that are etcd members, dead ones too until somebody removes them."""
    member_names: dict[str, str] = msgspec.field(default_factory=dict)
    nodes: dict[str, NodeObject] = msgspec.field(default_factory=dict)
    tokens: dict[str, float] = msgspec.field(default_factory=dict)
    """Bootstrap tokens, and when each ends."""
    objects: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    services: list[str] = msgspec.field(default_factory=list)
    """Services of type LoadBalancer; each has a `Balancer` of its name."""
    claims: list[str] = msgspec.field(default_factory=list)
    """Bound claims; each has a `Volume` of its name."""
    retained: list[str] = msgspec.field(default_factory=list)
    """Claims whose volumes stay when they go."""
    stuck_pods: list[str] = msgspec.field(default_factory=list)
    """Nodes with a pod that no eviction is granted for."""
    not_rolled_out: list[str] = msgspec.field(default_factory=list)
    """What keeps a namespace from being there, as sentences."""

    @property
    def quorum(self) -> int:
        """How many members have to live."""
        return len(self.members) // 2 + 1

    def has(self, *words: str) -> bool:
        """Tell whether a workload with one of the words in its name was applied."""
        return any(
            key.split("/", 1)[0] in {"DaemonSet", "Deployment"} and any(word in key for word in words)
            for key in self.objects
        )
