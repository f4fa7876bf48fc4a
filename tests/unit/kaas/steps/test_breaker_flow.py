"""Many clusters lose machines at once: nothing is replaced by itself until most of them have theirs back."""

from kaas.domain.breaker import by_hand
from kaas.domain.states import NodeState, OperationKind
from kaas.domain.store import Change
from kaas.reconcile.metrics import ConductorMetrics
from tests.support.kaas_flow import WHO, Rig

CLUSTERS = 10


async def look(rig: Rig, clusters: list[str], times: int = 1) -> None:
    conductor = rig.conductor()
    for _ in range(times):
        for cluster_id in clusters:
            await conductor.handle(cluster_id)


async def codes(rig: Rig, cluster_id: str) -> list[str]:
    return [event.code for event in await rig.events(cluster_id)]


async def replacing(rig: Rig, clusters: list[str]) -> list[str]:
    return [one for one in clusters if len(await rig.kit.requests.operations(WHO, one)) > 1]


async def test_ten_clusters_that_lose_a_machine_each_are_left_alone_until_most_have_it_back(rig: Rig) -> None:
    metrics = ConductorMetrics()
    rig.planner = type(rig.planner)(rig.planner.recipe, rig.planner.addons, rig.planner.limits, observer=metrics)
    clusters = [await rig.made(f"c{number}", workers=2) for number in range(CLUSTERS)]
    for number in range(CLUSTERS):
        rig.sim.kill(f"c{number}-default-pool-0")
    created = rig.count("driver.create", "machine")
    await look(rig, clusters, 4)
    assert await replacing(rig, clusters) == []
    assert rig.count("driver.create", "machine") == created
    assert rig.count("driver.delete", "machine") == 0
    for cluster_id in clusters:
        told = await codes(rig, cluster_id)
        assert told.count("REPAIR_SUSPENDED") == 1
        assert "NODE_REPLACED" not in told
        assert "suspended" in (await rig.snapshot(cluster_id)).cluster.health.message
    count = metrics.registry.get_sample_value("kaas_repairs_suspended_total")
    assert count is not None
    assert count >= CLUSTERS

    for number in range(2, CLUSTERS):
        (machine,) = rig.sim.world.machines(name=f"c{number}-default-pool-0")
        machine.dead_at = None
        rig.sim.world.ground.put(machine)
    await look(rig, clusters[2:])
    await look(rig, clusters)
    assert await replacing(rig, clusters) == clusters[:2]
    for number, cluster_id in enumerate(clusters[:2]):
        await rig.succeed(cluster_id)
        assert f"c{number}-default-pool-0" not in await rig.nodes(cluster_id)
    assert {node.state for one in clusters for node in (await rig.nodes(one)).values()} == {NodeState.READY}


async def test_by_hand_a_cluster_is_repaired_all_the_same(rig: Rig) -> None:
    clusters = [await rig.made(f"c{number}", workers=2) for number in range(3)]
    for number in range(3):
        rig.sim.kill(f"c{number}-default-pool-0")
    await look(rig, clusters, 2)
    assert await replacing(rig, clusters) == []
    asked = Change(OperationKind.REPAIR, (await rig.snapshot(clusters[0])).cluster.spec, deadline_s=60)
    await rig.kit.requests.change(WHO, clusters[0], lambda snapshot: by_hand(snapshot, asked))
    await rig.succeed(clusters[0])
    assert "c0-default-pool-0" not in await rig.nodes(clusters[0])
