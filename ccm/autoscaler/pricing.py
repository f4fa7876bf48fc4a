"""What nodes and pods cost, from the platform's own price list.

A pod costs its share of the machine that it fits best: the larger of its shares of cores and memory, of the type for
which that is cheapest.
"""

import asyncio
from collections.abc import Mapping
from decimal import Decimal

from google.protobuf.message import DecodeError

from ccm.autoscaler.model import MachineType
from ccm.autoscaler.ports import AutoscalerError, Machines, Problem
from ccm.autoscaler.quantity import parse_quantity
from ccm.names import OLD_TYPE_LABEL, TYPE_LABEL
from ccm.pb import kubernetes_parts_pb2 as k8s
from ccm.ports import CloudError

_FRESH_S = 3600.0
_HOUR_S = 3600.0
_MIB = 1 << 20


class Prices:
    """Prices of the platform's instance types, asked once an hour. Methods raise AutoscalerError."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._types: Mapping[str, MachineType] = {}
        self._stale_at = 0.0

    async def of_node(self, labels: Mapping[str, str], duration_s: float, *, deadline: float) -> float:
        """Give what a node with these labels costs for this time."""
        name = labels.get(TYPE_LABEL) or labels.get(OLD_TYPE_LABEL, "")
        known = (await self._known(deadline)).get(name)
        if known is None or known.price_per_hour <= 0:
            raise AutoscalerError(Problem.UNIMPLEMENTED, f"the platform has no price for instance type {name[:80]!r}")
        return known.price_per_hour * duration_s / _HOUR_S

    async def of_pod(self, pod: bytes, duration_s: float, *, deadline: float) -> float:
        """Give the least that a serialised Pod costs for this time."""
        cores, memory = _requests(pod)
        prices = [
            one.price_per_hour * float(max(cores / one.vcpus, memory / (one.memory_mb * _MIB)))
            for one in (await self._known(deadline)).values()
            if one.price_per_hour > 0 and one.vcpus > 0 and one.memory_mb > 0
        ]
        if not prices:
            raise AutoscalerError(Problem.UNIMPLEMENTED, "the platform has no prices")
        return min(prices) * duration_s / _HOUR_S

    async def _known(self, deadline: float) -> Mapping[str, MachineType]:
        now = asyncio.get_running_loop().time()
        if now >= self._stale_at:
            try:
                types = await self._machines.types(deadline=deadline)
            except CloudError as error:
                raise AutoscalerError(Problem.UNAVAILABLE, f"cannot read the platform's prices: {error}") from error
            self._types, self._stale_at = {one.name: one for one in types}, now + _FRESH_S
        return self._types


def _requests(raw: bytes) -> tuple[Decimal, Decimal]:
    """Give the cores and bytes of memory that the scheduler reserves for a pod."""
    try:
        spec = k8s.Pod.FromString(raw).spec
        return _request(spec, "cpu"), _request(spec, "memory")
    except (DecodeError, ValueError) as error:
        raise AutoscalerError(Problem.INVALID, f"the pod cannot be read: {error}") from error


def _request(spec: k8s.PodSpec, resource: str) -> Decimal:
    # Init containers run one after another, before the others.
    first = max((_amount(one.resources.requests, resource) for one in spec.initContainers), default=Decimal(0))
    together = sum((_amount(one.resources.requests, resource) for one in spec.containers), Decimal(0))
    return max(first, together) + _amount(spec.overhead, resource)


def _amount(amounts: Mapping[str, k8s.Quantity], resource: str) -> Decimal:
    return parse_quantity(amounts[resource].string) if resource in amounts else Decimal(0)
