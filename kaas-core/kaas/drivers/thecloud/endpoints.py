"""The one address of a cluster's API: a load balancer that passes TCP on to the control planes (extended tier)."""

import hashlib
from collections.abc import Mapping, Sequence

from kaas.domain.errors import Code, StepError
from kaas.domain.firewall import EVERYBODY
from kaas.domain.names import CLUSTER_LABEL
from kaas.domain.ports import Condition, EndpointFacts, EndpointWish, External, Kind, MachineFacts
from kaas.drivers.thecloud import marks
from kaas.drivers.thecloud.errors import code_of, translated
from kaas.drivers.thecloud.machines import Machines
from kaas.drivers.thecloud.networks import vpc_id_of
from kaas.drivers.thecloud.options import DriverOptions
from thecloud.client import Client
from thecloud.errors import Conflict, Missing, PlatformError, Refused
from thecloud.loadbalancers import ADDRESS, LISTENERS, TAGS, TARGETS_PUT
from thecloud.network_wire import (
    HealthCheck,
    Listener,
    LoadBalancer,
    LoadBalancerStatus,
    Target,
    TargetGroup,
)
from thecloud.presence import Gone

NEEDED = frozenset({LISTENERS, TARGETS_PUT, TAGS, ADDRESS})
"""Without one of these no load balancer can be a cluster's endpoint: it has no address, or is not known to be ours."""

_GROUP = "kubernetes-api"
_LISTENER = "api"
_IDLE_S = 3600
"""As long as a quiet `kubectl exec` or `logs --follow` stays open."""
_CHECK_EVERY_S = 2

_CONDITIONS: Mapping[LoadBalancerStatus, Condition] = {
    LoadBalancerStatus.CREATING: Condition.PENDING,
    LoadBalancerStatus.ACTIVE: Condition.READY,
    # It becomes ACTIVE by itself once it can be made.
    LoadBalancerStatus.ERROR: Condition.PENDING,
    LoadBalancerStatus.DELETED: Condition.LEAVING,
    LoadBalancerStatus.UNKNOWN: Condition.PENDING,
}


class Endpoints:
    """Load balancers with the cluster's tag."""

    def __init__(self, client: Client, machines: Machines, options: DriverOptions) -> None:
        self._client = client
        self._machines = machines
        self._options = options

    async def is_offered(self, *, deadline: float) -> bool:
        """Tell whether the platform has load balancers that can be an endpoint."""
        with translated("asking the platform what it offers"):
            return (await self._client.features(deadline)).names >= NEEDED

    async def find(self, cluster_id: str, name: str, *, deadline: float) -> Sequence[External]:
        """Give the cluster's endpoints, the oldest first; a platform that offers none has none."""
        if not await self.is_offered(deadline=deadline):
            return ()
        mark = (CLUSTER_LABEL, cluster_id)
        with translated(f"looking for the endpoint of cluster {cluster_id}"):
            found = await self._client.load_balancers.list(tag=mark, deadline=deadline)
        marked = [_external(one) for one in reversed(found) if one.tags.get(CLUSTER_LABEL) == cluster_id]
        return tuple(one for one in marked if name in ("", one.name))

    async def create(self, cluster_id: str, wish: EndpointWish, *, deadline: float) -> External:
        """Make it, or let the one that is there become what is wished; it has its address in the answer."""
        if not await self.is_offered(deadline=deadline):
            raise StepError(
                Code.NOT_OFFERED,
                "the platform has no load balancer with an address that passes TCP on; a cluster here has one control "
                "plane, which is its own endpoint",
            )
        found = await self.find(cluster_id, wish.name, deadline=deadline)
        if found:
            return await self.update(found[0], wish, deadline=deadline)
        vpc_id = await vpc_id_of(self._client, wish.vpc_id, deadline=deadline)
        listener = await self._listener(cluster_id, wish, vpc_id, deadline=deadline)
        with translated(f"making endpoint {wish.name!r}", read=_code_of):
            made = await self._client.load_balancers.create(
                name=wish.name,
                idempotency_key=_key(cluster_id, wish.name),
                vpc_id=vpc_id,
                tags={CLUSTER_LABEL: cluster_id},
                groups=(TargetGroup(name=_GROUP, listeners=(listener,), targets=_targets(wish)),),
                deadline=deadline,
            )
        return _external(made)

    async def update(self, external: External, wish: EndpointWish, *, deadline: float) -> External:
        """Set targets, port and sources in one write, if they differ."""
        with translated(f"looking at endpoint {external.name!r}"):
            found = await self._client.load_balancers.get(external.id, deadline=deadline)
        if isinstance(found, Gone):
            raise StepError(Code.NOT_READY, f"endpoint {external.name!r} ({external.id}) is gone; it is made anew")
        cluster_id = marks.check_labels(external, found.tags)
        listener = await self._listener(cluster_id, wish, found.vpc_id or "", deadline=deadline)
        if _is_so(found, listener, wish):
            return _external(found)
        with translated(f"changing endpoint {external.name!r}", read=_code_of):
            changed = await self._client.load_balancers.put_group(
                found.id, _GROUP, listeners=(listener,), targets=_targets(wish), deadline=deadline
            )
        return _external(changed)

    async def delete(self, external: External, *, deadline: float) -> None:
        """Delete it, if it carries the cluster's tag, which the platform compares."""
        with translated(f"deleting endpoint {external.name!r}"):
            found = await self._client.load_balancers.get(external.id, deadline=deadline)
            if isinstance(found, Gone):
                return
            cluster_id = marks.check_labels(external, found.tags)
            try:
                await self._client.load_balancers.delete(
                    found.id, guard_tag=(CLUSTER_LABEL, cluster_id), deadline=deadline
                )
            except Missing:
                return

    async def _listener(self, cluster_id: str, wish: EndpointWish, vpc_id: str, *, deadline: float) -> Listener:
        return Listener(
            name=_LISTENER,
            protocol="tcp",
            port=wish.port,
            target_port=wish.port,
            idle_timeout_s=_IDLE_S,
            allowed_sources=await self._sources(cluster_id, wish, vpc_id, deadline=deadline),
            health_check=HealthCheck(
                protocol="tcp", port=wish.port, interval_s=_CHECK_EVERY_S, timeout_s=_CHECK_EVERY_S, rise=1
            ),
        )

    async def _sources(self, cluster_id: str, wish: EndpointWish, vpc_id: str, *, deadline: float) -> tuple[str, ...]:
        """Give who may connect; empty for everybody. Nodes and conductors always may."""
        if not wish.sources or EVERYBODY in wish.sources:
            return ()
        with translated("looking at the VPC"):
            vpc = await self._client.vpcs.get(vpc_id, deadline=deadline)
        network = "" if isinstance(vpc, Gone) else vpc.cidr_block
        machines = [one.facts for one in await self._machines.find(cluster_id, "", deadline=deadline)]
        addresses = [one.address for one in machines if isinstance(one, MachineFacts) and one.address]
        own = (network, *self._options.conductor_sources, *(f"{address}/32" for address in sorted(addresses)))
        return tuple(dict.fromkeys(source for source in (*wish.sources, *own) if source))


def _external(one: LoadBalancer) -> External:
    group = next((group for group in one.groups if group.name == _GROUP), TargetGroup(name=_GROUP))
    listener = next(iter(group.listeners), None)
    host = next((address.address for address in one.addresses), "")
    condition = _CONDITIONS[one.status] if host else Condition.PENDING
    return External(
        kind=Kind.ENDPOINT,
        id=one.id,
        name=one.name,
        condition=condition,
        message=one.status_reason,
        facts=EndpointFacts(
            host=host,
            port=listener.port if listener is not None else EndpointFacts().port,
            targets=tuple(target.instance_id for target in group.targets),
        ),
        cluster_id=one.tags.get(CLUSTER_LABEL, ""),
    )


def _is_so(found: LoadBalancer, listener: Listener, wish: EndpointWish) -> bool:
    group = next((group for group in found.groups if group.name == _GROUP), None)
    if group is None or len(group.listeners) != 1 or len(group.targets) != len(wish.targets):
        return False
    (kept,) = group.listeners
    return (
        (kept.protocol, kept.port, kept.target_port) == (listener.protocol, listener.port, listener.target_port)
        and set(kept.allowed_sources) == set(listener.allowed_sources)
        and {target.instance_id for target in group.targets} == set(wish.targets)
    )


def _targets(wish: EndpointWish) -> tuple[Target, ...]:
    return tuple(Target(instance_id=one) for one in dict.fromkeys(wish.targets))


def _key(cluster_id: str, name: str) -> str:
    """Give the idempotency key: what is changed later is no part of it, so that there is one for one name."""
    return hashlib.sha256(f"endpoint\0{cluster_id}\0{name}".encode()).hexdigest()


def _code_of(error: PlatformError) -> Code:
    if isinstance(error, Conflict) and error.reason == "key_reused":
        # A try before this one made it otherwise, and the listing did not show it yet.
        return Code.PLATFORM_UNAVAILABLE
    if isinstance(error, Refused) and error.details.get("instance_id"):
        # A machine that has gone meanwhile; who asks next time knows it.
        return Code.NOT_READY
    return code_of(error)
