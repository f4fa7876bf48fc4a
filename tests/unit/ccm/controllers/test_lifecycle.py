"""The lifecycle controller: upstream's cases, and what upstream gets wrong."""

import asyncio

import pytest

from ccm.controllers.absence import Proof
from ccm.controllers.shutdown import ShutdownSettings
from ccm.model import InstanceState
from ccm.names import (
    CONFIRM_GONE_ANNOTATION,
    GOING_TAINT,
    KEEP_NODE_ANNOTATION,
    OUT_OF_SERVICE_TAINT,
    SHUTDOWN_TAINT,
    UNINITIALIZED_TAINT,
)
from tests.support.fake_cloud import server_error
from tests.unit.ccm.controllers.lifecycle_rig import controller, look
from tests.unit.ccm.controllers.rig import Rig, iid, instance, wire_node

SHUTDOWN = {"key": SHUTDOWN_TAINT, "effect": "NoSchedule"}
LEAVING = {"key": GOING_TAINT, "effect": "NoSchedule"}
PROOF = Proof()


def crowd(rig: Rig, *numbers: int) -> None:
    """Ready nodes with instances: who shows that the platform's listing is believable."""
    rig.cloud.instances.put(*(instance(number) for number in numbers))
    rig.put(*(wire_node(number) for number in numbers))


# Upstream's table: what becomes of one node


@pytest.mark.parametrize("ready", ["False", "Unknown", ""])
async def test_a_node_whose_instance_is_gone_is_deleted(rig: Rig, ready: str) -> None:
    crowd(rig, 1, 2, 3)
    rig.put(wire_node(9, ready=ready))
    await look(rig, controller(rig), 3)
    assert rig.names() == {"n1", "n2", "n3"}
    assert rig.events.reasons("n9") == ["DeletingNode"]
    assert rig.metrics.written == ["delete"]


@pytest.mark.parametrize("state", [InstanceState.RUNNING, InstanceState.STARTING, InstanceState.ERROR])
@pytest.mark.parametrize("ready", ["False", "Unknown", ""])
async def test_a_node_whose_instance_exists_stays_as_it_is(rig: Rig, ready: str, state: InstanceState) -> None:
    rig.cloud.instances.put(instance(9, state))
    rig.put(wire_node(9, ready=ready))
    await look(rig, controller(rig), 4)
    assert (rig.names(), rig.writes, rig.events.all) == ({"n9"}, [], [])


@pytest.mark.parametrize("ready", ["False", "Unknown"])
async def test_an_error_of_the_platform_deletes_nothing(rig: Rig, ready: str) -> None:
    crowd(rig, 1, 2)
    rig.put(wire_node(9, ready=ready))
    rig.cloud.faults.fail("look_up", server_error())
    await look(rig, controller(rig), 8)
    assert (rig.writes, rig.events.reasons("n9")) == ([], [])


@pytest.mark.parametrize("state", [InstanceState.STOPPED, InstanceState.PAUSED])
@pytest.mark.parametrize("ready", ["False", "Unknown", ""])
async def test_a_shut_down_instance_taints_its_node(rig: Rig, ready: str, state: InstanceState) -> None:
    rig.cloud.instances.put(instance(9, state))
    rig.put(wire_node(9, ready=ready, taints=[{"key": "other", "effect": "NoExecute"}]))
    await look(rig, controller(rig), 4)
    assert rig.taints(9) == ["other", SHUTDOWN_TAINT]
    assert [write.method for write in rig.writes] == ["PATCH"]
    assert rig.events.reasons() == ["NodeShutdown"]


async def test_what_counts_as_shut_down_can_be_chosen(rig: Rig) -> None:
    rig.cloud.instances.put(instance(9, InstanceState.PAUSED))
    rig.put(wire_node(9, ready="False"))
    await look(rig, controller(rig, shutdown=ShutdownSettings(states=frozenset({InstanceState.STOPPED}))), 2)
    assert rig.taints(9) == []


async def test_a_ready_node_is_not_asked_about(rig: Rig) -> None:
    rig.put(wire_node(9))
    await look(rig, controller(rig), 4)
    assert (rig.names(), rig.cloud.calls) == ({"n9"}, [])


async def test_a_ready_node_loses_the_shutdown_taint_whatever_the_platform_says(rig: Rig) -> None:
    rig.cloud.instances.put(instance(9, InstanceState.STOPPED))
    rig.put(wire_node(9, taints=[SHUTDOWN, {"key": "other", "effect": "NoSchedule"}]))
    await look(rig, controller(rig), 2)
    assert rig.taints(9) == ["other"]
    assert len(rig.writes) == 1


async def test_an_instance_that_runs_again_keeps_the_taint_until_its_node_is_ready(rig: Rig) -> None:
    rig.cloud.instances.put(instance(9))
    rig.put(wire_node(9, ready="False", taints=[SHUTDOWN]))
    watcher = controller(rig)
    await look(rig, watcher, 2)
    assert rig.taints(9) == [SHUTDOWN_TAINT]
    rig.set_ready(9, "True")
    await look(rig, watcher, 1)
    assert rig.taints(9) == []


@pytest.mark.parametrize("provider_id", ["", "kwok://n9", "aws:///zone/i-1", "thecloud://no-uuid"])
async def test_a_node_that_is_not_of_this_platform_is_left_alone(rig: Rig, provider_id: str) -> None:
    crowd(rig, 1, 2)
    rig.put(wire_node(9, ready="False", provider_id=provider_id, taints=[SHUTDOWN]))
    await look(rig, controller(rig), 6)
    assert (rig.writes, rig.cloud.calls) == ([], [])


async def test_a_failed_delete_is_told_and_tried_again(rig: Rig) -> None:
    crowd(rig, 1, 2)
    rig.put(wire_node(9, ready="False"))
    rig.api.fail("DELETE", status=500, times=1)
    watcher = controller(rig)
    await look(rig, watcher, 3)
    assert rig.events.reasons() == ["DeletingNode", "DeletingNodeFailed"]
    await look(rig, watcher, 3)
    assert rig.names() == {"n1", "n2"}


# Beyond upstream


async def test_two_answers_are_not_enough_nor_is_too_short_a_time(rig: Rig) -> None:
    crowd(rig, 1, 2)
    rig.put(wire_node(9, ready="False"))
    watcher = controller(rig)
    await look(rig, watcher, 2)
    assert "n9" in rig.names()
    other = controller(rig)
    await look(rig, other, 5, every_s=5.0)
    assert "n9" in rig.names()
    assert rig.cloud.faults.count("look_up") == 4


async def test_an_instance_that_shows_again_ends_the_series(rig: Rig) -> None:
    crowd(rig, 1, 2)
    rig.put(wire_node(9, ready="False"))
    watcher = controller(rig)
    await look(rig, watcher, 2)
    rig.cloud.instances.put(instance(9))
    await look(rig, watcher, 1)
    rig.cloud.instances.remove(iid(9))
    await look(rig, watcher, 2)
    assert "n9" in rig.names()
    await look(rig, watcher, 1)
    assert "n9" not in rig.names()


async def test_an_unclear_answer_ends_the_series(rig: Rig) -> None:
    crowd(rig, 1, 2)
    rig.put(wire_node(9, ready="False"))
    watcher = controller(rig)
    await look(rig, watcher, 2)
    rig.cloud.faults.fail("look_up", server_error(), times=1)
    await look(rig, watcher, 3)
    assert "n9" in rig.names()


async def test_a_kept_node_is_never_deleted(rig: Rig) -> None:
    crowd(rig, 1, 2)
    rig.put(wire_node(9, ready="False", annotations={KEEP_NODE_ANNOTATION: "true"}))
    await look(rig, controller(rig), 6)
    assert (rig.writes, rig.cloud.faults.count("look_up")) == ([], 0)


async def test_a_node_that_was_never_initialised_needs_a_longer_proof(rig: Rig) -> None:
    crowd(rig, 1, 2)
    rig.put(wire_node(9, ready="False", taints=[{"key": UNINITIALIZED_TAINT, "effect": "NoSchedule"}]))
    watcher = controller(rig, uninitialized_over_s=100.0)
    await look(rig, watcher, 6)
    assert "n9" in rig.names()
    await look(rig, watcher, 2)
    assert "n9" not in rig.names()


async def test_a_node_that_came_back_under_its_name_is_another_node(rig: Rig) -> None:
    crowd(rig, 1, 2)
    rig.put(wire_node(9, ready="False"))
    watcher = controller(rig)
    await look(rig, watcher, 2)
    # The cache still has the old node: the uid in the request is what saves the new one.
    rig.api.delete("nodes", "n9")
    rig.api.put(wire_node(9, ready="False"))
    await watcher.tick()
    assert "n9" in rig.names()
    assert [write.body["preconditions"]["uid"] for write in rig.writes] != [""]
    assert rig.events.reasons() == ["DeletingNode", "DeletingNodeFailed"]
    await look(rig, watcher, 2)
    assert "n9" in rig.names()


async def test_a_node_that_became_ready_meanwhile_stays(rig: Rig) -> None:
    crowd(rig, 1, 2)
    rig.put(wire_node(9, ready="False"))
    watcher = controller(rig)
    await look(rig, watcher, 2)
    with rig.cloud.faults.held("look_up") as gate:
        last = asyncio.create_task(watcher.tick())
        await gate.reached.wait()
        rig.set_ready(9, "True")
    await last
    assert "n9" in rig.names()


async def test_the_autoscaler_may_take_many_at_once(rig: Rig) -> None:
    crowd(rig, 1)
    rig.put(*(wire_node(number, ready="Unknown", taints=[LEAVING]) for number in range(10, 18)))
    await look(rig, controller(rig), 3)
    assert rig.names() == {"n1"}
    assert rig.metrics.stopped == []


async def test_an_operator_can_confirm_that_instances_are_gone(rig: Rig) -> None:
    crowd(rig, 1)
    rig.put(*(wire_node(number, ready="Unknown") for number in (10, 11, 12)))
    watcher = controller(rig)
    await look(rig, watcher, 6)
    assert rig.names() == {"n1", "n10", "n11", "n12"}
    for number in (10, 11, 12):
        rig.api.patch("nodes", f"n{number}", {"metadata": {"annotations": {CONFIRM_GONE_ANNOTATION: "true"}}})
    await look(rig, watcher, 4)
    assert rig.names() == {"n1"}


async def test_one_listing_serves_all_nodes_and_a_settled_one_costs_ever_less(rig: Rig) -> None:
    rig.cloud.instances.put(*(instance(number, InstanceState.STOPPED) for number in range(40)))
    rig.put(*(wire_node(number, ready="False") for number in range(40)))
    watcher = controller(rig)
    waits = []
    for _ in range(7):
        rig.watch()
        waits.append(await watcher.tick())
        rig.clock.now += waits[-1]
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]
    assert (rig.cloud.faults.count("fleet"), rig.cloud.faults.count("look_up")) == (7, 0)
    assert len(rig.writes) == 40


async def test_a_change_makes_it_look_often_again(rig: Rig) -> None:
    rig.cloud.instances.put(instance(1, InstanceState.STOPPED), instance(2))
    rig.put(wire_node(1, ready="False"), wire_node(2))
    watcher = controller(rig)
    await look(rig, watcher, 4)
    rig.set_ready(2, "Unknown")
    assert await watcher.tick() == 5.0


async def test_nothing_wrong_costs_nothing(rig: Rig) -> None:
    crowd(rig, *range(50))
    watcher = controller(rig)
    assert await watcher.tick() == 60.0
    assert (rig.cloud.calls, rig.writes) == ([], [])


# Volumes of what is gone


def with_volume(rig: Rig, number: int) -> None:
    wire = wire_node(number, ready="Unknown")
    wire["status"]["volumesAttached"] = [{"name": "kubernetes.io/csi/csi.thecloud.io^1", "devicePath": ""}]
    rig.put(wire)


async def test_volumes_of_a_gone_instance_are_detached_before_its_node_goes(rig: Rig) -> None:
    crowd(rig, 1, 2, 3)
    with_volume(rig, 9)
    watcher = controller(rig)
    await look(rig, watcher, 4)
    assert (rig.names(), rig.taints(9)) == ({"n1", "n2", "n3", "n9"}, [OUT_OF_SERVICE_TAINT])
    assert rig.events.reasons("n9") == ["NodeOutOfService"]
    wire = rig.wire(9)
    assert wire is not None
    del wire["status"]["volumesAttached"]
    rig.put(wire)
    await look(rig, watcher, 1)
    assert rig.names() == {"n1", "n2", "n3"}
    assert rig.metrics.written == ["out-of-service", "delete"]


async def test_a_volume_that_stays_attached_keeps_no_node_for_long(rig: Rig) -> None:
    crowd(rig, 1, 2, 3)
    with_volume(rig, 9)
    await look(rig, controller(rig), 12)
    assert rig.names() == {"n1", "n2", "n3"}


async def test_a_node_that_comes_back_meanwhile_is_in_service_again(rig: Rig) -> None:
    crowd(rig, 1, 2, 3)
    with_volume(rig, 9)
    watcher = controller(rig)
    await look(rig, watcher, 4)
    rig.set_ready(9, "True")
    await look(rig, watcher, 4)
    assert (rig.names(), rig.taints(9)) == ({"n1", "n2", "n3", "n9"}, [])
