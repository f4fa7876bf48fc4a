"""When what the platform has says the same as what is wanted (pure).

A platform fills in what was left out and may keep settings that have no meaning for a listener's protocol; neither is a
difference, or every pass would write.
"""

from collections.abc import Sequence
from dataclasses import replace

from ccm.desired.protocols import ENDS_TLS, SPEAKS_HTTP
from ccm.model import HealthCheck, Listener, Protocol, Shape, Sticky, StickyMode, Target

_DEFAULT_POLICY = "intermediate"
_DEFAULT_PATH = "/healthz"
_DEFAULT_CODES = "200-299"


def same_shape(wanted: Shape, observed: Shape) -> bool:
    """Say whether a load balancer has the wanted shape; order means nothing, an empty network takes any."""
    return (
        wanted.internal == observed.internal
        and set(wanted.families) == set(observed.families)
        and set(wanted.static_addresses) == set(observed.static_addresses)
        and wanted.vpc_id in {"", observed.vpc_id}
    )


def same_listeners(wanted: Sequence[Listener], observed: Sequence[Listener]) -> bool:
    """Say whether two groups listen alike."""
    return _all(wanted) == _all(observed)


def same_targets(wanted: Sequence[Target], observed: Sequence[Target]) -> bool:
    """Say whether two groups send to the same instances with the same weights."""
    return sorted(wanted) == sorted(observed)


def transport(listener: Listener) -> str:
    """Give `udp` or `tcp`: a port can be used once for each."""
    return "udp" if listener.protocol is Protocol.UDP else "tcp"


def canonical(listener: Listener) -> Listener:
    """Give a listener without what means nothing for its protocol, and with what an empty value stands for."""
    ends_tls = listener.protocol in ENDS_TLS
    check = listener.health_check
    return replace(
        listener,
        certificate_ids=listener.certificate_ids if ends_tls else (),
        tls_policy=(listener.tls_policy or _DEFAULT_POLICY) if ends_tls else "",
        forwarded_for=listener.forwarded_for or listener.protocol not in SPEAKS_HTTP,
        sticky=_canonical_sticky(listener.sticky),
        allowed_sources=tuple(sorted(set(listener.allowed_sources))),
        denied_sources=tuple(sorted(set(listener.denied_sources))),
        health_check=_canonical_check(check) if check is not None else None,
    )


def _all(listeners: Sequence[Listener]) -> list[Listener]:
    return sorted((canonical(one) for one in listeners), key=lambda one: (one.port, transport(one), one.name))


def _canonical_sticky(sticky: Sticky) -> Sticky:
    if sticky.mode is StickyMode.NONE:
        return Sticky()
    return sticky if sticky.mode is StickyMode.COOKIE else replace(sticky, cookie_name="")


def _canonical_check(check: HealthCheck) -> HealthCheck:
    if check.protocol == "tcp":
        return replace(check, path="", host="", codes="", verify_tls=False)
    is_https = check.protocol == "https"
    return replace(
        check,
        path=check.path or _DEFAULT_PATH,
        codes=check.codes or _DEFAULT_CODES,
        verify_tls=check.verify_tls and is_https,
    )
