"""Annotations that change nothing for the service that they stand on (pure).

What follows from the annotations alone is told by `ccm.annotations.parsing.parse`; here is what depends on the
service's ports.
"""

from collections.abc import Sequence

from ccm.annotations import table
from ccm.annotations.parsing import Values, without_effect
from ccm.annotations.row import Annotation, Policy
from ccm.desired.protocols import ENDS_TLS, SPEAKS_HTTP
from ccm.kube.model import Service
from ccm.model import Listener, Protocol, Shape, StickyMode
from ccm.notices import Findings

_PASSED_ON = frozenset({"https", "tls"})


def tell_without_effect(
    service: Service, values: Values, listeners: Sequence[Listener], shape: Shape, findings: Findings
) -> None:
    """Tell of every given annotation that has no effect on these listeners."""
    spoken = {one.protocol for one in listeners}
    tcp_only = Protocol.UDP in spoken and len(spoken) == 1
    ends_tls = bool(spoken & set(ENDS_TLS))
    is_passing = values.get(table.TLS_PASSTHROUGH)
    idle: list[tuple[Annotation[object], bool, str]] = [
        (table.PROTOCOL, tcp_only, "the service has UDP ports only"),
        (table.PROXY_PROTOCOL, tcp_only, "there is no PROXY protocol for UDP"),
        (table.TLS_CERT, not ends_tls and not is_passing, "no port of the service speaks https or tls"),
        (table.TLS_POLICY, not ends_tls and not is_passing, "no port of the service speaks https or tls"),
        (table.TLS_PASSTHROUGH, is_passing and not _asks_tls(service, values), "no port would speak https or tls"),
        (table.FORWARDED_FOR, not spoken & set(SPEAKS_HTTP), "no port of the service speaks http or https"),
        (
            table.STICKY,
            values.get(table.STICKY) is StickyMode.COOKIE and not spoken & set(SPEAKS_HTTP),
            "only http and https have cookies, and no port of the service speaks them",
        ),
        (
            table.POLICY,
            values.get(table.POLICY) is Policy.KEEP_ADDRESS and not shape.static_addresses,
            "only an address that static-address names can be kept",
        ),
    ]
    findings.notices.extend(without_effect(row, why) for row, is_idle, why in idle if is_idle and values.has(row))
    _tell_of_ports(values, listeners, findings)


def _tell_of_ports(values: Values, listeners: Sequence[Listener], findings: Findings) -> None:
    for number in sorted(values.ports()):
        here = [one for one in listeners if one.port == number]
        for row in values.port_rows(number):
            if not here:
                why = f"the service has no port {number}"
            elif row is table.PORT_TLS_CERT and not any(one.protocol in ENDS_TLS for one in here):
                why = f"port {number} does not end TLS"
            else:
                continue
            findings.notices.append(without_effect(row, why, number))


def _asks_tls(service: Service, values: Values) -> bool:
    if values.get(table.PROTOCOL) in _PASSED_ON:
        return True
    return any(
        values.get(table.PORT_PROTOCOL, one.port) in _PASSED_ON or one.app_protocol.lower() in _PASSED_ON
        for one in service.ports
    )
