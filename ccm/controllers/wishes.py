"""What a service wants, worked out with what only the platform and the API server can tell: certificates, the offer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ccm.annotations.kinds import CertificateRef
from ccm.annotations.parsing import Values, parse
from ccm.annotations.table import NODE_SELECTOR, TLS_CERT
from ccm.controllers.certificates import Certificates, UnusableCertificateError
from ccm.controllers.service_writes import ServiceWrites
from ccm.desired.loadbalancer import desired_balancer
from ccm.desired.nodeset import NodeSet
from ccm.desired.protocols import certificate_references
from ccm.desired.sharing import host_of
from ccm.desired.wanted import Cluster, Wanted
from ccm.kube.model import Service
from ccm.model import Target
from ccm.notices import Findings, Notice, Reason
from ccm.ports import CloudBalancers

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a service wants, and everything that there is to tell about it."""

    wanted: Wanted | None
    """None when something is refused."""
    targets: tuple[Target, ...] = ()
    notices: tuple[Notice, ...] = ()
    follows_nodes: bool = True
    """False when nobody knows which nodes the service means: what is there keeps the targets that it has."""


class Wishes:
    """Works out wishes.

    `find` gives a service by its key, `nodes` the nodes that may be targets now.
    """

    def __init__(
        self,
        balancers: CloudBalancers,
        certificates: Certificates,
        writes: ServiceWrites,
        *,
        cluster: Cluster,
        our_class: str,
        find: Callable[[str], Service | None],
        nodes: Callable[[], NodeSet],
    ) -> None:
        self._balancers = balancers
        self._certificates = certificates
        self._writes = writes
        self._cluster = cluster
        self._our_class = our_class
        self._find = find
        self._nodes = nodes
        self._refused: dict[str, frozenset[str]] = {}
        """By uid, the instances that the platform did not take as targets; asked again after a change of nodes."""

    async def of(self, service: Service, *, deadline: float) -> tuple[Service | None, Wish]:
        """Give a service's wish, and the service as it is afterwards: None when it is going or gone.

        Raises CloudError, ApiError, Unreachable.
        """
        values, problems = parse(service.annotations)
        offer = await self._balancers.offer(deadline=deadline)
        findings = Findings()
        references = certificate_references(service, values) if offer.has_certificates else ()
        if any(one.is_secret for one in references):
            # A Secret is written to the platform: the finalizer comes first here as well.
            after = await self._writes.hold(service, deadline=deadline)
            if after is None:
                return None, Wish(wanted=None)
            service = after
        outcome = desired_balancer(
            service,
            values,
            problems,
            self._targets(service, values, findings),
            cluster=self._cluster,
            offer=offer,
            certificates=await self._certificate_ids(service, references, findings, deadline),
            host=host_of(service, values, self._find, self._our_class, findings),
        )
        notices = (*outcome.refusals, *outcome.notices, *findings.notices)
        return service, Wish(
            wanted=outcome.wanted,
            targets=outcome.targets,
            notices=notices,
            follows_nodes=outcome.follows_nodes,
        )

    def refused(self, uid: str, instance_ids: Sequence[str]) -> None:
        """Note that the platform did not take these instances as targets for a service."""
        self._refused[uid] = self._refused.get(uid, frozenset()) | frozenset(instance_ids)

    def nodes_changed(self) -> None:
        """Want what was refused again."""
        self._refused.clear()

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a service."""
        self._refused.pop(uid, None)

    async def _certificate_ids(
        self, service: Service, references: Sequence[CertificateRef], findings: Findings, deadline: float
    ) -> dict[CertificateRef, str]:
        found: dict[CertificateRef, str] = {}
        meta = service.metadata
        for one in references:
            try:
                if one.is_secret:
                    secret = (meta.uid, meta.namespace, one.name)
                    found[one] = await self._certificates.from_secret(*secret, deadline=deadline)
                else:
                    found[one] = await self._certificates.named(one.name, deadline=deadline)
            except UnusableCertificateError as failure:
                findings.tell(Reason.CERTIFICATE, str(failure), TLS_CERT.name())
        return found

    def _targets(self, service: Service, values: Values, findings: Findings) -> tuple[Target, ...]:
        targets = self._nodes().targets(values.get(NODE_SELECTOR))
        refused = self._refused.get(service.metadata.uid, frozenset()) & {one.instance_id for one in targets}
        if not refused:
            return targets
        shown = ", ".join(sorted(refused)[:_SHOWN]) + (", …" if len(refused) > _SHOWN else "")
        text = f"the platform takes {len(refused)} instances not as targets of service {service.key}: {shown}"
        findings.tell(Reason.NO_NODES, text)
        return tuple(one for one in targets if one.instance_id not in refused)
