"""Rows as values of the domain."""

from typing import Any

from sqlalchemy import Row

from kaas.db import codec
from kaas.domain.model import (
    CONTROL_PLANE_GROUP,
    Cluster,
    ClusterSpec,
    Cni,
    Event,
    ExternalRef,
    GroupSpec,
    Health,
    Node,
    Operation,
    Role,
    StepRecord,
)
from kaas.domain.states import ClusterStatus, NodeState, OperationKind, OperationState, RefState, StepState


def cluster_of(row: Row[Any]) -> Cluster:
    """Read a row of `cluster`."""
    return Cluster(
        id=row.uuid,
        tenant_id=row.project_id,
        user_id=row.user_id,
        name=row.name,
        spec=codec.spec_from_json(row.spec),
        status=ClusterStatus(row.status),
        status_reason=row.status_reason,
        generation=row.generation,
        observed_generation=row.observed_generation,
        endpoint=row.api_address,
        health=codec.from_json(row.health_status_reason, Health),
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.coe_version,
    )


def unreadable(row: Row[Any]) -> Cluster:
    """Give what can be shown of a row of `cluster` that `cluster_of` cannot read: that it is there, and broken."""
    return Cluster(
        id=row.uuid,
        tenant_id=row.project_id,
        user_id=row.user_id,
        name=row.name,
        spec=ClusterSpec(
            version="",
            vpc_id="",
            pod_cidr="",
            service_cidr="",
            cni=Cni.NONE,
            image="",
            groups=(GroupSpec(CONTROL_PLANE_GROUP, Role.CONTROL_PLANE, 0, 0, 0, ""),),
        ),
        status=ClusterStatus.FAILED,
        status_reason="what is stored of it cannot be read; whoever runs the service finds the reason in its log",
        generation=row.generation,
        observed_generation=row.observed_generation,
        endpoint=row.api_address,
        health=Health(),
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.coe_version,
    )


def node_of(row: Row[Any]) -> Node:
    """Read a row of `node`."""
    return Node(
        id=row.uuid,
        cluster_id=row.cluster_id,
        group=row.nodegroup,
        name=row.name,
        role=Role(row.role),
        state=NodeState(row.state),
        instance_id=row.instance_id,
        address=row.address,
        boot_phase=row.boot_phase,
        log_tail=row.log_tail,
        ssh_host_key=row.ssh_host_key,
        version=row.version,
        unhealthy_since=row.unhealthy_since,
        created_at=row.created_at,
    )


def operation_of(row: Row[Any]) -> Operation:
    """Read a row of `operation`."""
    return Operation(
        id=row.uuid,
        cluster_id=row.cluster_id,
        kind=OperationKind(row.kind),
        state=OperationState(row.state),
        generation=row.generation,
        requested_by=row.requested_by,
        request_id=row.request_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        deadline=row.deadline,
        finished_at=row.finished_at,
        arguments=row.arguments,
        error_code=row.error_code,
        error=row.error,
        cancel_requested=row.cancel_requested,
        progress=row.progress,
    )


def step_of(row: Row[Any]) -> StepRecord:
    """Read a row of `operation_step`."""
    return StepRecord(
        operation_id=row.operation_id,
        key=row.key,
        seq=row.seq,
        state=StepState(row.state),
        attempt=row.attempt,
        inputs_hash=row.inputs_hash,
        result=row.result,
        started_at=row.started_at,
        finished_at=row.finished_at,
        next_try_at=row.next_try_at,
        error_code=row.error_code,
        error=row.error,
    )


def ref_of(row: Row[Any]) -> ExternalRef:
    """Read a row of `external_ref`."""
    return ExternalRef(
        id=row.uuid,
        cluster_id=row.cluster_id,
        kind=row.kind,
        name=row.name,
        state=RefState(row.state),
        external_id=row.external_id,
        node_id=row.node_id,
        step=row.step,
    )


def event_of(row: Row[Any]) -> Event:
    """Read a row of `event`."""
    return Event(
        cluster_id=row.cluster_id,
        code=row.code,
        message=row.message,
        severity=row.severity,
        operation_id=row.operation_id,
        node_id=row.node_id,
        actor=row.actor,
        created_at=row.created_at,
        id=str(row.id),
    )
