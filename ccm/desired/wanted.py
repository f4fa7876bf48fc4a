"""What a service wants of the platform, in the platform's terms (pure)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ccm.annotations.row import IpMode, Policy
from ccm.model import Group, NewBalancer, Protocol, Shape, Target
from ccm.notices import Notice

_FORM = b"1\n"
"""Of the hash: another number makes every load balancer be compared once more."""
_ENDS_TLS = (Protocol.HTTPS, Protocol.TLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What is the same for all services of a cluster."""

    id: str
    vpc_id: str = ""
    """The network of the nodes; empty leaves it to the platform."""
    default_size: str = "small"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A load balancer as a service wants it. Equal wishes are equal values, in whatever order they were written."""

    service_uid: str
    name: str
    shape: Shape
    size: str
    """Empty where the platform has no sizes."""
    tags: Mapping[str, str]
    group: Group
    idempotency_key: str
    adopt_id: str = ""
    """The load balancer of somebody else that is to be used."""
    host_uid: str = ""
    """The service whose load balancer is shared; empty for its own."""
    policy: Policy = Policy.DELETE
    may_recreate: bool = False
    hostname: str = ""
    ip_mode: IpMode = IpMode.VIP

    @property
    def is_own(self) -> bool:
        """Whether it is this service's own load balancer, of which everything is written."""
        return not self.adopt_id and not self.host_uid

    @property
    def new(self) -> NewBalancer:
        """The load balancer to make when there is none."""
        return NewBalancer(
            name=self.name,
            shape=self.shape,
            size=self.size,
            tags=self.tags,
            group=self.group,
            idempotency_key=self.idempotency_key,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a service's wishes."""

    wanted: Wanted | None
    """None when something is refused: nothing is made then, and listeners that are there stay as they are."""
    refusals: tuple[Notice, ...] = ()
    notices: tuple[Notice, ...] = ()
    targets: tuple[Target, ...] = ()
    """They follow the nodes also when something is refused, unless `follows_nodes` forbids it."""
    follows_nodes: bool = True
    """False when the node selector cannot be read: `targets` would be all nodes then, which nobody asked for."""


def ip_mode_of(group: Group) -> IpMode:
    """Give the mode that fits the listeners: pods must not go around one that ends TLS or speaks PROXY protocol."""
    is_proxy = any(one.protocol in _ENDS_TLS or one.proxy_protocol for one in group.listeners)
    return IpMode.PROXY if is_proxy else IpMode.VIP


def observed_hash(wanted: Wanted) -> str:
    """Give a digest of everything that is wanted; the same in every process that has the same rules."""
    return hashlib.sha256(_FORM + msgspec.json.encode(wanted, order="sorted")).hexdigest()
