"""What a Node should say of the instance behind it: addresses and labels (pure)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from ccm.desired.label_values import label_value
from ccm.desired.selector import is_label_key, is_label_value
from ccm.kube.model import Node, NodeAddress
from ccm.model import Instance
from ccm.names import (
    OLD_REGION_LABEL,
    OLD_TYPE_LABEL,
    OLD_ZONE_LABEL,
    PROVIDED_IP_ANNOTATION,
    REGION_LABEL,
    TYPE_LABEL,
    ZONE_LABEL,
)
from ccm.notices import Notice, Reason

_PAIRS = ((OLD_ZONE_LABEL, ZONE_LABEL), (OLD_REGION_LABEL, REGION_LABEL), (OLD_TYPE_LABEL, TYPE_LABEL))
_RESERVED = re.compile(r"(^|\.)(kubernetes|k8s)\.io/")
_INTERNAL, _EXTERNAL, _HOSTNAME = "InternalIP", "ExternalIP", "Hostname"

_Ip = IPv4Address | IPv6Address


class AddressError(Exception):
    """The address that the kubelet was started with does not fit the instance; nothing may be written. For people."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels that a node should have, and what could not become one."""

    labels: Mapping[str, str]
    notices: tuple[Notice, ...] = ()


def desired_addresses(instance: Instance, node: Node) -> tuple[NodeAddress, ...]:
    """Give a node's addresses in order; none when the platform tells no IP address, and then nothing is to be written.

    The kubelet's `--node-ip` (its annotation) comes first and is the only one of its type, or with a pair the only two;
    the others follow by type, private ones first, those of the family of the first one ahead. A host name that the
    platform does not tell stays as the node has it. Raises AddressError when the annotation cannot be read, or names
    an address that the instance does not have.
    """
    provided = provided_ips(node)
    found = _ordered(instance, provided)
    if not found:
        return ()
    names = [NodeAddress(type=_HOSTNAME, address=instance.hostname)] if instance.hostname else []
    names = names or [one for one in node.addresses if one.type == _HOSTNAME]
    return (*_provided_first(found, provided, node), *names)


def provided_ips(node: Node) -> tuple[_Ip, ...]:
    """Give the addresses that the kubelet was started with: none, one, or one of each family.

    Raises AddressError for anything else.
    """
    text = node.annotations.get(PROVIDED_IP_ANNOTATION, "")
    if not text:
        return ()
    try:
        found = tuple(ip_address(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or len({one.version for one in found}) != len(found):
        raise AddressError(
            f"annotation {PROVIDED_IP_ANNOTATION} of node {node.metadata.name} is {text[:80]!r}; it has to be one IP "
            "address, or one of each family with a comma and no blank between; correct --node-ip of its kubelet"
        )
    return found


def same_addresses(one: Sequence[NodeAddress], other: Sequence[NodeAddress]) -> bool:
    """Say whether two lists of addresses are equal, order included: the first of a family is what others use."""
    return tuple(one) == tuple(other)


def desired_labels(instance: Instance, node: Node, extra: Mapping[str, str] | None = None) -> Labels:
    """Give zone, region and type under both of their keys, and extra labels.

    Values are those of `label_values.label_value`; what the platform does not tell is left out. An extra label is
    left out, and told, when its key is reserved for Kubernetes or cannot be a label; one that the node has already
    with another value is left to whoever set it.
    """
    found: dict[str, str] = {}
    notices: list[Notice] = []
    told = (instance.zone, instance.region, instance.instance_type)
    for keys, text in zip(_PAIRS, told, strict=True):
        if not text:
            continue
        try:
            found |= dict.fromkeys(keys, label_value(text))
        except ValueError as wrong:
            notices.append(Notice(f"label {keys[1]} is not set: {wrong}", Reason.INVALID_LABEL))
    for key, value in sorted((extra or {}).items()):
        if problem := _problem(key, value):
            notices.append(Notice(f"label {key[:80]!r} of the instance is left out: {problem}", Reason.INVALID_LABEL))
        elif key not in found and node.labels.get(key, value) == value:
            found[key] = value
    return Labels(found, tuple(notices))


def missing_labels(wanted: Mapping[str, str], node: Node) -> dict[str, str]:
    """Give those of the wanted labels that the node does not have as they should be."""
    return {key: value for key, value in wanted.items() if node.labels.get(key) != value}


def reconcile_old_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Give what to set so that zone, region and type say the same under both keys; the old key is the one believed.

    A node without the old key is left as it is.
    """
    return {new: labels[old] for old, new in _PAIRS if old in labels and labels.get(new) != labels[old]}


def _ordered(instance: Instance, provided: tuple[_Ip, ...]) -> list[NodeAddress]:
    private, public = _valid(instance.private_addresses), _valid(instance.public_addresses)
    first = next(iter((*provided, *private, *public)), None)
    # Sorting is stable: within a family the platform's order stays, its first one being the primary.
    return [
        NodeAddress(type=kind, address=str(one))
        for kind, several in ((_INTERNAL, private), (_EXTERNAL, public))
        for one in sorted(several, key=lambda ip: first is not None and ip.version != first.version)
    ]


def _provided_first(found: list[NodeAddress], provided: tuple[_Ip, ...], node: Node) -> tuple[NodeAddress, ...]:
    # An unspecified address (`::`) asks for a family, which the order has granted already.
    named = [str(one) for one in provided if not one.is_unspecified]
    chosen = [one for name in named for one in found if one.address == name]
    lacking = [name for name in named if all(one.address != name for one in found)]
    if lacking:
        raise AddressError(
            f"node {node.metadata.name} was started with --node-ip {', '.join(lacking)}, but its instance has "
            f"{', '.join(one.address for one in found)}; correct --node-ip or the instance's addresses"
        )
    types = {one.type for one in chosen}
    return (*chosen, *(one for one in found if one.type not in types))


def _valid(texts: Iterable[str]) -> list[_Ip]:
    found: dict[_Ip, None] = {}
    for text in texts:
        try:
            found[ip_address(text.partition("/")[0])] = None
        except ValueError:
            continue  # an address that nobody can use is none; the others still count
    return list(found)


def _problem(key: str, value: str) -> str:
    if _RESERVED.search(key):
        return "such keys belong to Kubernetes"
    if not is_label_key(key):
        return "it is no key of a label"
    return "" if is_label_value(value) else f"{value[:80]!r} is no value of a label"
