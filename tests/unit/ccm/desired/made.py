"""Services, nodes and offers in few words."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ccm.annotations.kinds import CertificateRef
from ccm.annotations.parsing import parse
from ccm.desired.loadbalancer import desired_balancer
from ccm.desired.wanted import Cluster, Outcome, Wanted
from ccm.kube.model import Meta, Node, NodeAddress, NodeSpec, NodeStatus, Service, ServicePort, ServiceSpec, Taint
from ccm.model import Target
from ccm.names import BALANCER_PREFIX
from ccm.ports import BalancerOffer

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
CLUSTER = Cluster(id="blue")
UID = "11111111-2222-3333-4444-555555555555"
EVERYTHING = BalancerOffer(
    protocols=frozenset({"tcp", "udp", "http", "https", "tls"}), families=frozenset({"ipv4", "ipv6"})
)
STRICT = BalancerOffer(
    protocols=frozenset({"http"}),
    has_addresses=False,
    has_health_checks=False,
    has_source_ranges=False,
    has_proxy_protocol=False,
    has_sticky=False,
    has_static_addresses=False,
    has_internal=False,
    has_sizes=False,
    has_certificates=False,
    has_transparent=False,
    has_shared=False,
    has_listener_options=False,
)


def instance_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def node(name: str = "n1", number: int | None = 1, *, going: bool = False, **more: Any) -> Node:
    """A node of instance `number`; None has no provider id, `provider_id` is one of somebody else."""
    provider = "" if number is None else f"thecloud://{instance_id(number)}"
    return Node(
        metadata=Meta(
            name=name,
            labels=more.get("labels"),
            annotations=more.get("annotations"),
            deletion_timestamp=BEGIN if going else None,
        ),
        spec=NodeSpec(
            provider_id=more.get("provider_id", provider),
            taints=tuple(Taint(key=key, effect="NoSchedule") for key in more.get("taints", ())),
            pod_cidrs=more.get("pod_cidrs"),
        ),
        status=NodeStatus(
            addresses=tuple(NodeAddress(type=kind, address=text) for kind, text in more.get("addresses", ()))
        ),
    )


def port(number: int = 80, **more: Any) -> ServicePort:
    return ServicePort(**{"port": number, "node_port": 30000 + number % 2000} | more)


def marks(more: Mapping[str, str]) -> dict[str, str]:
    """Annotations under our prefix."""
    return {BALANCER_PREFIX + key: value for key, value in more.items()}


def service(
    *ports: ServicePort,
    own: Mapping[str, str] | None = None,
    name: str = "web",
    uid: str = UID,
    age: int = 0,
    meta: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Service:
    """A load balancer service; `own` are annotations without prefix, the rest is of the spec."""
    begun = BEGIN + timedelta(seconds=age)
    fields: dict[str, Any] = {
        "name": name,
        "namespace": "shop",
        "uid": uid,
        "annotations": marks(own or {}),
        "creation_timestamp": begun,
    }
    return Service(
        metadata=Meta(**(fields | dict(meta or {}))),
        spec=ServiceSpec(**({"type": "LoadBalancer", "ports": ports or (port(),)} | spec)),
    )


def outcome(
    of: Service,
    *,
    offer: BalancerOffer = EVERYTHING,
    certificates: Mapping[CertificateRef, str] | None = None,
    targets: tuple[Target, ...] = (Target("a"),),
    host: Service | None = None,
    cluster: Cluster = CLUSTER,
) -> Outcome:
    values, problems = parse(of.annotations)
    return desired_balancer(
        of, values, problems, targets, cluster=cluster, offer=offer, certificates=certificates or {}, host=host
    )


def wanted(of: Service, **more: Any) -> Wanted:
    found = outcome(of, **more)
    assert found.wanted is not None, [str(one) for one in found.refusals]
    return found.wanted
