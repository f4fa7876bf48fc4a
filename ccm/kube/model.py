"""The parts of Kubernetes objects that a cloud controller manager reads; everything else is skipped in decoding.

Objects are never written back from these structs: writes are patches of single fields (`ccm.kube.patch`), so that what
is not modelled here cannot be lost. `null` reads as empty.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Generic, TypeVar

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """Base of all parts: names as on the wire, unknown fields skipped."""


class OwnerReference(Part, frozen=True, kw_only=True):
    """Who an object belongs to."""

    kind: str
    name: str
    uid: str


class Meta(Part, frozen=True, kw_only=True):
    """`metadata` of an object."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    finalizers: tuple[str, ...] | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Object(Part, frozen=True, kw_only=True):
    """What every object has."""

    metadata: Meta

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone without a namespace."""
        meta = self.metadata
        return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels, never None."""
        return self.metadata.labels or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations, never None."""
        return self.metadata.annotations or {}

    @property
    def finalizers(self) -> tuple[str, ...]:
        """Its finalizers, never None."""
        return self.metadata.finalizers or ()

    @property
    def is_going(self) -> bool:
        """Whether somebody has deleted it and finalizers still hold it."""
        return self.metadata.deletion_timestamp is not None


class Taint(Part, frozen=True, kw_only=True):
    """A taint of a node."""

    key: str
    effect: str
    value: str = ""
    time_added: str = ""


class NodeSpec(Part, frozen=True, kw_only=True):
    """`spec` of a Node."""

    provider_id: str = msgspec.field(default="", name="providerID")
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="podCIDRs")
    taints: tuple[Taint, ...] | None = None
    unschedulable: bool = False


class NodeAddress(Part, frozen=True, kw_only=True):
    """One address of a node; the type is `InternalIP`, `ExternalIP`, `Hostname`, `InternalDNS` or `ExternalDNS`."""

    type: str
    address: str


class Condition(Part, frozen=True, kw_only=True):
    """A condition of a node or a service; the status is `True`, `False` or `Unknown`."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    """The server writes `null` for a time that nobody has set."""
    observed_generation: int = 0


class AttachedVolume(Part, frozen=True, kw_only=True):
    """A volume that Kubernetes has attached to a node."""

    name: str


class NodeStatus(Part, frozen=True, kw_only=True):
    """`status` of a Node."""

    addresses: tuple[NodeAddress, ...] | None = None
    conditions: tuple[Condition, ...] | None = None
    volumes_attached: tuple[AttachedVolume, ...] | None = None


class Node(Object, frozen=True, kw_only=True):
    """A node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def taints(self) -> tuple[Taint, ...]:
        """Its taints, never None."""
        return self.spec.taints or ()

    @property
    def addresses(self) -> tuple[NodeAddress, ...]:
        """Its addresses, never None."""
        return self.status.addresses or ()

    @property
    def ready(self) -> str:
        """Status of the condition Ready; empty when it has none."""
        return next((one.status for one in self.status.conditions or () if one.type == "Ready"), "")


class ServicePort(Part, frozen=True, kw_only=True):
    """A port of a service."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str = ""
    node_port: int = 0
    target_port: int | str = 0


class ClientIpConfig(Part, frozen=True, kw_only=True):
    """How long a client stays with a pod."""

    timeout_seconds: int = 10800


class AffinityConfig(Part, frozen=True, kw_only=True):
    """`sessionAffinityConfig`."""

    client_ip: ClientIpConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(Part, frozen=True, kw_only=True):
    """`spec` of a Service."""

    type: str = "ClusterIP"
    ports: tuple[ServicePort, ...] | None = None
    load_balancer_class: str = ""
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    load_balancer_source_ranges: tuple[str, ...] | None = None
    session_affinity: str = "None"
    session_affinity_config: AffinityConfig | None = None
    external_traffic_policy: str = ""
    health_check_node_port: int = 0
    ip_families: tuple[str, ...] | None = None
    ip_family_policy: str = ""
    cluster_ip: str = msgspec.field(default="", name="clusterIP")


class PortStatus(Part, frozen=True, kw_only=True):
    """What became of a port at an ingress point."""

    port: int
    protocol: str = "TCP"
    error: str | None = None


class Ingress(Part, frozen=True, kw_only=True):
    """A point at which a load balancer answers."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str = ""
    ports: tuple[PortStatus, ...] | None = None


class LoadBalancerStatus(Part, frozen=True, kw_only=True):
    """`status.loadBalancer`."""

    ingress: tuple[Ingress, ...] | None = None


class ServiceStatus(Part, frozen=True, kw_only=True):
    """`status` of a Service."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()
    conditions: tuple[Condition, ...] | None = None


class Service(Object, frozen=True, kw_only=True):
    """A service."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def ports(self) -> tuple[ServicePort, ...]:
        """Its ports, never None."""
        return self.spec.ports or ()

    @property
    def ingress(self) -> tuple[Ingress, ...]:
        """Where it can be reached, as its status says; never None."""
        return self.status.load_balancer.ingress or ()


class Secret(Object, frozen=True, kw_only=True):
    """A Secret; only read where a service names one as its certificate."""

    type: str = ""
    data: Mapping[str, str] | None = None


class LeaseSpec(Part, frozen=True, kw_only=True):
    """`spec` of a Lease."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    lease_transitions: int = 0


class Lease(Object, frozen=True, kw_only=True):
    """A lease of the group coordination.k8s.io."""

    spec: LeaseSpec = LeaseSpec()


O = TypeVar("O", bound=Object)  # noqa: E741 - one letter as usual for type variables; Object is its bound


class ListMeta(Part, frozen=True, kw_only=True):
    """`metadata` of a list."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class ObjectList(Part, Generic[O], frozen=True, kw_only=True):
    """A page of a listing."""

    metadata: ListMeta = ListMeta()
    items: tuple[O, ...] | None = None
