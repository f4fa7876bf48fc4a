"""No fault of the platform, of the API or of a clock deletes the node of a living instance, and the dead ones still go.

In every case the nodes stopped being Ready while their instances live on: a network that broke, for instance.
"""

import random
from collections.abc import Callable

import pytest

from ccm.controllers.absence import Limit, Proof
from ccm.model import InstanceState
from ccm.ports import Cause, CloudError
from tests.support.fake_cloud import FakeCloud, rate_limited, revoked, server_error
from tests.unit.ccm.controllers.lifecycle_rig import controller, look
from tests.unit.ccm.controllers.rig import Rig, iid, instance, wire_node

NODES = 10
READY, UNREADY = range(6), range(6, NODES)
HOUR_S = 3600.0


def cluster(rig: Rig) -> None:
    rig.cloud.instances.put(*(instance(number) for number in range(NODES)))
    rig.put(*(wire_node(number) for number in READY), *(wire_node(number, ready="Unknown") for number in UNREADY))


def failing(point: str, failure: CloudError) -> Callable[[FakeCloud], None]:
    return lambda cloud: cloud.faults.fail(point, failure)


def strangers(cloud: FakeCloud) -> None:
    """Another tenant's key: a whole listing, none of it ours, and every id of ours is definitely unknown."""
    cloud.instances.deny()
    ours = {iid(number) for number in range(NODES)}
    cloud.instances.hide(ours)
    cloud.instances.put(*(instance(number) for number in range(100, 120)))


def both(*doings: Callable[[FakeCloud], None]) -> Callable[[FakeCloud], None]:
    def do(cloud: FakeCloud) -> None:
        for doing in doings:
            doing(cloud)

    return do


def deny(*numbers: int) -> Callable[[FakeCloud], None]:
    return lambda cloud: cloud.instances.deny([iid(number) for number in numbers] if numbers else None)


def hide(*numbers: int) -> Callable[[FakeCloud], None]:
    return lambda cloud: cloud.instances.hide([iid(number) for number in numbers] if numbers else None)


timed_out = CloudError(Cause.UNKNOWN, "no answer in time")
FAULTS: dict[str, Callable[[FakeCloud], None]] = {
    "5xx": both(failing("fleet", server_error()), deny()),
    "5xx by id": both(failing("look_up", server_error()), hide()),
    "429": both(failing("fleet", rate_limited()), deny()),
    "429 by id": both(failing("look_up", rate_limited()), hide(*UNREADY)),
    "time-out": both(failing("fleet", timed_out), deny()),
    "revoked key": both(failing("fleet", revoked()), failing("look_up", revoked())),
    "revoked key by id": both(failing("look_up", revoked()), hide()),
    "empty list with 200": hide(),
    "empty list with 200, and 404 for all": both(hide(), deny()),
    "404 for all, list is right": deny(),
    "partial list": hide(*UNREADY),
    "partial list, and 404 for what it lacks": both(hide(*UNREADY), deny(*UNREADY)),
    "half a list, and 404 for all": both(hide(*range(3, NODES)), deny()),
    "another tenant's list, and 404 for all": strangers,
    "one unready node lied about, list short of Ready ones": both(hide(0, 1, 2, 9), deny(9)),
    "one unready node missing in the list, found by id": hide(9),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_lying_platform_deletes_no_living_node(rig: Rig, fault: Callable[[FakeCloud], None]) -> None:
    cluster(rig)
    fault(rig.cloud)
    await look(rig, controller(rig), 12)
    assert len(rig.names()) == NODES
    assert [write for write in rig.writes if write.method == "DELETE"] == []
    assert "DeletingNode" not in rig.events.reasons()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_it_works_again_once_the_fault_is_over(rig: Rig, fault: Callable[[FakeCloud], None]) -> None:
    cluster(rig)
    watcher = controller(rig)
    fault(rig.cloud)
    await look(rig, watcher, 6)
    rig.cloud.faults.mend()
    rig.cloud.instances.hide(())
    rig.cloud.instances.deny(())
    rig.cloud.instances.remove(iid(9))
    await look(rig, watcher, 3)
    assert rig.names() == {f"n{number}" for number in range(NODES - 1)}


async def test_a_listing_that_contradicts_the_reads_by_id_proves_nothing_of_others(rig: Rig) -> None:
    cluster(rig)
    watcher = controller(rig)
    rig.cloud.instances.hide([iid(8)])
    rig.cloud.instances.remove(iid(9))
    await look(rig, watcher, 6)
    assert len(rig.names()) == NODES
    assert set(rig.metrics.stopped) == {"listing"}


async def test_a_listing_that_fails_in_between_ends_the_series(rig: Rig) -> None:
    cluster(rig)
    watcher = controller(rig)
    rig.cloud.instances.remove(iid(9))
    await look(rig, watcher, 2)
    rig.cloud.faults.fail("fleet", server_error(), times=1)
    await look(rig, watcher, 3)
    assert len(rig.names()) == NODES
    await look(rig, watcher, 1)
    assert len(rig.names()) == NODES - 1


async def test_a_node_that_was_ready_in_between_begins_anew(rig: Rig) -> None:
    cluster(rig)
    watcher = controller(rig)
    rig.cloud.instances.remove(iid(9))
    await look(rig, watcher, 2)
    rig.set_ready(9, "True")
    await look(rig, watcher, 1)
    rig.set_ready(9, "Unknown")
    await look(rig, watcher, 2)
    assert len(rig.names()) == NODES


async def test_a_node_that_somebody_deletes_already_is_left_to_them(rig: Rig) -> None:
    cluster(rig)
    wire = wire_node(50, ready="False")
    wire["metadata"] |= {"finalizers": ["x/y"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    rig.put(wire)
    await look(rig, controller(rig), 4)
    assert (rig.writes, rig.cloud.faults.count("look_up")) == ([], 0)


async def test_more_than_a_fifth_at_once_is_told_and_stopped(rig: Rig) -> None:
    cluster(rig)
    watcher = controller(rig)
    rig.cloud.instances.remove(*(iid(number) for number in UNREADY))
    await look(rig, watcher, 12)
    assert len(rig.names()) == NODES
    assert set(rig.metrics.stopped) == {"breaker"}
    assert rig.events.reasons() == ["NodeDeletionSuspended"] * len(UNREADY)
    assert "4 of 10 nodes" in rig.events.all[0][3]
    # Two of them come back: the other two are within what may be lost.
    rig.cloud.instances.put(instance(6), instance(7))
    await look(rig, watcher, 4)
    assert rig.names() == {f"n{number}" for number in range(8)}
    assert rig.metrics.stopped[-1] == ""


async def test_a_stopped_deletion_asks_the_platform_little(rig: Rig) -> None:
    rig.cloud.instances.put(*(instance(number) for number in range(100)))
    rig.put(*(wire_node(number) for number in range(100)))
    rig.put(*(wire_node(number, ready="False") for number in range(100, 200)))
    watcher = controller(rig)
    await look(rig, watcher, 12, every_s=5.0)
    assert len(rig.names()) == 200
    assert rig.cloud.faults.count("look_up") <= 12 * 5


async def test_what_stays_stopped_is_looked_at_ever_less(rig: Rig) -> None:
    cluster(rig)
    rig.cloud.instances.hide()
    watcher = controller(rig)
    waits = []
    for _ in range(16):
        waits.append(await watcher.tick())
        rig.clock.now += waits[-1]
    assert waits[:6] == [5.0] * 6
    assert waits[-1] == 60.0
    rig.cloud.instances.hide(())
    assert await watcher.tick() == 5.0


async def test_an_outage_is_logged_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    cluster(rig)
    rig.cloud.faults.fail("fleet", server_error())
    await look(rig, controller(rig), 5)
    assert len([record for record in caplog.records if "instances not listed" in record.message]) == 1


async def test_a_cluster_does_not_go_a_fifth_at_a_time(rig: Rig) -> None:
    cluster(rig)
    watcher = controller(rig, limit=Limit(window_s=10_000.0))
    rig.cloud.instances.deny()
    for number in reversed(range(NODES)):
        rig.cloud.instances.hide([iid(gone) for gone in range(number, NODES)])
        rig.set_ready(number, "Unknown")
        await look(rig, watcher, 4)
    assert len(rig.names()) >= NODES - 2


async def test_the_only_node_there_is_has_no_witness(rig: Rig) -> None:
    rig.cloud.instances.put(instance(50))
    rig.put(wire_node(9, ready="False"))
    await look(rig, controller(rig), 6)
    assert rig.names() == {"n9"}
    assert set(rig.metrics.stopped) == {"listing"}


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 1e9, -1e9])
async def test_a_clock_that_jumps_proves_nothing(rig: Rig, jump_s: float) -> None:
    cluster(rig)
    rig.cloud.instances.remove(iid(9))
    watcher = controller(rig)
    for _ in range(6):
        await look(rig, watcher, 2)
        rig.clock.now += jump_s
    assert len(rig.names()) == NODES
    await look(rig, watcher, 3)
    assert len(rig.names()) == NODES - 1


async def test_a_leader_that_was_paused_begins_anew(rig: Rig) -> None:
    cluster(rig)
    watcher = controller(rig)
    rig.cloud.instances.hide([iid(9)])
    rig.cloud.instances.deny([iid(9)])
    await look(rig, watcher, 2)
    rig.clock.now += Proof().gap_s
    await look(rig, watcher, 2)
    assert len(rig.names()) == NODES


async def test_a_slow_platform_ends_in_time_and_deletes_nothing(rig: Rig) -> None:
    cluster(rig)
    watcher = controller(rig, timeout_s=0.05)
    with rig.cloud.faults.held("fleet"):
        await look(rig, watcher, 2)
    rig.cloud.instances.hide([iid(9)])
    with rig.cloud.faults.held("look_up"):
        await look(rig, watcher, 3)
    assert len(rig.names()) == NODES


@pytest.mark.parametrize("status", [403, 429, 500, 503])
async def test_a_failing_api_stops_no_other_node(rig: Rig, status: int) -> None:
    cluster(rig)
    rig.cloud.instances.turn(iid(8), InstanceState.STOPPED)
    rig.cloud.instances.turn(iid(7), InstanceState.STOPPED)
    rig.api.fail("PATCH", "/api/v1/nodes/n7", status=status, times=None)
    await look(rig, controller(rig), 2)
    assert (rig.taints(7), len(rig.taints(8))) == ([], 1)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_only_dead_nodes_go(rig: Rig, seed: int) -> None:
    chance = random.Random(seed)
    cluster(rig)
    watcher = controller(rig)
    alive = set(range(NODES))
    for _ in range(120):
        match chance.randrange(9):
            case 0:
                rig.cloud.faults.fail(chance.choice(["fleet", "look_up"]), server_error(), times=chance.randrange(1, 4))
            case 1:
                rig.cloud.instances.hide([iid(number) for number in alive if chance.random() < 0.5])
            case 2:
                rig.cloud.instances.hide(chance.choice([None, ()]))
            case 3:
                # Never the same lie twice, in the list and by id, about few nodes: nobody could tell it from the truth.
                rig.cloud.instances.deny()
            case 4:
                rig.cloud.instances.deny(())
            case 5 | 6:
                number = chance.randrange(NODES)
                if rig.wire(number) is not None:
                    rig.set_ready(number, chance.choice(["True", "False", "Unknown"]))
            case 7:
                rig.clock.now += chance.choice([-1.0, 1.0, HOUR_S])
        if rig.cloud.instances.denied_by_id("") and rig.cloud.instances.hidden_in_list(instance(0)) is False:
            rig.cloud.instances.hide(())
        await look(rig, watcher, 1, every_s=chance.choice([5.0, 15.0, 15.0]))
    assert rig.names() == {f"n{number}" for number in alive}
    assert [write for write in rig.writes if write.method == "DELETE"] == []
