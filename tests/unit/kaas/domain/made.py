"""Clusters as the decisions of the domain see them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kaas.domain.catalogue import PLATFORM_TYPES, Catalogue, Offer
from kaas.domain.errors import RequestError
from kaas.domain.model import (
    CONTROL_PLANE_GROUP,
    DEFAULT_GROUP,
    Cluster,
    ClusterSpec,
    Cni,
    GroupSpec,
    Health,
    Node,
    Operation,
    Role,
    Snapshot,
)
from kaas.domain.requests import Rules
from kaas.domain.states import ClusterStatus, NodeState, OperationKind, OperationState
from kaas.domain.versions import parse_version
from kaas.domain.wanted import CreateRequest, Defaults

VPC = "6f0c9a52-4a3f-4be2-9a35-0b7f6a9b0c01"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CATALOGUE = Catalogue(
    (
        Offer(version=parse_version("v1.29.0"), image="kubernetes-v1.29.0"),
        Offer(version=parse_version("v1.36.3"), image="kubernetes-v1.36.3", cnis=frozenset({Cni.FLANNEL})),
    ),
    PLATFORM_TYPES,
)


def rules(**defaults: Any) -> Rules:
    return Rules(CATALOGUE, Defaults(**defaults))


def asked(**fields: Any) -> CreateRequest:
    return CreateRequest(**{"name": "dev", "vpc_id": VPC, **fields})


def group(name: str = DEFAULT_GROUP, size: int = 2, **fields: Any) -> GroupSpec:
    plain: dict[str, Any] = {"role": Role.WORKER, "min_size": 1, "max_size": 10, "instance_type": "standard-1"}
    return GroupSpec(name=name, size=size, **{**plain, **fields})


def node(name: str, state: NodeState = NodeState.READY, group_name: str = DEFAULT_GROUP) -> Node:
    role = Role.CONTROL_PLANE if group_name == CONTROL_PLANE_GROUP else Role.WORKER
    return Node(id=f"id-{name}", cluster_id="c-1", group=group_name, name=name, role=role, state=state)


def snapshot(
    *groups: GroupSpec,
    nodes: Sequence[Node] | None = None,
    status: ClusterStatus = ClusterStatus.RUNNING,
    running: OperationKind | None = None,
    **spec: Any,
) -> Snapshot:
    """A cluster `dev` with one control plane and the given groups (`default-pool` with 2), and all their nodes."""
    master = group(CONTROL_PLANE_GROUP, 1, role=Role.CONTROL_PLANE, min_size=1, max_size=1, instance_type="standard-2")
    plain: dict[str, Any] = {
        "version": "v1.29.0",
        "vpc_id": VPC,
        "pod_cidr": "192.168.0.0/16",
        "service_cidr": "10.96.0.0/12",
        "cni": Cni.CALICO,
        "image": "kubernetes-v1.29.0",
    }
    wanted = ClusterSpec(groups=(master, *(groups or (group(),))), **{**plain, **spec})
    cluster = Cluster(
        id="c-1",
        tenant_id="blue",
        user_id="ada",
        name="dev",
        spec=wanted,
        status=status,
        status_reason="",
        generation=3,
        observed_generation=3,
        endpoint="10.0.0.1:6443",
        health=Health(),
        created_at=NOW,
        updated_at=NOW,
    )
    if nodes is None:
        nodes = [
            node(f"dev-{one.name}-{number}", group_name=one.name) for one in wanted.groups for number in range(one.size)
        ]
    return Snapshot(cluster, tuple(nodes), (), operation(running) if running else None)


def operation(kind: OperationKind, state: OperationState = OperationState.RUNNING) -> Operation:
    return Operation(
        id="o-1",
        cluster_id="c-1",
        kind=kind,
        state=state,
        generation=3,
        requested_by="ada",
        request_id="r-1",
        created_at=NOW,
        updated_at=NOW,
        deadline=NOW,
    )


def named(error: RequestError) -> list[str]:
    return [problem.field for problem in error.problems]


def unhealthy(one: Node) -> Node:
    return replace(one, state=NodeState.UNHEALTHY)
