"""What a row of the table of annotations is made of (pure)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from ccm.names import BALANCER_PREFIX

T_co = TypeVar("T_co", covariant=True)
PORT = "port.<n>."


class Policy(Enum):
    """What becomes of a load balancer with its service."""

    DELETE = "delete"
    ORPHAN = "orphan"
    KEEP_ADDRESS = "keep-address"


class IpMode(Enum):
    """How kube-proxy treats an address of a load balancer."""

    VIP = "VIP"
    PROXY = "Proxy"


class Group(Enum):
    """Headings of the reference page."""

    IDENTITY = "Identity"
    PLACEMENT = "Placement"
    ADDRESS = "Address"
    LISTENERS = "Listeners"
    TLS = "TLS"
    CLIENT = "Client address"
    BALANCING = "Balancing"
    HEALTH = "Health checks"
    ACCESS = "Access"
    TARGETS = "Targets"
    SHARING = "Sharing"
    OUTPUT = "Written by the controller"


@dataclass(frozen=True, slots=True)
class Annotation(Generic[T_co]):
    """One row of the table."""

    key: str
    """Without the prefix; `port.<n>.` stands for one port of the service."""
    group: Group
    parser: Callable[[str], T_co]
    default: T_co
    form: str
    meaning: str
    refusal: str = ""
    """For what no platform of ours can do: why it is refused."""

    @property
    def is_per_port(self) -> bool:
        """Whether it is about one port."""
        return self.key.startswith(PORT)

    def name(self, port: int = 0) -> str:
        """Give the whole key, for a port where it is about one."""
        return BALANCER_PREFIX + self.key.replace("<n>", str(port) if port else "<n>")
