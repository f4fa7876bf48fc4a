"""A cluster that has run keeps its address, and its access to the platform, whatever a listing says."""

import asyncio
from dataclasses import replace
from pathlib import Path

from kaas.drivers.simulator.records import Credential, Endpoint
from kaas.drivers.simulator.world import Offer
from tests.support.kaas_flow import WHO, Rig, rig_on


async def told(rig: Rig, cluster_id: str) -> str:
    """Give what the step of the endpoint says, once it is to be tried again."""
    ledger = await rig.ledger((await rig.kit.requests.operations(WHO, cluster_id))[0])
    return next((one.error for key, one in ledger.items() if key.startswith("endpoint/")), "")


async def test_an_endpoint_that_is_not_to_be_seen_is_not_made_anew_at_another_address(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    before = (await rig.snapshot(cluster_id)).cluster.endpoint
    ground = rig.sim.world.ground
    (endpoint,) = ground.all(Endpoint)
    ground.remove(endpoint)
    await rig.repair(cluster_id)
    working = asyncio.ensure_future(rig.conductor().handle(cluster_id))
    try:
        async with asyncio.timeout(20):
            while not (said := await told(rig, cluster_id)):
                await asyncio.wait({working}, timeout=0.01)
    finally:
        working.cancel()
        await asyncio.wait({working})
    assert before in said
    assert "bring it back" in said
    assert ground.all(Endpoint) == []
    assert (await rig.snapshot(cluster_id)).cluster.endpoint == before


async def test_load_balancers_that_came_later_do_not_move_a_cluster(tmp_path: Path) -> None:
    async with rig_on(tmp_path, offer=Offer(endpoints=False)) as rig:
        cluster_id = await rig.made(workers=1)
        before = (await rig.snapshot(cluster_id)).cluster.endpoint
        rig.sim.world.offer = replace(rig.sim.world.offer, endpoints=True)
        await rig.repair(cluster_id)
        await rig.succeed(cluster_id)
        assert rig.sim.world.ground.all(Endpoint) == []
        assert (await rig.snapshot(cluster_id)).cluster.endpoint == before


async def test_scaling_leaves_the_credential_inside_alone_and_a_repair_puts_a_lost_one_right(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    ground = rig.sim.world.ground
    (credential,) = ground.all(Credential)
    ground.remove(credential)
    await rig.scale(cluster_id, 2)
    await rig.succeed(cluster_id)
    assert ground.all(Credential) == []
    await rig.repair(cluster_id)
    await rig.succeed(cluster_id)
    assert len(ground.all(Credential)) == 1
