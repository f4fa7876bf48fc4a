"""Which services want a load balancer, which need one taken away, and which changes matter (pure)."""

from collections.abc import Mapping

from ccm.annotations.parsing import is_output
from ccm.kube.model import Service
from ccm.names import FINALIZER

LOAD_BALANCER = "LoadBalancer"


def needs_balancer(service: Service, our_class: str) -> bool:
    """Say whether we have to see to a load balancer for this service.

    One that is being deleted wants none any more, also when another finalizer than ours still holds it: it must not
    get a new one.
    """
    return wants_balancer(service, our_class) and not service.is_going


def wants_balancer(service: Service, our_class: str) -> bool:
    """Say whether the spec asks for a load balancer of ours: no class, or `our_class`."""
    return service.spec.type == LOAD_BALANCER and service.spec.load_balancer_class in {"", our_class}


def needs_cleanup(service: Service, our_class: str) -> bool:
    """Say whether its load balancer has to go and our finalizer with it.

    A service of another class is somebody else's, who uses a finalizer of the same name.
    """
    if FINALIZER not in service.finalizers:
        return False
    return service.spec.type != LOAD_BALANCER or (service.is_going and wants_balancer(service, our_class))


def changed(old: Service, new: Service, our_class: str) -> bool:
    """Say whether an update of a service may change its load balancer.

    Labels, selector, status, and the annotations that we write ourselves do not. The order of ports does not either.
    """
    return (
        wants_balancer(old, our_class) != wants_balancer(new, our_class)
        or old.metadata.uid != new.metadata.uid
        or old.is_going != new.is_going
        or _inputs(old.annotations) != _inputs(new.annotations)
        or _traffic(old) != _traffic(new)
    )


def _inputs(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if not is_output(key)}


def _traffic(service: Service) -> tuple[object, ...]:
    spec = service.spec
    return (
        frozenset(service.ports),
        tuple(spec.load_balancer_source_ranges or ()),
        spec.session_affinity,
        spec.session_affinity_config,
        spec.load_balancer_ip,
        spec.external_traffic_policy,
        spec.health_check_node_port,
        tuple(spec.ip_families or ()),
        spec.ip_family_policy,
    )
