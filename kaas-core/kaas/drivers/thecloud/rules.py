"""From the rules that are wished to those that the platform keeps, and the difference between both. Pure."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kaas.domain.errors import Code, StepError
from kaas.domain.firewall import API_PORT, EVERYBODY, NODE_PORTS
from kaas.domain.ports import SELF, Rule
from kaas.drivers.thecloud.options import DriverOptions
from thecloud.network_wire import SecurityRule
from thecloud.security_groups import INGRESS

_SSH_PORT = 22
_PORT_MAX = 65535
_WITH_PORTS = frozenset({"tcp", "udp"})
_WITHOUT_PORTS = frozenset({"icmp", "arp", "all"})


@dataclass(frozen=True, slots=True)
class Line:
    """A rule as the platform keeps it."""

    protocol: str
    port_min: int
    port_max: int
    cidr: str


LAST = Line("arp", 0, 0, EVERYBODY)
"""Written after all others, so that a group that has it is known to be whole."""


def lines_of(rules: Iterable[Rule], options: DriverOptions, machines: Iterable[str]) -> tuple[Line, ...]:
    """Give what the platform is to keep: each rule once, `SELF` as the address of each machine, and `LAST`.

    Raises StepError (INVALID) for a rule that the platform would keep without understanding it.
    """
    addresses = sorted({f"{address}/32" for address in machines if address})
    found: dict[Line, None] = {}
    for rule in (*rules, *_of_installation(options)):
        for source in addresses if rule.source == SELF else (rule.source,):
            line = _line(rule, source)
            if line != LAST:
                found[line] = None
    return (*found, LAST)


def difference(wanted: Sequence[Line], kept: Iterable[SecurityRule]) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """Give the lines to add and the ids of the rules to take away, doubles among them; egress is not looked at."""
    have: set[Line] = set()
    extra: list[str] = []
    for rule in kept:
        if rule.direction != INGRESS:
            continue
        line = Line(rule.protocol, rule.port_min, rule.port_max, _canonical(rule.cidr) or rule.cidr)
        if line in have or line not in wanted:
            extra.append(rule.id)
        have.add(line)
    return tuple(line for line in wanted if line not in have), tuple(extra)


def is_whole(kept: Iterable[SecurityRule]) -> bool:
    """Tell whether a group was written to its end once."""
    return any(rule.direction == INGRESS and rule.protocol == LAST.protocol for rule in kept)


def _of_installation(options: DriverOptions) -> tuple[Rule, ...]:
    """Give the rules that every cluster's group has besides its own."""
    ways = [Rule("tcp", port, port, cidr) for cidr in options.conductor_sources for port in (_SSH_PORT, API_PORT)]
    for cidr in options.balancer_sources:
        ways += [Rule("tcp", API_PORT, API_PORT, cidr), Rule("tcp", *NODE_PORTS, cidr), Rule("udp", *NODE_PORTS, cidr)]
    return tuple(ways)


def _line(rule: Rule, source: str) -> Line:
    cidr = _canonical(source)
    if cidr is None:
        raise _wrong(rule, f"its source {source[:64]!r} is no IPv4 network, and the platform keeps no other")
    if rule.protocol in _WITHOUT_PORTS:
        if rule.port_min or rule.port_max:
            raise _wrong(rule, f"protocol {rule.protocol} has no ports")
    elif rule.protocol not in _WITH_PORTS:
        raise _wrong(rule, "its protocol is none of tcp, udp, icmp, arp, all")
    elif not 1 <= rule.port_min <= rule.port_max <= _PORT_MAX:
        raise _wrong(rule, f"{rule.port_min} to {rule.port_max} is no range of ports")
    return Line(rule.protocol, rule.port_min, rule.port_max, cidr)


def _canonical(cidr: str) -> str | None:
    try:
        return str(ipaddress.IPv4Network(cidr, strict=False))
    except ValueError:
        return None


def _wrong(rule: Rule, why: str) -> StepError:
    what = rule.description or f"{rule.protocol} {rule.port_min}-{rule.port_max}"
    return StepError(Code.INVALID, f"the rule for {what} cannot be kept by the platform: {why}")
