"""What a service asks for and the platform does not offer: refused, never left out silently (pure)."""

from collections.abc import Sequence

from ccm.annotations import table
from ccm.annotations.parsing import Values
from ccm.annotations.row import Annotation
from ccm.desired.health import LOCAL
from ccm.kube.model import Service
from ccm.model import Listener, StickyMode
from ccm.notices import Findings, Reason
from ccm.ports import BalancerOffer

_OPTIONS: tuple[Annotation[object], ...] = (
    table.IDLE_TIMEOUT,
    table.MAX_CONNECTIONS,
    table.FORWARDED_FOR,
    table.TLS_POLICY,
)


def refuse_unoffered(
    service: Service, values: Values, listeners: Sequence[Listener], offer: BalancerOffer, findings: Findings
) -> None:
    """Refuse what the platform's load balancers cannot do."""
    if service.spec.external_traffic_policy == LOCAL:
        _refuse_local(service, listeners, offer, findings)
    found = (
        (any(one.allowed_sources for one in listeners), offer.has_source_ranges, "source ranges"),
        (any(one.denied_sources for one in listeners), offer.has_source_ranges, "refused source ranges"),
        (any(one.proxy_protocol for one in listeners), offer.has_proxy_protocol, "the PROXY protocol"),
        (_is_sticky(listeners), offer.has_sticky, "that clients stay with a target (sticky or sessionAffinity)"),
        (values.has(table.SIZE), offer.has_sizes, "a size"),
        (bool(values.get(table.SHARE_WITH)), offer.has_shared, "a shared load balancer"),
        (values.has(table.ADOPT_ID), offer.has_shared, "a load balancer that somebody else made"),
        *((one.redirect_port > 0, offer.has_listener_options, f"a redirect of port {one.port}") for one in listeners),
    )
    for is_asked, is_offered, what in found:
        if is_asked and not is_offered:
            text = f"service {service.key} asks for {what}; load balancers here do not have that"
            findings.refuse(Reason.UNSUPPORTED, text)
    if not offer.has_listener_options:
        _refuse_options(values, findings)


def _refuse_local(service: Service, listeners: Sequence[Listener], offer: BalancerOffer, findings: Findings) -> None:
    if not offer.has_health_checks:
        why = "without health checks traffic would go to nodes that have no pod"
    elif any(one.transparent for one in listeners) and not offer.has_transparent:
        why = "clients' addresses cannot be kept; use the PROXY protocol or externalTrafficPolicy Cluster"
    else:
        return
    findings.refuse(Reason.UNSUPPORTED, f"service {service.key} has externalTrafficPolicy Local; here {why}")


def _refuse_options(values: Values, findings: Findings) -> None:
    rows = [(row, 0) for row in _OPTIONS]
    rows += [(table.PORT_IDLE_TIMEOUT, number) for number in sorted(values.ports())]
    for row, number in rows:
        if values.has(row, number):
            text = f"annotation {row.name(number)} cannot be done: load balancers here have no such setting"
            findings.refuse(Reason.UNSUPPORTED, text, row.name(number))


def _is_sticky(listeners: Sequence[Listener]) -> bool:
    return any(one.sticky.mode is not StickyMode.NONE for one in listeners)
