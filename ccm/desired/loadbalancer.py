"""A service, its annotations and the nodes to what the platform should have (pure).

Everything that a service asks for is either in the result, or refused, or told: nothing is left out silently. A value
that cannot be read refuses as well, since its default may be what the user wanted to prevent.
"""

import hashlib
from collections.abc import Mapping, Sequence

from ccm.annotations import table
from ccm.annotations.kinds import CertificateRef
from ccm.annotations.parsing import Values
from ccm.desired.effects import tell_without_effect
from ccm.desired.listeners import listeners
from ccm.desired.offered import refuse_unoffered
from ccm.desired.shape import shape
from ccm.desired.wanted import Cluster, Outcome, Wanted, ip_mode_of
from ccm.kube.model import Service
from ccm.model import Group, Shape, Target
from ccm.names import CLUSTER_TAG, SERVICE_TAG, SERVICE_UID_TAG
from ccm.notices import Findings, Notice, Reason
from ccm.ports import BalancerOffer

_MAX_NAME = 128


def desired_balancer(
    service: Service,
    values: Values,
    problems: Sequence[Notice],
    targets: tuple[Target, ...],
    *,
    cluster: Cluster,
    offer: BalancerOffer,
    certificates: Mapping[CertificateRef, str],
    host: Service | None = None,
) -> Outcome:
    """Work out what a service wants.

    `values` and `problems` are those of `ccm.annotations.parsing.parse`, `targets` those of `NodeSet.targets` for the
    annotation node-selector, `certificates` the ids of what `certificate_references` names, as far as they were found,
    `host` the service whose load balancer it shares (`sharing.host_of`).
    """
    findings = Findings()
    for one in problems:
        (findings.refusals if one.reason is Reason.INVALID_ANNOTATION else findings.notices).append(one)
    found = listeners(service, values, offer, certificates, findings)
    wanted_shape = shape(service, values, cluster, offer, findings)
    refuse_unoffered(service, values, found, offer, findings)
    if not values.has(table.ADOPT_ID):
        tell_without_effect(service, values, found, wanted_shape, findings)
    if not targets:
        findings.tell(Reason.NO_NODES, f"no node can be a target of service {service.key}")
    host_uid = host.metadata.uid if host is not None and host.metadata.uid != service.metadata.uid else ""
    group = Group(name=service.metadata.uid, listeners=found, targets=tuple(sorted(set(targets))))
    wanted = _wanted(service, values, group, wanted_shape, cluster=cluster, offer=offer, host_uid=host_uid)
    return Outcome(
        wanted=None if findings.refusals else wanted,
        refusals=tuple(dict.fromkeys(findings.refusals)),
        notices=tuple(dict.fromkeys(findings.notices)),
        targets=group.targets,
        follows_nodes=all(one.key != table.NODE_SELECTOR.name() for one in findings.refusals),
    )


def default_name(cluster_id: str, uid: str) -> str:
    """Give the name of a load balancer that has none of its own: no two services of all clusters have the same."""
    return f"k8s-{cluster_id[: _MAX_NAME - len(uid) - 5]}-{uid}"


def _wanted(
    service: Service,
    values: Values,
    group: Group,
    wanted_shape: Shape,
    *,
    cluster: Cluster,
    offer: BalancerOffer,
    host_uid: str,
) -> Wanted:
    uid = service.metadata.uid
    return Wanted(
        service_uid=uid,
        name=values.get(table.NAME) or default_name(cluster.id, uid),
        shape=wanted_shape,
        size=(values.get(table.SIZE) or cluster.default_size) if offer.has_sizes else "",
        tags={CLUSTER_TAG: cluster.id, SERVICE_UID_TAG: uid, SERVICE_TAG: service.key},
        group=group,
        idempotency_key=_key(cluster.id, uid, wanted_shape),
        adopt_id=values.get(table.ADOPT_ID),
        host_uid=host_uid,
        policy=values.get(table.POLICY),
        may_recreate=values.get(table.RECREATE),
        hostname=values.get(table.HOSTNAME),
        ip_mode=values.get(table.IP_MODE) or ip_mode_of(group),
    )


def _key(cluster_id: str, uid: str, wanted: Shape) -> str:
    # Not of the listeners and targets: they change while an answer is lost, and must not make a second one. The shape
    # is in it because only another load balancer can have another.
    shape_text = f"{wanted.internal}\0{sorted(wanted.families)}\0{sorted(wanted.static_addresses)}\0{wanted.vpc_id}"
    return hashlib.sha256(f"{cluster_id}\0{uid}\0{shape_text}".encode()).hexdigest()
