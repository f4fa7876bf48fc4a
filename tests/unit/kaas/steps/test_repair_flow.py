"""Clusters that run, what happens to them, and how they come back."""

from dataclasses import replace
from datetime import timedelta

from kaas.domain.repair import Limits
from kaas.domain.states import ClusterStatus, NodeState, OperationKind, OperationState
from kaas.drivers.simulator.faults import Action, Rule
from kaas.drivers.simulator.records import Endpoint, SecurityGroup
from tests.support.kaas_flow import LIMITS, WHO, Rig


async def look(rig: Rig, cluster_id: str, times: int = 2) -> None:
    """Let the health of a cluster be looked at."""
    conductor = rig.conductor()
    for _ in range(times):
        await conductor.handle(cluster_id)


async def kinds(rig: Rig, cluster_id: str) -> list[tuple[str, str]]:
    return [(one.kind.value, one.state.value) for one in reversed(await rig.kit.requests.operations(WHO, cluster_id))]


async def test_a_worker_that_is_killed_is_replaced_by_itself(rig: Rig) -> None:
    cluster_id = await rig.made(workers=2)
    rig.sim.kill("dev-default-pool-0")
    await look(rig, cluster_id)
    await rig.succeed(cluster_id)
    nodes = await rig.nodes(cluster_id)
    assert set(nodes) == {"dev-control-plane-0", "dev-default-pool-1", "dev-default-pool-2"}
    assert await kinds(rig, cluster_id) == [("create", "succeeded"), ("repair", "succeeded")]
    assert (await rig.snapshot(cluster_id)).cluster.status is ClusterStatus.RUNNING
    assert {"NODE_UNHEALTHY", "NODE_REPLACED"} <= {event.code for event in await rig.events(cluster_id)}
    assert rig.problems(cluster_id) == []


async def test_a_machine_that_somebody_took_away_is_replaced(rig: Rig) -> None:
    cluster_id = await rig.made(workers=2)
    rig.sim.vanish("dev-default-pool-0")
    await look(rig, cluster_id)
    await rig.succeed(cluster_id)
    assert set(rig.sim.brain(cluster_id).nodes) == set(await rig.nodes(cluster_id))
    assert rig.problems(cluster_id) == []


async def test_a_kubelet_that_comes_back_in_time_is_left_alone(rig: Rig) -> None:
    cluster_id = await rig.made(workers=2)
    rig.planner = type(rig.planner)(rig.planner.recipe, rig.planner.addons, Limits())
    machine = rig.sim.stop_kubelet("dev-default-pool-0")
    await look(rig, cluster_id)
    assert (await rig.nodes(cluster_id))["dev-default-pool-0"].state is NodeState.UNHEALTHY
    machine.kubelet_stopped_at = None
    rig.sim.world.ground.put(machine)
    await look(rig, cluster_id, 1)
    node = (await rig.nodes(cluster_id))["dev-default-pool-0"]
    assert (node.state, node.unhealthy_since) == (NodeState.READY, None)
    assert await kinds(rig, cluster_id) == [("create", "succeeded")]


async def test_most_nodes_unhealthy_at_once_freezes_repairs_and_says_so_once(rig: Rig) -> None:
    cluster_id = await rig.made(workers=3)
    for number in (0, 1, 2):
        rig.sim.stop_kubelet(f"dev-default-pool-{number}")
    await look(rig, cluster_id, 4)
    assert await kinds(rig, cluster_id) == [("create", "succeeded")]
    frozen = [event for event in await rig.events(cluster_id) if event.code == "REPAIR_FROZEN"]
    assert len(frozen) == 1
    assert "3 of 4 nodes" in frozen[0].message


async def test_an_api_server_that_hangs_does_not_keep_a_cluster_from_growing(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    rig.sim.stop_api("dev-control-plane-0")
    await rig.scale(cluster_id, 2)
    await rig.succeed(cluster_id)
    assert rig.problems(cluster_id) == []


async def test_a_sick_node_does_not_keep_others_from_coming(rig: Rig) -> None:
    cluster_id = await rig.made(workers=2)
    rig.sim.kill("dev-default-pool-0")
    await rig.scale(cluster_id, 3)
    await rig.succeed(cluster_id)
    await rig.repair(cluster_id)
    await rig.succeed(cluster_id)
    await look(rig, cluster_id)
    await rig.succeed(cluster_id)
    assert "dev-default-pool-0" not in await rig.nodes(cluster_id)
    assert rig.problems(cluster_id) == []


async def test_an_api_server_that_hangs_is_started_again(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    rig.sim.stop_api("dev-control-plane-0")
    await look(rig, cluster_id)
    await rig.succeed(cluster_id)
    assert rig.count("remote.run", "systemctl") == 1
    health = (await rig.snapshot(cluster_id)).cluster.health
    assert health.api_server
    assert {node.state for node in (await rig.nodes(cluster_id)).values()} == {NodeState.READY}
    assert rig.count("driver.create", "machine") == 2


async def test_a_lost_control_plane_of_three_is_replaced_without_losing_the_quorum(rig: Rig) -> None:
    cluster_id = await rig.made(planes=3, workers=1)
    dead = rig.sim.kill("dev-control-plane-1")
    await look(rig, cluster_id)
    await rig.succeed(cluster_id)
    brain = rig.sim.brain(cluster_id)
    assert len(brain.members) == 3
    assert dead.id not in brain.members
    assert set(brain.nodes) == set(await rig.nodes(cluster_id))
    assert "dev-control-plane-3" in brain.nodes
    assert rig.problems(cluster_id) == []


async def test_a_first_control_plane_can_be_the_one_that_is_lost(rig: Rig) -> None:
    cluster_id = await rig.made(planes=3, workers=1)
    rig.sim.kill("dev-control-plane-0")
    await look(rig, cluster_id)
    await rig.succeed(cluster_id)
    assert len(rig.sim.brain(cluster_id).members) == 3
    assert rig.problems(cluster_id) == []


async def test_with_two_of_three_control_planes_gone_nothing_is_made_worse(rig: Rig) -> None:
    cluster_id = await rig.made(planes=3, workers=1)
    rig.sim.kill("dev-control-plane-0")
    rig.sim.kill("dev-control-plane-1")
    await look(rig, cluster_id, 4)
    assert await kinds(rig, cluster_id) == [("create", "succeeded")]
    (told,) = [event for event in await rig.events(cluster_id) if event.code == "API_SERVER_DOWN"]
    assert "backup" in told.message


async def test_a_repair_that_fails_leaves_a_cluster_that_is_looked_at_again(rig: Rig) -> None:
    cluster_id = await rig.made(workers=2)
    rig.sim.faults.add(Rule("bad", "driver.create machine *", Action.FAIL_MACHINE, times=0))
    rig.sim.kill("dev-default-pool-0")
    await look(rig, cluster_id)
    ended = await rig.settle(cluster_id)
    assert (ended.kind, ended.state) == (OperationKind.REPAIR, OperationState.FAILED)
    assert (await rig.snapshot(cluster_id)).cluster.status is ClusterStatus.RUNNING
    rig.sim.faults.clear()
    rig.planner = type(rig.planner)(rig.planner.recipe, rig.planner.addons, _eager())
    await look(rig, cluster_id)
    await rig.succeed(cluster_id)
    assert set(rig.sim.brain(cluster_id).nodes) == set(await rig.nodes(cluster_id))
    assert rig.problems(cluster_id) == []


async def test_a_repair_brings_back_what_somebody_changed_outside(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    ground = rig.sim.world.ground
    (group,), (endpoint,) = ground.all(SecurityGroup), ground.all(Endpoint)
    rules, targets = group.rules, endpoint.targets
    group.rules, group.members, endpoint.targets = [], [], []
    ground.put(group)
    ground.put(endpoint)
    await rig.repair(cluster_id)
    await rig.succeed(cluster_id)
    assert ground.all(SecurityGroup)[0].rules == rules
    assert ground.all(Endpoint)[0].targets == targets


def _eager() -> Limits:
    return replace(LIMITS, patience_rest=timedelta(0))
