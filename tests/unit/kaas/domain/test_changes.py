from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaas.domain.errors import Code, RequestError
from kaas.domain.model import DEFAULT_GROUP, Role, Snapshot
from kaas.domain.requests import Decide, check_moment
from kaas.domain.states import ALLOWED, SUPERSEDES, ClusterStatus, NodeState, OperationKind
from kaas.domain.wanted import DELETE_VOLUMES, GroupRequest, GroupUpdate
from tests.unit.kaas.domain.made import group, named, node, operation, rules, snapshot, unhealthy


def refused(decide: Decide, seen: Snapshot, code: Code = Code.INVALID) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decide(seen)
    assert caught.value.code is code
    return caught.value


def sizes(change: Any) -> dict[str, int]:
    return {one.name: one.size for one in change.spec.worker_groups}


def test_scaling_up_adds_nodes() -> None:
    change = rules().scale(5)(snapshot())
    assert change.kind is OperationKind.SCALE
    assert sizes(change) == {"default-pool": 5}
    assert [one.group for one in change.add] == ["default-pool"] * 3
    assert change.leave == ()
    assert change.usage.nodes == 6


def test_scaling_down_lets_the_newest_go() -> None:
    nodes = [node(f"dev-default-pool-{number}") for number in (1, 9, 10)]
    change = rules().scale(1)(snapshot(group(size=3), nodes=nodes))
    assert change.leave == ("id-dev-default-pool-10", "id-dev-default-pool-9")
    assert [one.group for one in change.add] == ["control-plane"]


def test_nodes_without_a_machine_and_unhealthy_ones_go_first() -> None:
    nodes = [
        node("dev-default-pool-0"),
        unhealthy(node("dev-default-pool-1")),
        node("dev-default-pool-2", NodeState.WANTED),
        node("dev-default-pool-3"),
        node("dev-default-pool-4", NodeState.GONE),
        node("dev-default-pool-5", NodeState.LEAVING),
    ]
    change = rules().scale(2)(snapshot(group(size=4), nodes=nodes))
    assert change.leave == ("id-dev-default-pool-2", "id-dev-default-pool-1")


@given(st.lists(st.sampled_from(list(NodeState)), max_size=12), st.integers(1, 10))
def test_afterwards_as_many_are_there_as_are_wanted(states: list[NodeState], workers: int) -> None:
    nodes = [node(f"dev-default-pool-{number}", state) for number, state in enumerate(states)]
    change = rules().scale(workers)(snapshot(group(size=2), nodes=nodes))
    living = sum(state not in {NodeState.LEAVING, NodeState.GONE} for state in states)
    added = sum(one.group == DEFAULT_GROUP for one in change.add)
    assert living + added - len(change.leave) == workers
    assert added == 0 or not change.leave


def test_workers_are_counted_over_all_groups() -> None:
    seen = snapshot(group(size=2), group("gpu", 3))
    assert sizes(rules().scale(8)(seen)) == {"default-pool": 5, "gpu": 3}
    assert named(refused(rules().scale(3), seen)) == ["workers"]


@pytest.mark.parametrize("workers", [0, -5, 11, 10**6])
def test_counts_that_cannot_be(workers: int) -> None:
    assert named(refused(rules().scale(workers), snapshot())) == ["workers"]


def test_no_more_nodes_than_the_pods_range_has_room_for() -> None:
    seen = snapshot(pod_cidr="172.16.0.0/21")
    assert rules().scale(6)(seen)
    assert "room for 8 nodes" in refused(rules().scale(7), seen).message


def test_no_more_nodes_than_a_cluster_may_have() -> None:
    assert "at most 6" in refused(rules(max_nodes=6).scale(6), snapshot()).message


def test_a_new_group() -> None:
    request = GroupRequest(name="gpu", instance_type="standard-4", desired_size=2, labels={"gpu": "yes"})
    change = rules().create_group(request)(snapshot())
    assert sizes(change) == {"default-pool": 2, "gpu": 2}
    assert [one.group for one in change.add] == ["gpu", "gpu"]
    assert change.spec.worker_groups[1].labels == {"gpu": "yes"}


@pytest.mark.parametrize(
    ("fields", "sized"),
    [
        ({}, (1, 1, 10)),
        ({"min_size": 3}, (3, 3, 10)),
        ({"desired_size": 0}, (0, 0, 10)),
        ({"desired_size": 12}, (1, 12, 12)),
        ({"min_size": 0, "max_size": 4, "desired_size": 2}, (0, 2, 4)),
    ],
)
def test_sizes_that_follow_from_others(fields: dict[str, int], sized: tuple[int, int, int]) -> None:
    made = rules().create_group(GroupRequest(name="gpu", **fields))(snapshot()).spec.worker_groups[1]
    assert (made.min_size, made.size, made.max_size) == sized


def test_a_group_that_is_there() -> None:
    refused(rules().create_group(GroupRequest(name="gpu")), snapshot(group(), group("gpu", 1)), Code.NAME_TAKEN)


@pytest.mark.parametrize("name", ["", "GPU", "control-plane", "g" * 21, "gpu-", "$(id)"])
def test_names_that_no_group_can_have(name: str) -> None:
    assert named(refused(rules().create_group(GroupRequest(name=name)), snapshot())) == ["name"]


def test_too_many_groups() -> None:
    seen = snapshot(*(group(f"g{number}", 1) for number in range(16)))
    assert "at most 16" in refused(rules().create_group(GroupRequest(name="gpu")), seen).message


def test_other_sizes_of_a_group() -> None:
    change = rules().update_group("default-pool", GroupUpdate(max_size=20, desired_size=15))(snapshot())
    assert sizes(change) == {"default-pool": 15}
    assert len(change.add) == 13


@pytest.mark.parametrize(
    ("update", "fields"),
    [
        (GroupUpdate(), ["desired_size"]),
        (GroupUpdate(desired_size=11), ["desired_size"]),
        (GroupUpdate(max_size=1), ["desired_size"]),
        (GroupUpdate(min_size=11), ["min_size"]),
        (GroupUpdate(min_size=-1), ["min_size"]),
        (GroupUpdate(max_size=10**6), ["max_size"]),
        (GroupUpdate(min_size=0, desired_size=0), ["desired_size"]),
    ],
)
def test_sizes_that_cannot_be(update: GroupUpdate, fields: list[str]) -> None:
    assert named(refused(rules().update_group("default-pool", update), snapshot())) == fields


def test_groups_that_are_not_there() -> None:
    update = GroupUpdate(desired_size=3)
    for name in ("gpu", "control-plane"):
        assert "it has default-pool" in refused(rules().update_group(name, update), snapshot(), Code.NOT_FOUND).message
        refused(rules().delete_group(name), snapshot(), Code.NOT_FOUND)


def test_the_end_of_a_group() -> None:
    seen = snapshot(group(), group("gpu", 2))
    change = rules().delete_group("gpu")(seen)
    assert sizes(change) == {"default-pool": 2}
    assert change.leave == ("id-dev-gpu-1", "id-dev-gpu-0")
    refused(rules().delete_group("default-pool"), seen)
    refused(rules().delete_group("gpu"), snapshot(group(size=0, min_size=0), group("gpu", 2)))


def test_a_repair_adds_what_is_missing() -> None:
    seen = snapshot()
    lost = replace(seen, nodes=tuple(one for one in seen.nodes if one.name != "dev-default-pool-0"))
    change = rules().repair()(lost)
    assert change.spec == seen.cluster.spec
    assert [one.group for one in change.add] == ["default-pool"]
    assert rules().repair()(seen).add == ()


@pytest.mark.parametrize(
    ("state", "version", "may"),
    [
        (NodeState.READY, "v1.29.0", True),
        (NodeState.UNHEALTHY, "v1.29.0", True),
        (NodeState.JOINING, "v1.29.0", True),
        (NodeState.GONE, "v1.29.0", False),
        (NodeState.LEAVING, "v1.29.0", False),
        (NodeState.GONE, "", True),
    ],
)
def test_a_cluster_without_a_control_plane_is_not_repaired_once_it_has_run(
    state: NodeState, version: str, may: bool
) -> None:
    seen = snapshot(status=ClusterStatus.FAILED)
    nodes = [replace(one, state=state) if one.role is Role.CONTROL_PLANE else one for one in seen.nodes]
    seen = replace(seen, cluster=replace(seen.cluster, version=version), nodes=tuple(nodes))
    if may:
        assert rules().repair()(seen).kind is OperationKind.REPAIR
    else:
        assert "delete it" in refused(rules().repair(), seen, Code.WRONG_STATE).message


def test_a_delete_says_what_becomes_of_volumes() -> None:
    assert rules().delete()(snapshot()).arguments == {DELETE_VOLUMES: False}
    change = rules().delete(volumes=True)(snapshot())
    assert change.arguments == {DELETE_VOLUMES: True}
    assert change.kind is OperationKind.DELETE


def test_a_delete_under_way_that_keeps_volumes_is_not_made_one_that_takes_them() -> None:
    running = replace(operation(OperationKind.DELETE), arguments={DELETE_VOLUMES: False})
    seen = replace(snapshot(status=ClusterStatus.DELETING), operation=running)
    refused(rules().delete(volumes=True), seen, Code.WRONG_STATE)
    assert rules().delete()(seen).kind is OperationKind.DELETE
    taking = replace(seen, operation=replace(running, arguments={DELETE_VOLUMES: True}))
    assert rules().delete(volumes=True)(taking).kind is OperationKind.DELETE


@pytest.mark.parametrize("kind", [OperationKind.SCALE, OperationKind.REPAIR, OperationKind.DELETE])
@pytest.mark.parametrize("status", ClusterStatus)
def test_the_table_of_states(status: ClusterStatus, kind: OperationKind) -> None:
    seen = snapshot(status=status)
    if status in ALLOWED[kind]:
        check_moment(seen, kind)
    else:
        refused(lambda one: check_moment(one, kind), seen, Code.WRONG_STATE)  # type: ignore[arg-type, return-value, func-returns-value]


@pytest.mark.parametrize("kind", [OperationKind.SCALE, OperationKind.REPAIR, OperationKind.DELETE])
@pytest.mark.parametrize("running", OperationKind)
def test_the_table_of_what_takes_the_place_of_what(running: OperationKind, kind: OperationKind) -> None:
    seen = snapshot(running=running)
    decide = {
        OperationKind.SCALE: rules().scale(3),
        OperationKind.REPAIR: rules().repair(),
        OperationKind.DELETE: rules().delete(),
    }[kind]
    if running in SUPERSEDES[kind] or running is kind is OperationKind.DELETE:
        assert decide(seen).kind is kind
    else:
        assert "o-1" in refused(decide, seen, Code.WRONG_STATE).message


def test_a_state_that_forbids_it_comes_before_everything_else() -> None:
    seen = snapshot(status=ClusterStatus.PROVISIONING, running=OperationKind.CREATE)
    for decide in (
        rules().scale(-1),
        rules().create_group(GroupRequest(name="")),
        rules().update_group("none", GroupUpdate()),
        rules().delete_group("none"),
    ):
        refused(decide, seen, Code.WRONG_STATE)
