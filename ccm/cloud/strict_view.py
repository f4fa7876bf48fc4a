"""How the ports of a service look to the controllers: as one load balancer with one group (pure).

The platform stores less than the controllers want to see again: no names of listeners, no tags. What was asked for is
remembered in `Told` and shown for as long as the platform does what it says; after a restart of the program it is not
known, a plan then writes the group once more, and that write finds everything in place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ccm.cloud.strict_ports import Port
from ccm.model import Algorithm, Balancer, BalancerAddress, BalancerState, Group, Listener, Protocol, Shape, Target
from ccm.names import CLUSTER_TAG, SERVICE_UID_TAG
from thecloud.network_wire import LoadBalancerStatus

NO_PORT = 0
"""Target port of a listener that has to be written again: no listener that is wanted has it."""
_ALGORITHMS = frozenset(one.value for one in Algorithm)


@dataclass(frozen=True, slots=True)
class Told:
    """What was asked for and cannot be read back."""

    name: str = ""
    size: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    listeners: Mapping[int, Listener] = field(default_factory=dict)
    """By port."""


def shown(uid: str, ports: Sequence[Port], told: Told, *, cluster_id: str, address: str) -> Balancer:
    """Give the load balancer that stands for these ports, at least one."""
    targets = union(ports)
    created = [one.balancer.created_at for one in ports if one.balancer.created_at is not None]
    return Balancer(
        id=uid,
        name=told.name or uid,
        state=_state(ports),
        shape=Shape(vpc_id=ports[0].balancer.vpc_id or ""),
        size=told.size,
        tags={**told.tags, CLUSTER_TAG: cluster_id, SERVICE_UID_TAG: uid},
        addresses=(BalancerAddress(address),) if address else (),
        groups=(Group(name=uid, listeners=_listeners(ports, targets, told), targets=targets),),
        created_at=min(created, default=None),
    )


def union(ports: Sequence[Port]) -> tuple[Target, ...]:
    """Give every instance that one of the ports sends to."""
    weights: dict[str, int] = {}
    for port in ports:
        for one in port.targets:
            weights.setdefault(one.instance_id, one.weight)
    return tuple(Target(instance_id, weight) for instance_id, weight in sorted(weights.items()))


def target_port_of(port: Port) -> int:
    """Give the one port that it sends to on its targets; NO_PORT when there are several, or no targets."""
    numbers = {one.port for one in port.targets}
    return numbers.pop() if len(numbers) == 1 else NO_PORT


def as_is(ports: Sequence[Port], told: Told) -> tuple[Listener, ...]:
    """Give the listener that each port was made for; its target port is NO_PORT where nothing tells it."""
    return tuple(told.listeners.get(one.number) or _plain(one, target_port_of(one)) for one in ports)


def _listeners(ports: Sequence[Port], targets: Sequence[Target], told: Told) -> tuple[Listener, ...]:
    by_number: dict[int, list[Port]] = {}
    for port in ports:
        by_number.setdefault(port.number, []).append(port)
    read = (
        # The oldest stands for all; several are shown as one that has to be written again.
        _listener(same[0], targets, told.listeners.get(number), is_alone=len(same) == 1)
        for number, same in by_number.items()
    )
    return tuple(one for one in read if one is not None)


def _listener(port: Port, targets: Sequence[Target], told: Listener | None, *, is_alone: bool) -> Listener | None:
    if port.algorithm not in _ALGORITHMS:
        # None of ours has it: as if there were none, so that it is made anew.
        return None
    is_whole = is_alone and {Target(one.instance_id, one.weight) for one in port.targets} == set(targets)
    # Without targets nothing shows the target port, and nothing is wrong with it either.
    if (
        told is not None
        and is_whole
        and told.algorithm.value == port.algorithm
        and (not targets or told.target_port == target_port_of(port))
    ):
        return told
    return _plain(port, target_port_of(port) if is_whole else NO_PORT)


def _plain(port: Port, target_port: int) -> Listener:
    known = port.algorithm in _ALGORITHMS
    return Listener(
        name=f"http-{port.number}",
        protocol=Protocol.HTTP,
        port=port.number,
        target_port=target_port,
        algorithm=Algorithm(port.algorithm) if known else Algorithm.ROUND_ROBIN,
    )


def _state(ports: Sequence[Port]) -> BalancerState:
    states = {one.balancer.status for one in ports}
    if states == {LoadBalancerStatus.ACTIVE}:
        return BalancerState.ACTIVE
    known = {LoadBalancerStatus.ACTIVE, LoadBalancerStatus.CREATING}
    return BalancerState.CREATING if states <= known else BalancerState.UNKNOWN
