"""Whose load balancer a service uses (pure).

Two services share when each names the other; the oldest of them has the load balancer. Nobody can put ports on
somebody else's address alone.
"""

from collections.abc import Callable

from ccm.annotations import table
from ccm.annotations.parsing import Values, parse
from ccm.desired.services import needs_balancer
from ccm.kube.model import Service
from ccm.notices import Findings, Reason

Find = Callable[[str], Service | None]
"""Gives the service of a key `namespace/name` as it is now."""


def host_of(service: Service, values: Values, find: Find, our_class: str, findings: Findings) -> Service:
    """Give the service whose load balancer this one uses; itself when it has its own.

    Partners that are not there, want no load balancer, do not name this service, or use somebody else's themselves are
    told in `findings`.
    """
    if not values.get(table.SHARE_WITH) or values.has(table.ADOPT_ID):
        return service
    for key in sorted(values.get(table.SHARE_WITH) - {service.key}):
        if problem := _problem(service, find(key), find, our_class):
            text = f"service {service.key} does not share a load balancer with {key}: {problem}"
            findings.tell(Reason.NOT_SHARED, text, table.SHARE_WITH.name())
    return _host(service, find, our_class)


def _problem(service: Service, partner: Service | None, find: Find, our_class: str) -> str:
    if partner is None:
        return "there is no such service"
    if not needs_balancer(partner, our_class):
        return "it wants no load balancer of this controller"
    if service.key not in _names(partner):
        return f"it does not name {service.key} in its annotation {table.SHARE_WITH.name()}"
    mine, its = _host(service, find, our_class), _host(partner, find, our_class)
    if mine.metadata.uid != its.metadata.uid:
        return f"it uses that of {its.key}, this one that of {mine.key}; let all of them name each other"
    return ""


def _host(service: Service, find: Find, our_class: str) -> Service:
    # Who has an older partner is a guest, and a guest cannot take guests: its address is not its own.
    hosts = (one for one in _older(service, find, our_class) if not _older(one, find, our_class))
    return next(hosts, service)


def _older(service: Service, find: Find, our_class: str) -> list[Service]:
    """Give the older services that agree to share with this one, the oldest first."""
    partners = filter(None, (find(key) for key in sorted(_names(service) - {service.key})))
    agreed = (one for one in partners if needs_balancer(one, our_class) and service.key in _names(one))
    return sorted((one for one in agreed if _age(one) < _age(service)), key=_age)


def _names(service: Service) -> frozenset[str]:
    values, _ = parse(service.annotations)
    return frozenset() if values.has(table.ADOPT_ID) else values.get(table.SHARE_WITH)


def _age(service: Service) -> tuple[str, str]:
    created = service.metadata.creation_timestamp
    return (created.isoformat() if created else "", service.metadata.uid)
