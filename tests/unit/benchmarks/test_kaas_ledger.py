"""What `make bench-kaas` calls a duplicate, an orphan and time of our own."""

from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.kaas_ledger import (
    StepTime,
    busy_seconds,
    by_family,
    creates_of,
    left_over,
    own_seconds,
    repeated_commands,
)
from kaas.drivers.simulator.ground import Call, Ground
from kaas.drivers.simulator.records import Balancer, Brain, KeyPair
from kaas.drivers.simulator.world import Timing, World

_MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


def call(method: str, what: str, outcome: str = "done") -> Call:
    return Call(0.0, method, what, "", outcome)


def step(key: str, began_s: float, ended_s: float) -> StepTime:
    return StepTime(key, _MIDNIGHT + timedelta(seconds=began_s), _MIDNIGHT + timedelta(seconds=ended_s))


@pytest.mark.parametrize("outcome", ["done", "lost"])
def test_what_is_made_while_there_is_one_is_made_twice(outcome):
    found = creates_of([call("driver.create", "machine a-0", outcome), call("driver.create", "machine a-0")])
    assert (found.made, found.twice, found.anew) == (2, ("machine a-0",), ())


def test_what_was_deleted_before_is_made_anew():
    calls = [call("driver.create", "credential a"), call("driver.delete", "credential a")]
    found = creates_of([*calls, call("driver.create", "credential a")])
    assert (found.made, found.twice, found.anew) == (2, (), ("credential a",))


def test_a_refused_create_makes_nothing_and_a_refused_delete_takes_nothing_away():
    calls = [call("driver.create", "machine a-0", "PLATFORM_QUOTA"), call("driver.create", "machine a-0")]
    assert creates_of(calls).twice == ()
    calls += [call("driver.delete", "machine a-0", "PLATFORM_REFUSED"), call("driver.create", "machine a-0")]
    assert creates_of(calls).twice == ("machine a-0",)


def test_kubeadm_runs_once_on_a_machine():
    calls = [call("remote.run", "kubeadm init at 172.16.0.1"), call("remote.run", "look at 172.16.0.1")]
    calls += [call("remote.ended", "kubeadm init at 172.16.0.1"), call("remote.run", "look at 172.16.0.1")]
    assert repeated_commands(calls) == []
    assert repeated_commands([*calls, calls[0]]) == ["kubeadm init at 172.16.0.1"]


def test_what_nobody_asked_to_go_is_left_over():
    world = World(Ground())
    with world.ground.change():
        world.ground.put(KeyPair(id="key-pair-1", cluster="c", name="kept", public_key="ssh-ed25519 AAAA"))
        world.ground.put(Balancer(id="load-balancer-1", cluster="c", name="going", gone_at=1.0))
        world.ground.put(Brain(id="brain-1", cluster="c", ca_pem=b"", members=["machine-1"]))
    assert left_over(world) == ["key-pair kept key-pair-1 of cluster c"]


def test_the_time_of_the_world_is_not_ours():
    timing = Timing(machine_s=2, init_s=8)
    steps = [step("machine/a-0", 0, 2.5), step("init/a-0", 0, 7), step("secrets", 0, 1)]
    assert own_seconds(steps, timing) == [0.5, 0.0, 1.0]


def test_time_in_which_several_steps_run_counts_once():
    assert busy_seconds([step("c", 6, 7), step("a", 0, 3), step("b", 1, 2), step("d", 2, 4)]) == 5.0
    assert busy_seconds([]) == 0.0


def test_kinds_of_steps_are_in_the_order_of_their_begin():
    steps = [step("ready", 5, 6), step("machine/b", 2, 3), step("preflight", 0, 1), step("machine/a", 1, 2)]
    assert {family: len(some) for family, some in by_family(steps).items()} == {
        "preflight": 1,
        "machine": 2,
        "ready": 1,
    }
    assert list(by_family(steps)) == ["preflight", "machine", "ready"]
