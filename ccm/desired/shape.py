"""What is fixed when a load balancer is made: families, addresses, internal or not (pure)."""

from ipaddress import ip_address

from ccm.annotations import table
from ccm.annotations.kinds import address
from ccm.annotations.parsing import Values
from ccm.desired.wanted import Cluster
from ccm.kube.model import Service
from ccm.model import Shape
from ccm.notices import Findings, Reason
from ccm.ports import BalancerOffer

_FAMILIES = {"IPv4": "ipv4", "IPv6": "ipv6"}
_MUST_HAVE_BOTH = "RequireDualStack"


def shape(service: Service, values: Values, cluster: Cluster, offer: BalancerOffer, findings: Findings) -> Shape:
    """Work out the shape; what cannot be had is refused in `findings`."""
    internal = values.get(table.INTERNAL)
    if internal and not offer.has_internal:
        text = f"annotation {table.INTERNAL.name()} cannot be done: load balancers here are never internal"
        findings.refuse(Reason.UNSUPPORTED, text, table.INTERNAL.name())
    families = _families(service, offer, findings)
    static = _static_addresses(service, values, findings)
    if static and not offer.has_static_addresses:
        text = f"service {service.key} asks for address {', '.join(static)}; here none can be chosen"
        findings.refuse(Reason.UNSUPPORTED, text, table.STATIC_ADDRESS.name())
    for one in static:
        if f"ipv{ip_address(one).version}" not in families:
            text = f"service {service.key} asks for address {one}, but its families are {', '.join(families)}"
            findings.refuse(Reason.INVALID_SERVICE, text, table.STATIC_ADDRESS.name())
    return Shape(internal=internal, families=families, static_addresses=static, vpc_id=cluster.vpc_id)


def _families(service: Service, offer: BalancerOffer, findings: Findings) -> tuple[str, ...]:
    asked = tuple(_FAMILIES.get(one, one) for one in service.spec.ip_families or ())
    if not asked:
        return ("ipv4",) if "ipv4" in offer.families else tuple(sorted(offer.families)[:1])
    found = tuple(one for one in asked if one in offer.families)
    lacking = ", ".join(one for one in asked if one not in offer.families)
    if lacking and (not found or service.spec.ip_family_policy == _MUST_HAVE_BOTH):
        text = f"service {service.key} asks for {lacking}; load balancers here have {', '.join(sorted(offer.families))}"
        findings.refuse(Reason.UNSUPPORTED, text)
    elif lacking:
        text = f"service {service.key} is reached by {', '.join(found)} only: load balancers here have no {lacking}"
        findings.tell(Reason.FAMILY, text)
    return found or asked


def _static_addresses(service: Service, values: Values, findings: Findings) -> tuple[str, ...]:
    named = values.get(table.STATIC_ADDRESS)
    written = service.spec.load_balancer_ip
    if not written:
        return named
    try:
        own = address(written)
    except ValueError as wrong:
        findings.refuse(Reason.INVALID_SERVICE, f"spec.loadBalancerIP of service {service.key}: {wrong}")
        return named
    if named and own not in named:
        text = (
            f"service {service.key} asks for {own} in spec.loadBalancerIP and for {', '.join(named)} in annotation "
            f"{table.STATIC_ADDRESS.name()}; keep one"
        )
        findings.refuse(Reason.INVALID_SERVICE, text, table.STATIC_ADDRESS.name())
    return named or (own,)
