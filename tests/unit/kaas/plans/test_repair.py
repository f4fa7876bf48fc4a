"""When something is repaired, and how much at a time: tables of what was seen and what follows."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kaas.domain.model import Cluster, Cni, Health, Node, Role, Snapshot
from kaas.domain.repair import Decision, Limits, Look, Machine, Seen, decide
from kaas.domain.states import ClusterStatus, NodeState, OperationKind
from tests.support.kaas_flow import spec_of, utc

NOW = utc(100_000)
LONG_AGO = NOW - timedelta(minutes=10)
WELL = Seen(ready=True, machine=Machine.RUNS)
SICK = Seen(ready=False, machine=Machine.RUNS, message="kubelet stopped posting node status")
DEAD = Seen(ready=False, machine=Machine.DEAD, message="kubelet stopped posting node status")


def cluster(*, planes: int = 1, workers: int = 3) -> Snapshot:
    """Give a cluster that runs, all of it Ready."""
    spec = spec_of(planes=planes, workers=workers)
    row = Cluster(
        id="c",
        tenant_id="t",
        user_id="u",
        name="dev",
        spec=spec,
        status=ClusterStatus.RUNNING,
        status_reason="",
        generation=1,
        observed_generation=1,
        endpoint="10.0.0.1:6443",
        health=Health(api_server=True),
        created_at=utc(),
        updated_at=utc(),
        version="v1.36.3",
    )
    nodes = [node("control-plane", number, Role.CONTROL_PLANE) for number in range(planes)]
    nodes += [node("default-pool", number, Role.WORKER) for number in range(workers)]
    return Snapshot(row, tuple(nodes), (), None)


def node(group: str, number: int, role: Role) -> Node:
    name = f"dev-{group}-{number}"
    return Node(f"id-{name}", "c", group, name, role, NodeState.READY, instance_id=f"i-{name}", address="10.0.0.2")


def with_nodes(snapshot: Snapshot, **changes: object) -> Snapshot:
    """Give the snapshot with some nodes changed: `pool_0=…`, `plane_1=…` to fields."""
    nodes = []
    for one in snapshot.nodes:
        short = one.name.replace("dev-default-pool-", "pool_").replace("dev-control-plane-", "plane_")
        nodes.append(replace(one, **changes[short]) if short in changes else one)  # type: ignore[arg-type]
    return replace(snapshot, nodes=tuple(nodes))


def look(snapshot: Snapshot, api: bool = True, /, **seen: Seen) -> Look:
    names = {one.name: WELL for one in snapshot.nodes if one.state is not NodeState.GONE}
    for short, what in seen.items():
        names[short.replace("pool_", "dev-default-pool-").replace("plane_", "dev-control-plane-")] = what
    return Look(NOW, api, names)


def unhealthy(since: object = LONG_AGO) -> dict[str, object]:
    return {"state": NodeState.UNHEALTHY, "unhealthy_since": since}


def replaced(decision: Decision) -> list[str]:
    return [] if decision.change is None else [one.removeprefix("id-dev-") for one in decision.change.leave]


def test_a_cluster_that_is_well_is_left_alone() -> None:
    snapshot = cluster()
    decision = decide(snapshot, look(snapshot), Limits())
    assert (decision.change, decision.events, decision.updates) == (None, (), {})
    assert (decision.health.nodes_total, decision.health.nodes_ready) == (4, 4)


def test_the_first_sight_of_a_sick_node_is_only_written_down() -> None:
    snapshot = cluster()
    decision = decide(snapshot, look(snapshot, pool_1=SICK), Limits())
    assert decision.change is None
    assert decision.updates["id-dev-default-pool-1"].unhealthy_since == NOW
    assert [event.code for event in decision.events] == ["NODE_UNHEALTHY"]
    assert "dev-default-pool-1: kubelet stopped" in decision.health.message


def test_a_node_that_is_well_again_is_forgiven() -> None:
    snapshot = with_nodes(cluster(), pool_1=unhealthy())
    decision = decide(snapshot, look(snapshot), Limits())
    assert decision.change is None
    assert decision.updates["id-dev-default-pool-1"].clear_unhealthy


@pytest.mark.parametrize(
    ("seen", "since_s", "acts"),
    [
        (SICK, 179, False),
        (SICK, 180, True),
        (DEAD, 44, False),
        (DEAD, 45, True),
        (Seen(ready=False, machine=Machine.UNKNOWN), 179, False),
        (Seen(ready=False, machine=Machine.UNKNOWN), 180, True),
    ],
)
def test_a_sick_node_is_replaced_when_patience_is_over(seen: Seen, since_s: int, acts: bool) -> None:
    snapshot = with_nodes(cluster(), pool_1=unhealthy(NOW - timedelta(seconds=since_s)))
    decision = decide(snapshot, look(snapshot, pool_1=seen), Limits())
    assert replaced(decision) == (["default-pool-1"] if acts else [])


def test_a_replacement_is_a_repair_that_adds_as_many_as_leave_and_keeps_what_is_wanted() -> None:
    snapshot = with_nodes(cluster(), pool_1=unhealthy())
    change = decide(snapshot, look(snapshot, pool_1=SICK), Limits()).change
    assert change is not None
    assert change.kind is OperationKind.REPAIR
    assert change.spec == snapshot.cluster.spec
    assert [(new.group, new.role) for new in change.add] == [("default-pool", "worker")]


@pytest.mark.parametrize(("workers", "sick", "at_once"), [(3, 1, 1), (9, 3, 1), (10, 4, 2), (20, 5, 4)])
def test_a_fifth_of_a_group_is_replaced_at_one_time(workers: int, sick: int, at_once: int) -> None:
    names = [f"pool_{number}" for number in range(sick)]
    snapshot = with_nodes(cluster(workers=workers), **{name: unhealthy() for name in names})
    decision = decide(snapshot, look(snapshot, **dict.fromkeys(names, SICK)), Limits())
    assert len(replaced(decision)) == at_once


def test_nodes_that_are_being_replaced_count() -> None:
    snapshot = with_nodes(cluster(workers=5), pool_1=unhealthy(), pool_2={"state": NodeState.JOINING})
    assert replaced(decide(snapshot, look(snapshot, pool_1=SICK), Limits())) == []


@pytest.mark.parametrize(
    ("workers", "sick", "frozen"), [(1, 1, False), (2, 1, False), (2, 2, True), (4, 2, False), (4, 3, True)]
)
def test_more_than_two_in_five_freezes(workers: int, sick: int, frozen: bool) -> None:
    names = [f"pool_{number}" for number in range(sick)]
    snapshot = with_nodes(cluster(workers=workers), **{name: unhealthy() for name in names})
    decision = decide(snapshot, look(snapshot, **dict.fromkeys(names, DEAD)), Limits())
    assert (decision.change is None) is frozen
    assert ("REPAIR_FROZEN" in [event.code for event in decision.events]) is frozen


def test_the_freeze_is_told_once() -> None:
    names = ["pool_0", "pool_1", "pool_2"]
    snapshot = with_nodes(cluster(), **{name: unhealthy() for name in names})
    sight = look(snapshot, **dict.fromkeys(names, SICK))
    first = decide(snapshot, sight, Limits())
    again = replace(snapshot, cluster=replace(snapshot.cluster, health=first.health))
    assert [event.code for event in first.events] == ["REPAIR_FROZEN"]
    assert decide(again, sight, Limits()).events == ()


def test_the_budget_ends_what_does_not_help() -> None:
    snapshot = with_nodes(cluster(), pool_1=unhealthy())
    gone = [
        replace(
            node("default-pool", 10 + n, Role.WORKER), state=NodeState.GONE, unhealthy_since=NOW - timedelta(hours=1)
        )
        for n in range(5)
    ]
    used = replace(snapshot, nodes=(*snapshot.nodes, *gone))
    assert replaced(decide(used, look(used, pool_1=SICK), Limits())) == []
    less = replace(snapshot, nodes=(*snapshot.nodes, *gone[1:]))
    assert replaced(decide(less, look(less, pool_1=SICK), Limits())) == ["default-pool-1"]
    later = [replace(one, unhealthy_since=NOW - timedelta(hours=2)) for one in gone]
    old = replace(snapshot, nodes=(*snapshot.nodes, *later))
    assert replaced(decide(old, look(old, pool_1=SICK), Limits())) == ["default-pool-1"]


def test_one_control_plane_of_three_is_replaced_and_nothing_beside_it() -> None:
    snapshot = with_nodes(cluster(planes=3, workers=6), plane_1=unhealthy(), pool_0=unhealthy())
    decision = decide(snapshot, look(snapshot, plane_1=DEAD, pool_0=DEAD), Limits())
    assert replaced(decision) == ["control-plane-1"]


@pytest.mark.parametrize("planes", [1, 2])
def test_a_control_plane_without_a_quorum_beside_it_is_kept(planes: int) -> None:
    snapshot = with_nodes(cluster(planes=planes, workers=4), plane_0=unhealthy())
    decision = decide(snapshot, look(snapshot, plane_0=SICK), Limits())
    assert decision.change is None
    assert "REPAIR_HELD" in [event.code for event in decision.events]
    assert "no quorum" in decision.reason


def test_no_second_control_plane_goes_while_one_comes() -> None:
    snapshot = with_nodes(cluster(planes=5, workers=6), plane_0=unhealthy(), plane_4={"state": NodeState.JOINING})
    assert replaced(decide(snapshot, look(snapshot, plane_0=DEAD), Limits())) == []


def test_an_api_server_that_was_down_for_a_moment_is_waited_for() -> None:
    snapshot = cluster()
    decision = decide(snapshot, look(snapshot, False), Limits())
    assert decision.change is None
    assert not decision.health.api_server
    assert decision.updates["id-dev-control-plane-0"].unhealthy_since == NOW
    assert "id-dev-default-pool-0" not in decision.updates


def test_an_api_server_that_stays_down_is_started_again_and_no_node_is_judged() -> None:
    snapshot = with_nodes(cluster(), plane_0=unhealthy(), pool_0=unhealthy())
    decision = decide(snapshot, look(snapshot, False, plane_0=SICK, pool_0=DEAD), Limits())
    assert decision.change is not None
    assert decision.change.leave == ()
    assert [event.code for event in decision.events] == ["API_SERVER_RESTARTED"]


def test_without_enough_machines_for_etcd_nothing_is_tried() -> None:
    snapshot = with_nodes(cluster(), plane_0=unhealthy())
    decision = decide(snapshot, look(snapshot, False, plane_0=DEAD), Limits())
    assert decision.change is None
    assert "backup" in decision.reason


def test_without_a_network_of_ours_only_dead_machines_count() -> None:
    snapshot = with_nodes(cluster(), pool_0=unhealthy(), pool_1=unhealthy())
    row = replace(snapshot.cluster, spec=replace(snapshot.cluster.spec, cni=Cni.NONE))
    snapshot = replace(snapshot, cluster=row)
    decision = decide(snapshot, look(snapshot, pool_0=SICK, pool_1=DEAD), Limits())
    assert replaced(decision) == ["default-pool-1"]
    assert decision.health.nodes_ready == 2


def test_what_was_left_undone_is_begun_again_after_a_rest() -> None:
    snapshot = with_nodes(cluster(), pool_2={"state": NodeState.JOINING})
    first = decide(snapshot, look(snapshot), Limits())
    assert first.change is None
    assert first.updates["id-dev-default-pool-2"].unhealthy_since == NOW
    tired = with_nodes(snapshot, pool_2={"unhealthy_since": NOW - timedelta(minutes=9)})
    assert decide(tired, look(tired), Limits()).change is None
    rested = with_nodes(snapshot, pool_2={"unhealthy_since": NOW - timedelta(minutes=10)})
    change = decide(rested, look(rested), Limits()).change
    assert change is not None
    assert (change.add, change.leave) == ((), ())


@pytest.mark.parametrize(("planes", "advice"), [(1, "new cluster"), (3, "one after the other")])
def test_certificates_that_end_soon_are_told_once_and_stay_in_the_health(planes: int, advice: str) -> None:
    young = with_nodes(cluster(planes=planes), plane_0={"created_at": NOW - timedelta(days=304)})
    assert decide(young, look(young), Limits()).events == ()
    old = with_nodes(young, plane_0={"created_at": NOW - timedelta(days=305)})
    decision = decide(old, look(old), Limits())
    (event,) = decision.events
    assert (event.code, event.severity) == ("CERTIFICATES_END", "error")
    assert advice in event.message
    assert decision.health.message == event.message
    again = replace(old, cluster=replace(old.cluster, health=decision.health))
    assert decide(again, look(again), Limits()).events == ()


def test_what_else_is_told_beside_it_is_told_once_too() -> None:
    snapshot = with_nodes(
        cluster(workers=3),
        plane_0={"created_at": NOW - timedelta(days=305)},
        **{f"pool_{number}": unhealthy() for number in range(3)},
    )
    seen = look(snapshot, pool_0=SICK, pool_1=SICK, pool_2=SICK)
    decision = decide(snapshot, seen, Limits())
    assert {event.code for event in decision.events} == {"REPAIR_FROZEN", "CERTIFICATES_END"}
    again = replace(snapshot, cluster=replace(snapshot.cluster, health=decision.health))
    assert decide(again, seen, Limits()).events == ()


def test_what_is_told_of_many_nodes_ends_somewhere() -> None:
    snapshot = cluster(workers=200)
    seen = {f"pool_{number}": replace(SICK, message="x" * 300) for number in range(200)}
    health = decide(snapshot, look(snapshot, **seen), Limits()).health
    assert len(health.message) < 3000
    assert health.message.endswith("and 194 more")
