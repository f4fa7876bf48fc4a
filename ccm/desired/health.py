"""Health checks of a service's listeners (pure).

The check does the work that readiness does not do any more: with externalTrafficPolicy Local the node's answer says
whether a pod is there, otherwise kube-proxy's says whether the node is about to go.
"""

from dataclasses import dataclass, replace

from ccm.annotations import table
from ccm.annotations.kinds import NODE_PORT
from ccm.annotations.parsing import Values
from ccm.annotations.row import Group
from ccm.kube.model import Service
from ccm.model import HealthCheck, Protocol
from ccm.notices import Findings, Reason
from ccm.ports import BalancerOffer

KUBE_PROXY_PORT = 10256
LOCAL = "Local"


@dataclass(frozen=True, slots=True)
class HealthChecks:
    """The checks of one service: the same for all listeners, unless they ask the listener's own node port."""

    check: HealthCheck | None
    asks_node_port: bool = False

    def of(self, protocol: Protocol, target_port: int) -> HealthCheck | None:
        """Give the check of one listener."""
        # Nothing answers a TCP connection at a UDP port; the service's own check holds for those.
        if self.check is None or not self.asks_node_port or protocol is Protocol.UDP:
            return self.check
        return replace(self.check, port=target_port)


def health_checks(service: Service, values: Values, offer: BalancerOffer, findings: Findings) -> HealthChecks:
    """Work out a service's checks; none where the platform has none and the service does not need one."""
    if not offer.has_health_checks:
        for row in table.TABLE:
            if row.group is Group.HEALTH and values.has(row):
                text = f"annotation {row.name()} cannot be done: load balancers here have no health checks"
                findings.refuse(Reason.UNSUPPORTED, text, row.name())
        return HealthChecks(None)
    protocol = values.get(table.HEALTH_PROTOCOL)
    interval_s = values.get(table.HEALTH_INTERVAL)
    timeout_s = values.get(table.HEALTH_TIMEOUT)
    if not values.has(table.HEALTH_TIMEOUT):
        timeout_s = min(timeout_s, interval_s)
    if timeout_s > interval_s:
        row_name = table.HEALTH_TIMEOUT.name()
        text = f"annotation {row_name} is {timeout_s} s, above the interval of {interval_s} s; make it no longer"
        findings.refuse(Reason.INVALID_ANNOTATION, text, row_name)
    is_http = protocol != "tcp"
    check = HealthCheck(
        protocol=protocol,
        port=_port(service, values, findings),
        path=values.get(table.HEALTH_PATH) if is_http else "",
        host=values.get(table.HEALTH_HOST) if is_http else "",
        codes=values.get(table.HEALTH_CODES) if is_http else "",
        interval_s=interval_s,
        timeout_s=timeout_s,
        rise=values.get(table.HEALTH_RISE),
        fall=values.get(table.HEALTH_FALL),
        verify_tls=protocol == "https" and values.get(table.HEALTH_TLS_VERIFY),
    )
    return HealthChecks(check, values.get(table.HEALTH_PORT) == NODE_PORT)


def _port(service: Service, values: Values, findings: Findings) -> int:
    asked = values.get(table.HEALTH_PORT)
    if asked:
        return asked
    if service.spec.external_traffic_policy != LOCAL:
        return KUBE_PROXY_PORT
    if not service.spec.health_check_node_port and asked is None:
        text = (
            f"service {service.key} has externalTrafficPolicy Local but no healthCheckNodePort, by which targets are "
            "told apart; let Kubernetes choose one"
        )
        findings.refuse(Reason.INVALID_SERVICE, text)
    return service.spec.health_check_node_port or KUBE_PROXY_PORT
