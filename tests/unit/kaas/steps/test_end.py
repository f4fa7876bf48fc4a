"""The end of clusters, from every state."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from kaas.domain.ports import CredentialWish
from kaas.domain.states import OperationKind, OperationState
from kaas.drivers.simulator.faults import Rule
from kaas.drivers.simulator.records import Balancer, Machine, Volume
from tests.support.kaas_flow import WHO, Rig, spec_of


async def test_a_cluster_that_was_never_begun_ends_at_once(rig: Rig) -> None:
    cluster_id = await rig.create()
    await rig.delete(cluster_id)
    await rig.succeed(cluster_id)
    assert rig.sim.calls(method="driver.create") == []
    assert not await rig.kit.requests.list(WHO)


@pytest.mark.parametrize(
    "at", ["driver.create machine *", "remote.put *", "remote.run kubeadm init *", "kube.apply *", "kube.rolled_out *"]
)
async def test_a_delete_takes_over_from_a_create_wherever_it_is(rig: Rig, at: str) -> None:
    cluster_id = await rig.create(workers=2)
    rig.sim.faults.add(Rule("slow", at, times=0))
    conductor = rig.conductor()
    work = asyncio.create_task(conductor.handle(cluster_id))
    await rig.until(lambda: any(call.outcome == "PLATFORM_UNAVAILABLE" for call in rig.sim.calls()))
    await rig.delete(cluster_id)
    rig.sim.faults.clear()
    await work
    ended = await rig.settle(cluster_id, conductor)
    assert (ended.kind, ended.state) == (OperationKind.DELETE, OperationState.SUCCEEDED)
    assert rig.left(cluster_id) == []


async def test_what_the_cluster_made_itself_is_given_back_by_it(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    rig.sim.add_service(cluster_id, "web")
    rig.sim.add_claim(cluster_id, "data")
    await rig.delete(cluster_id)
    await rig.succeed(cluster_id)
    assert rig.left(cluster_id) == []
    assert rig.count("driver.delete", "load-balancer") == 0
    assert "RELEASE_INCOMPLETE" not in {event.code for event in await rig.events(cluster_id)}


async def test_volumes_are_kept_when_nobody_asked_for_their_end(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    rig.sim.add_claim(cluster_id, "data")
    await rig.delete(cluster_id, volumes=False)
    await rig.succeed(cluster_id)
    assert rig.left(cluster_id, keeps_volumes=True) == []
    (volume,) = rig.sim.world.ground.all(Volume)
    assert volume.name == "data"
    (told,) = [event for event in await rig.events(cluster_id) if event.code == "VOLUMES_KEPT"]
    assert (told.severity, f"data ({volume.id})" in told.message) == ("warning", True)
    ledger = await rig.ledger((await rig.kit.requests.operations(WHO, cluster_id))[0])
    assert ledger["kept-volumes"].result == {"volumes": [{"id": volume.id, "name": "data"}]}


async def test_volumes_of_other_clusters_stay_whatever_is_asked_for(rig: Rig) -> None:
    one, other = await rig.made("one", workers=1), await rig.made("other", workers=1)
    for cluster_id in (one, other):
        rig.sim.add_claim(cluster_id, "data")
        rig.sim.add_service(cluster_id, "web")
    # Its API answers, and nothing in it gives anything back.
    for node in ("one-default-pool-0", "one-control-plane-0"):
        rig.sim.stop_kubelet(node)
    await rig.delete(one)
    await rig.succeed(one)
    assert rig.count("driver.delete", "volume") == 1
    assert [volume.cluster for volume in rig.sim.world.ground.all(Volume)] == [other]
    assert [balancer.cluster for balancer in rig.sim.world.ground.all(Balancer)] == [other]
    assert "VOLUMES_KEPT" not in {event.code for event in await rig.events(one)}


@pytest.mark.parametrize("works", [True, False])
async def test_volumes_that_a_class_retains_are_kept_and_named(rig: Rig, *, works: bool) -> None:
    cluster_id = await rig.made(workers=1)
    rig.sim.add_claim(cluster_id, "scratch")
    rig.sim.add_claim(cluster_id, "ledger", retained=True)
    if not works:
        for node in ("dev-default-pool-0", "dev-control-plane-0"):
            rig.sim.stop_kubelet(node)
    await rig.delete(cluster_id)
    await rig.succeed(cluster_id)
    assert rig.left(cluster_id, keeps_volumes=True) == []
    (volume,) = rig.sim.world.ground.all(Volume)
    assert volume.name == "ledger"
    assert rig.count("driver.delete", "volume") == (0 if works else 1)
    (told,) = [event for event in await rig.events(cluster_id) if event.code == "VOLUMES_KEPT"]
    assert f"1 volumes of claims: ledger ({volume.id})" in told.message
    assert "Retain" in told.message
    ledger = await rig.ledger((await rig.kit.requests.operations(WHO, cluster_id))[0])
    assert ledger["kept-volumes"].result == {"volumes": [{"id": volume.id, "name": "ledger"}]}


async def test_with_a_dead_api_all_goes_by_its_mark_but_volumes(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    rig.sim.add_service(cluster_id, "web")
    rig.sim.add_claim(cluster_id, "data")
    rig.sim.kill("dev-control-plane-0")
    await rig.delete(cluster_id)
    await rig.succeed(cluster_id)
    assert rig.left(cluster_id, keeps_volumes=True) == []
    assert [volume.name for volume in rig.sim.world.ground.all(Volume)] == ["data"]
    assert {"RELEASE_INCOMPLETE", "VOLUMES_KEPT"} <= {event.code for event in await rig.events(cluster_id)}


async def test_a_service_that_is_never_given_back_does_not_block_the_end(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    rig.sim.add_service(cluster_id, "web")
    rig.sim.stop_kubelet("dev-default-pool-0")
    rig.sim.stop_kubelet("dev-control-plane-0")
    await rig.delete(cluster_id)
    await rig.succeed(cluster_id)
    assert rig.sim.world.ground.all(Balancer) == []


async def test_the_order_of_the_end_lets_nothing_be_used_that_is_gone(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    await rig.delete(cluster_id)
    await rig.succeed(cluster_id)
    order = [call.what.split()[0] for call in rig.sim.calls(method="driver.delete") if call.outcome == "done"]
    assert order == ["endpoint", "machine", "machine", "security-group", "key-pair", "credential"]


async def test_survivors_are_named_and_nothing_is_forgotten(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    rig.sim.faults.add(Rule("stuck", "driver.delete machine dev-default-*", times=0))
    await rig.delete(cluster_id)
    change = rig.kit.conducting.operations  # type: ignore[union-attr]
    newest = (await rig.kit.requests.operations(WHO, cluster_id))[0]
    change[newest.id] = replace(newest, deadline=newest.created_at + timedelta(seconds=2))
    ended = await rig.settle(cluster_id)
    assert ended.state is OperationState.FAILED
    assert "dev-default-pool-0" in ended.error
    left = [machine.name for machine in rig.sim.world.ground.all(Machine)]
    assert left == ["dev-default-pool-0"]
    assert [ref.name for ref in (await rig.snapshot(cluster_id)).refs if ref.kind == "credential"] != []
    rig.sim.faults.clear()
    await rig.delete(cluster_id)
    await rig.succeed(cluster_id)
    assert rig.left(cluster_id) == []


async def test_what_a_dead_conductor_made_without_writing_it_down_goes_too(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    loop = asyncio.get_running_loop()
    await rig.sim.driver.create(cluster_id, CredentialWish("k8s-forgotten"), deadline=loop.time() + 5)
    await rig.delete(cluster_id)
    await rig.succeed(cluster_id)
    assert rig.left(cluster_id) == []


async def test_other_clusters_are_not_touched(rig: Rig) -> None:
    one = await rig.made("one", workers=1)
    other = await rig.made("other", spec=spec_of(workers=1))
    await rig.delete(one)
    await rig.succeed(one)
    assert rig.left(one) == []
    assert rig.problems(other) == []
    assert len(rig.sim.world.machines(other)) == 2
