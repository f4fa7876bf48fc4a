"""The network of the instances: which address is whose. Not here: making a network (`nspawn/network.py`)."""

import ipaddress
import sqlite3
from ipaddress import IPv4Network

from devcloud.errors import QuotaError
from devcloud.settings import Settings

_GATEWAY = 1
_FIRST_HOST = 5
_STRICT_PUBLIC = IPv4Network("100.64.0.0/10")
"""Where the published platform's elastic IPs come from (platform contract 11)."""
_POD_PREFIX = 24
_POD_ADDRESSES = 1 << (32 - _POD_PREFIX)


def gateway_of(network: IPv4Network) -> str:
    """Give the address at which the network's instances reach the platform."""
    return str(network[_GATEWAY])


def next_address(db: sqlite3.Connection, network: IPv4Network, reserved: IPv4Network | None = None) -> str:
    """Give an address of the network that no instance has, none of `reserved`; raises QuotaError when there is none."""
    taken = {row[0] for row in db.execute("SELECT private_ip FROM instances")}
    for index in range(_FIRST_HOST, network.num_addresses - 1):
        address = network[index]
        if str(address) not in taken and (reserved is None or address not in reserved):
            return str(address)
    raise QuotaError(f"addresses of network {network}")


def next_public_address(db: sqlite3.Connection, settings: Settings) -> str:
    """Give an address that no load balancer and no tenant has; raises QuotaError when there is none."""
    pool = _STRICT_PUBLIC if settings.is_strict else settings.lb_range
    if pool is None:
        raise QuotaError(f"addresses of load balancers: network {settings.network} is too small to set some apart")
    taken = {row[0] for row in db.execute("SELECT public_ip FROM elastic_ips")}
    taken |= {
        row[0] for row in db.execute("SELECT json_extract(value, '$.address') FROM balancers, json_each(addresses)")
    }
    edges = {pool[0], pool[-1], settings.network[0], settings.network[_GATEWAY], settings.network[-1]}
    for address in pool:
        if address not in edges and str(address) not in taken:
            return str(address)
    raise QuotaError(f"addresses of load balancers ({pool})")


def pod_range(address: str, network: IPv4Network, pods: IPv4Network | None) -> str:
    """Give the range of pod addresses behind an instance: the /24 whose index is that of its address; empty for none.

    A cluster that takes its pods' addresses from there needs no routes of its own.
    """
    if pods is None:
        return ""
    index = int(ipaddress.ip_address(address)) - int(network.network_address)
    return f"{pods.network_address + index * _POD_ADDRESSES}/{_POD_PREFIX}"


def fits(network: IPv4Network, pods: IPv4Network) -> bool:
    """Tell whether there is a range of pod addresses for every address of the network."""
    return pods.num_addresses >= network.num_addresses * _POD_ADDRESSES and not pods.overlaps(network)
