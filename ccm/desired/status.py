"""What a service's status should say of its load balancer (pure)."""

from ipaddress import ip_address

from ccm.desired.wanted import Wanted
from ccm.kube.model import Ingress, Service
from ccm.model import Balancer, BalancerState


def wanted_ingress(wanted: Wanted, balancer: Balancer | None) -> tuple[Ingress, ...]:
    """Give the points at which the service can be reached; none while the platform tells no address.

    The mode is always written: Kubernetes fills an empty one in, and it would look changed for ever.
    """
    if balancer is None or balancer.state is BalancerState.GOING:
        return ()
    if wanted.hostname:
        return (Ingress(hostname=wanted.hostname),)
    order = {family: place for place, family in enumerate(wanted.shape.families)}
    texts = sorted((one.address for one in balancer.addresses), key=lambda one: order.get(_family(one), len(order)))
    return tuple(Ingress(ip=one, ip_mode=wanted.ip_mode.value) for one in texts)


def is_published(service: Service, wanted: tuple[Ingress, ...]) -> bool:
    """Say whether the status says so already.

    A server that does not know `ipMode` drops it; an empty one is no difference, or every pass would write it again.
    """
    return _plain(service.ingress, wanted) == [(one.ip, one.hostname, one.ip_mode) for one in wanted]


def _plain(there: tuple[Ingress, ...], wanted: tuple[Ingress, ...]) -> list[tuple[str, str, str]]:
    modes = {one.ip: one.ip_mode for one in wanted}
    return [(one.ip, one.hostname, one.ip_mode or modes.get(one.ip, "")) for one in there]


def _family(text: str) -> str:
    return f"ipv{ip_address(text).version}"
