"""The parts of Kubernetes objects that are read here; what is not named is not decoded."""

from collections.abc import Mapping

import msgspec


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    """A piece of an object, in the API's spelling."""


class Owner(_Part, frozen=True):
    """Who made an object."""

    kind: str = ""
    name: str = ""
    controller: bool | None = False


class Meta(_Part, frozen=True):
    """What every object has."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    deletion_timestamp: str | None = None
    owner_references: tuple[Owner, ...] | None = None

    @property
    def where(self) -> str:
        """Namespace and name, as a person writes it."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Condition(_Part, frozen=True):
    """One thing that is said of an object."""

    type: str
    status: str
    reason: str | None = ""
    message: str | None = ""


class Object(_Part, frozen=True):
    """An object of which nothing but this is of interest."""

    metadata: Meta = Meta()
    kind: str = ""


# Nodes


class TaintPart(_Part, frozen=True):
    """A taint of a node."""

    key: str
    effect: str = ""


class NodeSpec(_Part, frozen=True):
    """What a Node says of itself."""

    provider_id: str = msgspec.field(name="providerID", default="")
    unschedulable: bool = False
    taints: tuple[TaintPart, ...] | None = None


class NodeInfo(_Part, frozen=True):
    """Versions on a node."""

    kubelet_version: str = ""


class NodeStatus(_Part, frozen=True):
    """What a kubelet reports."""

    conditions: tuple[Condition, ...] | None = None
    node_info: NodeInfo = NodeInfo()


class Node(_Part, frozen=True):
    """A Node."""

    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


# Pods


class Waiting(_Part, frozen=True):
    """Why a container does not run."""

    reason: str | None = ""
    message: str | None = ""


class ContainerState(_Part, frozen=True):
    """What a container does."""

    waiting: Waiting | None = None


class ContainerStatus(_Part, frozen=True):
    """A container of a pod."""

    name: str
    state: ContainerState = ContainerState()


class ClaimSource(_Part, frozen=True):
    """A claim that a pod mounts."""

    claim_name: str = ""


class PodVolume(_Part, frozen=True):
    """A volume of a pod."""

    persistent_volume_claim: ClaimSource | None = None


class PodSpec(_Part, frozen=True):
    """What a pod is to be."""

    node_name: str = ""
    volumes: tuple[PodVolume, ...] | None = None


class PodStatus(_Part, frozen=True):
    """What a pod is."""

    phase: str = ""
    conditions: tuple[Condition, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(_Part, frozen=True):
    """A Pod."""

    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


# Workloads


class Strategy(_Part, frozen=True):
    """How a change reaches the pods."""

    type: str = ""


class WorkloadSpec(_Part, frozen=True):
    """What a Deployment, DaemonSet or StatefulSet is to be."""

    replicas: int | None = 1
    update_strategy: Strategy = Strategy()
    volume_claim_templates: tuple[Object, ...] | None = None


class WorkloadStatus(_Part, frozen=True):
    """What it is; each of the three kinds has its own counts."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    desired_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    conditions: tuple[Condition, ...] | None = None


class Workload(_Part, frozen=True):
    """A Deployment, DaemonSet or StatefulSet."""

    metadata: Meta
    spec: WorkloadSpec = WorkloadSpec()
    status: WorkloadStatus = WorkloadStatus()


# What reaches outside of the cluster


class ServiceSpec(_Part, frozen=True):
    """What a Service is to be."""

    type: str = ""


class Service(_Part, frozen=True):
    """A Service."""

    metadata: Meta
    spec: ServiceSpec = ServiceSpec()


class ClaimRef(_Part, frozen=True):
    """The claim that a volume belongs to."""

    namespace: str = ""
    name: str = ""


class CsiSource(_Part, frozen=True):
    """A volume of a CSI driver."""

    driver: str = ""
    volume_handle: str = ""


class VolumeSpec(_Part, frozen=True):
    """What a PersistentVolume is to be."""

    persistent_volume_reclaim_policy: str = ""
    claim_ref: ClaimRef | None = None
    csi: CsiSource | None = None


class VolumeStatus(_Part, frozen=True):
    """What a PersistentVolume is."""

    phase: str = ""


class Volume(_Part, frozen=True):
    """A PersistentVolume."""

    metadata: Meta
    spec: VolumeSpec = VolumeSpec()
    status: VolumeStatus = VolumeStatus()


# Kinds


class CrdStatus(_Part, frozen=True):
    """How far a CustomResourceDefinition is."""

    conditions: tuple[Condition, ...] | None = None


class Crd(_Part, frozen=True):
    """A CustomResourceDefinition."""

    metadata: Meta
    status: CrdStatus = CrdStatus()


class ApiResource(_Part, frozen=True):
    """A kind that the server offers."""

    name: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...] = ()


class ApiResources(_Part, frozen=True):
    """The kinds of one group and version."""

    resources: tuple[ApiResource, ...] | None = None
