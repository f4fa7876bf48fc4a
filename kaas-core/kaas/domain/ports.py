"""What the domain needs from outside. Whoever implements a port keeps what its docstrings promise.

Every method that waits takes `deadline`, a time of the running loop's clock, and ends by then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from kaas.domain.errors import Problem
from kaas.domain.model import NO_LABELS, ClusterSpec


class Kind(StrEnum):
    """Things outside that a cluster is made of. They are deleted in this order, so that nothing is used to the end."""

    LOAD_BALANCER = "load-balancer"
    """Made from inside of the cluster, for a Service."""
    ENDPOINT = "endpoint"
    """Where the cluster's API is reached."""
    MACHINE = "machine"
    VOLUME = "volume"
    """Made from inside of the cluster, for a claim."""
    SECURITY_GROUP = "security-group"
    KEY_PAIR = "key-pair"
    CREDENTIAL = "credential"
    """The cluster's own access to the platform; last, because what is inside needs it to clean up."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """A machine's own part; empty where the platform has not said it yet."""

    address: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """Where the cluster's API is reached."""

    host: str = ""
    port: int = 6443
    targets: tuple[str, ...] = ()
    """External ids of the machines behind it."""


@dataclass(frozen=True, slots=True)
class CredentialFacts:
    """The cluster's own access to the platform; `secret` is known only in the answer of `create`."""

    secret: str = field(default="", repr=False)


class Condition(StrEnum):
    """What the platform says of a thing."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"
    """It will not become ready by itself."""
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class External:
    """Something that the platform has."""

    kind: Kind
    id: str
    name: str
    condition: Condition
    message: str = ""
    facts: MachineFacts | EndpointFacts | CredentialFacts | None = None
    cluster_id: str = ""
    """Whose mark it carries. Empty where it was put together from a record; a driver then trusts its id and name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An ingress rule of a security group; `source` is a CIDR, or `SELF` for the group's own machines."""

    protocol: str
    port_min: int
    port_max: int
    source: str
    description: str = ""


SELF = "self"


@dataclass(frozen=True, slots=True)
class SecurityGroupWish:
    """A security group of a cluster."""

    name: str
    vpc_id: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class KeyPairWish:
    """A public SSH key that machines trust."""

    name: str
    public_key: str


@dataclass(frozen=True, slots=True)
class EndpointWish:
    """One address for all control planes; `targets` are external ids of machines."""

    name: str
    vpc_id: str
    port: int
    targets: tuple[str, ...] = ()
    sources: tuple[str, ...] = ("0.0.0.0/0",)


@dataclass(frozen=True, slots=True)
class MachineWish:
    """A machine; `user_data` are commands of its first boot, which anybody who may read instances can read."""

    name: str
    image: str
    instance_type: str
    vpc_id: str
    zone: str
    key_pair_id: str
    security_group_id: str
    user_data: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)


@dataclass(frozen=True, slots=True)
class CredentialWish:
    """Access to the platform for one cluster alone."""

    name: str


Wish = SecurityGroupWish | KeyPairWish | EndpointWish | MachineWish | CredentialWish


class Driver(Protocol):
    """Infrastructure. Raises StepError only, with a code that says whether trying again helps.

    What it makes carries the cluster's id as a mark and is found again by it; what does not carry it is never changed
    and never deleted. `create` may be called again after a lost answer only behind a `find` that did not see it.
    """

    @property
    def name(self) -> str:
        """What it is called in settings."""
        ...

    async def offers_endpoint(self, *, deadline: float) -> bool:
        """Tell whether there can be one address for all control planes; without it there is only one of them."""
        ...

    async def preflight(self, spec: ClusterSpec, *, deadline: float) -> Sequence[Problem]:
        """Tell what would stop a cluster like this: types, images, networks, what the platform does not offer."""
        ...

    async def find(self, kind: Kind, cluster_id: str, *, name: str = "", deadline: float) -> Sequence[External]:
        """Give what the cluster has of a kind, by its mark, with fresh facts; with `name` only what is so called."""
        ...

    async def machine(self, cluster_id: str, machine_id: str, *, deadline: float) -> External | None:
        """Give a machine of the cluster, asked for by its id; None only when the platform says that there is none.

        No listing is taken for an answer, and whatever is not a definite one raises StepError.
        """
        ...

    async def create(self, cluster_id: str, wish: Wish, *, deadline: float) -> External:
        """Make it. The answer may be `PENDING`; nothing here waits for it to become ready."""
        ...

    async def update(self, external: External, wish: Wish, *, deadline: float) -> External:
        """Let what is there become what is wished, as far as it differs: rules, targets."""
        ...

    async def delete(self, external: External, *, deadline: float) -> None:
        """Ask for its end; what is gone already is no error. `find` tells when it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Output:
    """What a command on a machine said."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class SshTarget:
    """A machine that is logged in to; its host key is the one that it told at its first boot."""

    address: str
    host_key: str
    private_key: bytes = field(repr=False)


class Remote(Protocol):
    """Commands and files on machines. Raises StepError (NODE_UNREACHABLE); a command's exit code is not an error."""

    async def run(self, target: SshTarget, argv: Sequence[str], *, stdin: bytes = b"", deadline: float) -> Output:
        """Run a command as root; at the deadline, or when the caller is cancelled, it is ended on the machine too."""
        ...

    async def put(self, target: SshTarget, files: Mapping[str, "RemoteFile"], *, deadline: float) -> None:
        """Write files by path, each whole or not at all, with parents made and modes set before the content."""
        ...


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file for a machine."""

    content: bytes = field(repr=False)
    mode: int = 0o600


@dataclass(frozen=True, slots=True)
class KubeNode:
    """A Node object, as far as it is looked at here."""

    name: str
    ready: bool
    provider_id: str
    schedulable: bool
    initialised: bool
    """The cloud controller manager has taken its taint away."""
    version: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class KubeAccess:
    """How a cluster's API is reached; the certificate is a short-lived one of our own."""

    server: str
    ca_pem: bytes
    client_cert_pem: bytes
    client_key_pem: bytes = field(repr=False)


class Kube(Protocol):
    """The API of a cluster that was made. Raises StepError (API_SERVER_DOWN when it does not answer)."""

    async def is_ready(self, access: KubeAccess, *, deadline: float) -> bool:
        """Tell whether /readyz answers and the certificate is one of the cluster's own CA."""
        ...

    async def readiness(self, access: KubeAccess, *, deadline: float) -> str:
        """Say why `is_ready` would be false; empty when it is true. Looks once."""
        ...

    async def nodes(self, access: KubeAccess, *, deadline: float) -> Sequence[KubeNode]:
        """Give all Node objects."""
        ...

    async def apply(self, access: KubeAccess, objects: Sequence[Mapping[str, object]], *, deadline: float) -> None:
        """Apply objects on the server's side under the field manager `kaas`, CRDs and namespaces first."""
        ...

    async def prune(
        self, access: KubeAccess, addon: str, objects: Sequence[Mapping[str, object]], *, deadline: float
    ) -> Sequence[str]:
        """Delete what carries the label of an addon and is not among its objects; give what was deleted.

        Namespaces and CRDs stay, because what users have put there would go with them.
        """
        ...

    async def rolled_out(self, access: KubeAccess, namespace: str, *, deadline: float) -> Sequence[str]:
        """Give what in a namespace is not there yet, as sentences; empty when all workloads are available."""
        ...

    async def create_bootstrap_token(self, access: KubeAccess, token: str, *, ttl_s: float, deadline: float) -> None:
        """Make a bootstrap token for one node to join with."""
        ...

    async def delete_bootstrap_tokens(self, access: KubeAccess, *, deadline: float) -> None:
        """Remove all bootstrap tokens that we made."""
        ...

    async def drain(self, access: KubeAccess, node: str, *, deadline: float) -> Sequence[str]:
        """Cordon a node and evict its pods, budgets respected; give what is still there, as sentences."""
        ...

    async def delete_node(self, access: KubeAccess, node: str, *, deadline: float) -> None:
        """Delete a Node object; none is no error."""
        ...

    async def disposable_volumes(self, access: KubeAccess, *, deadline: float) -> Sequence[str]:
        """Give the platform's ids of volumes that may go with their claims, as their reclaim policy says."""
        ...

    async def release_outside(self, access: KubeAccess, *, volumes: bool, deadline: float) -> Sequence[str]:
        """Delete Services of type LoadBalancer, and claims with `volumes`; give what still goes, as sentences."""
        ...


class Sealed(Protocol):
    """Encryption at rest. `context` binds a ciphertext to its row; opened under another one, it is refused."""

    async def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt."""
        ...

    async def open(self, ciphertext: bytes, *, context: str) -> bytes:
        """Decrypt. Raises KaasError: KEY_MISSING when nobody here has the key, BUG when the content was changed."""
        ...
