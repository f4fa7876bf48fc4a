"""Where the cluster's API is reached: a load balancer, or without one the only control plane itself."""

from dataclasses import dataclass

from kaas.bootstrap.kubeadm import API_PORT
from kaas.domain import names
from kaas.domain.errors import Code, StepError
from kaas.domain.model import Role
from kaas.domain.ports import Condition, EndpointFacts, EndpointWish, External, Kind
from kaas.reconcile.step import NOTHING, Result, Work
from kaas.reconcile.steps import outside
from kaas.reconcile.steps.access import node_of
from kaas.reconcile.steps.base import BaseStep, pause
from kaas.reconcile.steps.machine import is_alive

_HOST, _PORT = "host", "port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(BaseStep):
    """There is one address for all control planes, if the platform has such a thing; its result says which.

    It stays the same for as long as the cluster lives. It need not lead anywhere yet: `EndpointTargets` waits for that.
    """

    poll_s: float = 1.0

    async def check(self, work: Work) -> Result | None:
        """Find it, with an address; nothing is to be made where the platform has none."""
        if _is_its_own(work):
            return {_HOST: "", _PORT: API_PORT}
        found = await outside.look(work, Kind.ENDPOINT, _name(work))
        if found is None:
            _assure_new(work)
            if await work.tools.driver.offers_endpoint(deadline=work.deadline):
                return None
            if work.snapshot.cluster.spec.is_ha:
                raise StepError(
                    Code.NOT_OFFERED,
                    "the platform has no load balancers, which several control planes need; create it without --ha",
                )
            return {_HOST: "", _PORT: API_PORT}
        return _facts(found)

    async def apply(self, work: Work) -> None:
        """Make it, or make one that failed anew."""
        found = await outside.look(work, Kind.ENDPOINT, _name(work))
        if found is not None and found.condition is Condition.FAILED:
            await work.tools.driver.delete(found, deadline=work.deadline)
            raise StepError(
                Code.PLATFORM_UNAVAILABLE, f"endpoint {found.name} failed: {found.message}; it is made anew"
            )
        if found is None:
            await outside.make(work, _wish(work, ()), Kind.ENDPOINT, step=self.key)

    async def verify(self, work: Work) -> Result:
        """Wait for its address."""
        if _is_its_own(work):
            return {_HOST: "", _PORT: API_PORT}
        while True:
            found = await outside.look(work, Kind.ENDPOINT, _name(work))
            if found is None and not await work.tools.driver.offers_endpoint(deadline=work.deadline):
                return {_HOST: "", _PORT: API_PORT}
            if found is not None and (result := _facts(found)) is not None:
                await outside.adopt(work, found, step=self.key)
                return result
            if (found is not None and found.condition is Condition.FAILED) or not await pause(work, self.poll_s):
                seen = "not there" if found is None else f"{found.condition}, {found.message or 'without an address'}"
                raise StepError(Code.PLATFORM_UNAVAILABLE, f"endpoint {_name(work)}: {seen}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointTargets(BaseStep):
    """The address leads to these control planes and no others; from the first time on the cluster is known by it."""

    endpoint: str
    """Key of the step that made the address."""
    planes: tuple[str, ...]
    """Names of nodes."""
    leaving: tuple[str, ...] = ()
    """Those of them that are about to leave: the address leads to them for as long as they have a machine."""
    poll_s: float = 1.0

    async def apply(self, work: Work) -> None:
        """Let the address lead to them, and write it down."""
        made = work.results[self.endpoint]
        host = str(made[_HOST]) or node_of(work, self.planes[0]).address
        endpoint = f"{host}:{made[_PORT]}"
        if endpoint != work.snapshot.cluster.endpoint:
            _assure_new(work, seen=f"is at {endpoint} now")
        if made[_HOST]:
            await self._aim(work)
        if endpoint != work.snapshot.cluster.endpoint:
            await work.tools.store.update_cluster(work.lease, endpoint=endpoint)

    async def verify(self, work: Work) -> Result:
        """Wait until the address leads on; whoever needs the API behind it asks for that. Raises StepError."""
        if not work.results[self.endpoint][_HOST]:
            return NOTHING
        while True:
            found = await outside.look(work, Kind.ENDPOINT, _name(work))
            if found is not None and found.condition is Condition.READY:
                return NOTHING
            if found is None or found.condition is Condition.FAILED or not await pause(work, self.poll_s):
                seen = "not there" if found is None else f"{found.condition}, {found.message or 'without a reason'}"
                raise StepError(Code.PLATFORM_UNAVAILABLE, f"endpoint {_name(work)} leads nowhere: it is {seen}")

    async def _aim(self, work: Work) -> None:
        found = await outside.look(work, Kind.ENDPOINT, _name(work))
        if found is None:
            raise StepError(Code.PLATFORM_UNAVAILABLE, f"endpoint {_name(work)} is not to be seen on the platform")
        gone = [name for name in self.leaving if not await is_alive(work, name)]
        nodes = [node_of(work, name) for name in self.planes if name not in gone]
        targets = tuple(sorted(node.instance_id for node in nodes if node.instance_id))
        # What differs besides the targets is put right too, if somebody changed it outside.
        await work.tools.driver.update(found, _wish(work, targets), deadline=work.deadline)


def _is_its_own(work: Work) -> bool:
    """Tell whether a cluster that has run is known by the address of its only control plane, which stays so."""
    cluster = work.snapshot.cluster
    planes = [node for node in work.snapshot.nodes if node.role is Role.CONTROL_PLANE]
    return bool(cluster.version) and cluster.endpoint in {f"{one.address}:{API_PORT}" for one in planes if one.address}


def _assure_new(work: Work, *, seen: str = "is not to be seen on the platform") -> None:
    """Raise StepError when a cluster has run behind an address: its certificates are for that one and no other."""
    cluster = work.snapshot.cluster
    if cluster.version and cluster.endpoint:
        raise StepError(
            Code.PLATFORM_UNAVAILABLE,
            f"endpoint {_name(work)}, by which the cluster is known at {cluster.endpoint}, {seen}; none is made in its "
            "place, because certificates and kubeconfigs are for that address: bring it back, or make the cluster anew",
        )


def _name(work: Work) -> str:
    return names.endpoint(work.snapshot.cluster.name, work.snapshot.cluster.id)


def _wish(work: Work, targets: tuple[str, ...]) -> EndpointWish:
    spec = work.snapshot.cluster.spec
    return EndpointWish(_name(work), spec.vpc_id, API_PORT, targets, spec.access.api)


def _facts(found: External) -> Result | None:
    facts = found.facts
    if not isinstance(facts, EndpointFacts) or not facts.host or found.condition is Condition.FAILED:
        return None
    return {_HOST: facts.host, _PORT: facts.port}
