"""From rows to what the proxies have to do: addresses, listeners and where each sends, without a name of any program.

Belongs here: resolving references once. Does not: configurations (`haproxy.py`, `nginx.py`).
"""

import hashlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from devcloud.network_rows import CERTIFICATES, STRICT_TARGETS, Balancer, Listener
from devcloud.rows import INSTANCES

STRICT_GROUP = "strict"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a listener sends."""

    instance_id: str
    address: str
    port: int
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """A listener with its endpoints; `key` names it in configurations and stays the same while it has its name."""

    group: str
    listener: Listener
    endpoints: tuple[Endpoint, ...]

    @property
    def key(self) -> str:
        """A word that every configuration can have as a name."""
        return hashlib.sha256(f"{self.group}/{self.listener.name}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Plan:
    """The data path of one load balancer."""

    id: str
    addresses: tuple[str, ...]
    routes: tuple[Route, ...]
    size: str = "small"
    certificates: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By id: the chain and its key, in PEM form."""
    owns_addresses: bool = True
    """False: it listens at an address that is the platform's."""


def plan_of(db: sqlite3.Connection, balancer: Balancer) -> Plan:
    """Give the data path that a load balancer of the extended tier wants; instances without an address come later."""
    found: dict[str, str] = {}
    routes = []
    certificates = {}
    for group in balancer.groups:
        for target in group.targets:
            instance = INSTANCES.get(db, target.instance_id)
            if instance is not None and instance.private_ip:
                found[target.instance_id] = instance.private_ip
        for listener in group.listeners:
            endpoints = tuple(
                Endpoint(target.instance_id, found[target.instance_id], listener.target_port, target.weight)
                for target in group.targets
                if target.instance_id in found
            )
            routes.append(Route(group.name, listener, endpoints))
            for certificate_id in listener.certificate_ids:
                certificate = CERTIFICATES.get(db, certificate_id)
                if certificate is not None:
                    pem = f"{certificate.certificate_pem.strip()}\n{certificate.private_key_pem.strip()}\n"
                    certificates[certificate_id] = pem
    addresses = tuple(one.address for one in balancer.addresses)
    return Plan(balancer.id, addresses, tuple(routes), balancer.size, certificates)


def strict_plan_of(db: sqlite3.Connection, balancer: Balancer, address: str) -> Plan:
    """Give the data path of a load balancer of the strict tier: HTTP at the platform's own address."""
    endpoints = []
    for target in STRICT_TARGETS.all(db, "lb_id = ?", balancer.id):
        instance = INSTANCES.get(db, target.instance_id)
        if instance is not None and instance.private_ip:
            endpoints.append(Endpoint(instance.id, instance.private_ip, target.port, min(target.weight, 256)))
    algorithm: Literal["round-robin", "least-conn"] = (
        "least-conn" if balancer.algorithm == "least-conn" else "round-robin"
    )
    listener = Listener(
        name="http", protocol="http", port=balancer.port, target_port=balancer.port, algorithm=algorithm
    )
    route = Route(STRICT_GROUP, listener, tuple(endpoints))
    return Plan(balancer.id, (address,), (route,), owns_addresses=False)
