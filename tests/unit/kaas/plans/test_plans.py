"""Which steps an operation has, and in which order: tables of states and plans."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest

from kaas.domain.model import Node, Operation, Role, Snapshot, StepRecord
from kaas.domain.repair import Limits
from kaas.domain.states import ClusterStatus, NodeState, OperationKind, OperationState, StepState
from kaas.reconcile.planner import Plan
from kaas.reconcile.plans.flow import FlowPlanner
from kaas.reconcile.schedule import PlanError, check_plan, inputs_hash
from tests.support.kaas_flow import RECIPE, LightAddons, utc
from tests.unit.kaas.plans.test_repair import cluster

PLANNER = FlowPlanner(RECIPE, LightAddons())


def doing(snapshot: Snapshot, kind: OperationKind, *, ledger: Iterable[str] = (), **more: object) -> Snapshot:
    operation = Operation(
        id="op",
        cluster_id="c",
        kind=kind,
        state=OperationState.RUNNING,
        generation=1,
        requested_by="u",
        request_id="",
        created_at=utc(),
        updated_at=utc(),
        deadline=utc(3600),
        arguments=more,
    )
    records = [StepRecord("op", key, seq, StepState.DONE, 1, "", {}) for seq, key in enumerate(ledger)]
    return replace(snapshot, operation=operation, steps=tuple(records))


def wanted(*, planes: int = 1, workers: int = 2) -> Snapshot:
    """Give a cluster of which nothing is made."""
    snapshot = cluster(planes=planes, workers=workers)
    nodes = tuple(replace(node, state=NodeState.WANTED, instance_id="") for node in snapshot.nodes)
    row = replace(snapshot.cluster, version="", endpoint="", status=ClusterStatus.PROVISIONING)
    return replace(snapshot, cluster=row, nodes=nodes)


def changed(snapshot: Snapshot, **states: NodeState) -> Snapshot:
    """Give it with nodes in other states: `pool_0=…`."""

    def state_of(node: Node) -> NodeState:
        short = node.name.replace("dev-default-pool-", "pool_").replace("dev-control-plane-", "plane_")
        return states.get(short, node.state)

    return replace(snapshot, nodes=tuple(replace(node, state=state_of(node)) for node in snapshot.nodes))


def plan(snapshot: Snapshot) -> Plan:
    made = PLANNER.plan(snapshot)
    check_plan(made.steps)
    return made


def keys(snapshot: Snapshot) -> set[str]:
    return {step.key for step in plan(snapshot).steps}


def comes_before(snapshot: Snapshot, first: str, then: str) -> bool:
    """Tell whether a step cannot begin before another is done."""
    needs = {step.key: step.needs for step in plan(snapshot).steps}
    seen: set[str] = set()
    todo = [then]
    while todo:
        for key in needs[todo.pop()] - seen:
            seen.add(key)
            todo.append(key)
    return first in seen


def test_a_create_has_all_steps() -> None:
    assert keys(doing(wanted(), OperationKind.CREATE)) == {
        "preflight",
        "secrets",
        "security-group/sg-dev",
        "key-pair/k8s-dev-c",
        "endpoint/k8s-dev-c-api",
        "credential/k8s-dev-c",
        "machine/dev-control-plane-0",
        "machine/dev-default-pool-0",
        "machine/dev-default-pool-1",
        "boot/dev-control-plane-0",
        "boot/dev-default-pool-0",
        "boot/dev-default-pool-1",
        "security-group-rules",
        "endpoint-targets/dev-control-plane-0",
        "init/dev-control-plane-0",
        "join/dev-default-pool-0",
        "join/dev-default-pool-1",
        "cni",
        "rbac",
        "ccm",
        "csi",
        "ready",
        "seal",
    }


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("preflight", "security-group/sg-dev"),
        ("secrets", "key-pair/k8s-dev-c"),
        ("key-pair/k8s-dev-c", "machine/dev-default-pool-0"),
        ("boot/dev-control-plane-0", "endpoint-targets/dev-control-plane-0"),
        ("endpoint-targets/dev-control-plane-0", "init/dev-control-plane-0"),
        ("security-group-rules", "init/dev-control-plane-0"),
        ("init/dev-control-plane-0", "join/dev-default-pool-0"),
        ("boot/dev-default-pool-0", "join/dev-default-pool-0"),
        ("credential/k8s-dev-c", "csi"),
        ("init/dev-control-plane-0", "cni"),
        ("csi", "ready"),
        ("join/dev-default-pool-1", "ready"),
        ("ready", "seal"),
        ("join/dev-control-plane-1", "endpoint-targets/dev-control-plane-1"),
        ("endpoint-targets/dev-control-plane-1", "join/dev-control-plane-2"),
    ],
)
def test_order_of_a_create(first: str, then: str) -> None:
    assert comes_before(doing(wanted(planes=3), OperationKind.CREATE), first, then)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("machine/dev-control-plane-0", "machine/dev-default-pool-0"),
        ("join/dev-default-pool-0", "join/dev-default-pool-1"),
        ("join/dev-default-pool-0", "join/dev-control-plane-1"),
        ("cni", "join/dev-default-pool-0"),
        ("boot/dev-default-pool-0", "init/dev-control-plane-0"),
        ("endpoint/k8s-dev-c-api", "machine/dev-control-plane-0"),
    ],
)
def test_steps_of_a_create_that_do_not_wait_for_each_other(one: str, other: str) -> None:
    snapshot = doing(wanted(planes=3), OperationKind.CREATE)
    assert not comes_before(snapshot, one, other)
    assert not comes_before(snapshot, other, one)


def test_growing_makes_only_the_new_ones() -> None:
    snapshot = changed(doing(cluster(workers=2), OperationKind.SCALE), pool_1=NodeState.WANTED)
    made = keys(snapshot)
    assert {"machine/dev-default-pool-1", "boot/dev-default-pool-1", "join/dev-default-pool-1"} <= made
    assert not any(key.endswith(("pool-0", "control-plane-0")) for key in made)
    assert not {"preflight", "cni", "ccm", "endpoint-targets", "credential/k8s-dev-c"} & made
    assert comes_before(snapshot, "api-server", "join/dev-default-pool-1")
    assert {"ready", "seal"} <= made


def test_shrinking_lets_each_go_in_its_order() -> None:
    snapshot = changed(doing(cluster(workers=2), OperationKind.SCALE), pool_1=NodeState.LEAVING)
    for first, then in [
        ("drain/dev-default-pool-1", "node/dev-default-pool-1"),
        ("node/dev-default-pool-1", "gone/dev-default-pool-1"),
        ("gone/dev-default-pool-1", "security-group-rules"),
        ("gone/dev-default-pool-1", "ready"),
    ]:
        assert comes_before(snapshot, first, then)
    assert "seal" not in keys(snapshot)


def test_a_worker_comes_and_goes_in_one_operation_without_waiting() -> None:
    snapshot = changed(
        doing(cluster(workers=3), OperationKind.REPAIR), pool_1=NodeState.LEAVING, pool_2=NodeState.WANTED
    )
    assert not comes_before(snapshot, "gone/dev-default-pool-1", "machine/dev-default-pool-2")
    assert not comes_before(snapshot, "gone/dev-default-pool-1", "join/dev-default-pool-2")


def test_a_control_plane_is_out_of_etcd_before_its_successor_joins() -> None:
    snapshot = changed(
        doing(cluster(planes=4, workers=1), OperationKind.REPAIR),
        plane_1=NodeState.LEAVING,
        plane_3=NodeState.WANTED,
    )
    order = [
        "drain/dev-control-plane-1",
        "endpoint-targets/without-dev-control-plane-1",
        "etcd/dev-control-plane-1",
        "gone/dev-control-plane-1",
        "join/dev-control-plane-3",
        "endpoint-targets/dev-control-plane-3",
        "ready",
    ]
    for first, then in pairwise(order):
        assert comes_before(snapshot, first, then), f"{first} does not come before {then}"


def test_control_planes_go_one_after_the_other() -> None:
    snapshot = changed(
        doing(cluster(planes=5, workers=1), OperationKind.SCALE), plane_1=NodeState.LEAVING, plane_2=NodeState.LEAVING
    )
    assert comes_before(snapshot, "gone/dev-control-plane-1", "etcd/dev-control-plane-2")


def test_no_plan_takes_the_last_control_plane_away() -> None:
    snapshot = changed(doing(cluster(), OperationKind.REPAIR), plane_0=NodeState.LEAVING)
    with pytest.raises(PlanError, match="dev-control-plane-0 is the last control plane"):
        plan(snapshot)


def test_a_repair_looks_after_what_is_there() -> None:
    made = keys(doing(cluster(workers=1), OperationKind.REPAIR))
    assert {"endpoint-targets", "security-group-rules", "api-server", "cni", "rbac", "ccm", "csi", "ready"} <= made
    assert not any(key.startswith(("machine/", "init/", "join/", "drain/")) for key in made)


def test_a_repair_of_what_never_ran_is_a_create() -> None:
    assert keys(doing(wanted(), OperationKind.REPAIR)) == keys(doing(wanted(), OperationKind.CREATE))


def test_a_create_stays_the_same_plan_while_its_nodes_become_ready() -> None:
    before = doing(wanted(), OperationKind.CREATE)
    after = doing(cluster(workers=2), OperationKind.CREATE)
    assert keys(before) == keys(after)


def test_a_scale_stays_the_same_plan_to_its_end() -> None:
    start = changed(doing(cluster(workers=3), OperationKind.SCALE), pool_1=NodeState.WANTED, pool_2=NodeState.LEAVING)
    end = changed(
        doing(cluster(workers=3), OperationKind.SCALE, ledger=keys(start)),
        pool_1=NodeState.READY,
        pool_2=NodeState.GONE,
    )
    assert keys(start) == keys(end)


def test_a_machine_that_was_replaced_is_let_in_and_aimed_at_again() -> None:
    before = doing(cluster(workers=1), OperationKind.CREATE)
    nodes = tuple(replace(node, instance_id=f"new-{node.name}") for node in before.nodes)
    after = replace(before, nodes=nodes)
    hashes = [{step.key: inputs_hash(step) for step in plan(one).steps} for one in (before, after)]
    differs = {key for key in hashes[0] if hashes[0][key] != hashes[1][key]}
    assert differs == {
        "security-group-rules",
        "endpoint-targets/dev-control-plane-0",
        "join/dev-default-pool-0",
    }


@pytest.mark.parametrize("volumes", [True, False])
def test_an_end_goes_from_inside_out_and_ends_with_the_credential(volumes: bool) -> None:
    snapshot = doing(cluster(), OperationKind.DELETE, delete_volumes=volumes)
    order = [step.key for step in plan(snapshot).steps]
    expected = ["release", "remove/load-balancer", "remove/endpoint", "remove/machine"]
    expected += ["remove/volume"] if volumes else []
    expected += ["remove/security-group", "remove/key-pair", "remove/credential"]
    expected += ["kept-volumes", "sweep"]
    assert order == expected
    for first, then in pairwise(order):
        assert comes_before(snapshot, first, then)


@pytest.mark.parametrize("state", list(NodeState))
def test_an_end_is_the_same_from_every_state(state: NodeState) -> None:
    snapshot = wanted()
    snapshot = replace(snapshot, nodes=tuple(replace(node, state=state) for node in snapshot.nodes))
    assert keys(doing(snapshot, OperationKind.DELETE)) == keys(doing(cluster(), OperationKind.DELETE))


def test_only_clusters_that_run_are_looked_at() -> None:
    assert [step.key for step in plan(cluster()).steps] == ["health"]
    assert plan(cluster()).look_again_s == 60.0
    failed = replace(cluster(), cluster=replace(cluster().cluster, status=ClusterStatus.FAILED))
    assert plan(failed).steps == ()
    assert FlowPlanner(RECIPE, LightAddons(), Limits(), repairs=False).plan(cluster()).steps == ()


def test_a_repair_that_fails_leaves_a_cluster_that_runs_unless_it_never_did() -> None:
    ran = plan(doing(cluster(), OperationKind.REPAIR))
    assert ran.outcomes[OperationState.FAILED].status is ClusterStatus.RUNNING
    assert plan(doing(wanted(), OperationKind.REPAIR)).outcomes == {}


def test_roles_are_kept_apart_by_number_not_by_text() -> None:
    snapshot = wanted(planes=1, workers=0)
    planes = [replace(snapshot.nodes[0], name=f"dev-control-plane-{number}", id=str(number)) for number in (10, 9)]
    snapshot = doing(replace(snapshot, nodes=tuple(planes)), OperationKind.CREATE)
    assert all(node.role is Role.CONTROL_PLANE for node in snapshot.nodes)
    assert "init/dev-control-plane-9" in keys(snapshot)


def inputs_of(snapshot: Snapshot, key: str) -> dict[str, object]:
    return next(dict(step.inputs) for step in plan(snapshot).steps if step.key == key)


def narrowed(snapshot: Snapshot, *sources: str) -> Snapshot:
    spec = replace(snapshot.cluster.spec, access=replace(snapshot.cluster.spec.access, api=sources))
    return replace(snapshot, cluster=replace(snapshot.cluster, spec=spec))


def moved(snapshot: Snapshot, name: str, address: str) -> Snapshot:
    nodes = tuple(replace(node, address=address) if node.name == name else node for node in snapshot.nodes)
    return replace(snapshot, nodes=nodes)


def test_the_endpoint_is_aimed_again_when_what_it_goes_by_changes() -> None:
    before = doing(cluster(planes=1, workers=2), OperationKind.REPAIR)
    seen = inputs_of(before, "endpoint-targets")
    assert inputs_of(narrowed(before, "192.0.2.0/24"), "endpoint-targets") != seen
    assert inputs_of(moved(before, "dev-control-plane-0", "10.9.9.9"), "endpoint-targets") != seen
    assert inputs_of(moved(before, "dev-default-pool-0", "10.9.9.9"), "endpoint-targets") == seen


def test_an_endpoint_that_lets_in_only_some_is_aimed_again_when_a_worker_moves() -> None:
    before = narrowed(doing(cluster(planes=1, workers=2), OperationKind.REPAIR), "192.0.2.0/24")
    after = moved(before, "dev-default-pool-0", "10.9.9.9")
    assert inputs_of(before, "endpoint-targets") != inputs_of(after, "endpoint-targets")


def test_who_may_join_through_an_endpoint_that_lets_in_only_some_is_told_to_it_before() -> None:
    made = narrowed(doing(wanted(workers=2), OperationKind.CREATE), "192.0.2.0/24")
    assert comes_before(made, "machine/dev-default-pool-1", "endpoint-targets/dev-control-plane-0")
    grown = doing(changed(cluster(planes=1, workers=2), pool_1=NodeState.WANTED), OperationKind.SCALE)
    assert not [key for key in keys(grown) if key.startswith("endpoint-targets")]
    narrow = narrowed(grown, "192.0.2.0/24")
    assert comes_before(narrow, "machine/dev-default-pool-1", "endpoint-targets/machines")
    assert comes_before(narrow, "endpoint-targets/machines", "join/dev-default-pool-1")


def test_the_endpoint_is_aimed_by_one_step_at_a_time() -> None:
    made = doing(wanted(planes=3), OperationKind.CREATE)
    aimed = [step for step in plan(made).steps if step.key.startswith("endpoint-targets")]
    assert len(aimed) == 3
    assert all(first.key in then.needs for first, then in pairwise(aimed))
