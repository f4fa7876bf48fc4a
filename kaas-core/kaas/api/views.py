"""Payloads of answers, in the platform's shapes (platform contract 15.1) with fields of ours behind them.

Fields that are not known are left out, but for those that the platform always has.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import BaseModel

from kaas.domain.model import Cluster, Event, GroupSpec, Node, Operation, Role, Snapshot, StepRecord
from kaas.domain.plans import Item, Plan
from kaas.domain.states import FINAL, NodeState
from kaas.domain.store import Amounts
from kaas.domain.wanted import KEPT_VOLUMES, VOLUMES


class GroupView(BaseModel):
    """A node group; what is asked for as `desired_size` is shown as `current_size`, as the platform does."""

    id: str
    cluster_id: str
    name: str
    instance_type: str
    min_size: int
    max_size: int
    current_size: int
    created_at: datetime
    updated_at: datetime
    ready_size: int = 0
    """Nodes that are ready; left out in the answer to a change."""
    labels: dict[str, str] = {}
    taints: list[dict[str, str]] = []


class ClusterView(BaseModel):
    """A cluster."""

    id: str
    name: str
    user_id: str
    tenant_id: str
    vpc_id: str
    version: str
    control_plane_ips: list[str] | None
    """Null until known."""
    worker_count: int
    status: str
    node_groups: list[GroupView]
    pod_cidr: str
    service_cidr: str
    network_isolation: bool
    ha_enabled: bool
    api_server_lb_address: str = ""
    job_id: str = ""
    """The operation that is under way."""
    created_at: datetime
    updated_at: datetime
    status_reason: str
    cni: str
    endpoint: str
    """`host:port` of its API; empty until there is one."""
    generation: int
    observed_generation: int


class HealthView(BaseModel):
    """What was last seen of a cluster."""

    status: str
    api_server: bool
    nodes_total: int
    nodes_ready: int
    message: str = ""
    checked_at: datetime | None = None


class NodeView(BaseModel):
    """A machine that is, becomes or was a node."""

    id: str
    cluster_id: str
    name: str
    node_group: str
    role: str
    status: str
    instance_id: str
    address: str
    version: str
    boot_phase: str
    log_tail: str
    """The end of what its first boot wrote."""
    unhealthy_since: datetime | None = None
    created_at: datetime | None = None


class StepView(BaseModel):
    """A step of an operation."""

    key: str
    state: str
    attempt: int
    started_at: datetime | None = None
    finished_at: datetime | None = None
    next_try_at: datetime | None = None
    error_code: str = ""
    error: str = ""


class KeptVolumeView(BaseModel):
    """A volume that outlives its cluster."""

    id: str
    name: str


class OperationView(BaseModel):
    """What is done to a cluster, from its commit to its end."""

    id: str
    cluster_id: str
    kind: str
    state: str
    generation: int
    requested_by: str
    request_id: str
    created_at: datetime
    updated_at: datetime
    deadline: datetime
    finished_at: datetime | None = None
    cancel_requested: bool
    error_code: str = ""
    error: str = ""
    progress_percent: int = 0
    """Of the time that it takes; left out in lists."""
    eta_s: float | None = None
    """Seconds to its end, going by earlier operations; left out while there are none to go by."""
    steps: list[StepView] = []
    """Left out in lists."""
    kept_volumes: list[KeptVolumeView] = []
    """After a delete: volumes of claims that are still on the platform; left out in lists."""


class EventView(BaseModel):
    """Something that happened to a cluster."""

    id: str
    cluster_id: str
    code: str
    severity: str
    message: str
    operation_id: str = ""
    node_id: str = ""
    actor: str = ""
    created_at: datetime | None = None


class ItemView(BaseModel):
    """Things of one kind in a plan; a `*` in the name stands for what is chosen when they are made."""

    kind: str
    name: str
    count: int
    detail: str = ""


class AmountsView(BaseModel):
    """What counts against a tenant's quota."""

    clusters: int
    nodes: int
    vcpus: int
    memory_mb: int


class PlanView(BaseModel):
    """What a change would do."""

    operation: str
    make: list[ItemView]
    keep: list[ItemView]
    remove: list[ItemView]
    usage_before: AmountsView
    usage_after: AmountsView
    warnings: list[str]


class SshKeyView(BaseModel):
    """The key that a cluster's machines trust."""

    private_key: str
    """In OpenSSH's format."""
    user: str
    addresses: dict[str, str]
    """Of the nodes, by name."""


def cluster_view(cluster: Cluster, *, snapshot: Snapshot | None = None, operation_id: str = "") -> ClusterView:
    """Show a cluster; with a snapshot also what is known of its nodes and its operation."""
    spec = cluster.spec
    host = cluster.endpoint.rpartition(":")[0]
    nodes = snapshot.nodes if snapshot else ()
    addresses = [node.address for node in nodes if node.role is Role.CONTROL_PLANE and _is_there(node) and node.address]
    fields: dict[str, Any] = {}
    if spec.is_ha and host:
        fields["api_server_lb_address"] = host
    running = snapshot.operation if snapshot else None
    if operation_id or (running is not None and running.state not in FINAL):
        fields["job_id"] = operation_id or (running.id if running else "")
    return ClusterView(
        id=cluster.id,
        name=cluster.name,
        user_id=cluster.user_id,
        tenant_id=cluster.tenant_id,
        vpc_id=spec.vpc_id,
        version=cluster.version or spec.version,
        control_plane_ips=addresses or None,
        worker_count=sum(group.size for group in spec.worker_groups),
        status=cluster.status.value,
        node_groups=[group_view(cluster, group, snapshot) for group in spec.worker_groups],
        pod_cidr=spec.pod_cidr,
        service_cidr=spec.service_cidr,
        network_isolation=spec.network_isolation,
        ha_enabled=spec.is_ha,
        created_at=cluster.created_at,
        updated_at=cluster.updated_at,
        status_reason=cluster.status_reason,
        cni=spec.cni.value,
        endpoint=cluster.endpoint,
        generation=cluster.generation,
        observed_generation=cluster.observed_generation,
        **fields,
    )


def group_view(cluster: Cluster, group: GroupSpec, snapshot: Snapshot | None = None) -> GroupView:
    """Show a node group."""
    fields: dict[str, Any] = {}
    if snapshot is not None:
        fields["ready_size"] = sum(node.state is NodeState.READY for node in snapshot.in_group(group.name))
    return GroupView(
        id=str(uuid5(_as_uuid(cluster.id), group.name)),
        cluster_id=cluster.id,
        name=group.name,
        instance_type=group.instance_type,
        min_size=group.min_size,
        max_size=group.max_size,
        current_size=group.size,
        created_at=cluster.created_at,
        updated_at=cluster.updated_at,
        labels=dict(group.labels),
        taints=[{"key": taint.key, "value": taint.value, "effect": taint.effect} for taint in group.taints],
        **fields,
    )


def health_view(cluster: Cluster) -> HealthView:
    """Show what was last seen of a cluster."""
    health = cluster.health
    fields = {"message": health.message or cluster.status_reason, "checked_at": health.checked_at}
    return HealthView(
        status=cluster.status.value,
        api_server=health.api_server,
        nodes_total=health.nodes_total,
        nodes_ready=health.nodes_ready,
        **_known(fields),
    )


def node_view(node: Node) -> NodeView:
    """Show a node."""
    return NodeView(
        id=node.id,
        cluster_id=node.cluster_id,
        name=node.name,
        node_group=node.group,
        role=node.role.value,
        status=node.state.value,
        instance_id=node.instance_id,
        address=node.address,
        version=node.version,
        boot_phase=node.boot_phase,
        log_tail=node.log_tail,
        **_known({"unhealthy_since": node.unhealthy_since, "created_at": node.created_at}),
    )


def operation_view(operation: Operation, **more: Any) -> OperationView:
    """Show an operation; `more` are the fields that only one of them is shown with."""
    optional = {
        "finished_at": operation.finished_at,
        "error_code": operation.error_code,
        "error": operation.error,
    }
    return OperationView(
        id=operation.id,
        cluster_id=operation.cluster_id,
        kind=operation.kind.value,
        state=operation.state.value,
        generation=operation.generation,
        requested_by=operation.requested_by,
        request_id=operation.request_id,
        created_at=operation.created_at,
        updated_at=operation.updated_at,
        deadline=operation.deadline,
        cancel_requested=operation.cancel_requested,
        **_known(optional),
        **more,
    )


def kept_volumes(steps: Sequence[StepRecord]) -> list[KeptVolumeView]:
    """Give the volumes that an operation says have been kept."""
    told = next((step.result.get(VOLUMES) for step in steps if step.key == KEPT_VOLUMES), None)
    if not isinstance(told, list):
        return []
    return [KeptVolumeView(id=str(one["id"]), name=str(one["name"])) for one in told]


def step_view(step: StepRecord) -> StepView:
    """Show a step; what it gave to later steps is not shown."""
    optional = {
        "started_at": step.started_at,
        "finished_at": step.finished_at,
        "next_try_at": step.next_try_at,
        "error_code": step.error_code,
        "error": step.error,
    }
    return StepView(key=step.key, state=step.state.value, attempt=step.attempt, **_known(optional))


def event_view(event: Event) -> EventView:
    """Show an event."""
    optional = {
        "operation_id": event.operation_id,
        "node_id": event.node_id,
        "actor": event.actor,
        "created_at": event.created_at,
    }
    return EventView(
        id=event.id,
        cluster_id=event.cluster_id,
        code=event.code,
        severity=event.severity,
        message=event.message,
        **_known(optional),
    )


def plan_view(plan: Plan) -> PlanView:
    """Show a plan."""
    return PlanView(
        operation=plan.kind.value,
        make=[_item_view(item) for item in plan.make],
        keep=[_item_view(item) for item in plan.keep],
        remove=[_item_view(item) for item in plan.remove],
        usage_before=_amounts_view(plan.usage_before),
        usage_after=_amounts_view(plan.usage_after),
        warnings=list(plan.warnings),
    )


def _item_view(item: Item) -> ItemView:
    return ItemView(kind=item.kind.value, name=item.name, count=item.count, **_known({"detail": item.detail}))


def _amounts_view(amounts: Amounts) -> AmountsView:
    return AmountsView(clusters=amounts.clusters, nodes=amounts.nodes, vcpus=amounts.vcpus, memory_mb=amounts.memory_mb)


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _is_there(node: Node) -> bool:
    return node.state not in (NodeState.LEAVING, NodeState.GONE)


def _as_uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return uuid5(NAMESPACE_URL, text)
