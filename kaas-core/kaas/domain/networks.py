"""Address ranges of a cluster: what is a range, what is too small, and what must not overlap. IPv4, for now."""

import re
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError

from kaas.domain.errors import Problem

NODE_PREFIX = 24
"""Prefix length of the range of pods that each node gets (kubeadm's default)."""
LARGEST_POD_RANGE = 8
"""The controller manager takes at most 16 bits between the whole range and a node's."""
LARGEST_SERVICE_RANGE = 12
"""The API server takes no larger one."""
SMALLEST_SERVICE_RANGE = 28
"""The tenth address is that of the cluster's DNS."""
SPARE_NODES = 1
"""A repair has the new node before the old one is gone."""
_FORM = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}")
_MAX_SHOWN = 64
_UNUSABLE = {
    "addresses without a meaning (0.0.0.0/8)": IPv4Network("0.0.0.0/8"),
    "loopback addresses (127.0.0.0/8)": IPv4Network("127.0.0.0/8"),
    "link-local addresses (169.254.0.0/16)": IPv4Network("169.254.0.0/16"),
    "multicast and reserved addresses (224.0.0.0/3)": IPv4Network("224.0.0.0/3"),
}


def parse_range(text: str) -> IPv4Network:
    """Read `10.96.0.0/12`. Raises ValueError with a whole sentence."""
    if ":" in text:
        raise ValueError(f"{_shown(text)} is {_what_with_colon(text)}; only IPv4 ranges are offered yet")
    if not _FORM.fullmatch(text):
        raise ValueError(f"{_shown(text)} is no range of addresses; it looks like 10.96.0.0/12")
    try:
        network = IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError) as error:
        raise ValueError(f"{_shown(text)} is no range of addresses: {error}") from error
    if str(network) != text:
        raise ValueError(f"{_shown(text)} has bits set outside of its prefix; {network} is the range")
    return network


def source_problem(text: str) -> str:
    """Say why something is no range that access can be given to; empty when it is."""
    try:
        parse_range(text)
    except ValueError as error:
        return str(error)
    return ""


def nodes_that_fit(pod_range: IPv4Network) -> int:
    """Tell how many nodes a range of pods has room for."""
    return 1 << (NODE_PREFIX - pod_range.prefixlen) if pod_range.prefixlen <= NODE_PREFIX else 0


def room_problem(pod_cidr: str, nodes: int) -> str:
    """Say that a cluster of so many nodes does not fit into its range of pods; empty when it does."""
    fits = nodes_that_fit(IPv4Network(pod_cidr))
    if nodes + SPARE_NODES <= fits:
        return ""
    return (
        f"{pod_cidr} has room for {fits} nodes with a /{NODE_PREFIX} each; {nodes} are wanted, "
        f"and {SPARE_NODES} more has to fit for repairs"
    )


def check_networks(pod_cidr: str, service_cidr: str, *, nodes: int, others: Mapping[str, str]) -> tuple[Problem, ...]:
    """Say all that is wrong with a new cluster's ranges.

    `others` are ranges that neither may overlap, by what they are: `the VPC's range`; empty ones are left out.
    """
    problems: list[Problem] = []
    pods = _usable("pod_cidr", pod_cidr, problems)
    services = _usable("service_cidr", service_cidr, problems)
    if pods is not None:
        if pods.prefixlen < LARGEST_POD_RANGE:
            problems.append(Problem("pod_cidr", f"{pods} is too large; /{LARGEST_POD_RANGE} is the largest"))
        elif problem := room_problem(pod_cidr, nodes):
            problems.append(Problem("pod_cidr", problem))
    if services is not None and not LARGEST_SERVICE_RANGE <= services.prefixlen <= SMALLEST_SERVICE_RANGE:
        allowed = f"/{LARGEST_SERVICE_RANGE} to /{SMALLEST_SERVICE_RANGE} is allowed"
        size = "large" if services.prefixlen < LARGEST_SERVICE_RANGE else "small"
        problems.append(Problem("service_cidr", f"{services} is too {size}; {allowed}"))
    if pods is not None and services is not None and pods.overlaps(services):
        problems.append(Problem("service_cidr", f"{services} overlaps the pods' range {pods}"))
    for field, network in (("pod_cidr", pods), ("service_cidr", services)):
        problems += _overlaps(field, network, others)
    return tuple(problems)


def _usable(field: str, text: str, problems: list[Problem]) -> IPv4Network | None:
    try:
        network = parse_range(text)
    except ValueError as error:
        problems.append(Problem(field, str(error)))
        return None
    for name, unusable in _UNUSABLE.items():
        if network.overlaps(unusable):
            problems.append(Problem(field, f"{network} has {name} in it, which no pod and no service can have"))
            return None
    return network


def _overlaps(field: str, network: IPv4Network | None, others: Mapping[str, str]) -> list[Problem]:
    if network is None:
        return []
    return [
        Problem(field, f"{network} overlaps {name}, which is {other}")
        for name, other in others.items()
        if other and network.overlaps(IPv4Network(other, strict=False))
    ]


def _what_with_colon(text: str) -> str:
    try:
        IPv6Network(text, strict=False)
    except ValueError:
        return "no range of IPv4 addresses"
    return "an IPv6 range"


def _shown(text: str) -> str:
    return repr(text[:_MAX_SHOWN])
