"""Bodies of requests: their form only. What makes sense is decided in `kaas.domain.requests`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from kaas.domain.model import Access, Taint
from kaas.domain.wanted import CreateRequest, GroupRequest, GroupUpdate

_FAR = 10**9
Count = Annotated[int, Field(ge=-_FAR, le=_FAR)]
Text = Annotated[str, Field(max_length=255)]
Key = Annotated[str, Field(max_length=512)]


class _Body(BaseModel):
    """Unknown fields are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TaintBody(_Body):
    """A taint that nodes register with."""

    key: Key
    value: Text = ""
    effect: Text


class GroupBody(_Body):
    """A new node group."""

    name: Text
    instance_type: Text | None = None
    min_size: Count | None = None
    max_size: Count | None = None
    desired_size: Count | None = None
    labels: dict[Key, Text] | None = None
    taints: list[TaintBody] | None = None

    def request(self) -> GroupRequest:
        """Give it to the domain."""
        return GroupRequest(
            name=self.name,
            instance_type=self.instance_type or "",
            min_size=self.min_size,
            max_size=self.max_size,
            desired_size=self.desired_size,
            labels=self.labels or {},
            taints=tuple(Taint(taint.key, taint.value, taint.effect) for taint in self.taints or ()),
        )


class GroupUpdateBody(_Body):
    """Other sizes of a node group; at least one."""

    min_size: Count | None = None
    max_size: Count | None = None
    desired_size: Count | None = None

    def request(self) -> GroupUpdate:
        """Give it to the domain."""
        return GroupUpdate(min_size=self.min_size, max_size=self.max_size, desired_size=self.desired_size)


class AccessBody(_Body):
    """Who may reach what from outside, as IPv4 ranges."""

    api: list[Text] | None = None
    node_ports: list[Text] | None = None
    open_node_network: bool = False
    """VXLAN, BGP and the kubelet are open to everybody, as the platform documents it."""

    def request(self) -> Access:
        """Give it to the domain."""
        usual = Access()
        return Access(
            api=usual.api if self.api is None else tuple(self.api),
            node_ports=usual.node_ports if self.node_ports is None else tuple(self.node_ports),
            open_node_network=self.open_node_network,
        )


class ClusterBody(_Body):
    """A new cluster. The first six fields are the platform's, the others are ours."""

    name: Text
    vpc_id: Text | None = None
    version: Text | None = None
    workers: Count | None = None
    network_isolation: bool = False
    ha: bool = False
    pod_cidr: Text | None = None
    service_cidr: Text | None = None
    cni: Text | None = None
    control_plane_type: Text | None = None
    worker_type: Text | None = None
    node_groups: list[GroupBody] | None = None
    access: AccessBody | None = None
    zones: list[Text] | None = None

    def request(self) -> CreateRequest:
        """Give it to the domain."""
        return CreateRequest(
            name=self.name,
            vpc_id=self.vpc_id or "",
            version=self.version or "",
            workers=self.workers,
            ha=self.ha,
            network_isolation=self.network_isolation,
            pod_cidr=self.pod_cidr or "",
            service_cidr=self.service_cidr or "",
            cni=self.cni or "",
            control_plane_type=self.control_plane_type or "",
            worker_type=self.worker_type or "",
            node_groups=tuple(group.request() for group in self.node_groups or ()),
            access=(self.access or AccessBody()).request(),
            zones=tuple(self.zones or ()),
        )


class ScaleBody(_Body):
    """How many workers there are to be in all."""

    workers: Count


class UpgradeBody(_Body):
    """The version to go to."""

    version: Text


class RestoreBody(_Body):
    """The backup to go back to."""

    backup_path: Annotated[str, Field(max_length=1024)]


class BackupPolicyBody(_Body):
    """When backups are made, and how long they are kept."""

    schedule: Text | None = None
    retention_days: Count | None = None
