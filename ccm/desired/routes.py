"""Routes to the pods of nodes: which to make, which to take away (pure)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from ccm.kube.model import Node
from ccm.provider_id import parse_provider_id

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """Packets for `destination` go to an instance."""

    destination: str
    """A CIDR."""
    instance_id: str
    is_blackhole: bool = False
    """Leads to what does not exist any more."""


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What to do, deletions first: a new route may need the destination of an old one."""

    delete: tuple[Route, ...] = ()
    add: tuple[Route, ...] = ()
    routed: frozenset[str] = frozenset()
    """Names of the nodes whose routes are all there already."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.delete and not self.add


def networks(cidrs: Iterable[str]) -> tuple[Network, ...]:
    """Read CIDRs, such as those of the cluster's pods. Raises ValueError naming the one that is none."""
    return tuple(ip_network(one, strict=False) for one in cidrs)


def is_responsible(destination: str, cluster: Sequence[Network]) -> bool:
    """Say whether a route is one of ours to delete: it begins or ends inside one of the cluster's networks."""
    try:
        found = ip_network(destination, strict=False)
    except ValueError:
        return False
    return any(
        own.version == found.version and (found.network_address in own or found.broadcast_address in own)
        for own in cluster
    )


def plan_routes(nodes: Iterable[Node], routes: Iterable[Route], cluster: Sequence[Network]) -> RoutePlan:
    """Compare the nodes' pod networks with the routes that there are.

    Nodes that are not of this platform, or have no pod network yet, get none. Routes outside the cluster's networks
    are never deleted.
    """
    wanted = {node.metadata.name: _wanted(node) for node in nodes}
    needed = frozenset().union(*wanted.values())
    there = frozenset(routes)
    stale = [one for one in there - needed if is_responsible(one.destination, cluster)]
    routed = frozenset(name for name, own in wanted.items() if own and own <= there)
    return RoutePlan(delete=tuple(sorted(stale)), add=tuple(sorted(needed - there)), routed=routed)


def pod_cidrs(node: Node) -> tuple[str, ...]:
    """Give the networks of a node's pods in canonical form; what is no CIDR is left out."""
    spec = node.spec
    found = []
    for text in spec.pod_cidrs or ((spec.pod_cidr,) if spec.pod_cidr else ()):
        try:
            found.append(str(ip_network(text, strict=False)))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))


def _wanted(node: Node) -> frozenset[Route]:
    instance_id = parse_provider_id(node.spec.provider_id)
    if instance_id is None:
        return frozenset()
    return frozenset(Route(one, instance_id) for one in pod_cidrs(node))
