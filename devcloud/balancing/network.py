"""What load balancers need of the platform's network namespace: addresses on the bridge, and a way back for clients'.

Belongs here: commands for ip(8) and iptables(8). Does not: who has which address.
"""

import logging
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network

import msgspec

from devcloud import commands
from devcloud.errors import BackendError
from devcloud.nspawn.network import BRIDGE, Network

_log = logging.getLogger(__name__)
_COMMAND_S = 20.0
_WHOLE = 32
"""Prefix length of a single address."""
_MARK = "0x7c1b"
_TABLE = "7171"
_RULE = ("PREROUTING", "-m", "socket", "--transparent", "-j", "MARK", "--set-mark", _MARK)


_REFUSED_DATAGRAM = (
    *("INPUT", "-p", "icmp", "--icmp-type", "destination-unreachable"),
    # The protocol of the packet that the message tells of is in its 18th byte.
    *("-m", "u32", "--u32", "0>>22&0x3C@14&0xFF=17", "-j", "DROP"),
)


class _Address(msgspec.Struct, frozen=True):
    local: str = ""
    prefixlen: int = 0
    family: str = ""


class _Link(msgspec.Struct, frozen=True):
    addr_info: list[_Address] = []


async def set_addresses(network: Network, wanted: Collection[str]) -> None:
    """Let the bridge have these addresses of load balancers and no others; raises BackendError."""
    text = await commands.check(
        ["ip", "-n", network.name, "-j", "-4", "addr", "show", "dev", BRIDGE], timeout_s=_COMMAND_S
    )
    lines = plan_addresses(text, network.reserved, wanted)
    if lines:
        batch = ("\n".join(lines) + "\n").encode()
        await commands.check(["ip", "-n", network.name, "-batch", "-"], timeout_s=_COMMAND_S, stdin=batch)


def plan_addresses(shown: str, pool: IPv4Network | None, wanted: Collection[str]) -> list[str]:
    """Give the commands for ip(8) that lead from what it shows of the bridge to the wanted addresses of the pool."""
    there = {
        one.local
        for link in msgspec.json.decode(shown, type=list[_Link])
        for one in link.addr_info
        if one.family == "inet" and one.prefixlen == _WHOLE
    }
    ours = {address for address in there if pool is not None and IPv4Address(address) in pool}
    gone = [f"addr del {address}/32 dev {BRIDGE}" for address in sorted(ours - set(wanted))]
    return gone + [f"addr replace {address}/32 dev {BRIDGE}" for address in sorted(set(wanted) - there)]


async def make_way_back(network: Network) -> bool:
    """Let answers to clients, whose addresses the proxies use as their own, come back to the proxies.

    False where this host cannot do that.
    """
    inside = (*within(network), "iptables", "-w", "5", "-t", "mangle")
    choice = ("ip", "-n", network.name, "rule")
    chosen = ("fwmark", _MARK, "lookup", _TABLE)
    steps = (
        ("ip", "-n", network.name, "route", "replace", "local", "0.0.0.0/0", "dev", "lo", "table", _TABLE),
        (*choice, "add", *chosen),
        # Last: where it is, the others are.
        (*inside, "-A", *_RULE),
    )
    try:
        if (await commands.run([*inside, "-C", *_RULE], timeout_s=_COMMAND_S)).exit_code == 0:
            return True
        await commands.run([*choice, "del", *chosen], timeout_s=_COMMAND_S)
        for step in steps:
            await commands.check(step, timeout_s=_COMMAND_S)
    except BackendError as error:
        _log.info("load balancers cannot keep the client's address here: %s", error)
        return False
    return True


async def ignore_refusals(network: Network) -> None:
    """Keep from the proxies that a datagram of theirs was refused: whether a target is there is for its check to say.

    nginx never reads from a session again that was refused once, and keeps it for as long as its client goes on.
    """
    inside = (*within(network), "iptables", "-w", "5", "-t", "mangle")
    try:
        if (await commands.run([*inside, "-C", *_REFUSED_DATAGRAM], timeout_s=_COMMAND_S)).exit_code:
            await commands.check([*inside, "-A", *_REFUSED_DATAGRAM], timeout_s=_COMMAND_S)
    except BackendError as error:
        _log.info("UDP sessions that were refused once stay broken here until they end: %s", error)


def within(network: Network) -> tuple[str, ...]:
    """Give the beginning of a command line that runs in the namespace."""
    return ("nsenter", f"--net={network.path}", "--")
