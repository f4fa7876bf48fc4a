"""A machine is gone when the platform has said so of its id, twice; a listing that lacks it deletes nothing."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from kaas.domain.errors import Code
from kaas.domain.repair import Limits
from kaas.domain.states import NodeState, OperationKind
from kaas.drivers.simulator.faults import Action, Rule
from kaas.drivers.simulator.world import Timing
from tests.support.kaas_flow import WHO, Rig, rig_on

LISTING = "driver.find machine*"
BY_ID = "driver.machine *"


def lie(rig: Rig) -> None:
    """Let every listing of machines be empty from now on."""
    rig.sim.faults.add(Rule("lie", LISTING, Action.EMPTY, times=0))


async def look(rig: Rig, cluster_id: str, times: int) -> None:
    conductor = rig.conductor()
    for _ in range(times):
        await conductor.handle(cluster_id)


@pytest.mark.parametrize("planes", [1, 3])
async def test_with_empty_listings_a_cluster_is_made_of_the_machines_that_were_made_first(
    rig: Rig, planes: int
) -> None:
    lie(rig)
    cluster_id = await rig.made(planes=planes, workers=2)
    assert rig.count("driver.create", "machine") == planes + 2
    assert rig.count("driver.delete", "machine") == 0
    rig.sim.faults.clear()
    assert rig.problems(cluster_id) == []


async def test_one_false_listing_at_any_time_of_a_creation_costs_no_machine(tmp_path: Path) -> None:
    async with rig_on(tmp_path) as plain:
        await plain.made(workers=1)
        looks = plain.count("driver.find", "machine")
    assert looks
    for first in range(1, looks + 1):
        async with rig_on(tmp_path) as rig:
            rig.sim.faults.add(Rule("lie", LISTING, Action.EMPTY, first=first))
            await rig.made(workers=1)
            assert rig.count("driver.create", "machine") == 2, first
            assert rig.count("driver.delete", "machine") == 0, first


async def test_with_empty_listings_a_cluster_grows_and_loses_nothing(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    lie(rig)
    await rig.scale(cluster_id, 3)
    await rig.succeed(cluster_id)
    assert rig.count("driver.create", "machine") == 4
    assert rig.count("driver.delete", "machine") == 0


async def test_a_machine_that_listings_lack_is_not_dead_to_the_look_at_its_cluster(rig: Rig) -> None:
    cluster_id = await rig.made(workers=2)
    rig.planner = type(rig.planner)(rig.planner.recipe, rig.planner.addons, _patient_with_what_lives())
    rig.sim.stop_kubelet("dev-default-pool-0")
    lie(rig)
    await look(rig, cluster_id, 4)
    assert (await rig.nodes(cluster_id))["dev-default-pool-0"].state is NodeState.UNHEALTHY
    assert [one.kind for one in await rig.kit.requests.operations(WHO, cluster_id)] == [OperationKind.CREATE]
    rig.sim.vanish("dev-default-pool-0")
    await look(rig, cluster_id, 1)
    await rig.succeed(cluster_id)
    assert "dev-default-pool-0" not in await rig.nodes(cluster_id)


async def test_what_is_not_known_by_id_waits_and_nothing_is_made_or_deleted(rig: Rig) -> None:
    lie(rig)
    rig.sim.faults.add(Rule("deaf", BY_ID, times=5))
    await rig.made(workers=0)
    refused = [call for call in rig.sim.calls(method="driver.machine") if call.outcome == Code.PLATFORM_UNAVAILABLE]
    assert len(refused) == 5
    assert rig.count("driver.create", "machine") == 1
    assert rig.count("driver.delete", "machine") == 0


async def test_one_definite_answer_is_not_enough(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    await rig.scale(cluster_id, 2)
    rig.sim.faults.add(Rule("lie", LISTING, Action.EMPTY, times=0))
    rig.sim.faults.add(Rule("once", BY_ID, Action.EMPTY, times=1))
    await rig.succeed(cluster_id)
    assert rig.count("driver.create", "machine") == 3
    assert rig.count("driver.delete", "machine") == 0


async def test_a_machine_that_is_really_gone_is_asked_for_twice_and_made_anew(rig: Rig) -> None:
    name = "dev-default-pool-0"
    rig.sim.faults.add(Rule("mute", f"driver.create machine {name}", Action.NEVER_BOOT))
    cluster_id = await rig.create(workers=1)
    making = asyncio.create_task(rig.succeed(cluster_id))
    await rig.until(lambda: bool(rig.sim.world.machines(cluster_id, name)))
    lost = rig.sim.vanish(name)
    await making
    assert [call.what for call in rig.sim.calls(method="driver.machine")].count(lost.id) >= 2
    assert rig.count("driver.create", f"machine {name}") == 2
    assert rig.problems(cluster_id) == []


async def test_a_deletion_does_not_end_before_machines_that_listings_lack_have(tmp_path: Path) -> None:
    async with rig_on(tmp_path, timing=Timing(delete_s=0.1)) as rig:
        cluster_id = await rig.made(workers=1)
        lie(rig)
        await rig.delete(cluster_id)
        await rig.succeed(cluster_id)
        assert rig.sim.world.machines(cluster_id) == []


def _patient_with_what_lives() -> Limits:
    return Limits(patience=timedelta(hours=1), patience_dead=timedelta(0))
