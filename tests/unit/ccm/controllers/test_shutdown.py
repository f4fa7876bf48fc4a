"""Out-of-service automation: on demand only, once the platform keeps saying STOPPED, and only ours is taken away."""

from typing import Any

import pytest

from ccm.controllers.lifecycle import LifecycleController, LifecycleSettings
from ccm.controllers.shutdown import ShutdownSettings
from ccm.model import InstanceState
from ccm.names import OUT_OF_SERVICE_ANNOTATION, OUT_OF_SERVICE_TAINT, SHUTDOWN_TAINT
from tests.support.fake_cloud import server_error
from tests.unit.ccm.controllers.rig import Rig, iid, instance, wire_node

THEIRS = {"key": OUT_OF_SERVICE_TAINT, "value": "nodeshutdown", "effect": "NoExecute"}


def controller(rig: Rig, after_s: float = 60.0) -> LifecycleController:
    return LifecycleController(
        rig.store,
        rig.kube,
        rig.cloud.instances,
        rig.events,
        settings=LifecycleSettings(shutdown=ShutdownSettings(out_of_service_after_s=after_s)),
        metrics=rig.metrics,
        clock=rig.clock,
    )


async def look(rig: Rig, watcher: LifecycleController, times: int, every_s: float = 20.0) -> None:
    for _ in range(times):
        rig.watch()
        await watcher.tick()
        rig.clock.now += every_s


def meta(rig: Rig, number: int) -> dict[str, Any]:
    wire = rig.wire(number)
    assert wire is not None
    found: dict[str, Any] = wire["metadata"]
    return found


def stopped(rig: Rig, *numbers: int, taints: list[dict[str, str]] | None = None) -> None:
    rig.cloud.instances.put(*(instance(number, InstanceState.STOPPED) for number in numbers))
    rig.put(*(wire_node(number, ready="Unknown", taints=taints) for number in numbers))


async def test_it_is_off_unless_asked_for(rig: Rig) -> None:
    stopped(rig, 1)
    await look(rig, controller(rig, after_s=0.0), 10)
    assert rig.taints(1) == [SHUTDOWN_TAINT]


async def test_a_node_that_stays_stopped_goes_out_of_service_and_comes_back(rig: Rig) -> None:
    stopped(rig, 1)
    watcher = controller(rig)
    await look(rig, watcher, 3)
    assert rig.taints(1) == [SHUTDOWN_TAINT]
    await look(rig, watcher, 1)
    wire = rig.wire(1)
    assert wire is not None
    assert wire["spec"]["taints"] == [{"key": SHUTDOWN_TAINT, "effect": "NoSchedule"}, THEIRS]
    assert meta(rig, 1)["annotations"] == {OUT_OF_SERVICE_ANNOTATION: iid(1)}
    assert rig.events.reasons() == ["NodeShutdown", "NodeOutOfService"]
    rig.cloud.instances.turn(iid(1), InstanceState.RUNNING)
    await look(rig, watcher, 1)
    assert rig.taints(1) == [SHUTDOWN_TAINT]
    assert meta(rig, 1)["annotations"] == {}
    rig.set_ready(1, "True")
    await look(rig, watcher, 1)
    assert rig.taints(1) == []


async def test_a_ready_node_is_put_back_into_service(rig: Rig) -> None:
    stopped(rig, 1)
    watcher = controller(rig)
    await look(rig, watcher, 4)
    rig.set_ready(1, "True")
    await look(rig, watcher, 1)
    assert (rig.taints(1), meta(rig, 1)["annotations"]) == ([], {})


async def test_somebody_elses_taint_stays(rig: Rig) -> None:
    stopped(rig, 1, taints=[THEIRS])
    watcher = controller(rig)
    await look(rig, watcher, 6)
    rig.cloud.instances.turn(iid(1), InstanceState.RUNNING)
    await look(rig, watcher, 1)
    rig.set_ready(1, "True")
    await look(rig, watcher, 1)
    assert rig.taints(1) == [OUT_OF_SERVICE_TAINT]
    assert meta(rig, 1)["annotations"] == {}


@pytest.mark.parametrize("state", [InstanceState.PAUSED, InstanceState.ERROR, InstanceState.UNKNOWN])
async def test_only_stopped_counts(rig: Rig, state: InstanceState) -> None:
    stopped(rig, 1)
    rig.cloud.instances.turn(iid(1), state)
    await look(rig, controller(rig), 8)
    assert OUT_OF_SERVICE_TAINT not in rig.taints(1)


async def test_a_short_stop_begins_anew(rig: Rig) -> None:
    stopped(rig, 1)
    watcher = controller(rig)
    await look(rig, watcher, 3)
    rig.cloud.instances.turn(iid(1), InstanceState.RUNNING)
    await look(rig, watcher, 1)
    rig.cloud.instances.turn(iid(1), InstanceState.STOPPED)
    await look(rig, watcher, 3)
    assert OUT_OF_SERVICE_TAINT not in rig.taints(1)


async def test_the_answer_by_id_has_the_last_word(rig: Rig) -> None:
    stopped(rig, 1)
    watcher = controller(rig)
    rig.cloud.faults.fail("look_up", server_error())
    await look(rig, watcher, 6)
    assert OUT_OF_SERVICE_TAINT not in rig.taints(1)
    rig.cloud.faults.mend()
    await look(rig, watcher, 1)
    assert OUT_OF_SERVICE_TAINT in rig.taints(1)


async def test_a_whole_cluster_that_seems_stopped_stays_in_service(rig: Rig) -> None:
    stopped(rig, 1, 2, 3)
    await look(rig, controller(rig), 8)
    assert [rig.taints(number) for number in (1, 2, 3)] == [[SHUTDOWN_TAINT]] * 3


async def test_a_taint_that_is_added_meanwhile_is_not_lost(rig: Rig) -> None:
    stopped(rig, 1)
    watcher = controller(rig)
    rig.api.patch("nodes", "n1", {"spec": {"taints": [{"key": "new", "effect": "NoExecute"}]}})
    await watcher.tick()
    assert sorted(rig.taints(1)) == sorted(["new", SHUTDOWN_TAINT])
