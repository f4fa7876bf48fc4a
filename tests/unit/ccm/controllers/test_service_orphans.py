"""What is left over is reported, and deleted only after everything says so for long."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ccm.controllers.orphans import DELETED, ORPHANED
from ccm.ports import CloudError
from tests.support.fake_api_faults import Trouble
from tests.support.fake_cloud import server_error
from tests.unit.ccm.controllers.service_rig import SWEEP, ServiceRig, running_service_rig, wire_service


@pytest.fixture
async def rig() -> AsyncIterator[ServiceRig]:
    """Four services with load balancers; the service of the first was taken away by force, unseen."""
    async with running_service_rig() as running:
        running.add_nodes(1)
        names = ["lost", "a", "b", "c"]
        running.put(*(wire_service(name) for name in names))
        await running.settle(*(f"default/{name}" for name in names))
        running.api.delete("services", "lost")
        running.restart()
        await running.settle()
        yield running


async def sweep(rig: ServiceRig, times: int = 1, every_s: float = SWEEP.every_s) -> None:
    for _ in range(times):
        rig.clock.now += every_s
        await rig.controller.orphans.sweep(deadline=1e18)


def names(rig: ServiceRig) -> set[str]:
    return {one.tags["kubernetes.io/service"].partition("/")[2] for one in rig.balancers()}


async def test_it_is_reported_once_and_deleted_after_the_grace(rig: ServiceRig) -> None:
    await sweep(rig, 2)
    assert rig.events.reasons("default/lost").count(ORPHANED) == 1
    await sweep(rig, 5)
    assert names(rig) == {"lost", "a", "b", "c"}
    await sweep(rig)
    assert names(rig) == {"a", "b", "c"}
    assert rig.events.reasons("default/lost")[-1] == DELETED


async def test_what_a_service_was_put_on_since_it_was_listed_stays(rig: ServiceRig) -> None:
    await sweep(rig, 7)
    (lost,) = (one for one in rig.balancers() if one.tags["kubernetes.io/service"] == "default/lost")
    asked = rig.cloud.faults.count("get")
    with rig.cloud.faults.held("get"):
        sweeping = asyncio.create_task(sweep(rig))
        async with asyncio.timeout(10):
            while rig.cloud.faults.count("get") == asked:  # noqa: ASYNC110 - the platform tells nobody
                await asyncio.sleep(0)
        await rig.cloud.balancers.put_group(lost.id, rig.uid("a"), listeners=[], deadline=1e18)
    await sweeping
    assert "lost" in names(rig)


async def test_nothing_is_done_in_the_first_minutes(rig: ServiceRig) -> None:
    rig.clock.now += SWEEP.first_after_s - 1
    await rig.controller.orphans.sweep(deadline=1e18)
    assert ORPHANED not in rig.events.reasons()


@pytest.mark.parametrize("sightings", [1, 2])
async def test_few_sightings_are_not_enough(rig: ServiceRig, sightings: int) -> None:
    await sweep(rig, 1, every_s=SWEEP.first_after_s)
    await sweep(rig, sightings - 1, every_s=100_000)
    assert "lost" in names(rig)
    await sweep(rig, 3 - sightings, every_s=100_000)
    assert "lost" not in names(rig)


async def test_one_that_was_in_use_in_between_begins_anew(rig: ServiceRig) -> None:
    await sweep(rig, 6)
    gone = next(one for one in rig.balancers() if one.tags["kubernetes.io/service"] == "default/lost")
    wire = wire_service("lost")
    wire["metadata"]["uid"] = gone.tags["kubernetes.io/service-uid"]
    rig.put(wire)
    await sweep(rig)
    rig.api.delete("services", "lost")
    rig.controller._last.clear()
    rig.watch()
    await sweep(rig, 3)
    assert "lost" in names(rig)


async def test_an_incomplete_cache_proves_nothing(rig: ServiceRig) -> None:
    rig.controller.orphans._is_complete = lambda: False
    await sweep(rig, 20)
    assert names(rig) == {"lost", "a", "b", "c"}
    assert ORPHANED not in rig.events.reasons()


async def test_an_empty_cache_deletes_nothing(rig: ServiceRig) -> None:
    rig.services.replace({})
    await sweep(rig, 20)
    assert names(rig) == {"lost", "a", "b", "c"}


async def test_the_server_is_asked_before_anything_is_deleted(rig: ServiceRig) -> None:
    rig.api.fail("GET", "/api/v1/namespaces/default/services/lost", trouble=Trouble.DROP, times=None)
    await sweep(rig, 20)
    assert "lost" in names(rig)
    rig.api.heal()
    await sweep(rig)
    assert "lost" not in names(rig)


async def test_a_cache_that_lacks_one_deletes_it_not(rig: ServiceRig) -> None:
    kept = {key: one for key, one in ((one.key, one) for one in rig.services.values()) if key != "default/a"}
    rig.services.replace(kept)
    await sweep(rig, 20)
    assert names(rig) == {"a", "b", "c"}


async def test_a_platform_that_does_not_answer_stops_it(rig: ServiceRig) -> None:
    rig.cloud.faults.fail("balancers", server_error())
    with pytest.raises(CloudError):
        await sweep(rig, 20)
    assert names(rig) == {"lost", "a", "b", "c"}


async def test_it_can_be_told_to_report_only(rig: ServiceRig) -> None:
    rules = type(SWEEP)(deletes=False)
    rig.restart(sweep=rules)
    await sweep(rig, 20)
    assert "lost" in names(rig)
    assert ORPHANED in rig.events.reasons()
