"""What would stop a cluster before anything of it is made: every problem at once."""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence

from kaas.domain.errors import Problem
from kaas.domain.model import ClusterSpec, GroupSpec, Role
from kaas.drivers.thecloud.errors import translated
from kaas.drivers.thecloud.networks import first_vpc
from kaas.drivers.thecloud.options import DriverOptions
from thecloud.client import Client
from thecloud.launches import InstanceType
from thecloud.network_wire import Vpc
from thecloud.presence import Gone

_ZONES = "instance.zone"
_LEAST_VCPUS = 2
_LEAST_MEMORY_MB = 1700
"""What kubeadm wants of a control plane."""
_VERSION_OF_IMAGE = re.compile(r"(?:^|[-_:])(v\d+\.\d+\.\d+)$")


async def problems_of(
    client: Client, spec: ClusterSpec, options: DriverOptions, *, has_endpoint: bool, deadline: float
) -> Sequence[Problem]:
    """Ask the platform for what it has, and say what does not fit; raises StepError when it does not tell."""
    with translated("asking the platform for its instance types"):
        types = {one.id: one for one in await client.launches.types(deadline=deadline)}
    return (
        *await _of_network(client, spec, deadline=deadline),
        *_of_groups(spec, types),
        *_of_image(spec, options),
        *await _of_zones(client, spec, deadline=deadline),
        *_of_endpoint(spec, has_endpoint=has_endpoint),
    )


async def _of_network(client: Client, spec: ClusterSpec, *, deadline: float) -> list[Problem]:
    if not spec.vpc_id:
        first = await first_vpc(client, deadline=deadline)
        return (
            [Problem("vpc_id", "the tenant has no VPC; make one and name it")]
            if first is None
            else _ranges(spec, first)
        )
    with translated(f"looking at VPC {spec.vpc_id}"):
        found = await client.vpcs.get(spec.vpc_id, deadline=deadline)
    if isinstance(found, Gone):
        return [Problem("vpc_id", f"the tenant has no VPC with the id {spec.vpc_id[:64]!r}")]
    return _ranges(spec, found)


def _ranges(spec: ClusterSpec, vpc: Vpc) -> list[Problem]:
    """Tell which ranges of the cluster the VPC has already: machines could not be reached from pods then."""
    machines = _network(vpc.cidr_block)
    asked = (("pod_cidr", spec.pod_cidr), ("service_cidr", spec.service_cidr))
    wanted = [(field, text, _network(text)) for field, text in asked]
    return [
        Problem(field, f"{text} overlaps with {vpc.cidr_block}, the range of VPC {vpc.name!r}; choose another one")
        for field, text, network in wanted
        if network is not None and machines is not None and network.overlaps(machines)
    ]


def _of_groups(spec: ClusterSpec, types: Mapping[str, InstanceType]) -> Iterator[Problem]:
    workers = {group.name: number for number, group in enumerate(spec.worker_groups)}
    for group in spec.groups:
        is_worker = group.role is Role.WORKER
        where = f"node_groups[{workers[group.name]}]" if is_worker else "control_plane"
        found = types.get(group.instance_type)
        if found is None:
            known = ", ".join(sorted(types)) or "none"
            text = f"the platform has no instance type {group.instance_type[:64]!r}; there are: {known}"
            yield Problem(f"{where}.instance_type", text)
        elif not is_worker and (found.vcpus < _LEAST_VCPUS or found.memory_mb < _LEAST_MEMORY_MB):
            yield Problem(f"{where}.instance_type", _too_small(group, found, types))


def _too_small(group: GroupSpec, found: InstanceType, types: Mapping[str, InstanceType]) -> str:
    fits = [one.id for one in types.values() if one.vcpus >= _LEAST_VCPUS and one.memory_mb >= _LEAST_MEMORY_MB]
    return (
        f"{group.instance_type} has {found.vcpus} vCPU and {found.memory_mb} MB; a control plane needs "
        f"{_LEAST_VCPUS} and {_LEAST_MEMORY_MB}, as have: {', '.join(sorted(fits)) or 'none'}"
    )


def _of_image(spec: ClusterSpec, options: DriverOptions) -> Iterator[Problem]:
    if not spec.image:
        yield Problem("image", "an image is needed that machines boot from")
    elif options.images and spec.image not in options.images:
        text = f"machines cannot boot from {spec.image[:80]!r}; there are: {', '.join(sorted(options.images))}"
        yield Problem("image", text)
    held = _VERSION_OF_IMAGE.search(spec.image)
    if held is not None and spec.version and held[1] != spec.version:
        yield Problem("version", f"image {spec.image!r} holds Kubernetes {held[1]}, and {spec.version} is asked for")


async def _of_zones(client: Client, spec: ClusterSpec, *, deadline: float) -> list[Problem]:
    if not spec.zones:
        return []
    with translated("asking the platform for its zones"):
        if not (await client.features(deadline)).has(_ZONES):
            return [Problem("zones", "the platform has no zones; leave them out")]
        known = {zone.name for zone in await client.capacity.zones(deadline=deadline)}
    return [
        Problem("zones", f"the platform has no zone {zone[:64]!r}; there are: {', '.join(sorted(known))}")
        for zone in spec.zones
        if zone not in known
    ]


def _of_endpoint(spec: ClusterSpec, *, has_endpoint: bool) -> Iterator[Problem]:
    if spec.is_ha and not has_endpoint:
        yield Problem(
            "ha",
            "the platform has no load balancer with an address that passes TCP on, so there can be one control plane "
            "only",
        )


def _network(text: str) -> ipaddress.IPv4Network | None:
    """Give the range; None for what is none, which is not this driver's to say."""
    try:
        return ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return None
