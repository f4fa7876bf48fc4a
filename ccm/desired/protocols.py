"""What each port of a service speaks (pure)."""

from dataclasses import dataclass

from ccm.annotations import table
from ccm.annotations.kinds import CertificateRef
from ccm.annotations.parsing import Values
from ccm.kube.model import Service, ServicePort
from ccm.model import Protocol
from ccm.notices import Findings, Reason

ENDS_TLS = (Protocol.HTTPS, Protocol.TLS)
SPEAKS_HTTP = (Protocol.HTTP, Protocol.HTTPS)
_UDP, _TCP = "UDP", "TCP"
_SECURE_APPS = frozenset({"https", "tls"})


@dataclass(frozen=True, slots=True)
class Spoken:
    """A port with its protocol."""

    port: ServicePort
    protocol: Protocol
    certificates: tuple[CertificateRef, ...] = ()


def spoken(service: Service, values: Values, findings: Findings) -> tuple[Spoken, ...]:
    """Work out what each port speaks, in the order of the ports' numbers; ports that cannot be served are refused."""
    found = []
    for port in sorted(service.ports, key=lambda one: (one.port, one.protocol)):
        protocol = _protocol(service, port, values, findings)
        if protocol is not None:
            certificates = _certificates(port.port, values) if protocol in ENDS_TLS else ()
            found.append(Spoken(port, protocol, certificates))
    return tuple(found)


def certificate_references(service: Service, values: Values) -> tuple[CertificateRef, ...]:
    """Give the certificates that a service's listeners need; `desired_balancer` wants to know their ids."""
    ports = spoken(service, values, Findings())
    return tuple(dict.fromkeys(one for port in ports for one in port.certificates))


def _protocol(service: Service, port: ServicePort, values: Values, findings: Findings) -> Protocol | None:
    key = table.PORT_PROTOCOL.name(port.port)
    named = values.get(table.PORT_PROTOCOL, port.port)
    if port.protocol == _UDP:
        if named not in {"", Protocol.UDP.value} and not has_tcp(service, port.port):
            text = f"annotation {key} is {named}, but port {port.port} of service {service.key} is a UDP port"
            findings.refuse(Reason.INVALID_ANNOTATION, text, key)
        return Protocol.UDP
    if port.protocol != _TCP:
        text = f"port {port.port} of service {service.key} is {port.protocol}; load balancers here know TCP and UDP"
        findings.refuse(Reason.UNSUPPORTED, text)
        return None
    if named == Protocol.UDP.value:
        text = f"annotation {key} is udp, but port {port.port} of service {service.key} is a TCP port"
        findings.refuse(Reason.INVALID_ANNOTATION, text, key)
    return _tcp_protocol(port, named, values)


def _tcp_protocol(port: ServicePort, named: str, values: Values) -> Protocol:
    app = port.app_protocol.lower()
    certificates = _certificates(port.port, values)
    if not named and values.get(table.PORT_REDIRECT_HTTP, port.port):
        named = Protocol.HTTP.value
    if not named and values.has(table.PORT_TLS_CERT, port.port):
        named = "https" if app in {"http", "https"} else "tls"
    named = named or values.get(table.PROTOCOL)
    # Whoever writes `appProtocol: https` means what the pods speak; only with a certificate can it be ended here.
    if not named and (app == Protocol.HTTP.value or (app in _SECURE_APPS and certificates)):
        named = app
    if named in _SECURE_APPS and values.get(table.TLS_PASSTHROUGH):
        return Protocol.TCP
    return Protocol(named) if named and named != Protocol.UDP.value else Protocol.TCP


def _certificates(port: int, values: Values) -> tuple[CertificateRef, ...]:
    return values.get(table.PORT_TLS_CERT, port) or values.get(table.TLS_CERT)


def has_tcp(service: Service, number: int) -> bool:
    """Say whether a TCP port has this number; annotations of a port are about that one then, not its UDP twin."""
    return any(one.port == number and one.protocol == _TCP for one in service.ports)
