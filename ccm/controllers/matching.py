"""Which instance of the platform a node without a provider id is: by its name and by an address, never by a guess.

Names of instances are not unique and private addresses may repeat in other networks (platform contract 4.3, 25.2), so
a node is matched only where both agree, with exactly one instance that no other node claims.
"""

from collections.abc import Collection, Sequence
from ipaddress import ip_address

from ccm.kube.model import Node
from ccm.model import Fleet, Instance
from ccm.names import PROVIDED_IP_ANNOTATION

_GUEST_PREFIX = "thecloud-"
_GUEST_DIGITS = 8
_CURE = "Start its kubelet with --provider-id, which needs no search"


class Unmatched(Exception):  # noqa: N818 - a finding about a node, told to people as an event
    """No instance can be named for a node. `reason` is that of the event, the text is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Claims:
    """Which nodes have an instance already."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}
        self._instance_of: dict[str, str] = {}

    def take(self, instance_id: str, name: str) -> None:
        """Note that a node has this instance, and no other one any more."""
        self.drop(name)
        self._instance_of[name] = instance_id
        self._names.setdefault(instance_id, set()).add(name)

    def drop(self, name: str) -> None:
        """Note that a node is gone."""
        instance_id = self._instance_of.pop(name, None)
        if instance_id is not None:
            self._names[instance_id].discard(name)
            if not self._names[instance_id]:
                del self._names[instance_id]

    def other(self, instance_id: str, name: str) -> str:
        """Give the name of another node that has this instance, or an empty text."""
        return min(self._names.get(instance_id, set()) - {name}, default="")


class Directory:
    """A listing of instances by the names that a node may have; made once for each listing."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._by_name: dict[str, list[Instance]] = {}
        for instance in fleet.instances:
            for name in names_of(instance):
                self._by_name.setdefault(name, []).append(instance)

    def match(self, node: Node, claims: Claims) -> Instance:
        """Give the one instance that has the node's name and one of its addresses, and that no other node has.

        Raises Unmatched, which names the candidates.
        """
        name, addresses = node.metadata.name, addresses_of(node)
        named = self._by_name.get(name.lower(), [])
        if not named:
            raise Unmatched(
                "InstanceNotFound",
                f"none of the platform's {len(self.fleet.instances)} instances has the name {name!r}: compared with "
                f"host name, name, and {_GUEST_PREFIX}<first {_GUEST_DIGITS} digits of the id>. {_CURE}.",
            )
        if not addresses:
            raise Unmatched(
                "InstanceNotCertain",
                f"a name alone proves nothing, and the node reports no address to compare with {_named(named)}. "
                f"{_CURE}, or with --node-ip.",
            )
        fitting = [instance for instance in named if not addresses.isdisjoint(_canonical(_all_addresses(instance)))]
        if len(fitting) > 1:
            raise Unmatched(
                "InstanceAmbiguous",
                f"{len(fitting)} instances have the node's name and one of its addresses: {_named(fitting)}. {_CURE}.",
            )
        if not fitting:
            raise Unmatched(
                "InstanceNotCertain",
                f"no instance of the name {name!r} has one of the node's addresses "
                f"({', '.join(sorted(addresses))}): {_named(named)}. {_CURE}.",
            )
        if holder := claims.other(fitting[0].id, name):
            raise Unmatched(
                "InstanceClaimed",
                f"{_named(fitting)} fits, but node {holder!r} has it. Delete the node that is not "
                f"that machine. {_CURE}.",
            )
        return fitting[0]


def names_of(instance: Instance) -> frozenset[str]:
    """Give the node names that an instance can have, in lower case: its host name, its name, the guest's name."""
    guest = _GUEST_PREFIX + instance.id[:_GUEST_DIGITS]
    return frozenset(name.lower() for name in (instance.hostname, instance.name, guest) if name)


def addresses_of(node: Node) -> frozenset[str]:
    """Give the addresses by which a node's kubelet shows which machine it is, in canonical form."""
    reported = [one.address for one in node.addresses if one.type in ("InternalIP", "ExternalIP")]
    return _canonical([*reported, *node.annotations.get(PROVIDED_IP_ANNOTATION, "").split(",")])


def _all_addresses(instance: Instance) -> Sequence[str]:
    return (*instance.private_addresses, *instance.public_addresses)


def _canonical(texts: Collection[str]) -> frozenset[str]:
    found = set()
    for text in texts:
        try:
            found.add(str(ip_address(text.strip())))
        except ValueError:
            continue
    return frozenset(found)


def _named(instances: Sequence[Instance]) -> str:
    shown = [f"{one.id} ({', '.join(_all_addresses(one)) or 'no address'})" for one in instances[:8]]
    return "; ".join(shown) + ("; …" if len(instances) > len(shown) else "")
