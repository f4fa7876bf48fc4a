"""Service ports and annotations to listeners (pure)."""

from collections.abc import Mapping

from ccm.annotations import table
from ccm.annotations.kinds import CertificateRef
from ccm.annotations.parsing import Values
from ccm.desired.health import LOCAL, health_checks
from ccm.desired.protocols import ENDS_TLS, SPEAKS_HTTP, Spoken, has_tcp, spoken
from ccm.desired.sources import allowed_sources
from ccm.kube.model import ClientIpConfig, Service
from ccm.model import Listener, Protocol, Sticky, StickyMode
from ccm.notices import Findings, Reason
from ccm.ports import BalancerOffer

DEFAULT_COOKIE = "TCLB"


def listeners(
    service: Service,
    values: Values,
    offer: BalancerOffer,
    certificates: Mapping[CertificateRef, str],
    findings: Findings,
) -> tuple[Listener, ...]:
    """Work out all listeners of a service, in a fixed order; what cannot be had is refused in `findings`."""
    ports = spoken(service, values, findings)
    if not service.ports:
        findings.refuse(Reason.INVALID_SERVICE, f"service {service.key} has no ports")
    limit = offer.listeners_per_balancer
    if limit and len(ports) > limit:
        text = f"service {service.key} has {len(ports)} ports; a load balancer here has at most {limit}"
        findings.refuse(Reason.UNSUPPORTED, text)
    build = _Build(service, values, offer, certificates, findings)
    return build.all(ports)


class _Build:
    """What the listeners of one service have in common."""

    def __init__(
        self,
        service: Service,
        values: Values,
        offer: BalancerOffer,
        certificates: Mapping[CertificateRef, str],
        findings: Findings,
    ) -> None:
        self._service = service
        self._values = values
        self._offer = offer
        self._certificates = certificates
        self._findings = findings
        self._sticky = _sticky(service, values)
        self._health = health_checks(service, values, offer, findings)
        self._allowed = allowed_sources(service, findings)
        self._is_local = service.spec.external_traffic_policy == LOCAL

    def all(self, ports: tuple[Spoken, ...]) -> tuple[Listener, ...]:
        found = tuple(self._listener(one) for one in ports)
        https = {one.port for one in found if one.protocol is Protocol.HTTPS}
        for one in found:
            if one.redirect_port and one.redirect_port not in https:
                key = table.PORT_REDIRECT_HTTP.name(one.port)
                text = f"annotation {key} names port {one.redirect_port}, which is no https port of {self._service.key}"
                self._findings.refuse(Reason.INVALID_ANNOTATION, text, key)
        return found

    def _listener(self, spoken_port: Spoken) -> Listener:
        port, protocol, values = spoken_port.port, spoken_port.protocol, self._values
        number = port.port
        self._check(spoken_port)
        proxy = self._proxy_protocol(number, protocol)
        is_http, ends_tls = protocol in SPEAKS_HTTP, protocol in ENDS_TLS
        transport = "udp" if protocol is Protocol.UDP else "tcp"
        is_twin = protocol is Protocol.UDP and has_tcp(self._service, number)
        redirect = 0 if is_twin else values.get(table.PORT_REDIRECT_HTTP, number)
        if redirect and protocol is not Protocol.HTTP:
            key = table.PORT_REDIRECT_HTTP.name(number)
            text = f"annotation {key} needs port {number} to speak http, and it speaks {protocol.value}"
            self._findings.refuse(Reason.INVALID_ANNOTATION, text, key)
        return Listener(
            name=f"{transport}-{number}",
            protocol=protocol,
            port=number,
            target_port=port.node_port,
            certificate_ids=self._certificate_ids(spoken_port),
            tls_policy=values.get(table.TLS_POLICY) if ends_tls else "",
            redirect_port=redirect,
            proxy_protocol=proxy,
            transparent=self._is_local and not proxy,
            forwarded_for=values.get(table.FORWARDED_FOR) if is_http else True,
            algorithm=values.get(table.ALGORITHM),
            sticky=Sticky() if self._sticky.mode is StickyMode.COOKIE and not is_http else self._sticky,
            idle_timeout_s=values.get(table.PORT_IDLE_TIMEOUT, number) or values.get(table.IDLE_TIMEOUT),
            max_connections=values.get(table.MAX_CONNECTIONS),
            allowed_sources=self._allowed,
            denied_sources=values.get(table.DENY_SOURCE_RANGES),
            health_check=self._health.of(protocol, port.node_port),
        )

    def _check(self, one: Spoken) -> None:
        where = f"port {one.port.port} of service {self._service.key}"
        if not one.port.node_port:
            text = f"{where} has no node port, where load balancers here send to; set allocateLoadBalancerNodePorts"
            self._findings.refuse(Reason.INVALID_SERVICE, text)
        if one.protocol.value not in self._offer.protocols:
            offered = ", ".join(sorted(self._offer.protocols)) or "nothing"
            text = f"{where} speaks {one.protocol.value}; load balancers here speak {offered}"
            if Protocol.HTTP.value in self._offer.protocols and one.protocol is Protocol.TCP:
                text += f" (for HTTP set annotation {table.PROTOCOL.name()} to http)"
            self._findings.refuse(Reason.UNSUPPORTED, text)
        elif one.protocol in ENDS_TLS and not self._offer.has_certificates:
            text = f"{where} speaks {one.protocol.value}; load balancers here have no certificates"
            self._findings.refuse(Reason.UNSUPPORTED, text)

    def _certificate_ids(self, one: Spoken) -> tuple[str, ...]:
        where = f"port {one.port.port} of service {self._service.key}"
        if one.protocol in ENDS_TLS and not one.certificates:
            text = f"{where} speaks {one.protocol.value} but has no certificate; set annotation {table.TLS_CERT.name()}"
            self._findings.refuse(Reason.INVALID_SERVICE, text, table.TLS_CERT.name())
        for reference in one.certificates:
            if reference not in self._certificates:
                text = f"certificate {reference} for {where} was not found"
                self._findings.refuse(Reason.CERTIFICATE, text, table.TLS_CERT.name())
        return tuple(dict.fromkeys(self._certificates[ref] for ref in one.certificates if ref in self._certificates))

    def _proxy_protocol(self, number: int, protocol: Protocol) -> str:
        own = self._values.get(table.PORT_PROXY_PROTOCOL, number)
        key = table.PORT_PROXY_PROTOCOL.name(number)
        if protocol is Protocol.UDP:
            if own not in {"", "none"} and not has_tcp(self._service, number):
                text = f"annotation {key} is {own}, but there is no PROXY protocol for UDP"
                self._findings.refuse(Reason.INVALID_ANNOTATION, text, key)
            return ""
        wanted = own or self._values.get(table.PROXY_PROTOCOL)
        return "" if wanted == "none" else wanted


def _sticky(service: Service, values: Values) -> Sticky:
    mode = values.get(table.STICKY)
    if mode is None and service.spec.session_affinity == "ClientIP":
        config = service.spec.session_affinity_config
        timeout = (config.client_ip if config else None) or ClientIpConfig()
        return Sticky(mode=StickyMode.SOURCE_IP, ttl_s=timeout.timeout_seconds)
    if mode is None or mode is StickyMode.NONE:
        return Sticky()
    name = values.get(table.STICKY_COOKIE_NAME) or DEFAULT_COOKIE
    is_cookie = mode is StickyMode.COOKIE
    return Sticky(mode=mode, cookie_name=name if is_cookie else "", ttl_s=values.get(table.STICKY_TTL))
