"""The simulated platform: its promises, its refusals, its faults, and that it outlives whoever uses it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kaas.domain.errors import Code, StepError
from kaas.domain.ports import Condition, CredentialFacts, CredentialWish, EndpointWish, KeyPairWish, Kind, MachineFacts
from kaas.drivers.simulator.faults import Action, KilledError, Rule
from kaas.drivers.simulator.invariants import duplicates, leaks, repeated_creates
from kaas.drivers.simulator.simulator import Simulator
from kaas.drivers.simulator.world import Offer, Timing
from tests.support.kaas_flow import spec_of
from tests.unit.kaas.simulator.place import C, Place, place, soon


async def phone(_: object) -> bool:
    """Take every report."""
    return True


async def test_asking_twice_makes_two_and_both_are_found_by_their_mark(here: Place) -> None:
    for _ in range(2):
        await here.sim.driver.create(C, CredentialWish("access"), deadline=soon())
    found = await here.sim.driver.find(Kind.CREDENTIAL, C, name="access", deadline=soon())
    assert [one.cluster_id for one in found] == [C, C]
    assert duplicates(here.sim.world, C) == ["2 of credential access"]
    assert repeated_creates(here.sim.world, C) == ["credential access was made 2 times"]
    assert await here.sim.driver.find(Kind.CREDENTIAL, "other", deadline=soon()) == []


async def test_a_secret_is_told_once(here: Place) -> None:
    made = await here.sim.driver.create(C, CredentialWish("access"), deadline=soon())
    (found,) = await here.sim.driver.find(Kind.CREDENTIAL, C, deadline=soon())
    assert isinstance(made.facts, CredentialFacts)
    assert isinstance(found.facts, CredentialFacts)
    assert made.facts.secret
    assert found.facts.secret == ""


async def test_key_pairs_have_names_of_their_own(here: Place) -> None:
    with pytest.raises(StepError) as caught:
        await here.sim.driver.create("other", KeyPairWish("key", "ssh-ed25519 AAAA"), deadline=soon())
    assert caught.value.code is Code.PLATFORM_REFUSED


async def test_a_group_that_machines_have_is_not_deleted(here: Place) -> None:
    machine = await here.machine("one")
    with pytest.raises(StepError, match="still use it"):
        await here.sim.driver.delete(here.group, deadline=soon())
    await here.sim.driver.delete(machine, deadline=soon())
    await here.sim.driver.delete(here.group, deadline=soon())
    await here.sim.driver.delete(here.group, deadline=soon())


async def test_things_take_their_time() -> None:
    now = [0.0]
    slow = Timing(machine_s=10.0, endpoint_s=5.0, delete_s=3.0)
    async with place(timing=slow, clock=lambda: now[0]) as here:
        machine = await here.sim.driver.create(C, here.wish("one"), deadline=soon())
        assert machine.condition is Condition.PENDING
        assert machine.facts == MachineFacts()
        now[0] = 11.0
        (machine,) = await here.sim.driver.find(Kind.MACHINE, C, deadline=soon())
        assert machine.condition is Condition.READY
        await here.sim.driver.delete(machine, deadline=soon())
        (machine,) = await here.sim.driver.find(Kind.MACHINE, C, deadline=soon())
        assert machine.condition is Condition.LEAVING
        now[0] = 14.5
        assert await here.sim.driver.find(Kind.MACHINE, C, deadline=soon()) == []
        assert "machine" not in " ".join(leaks(here.sim.world, C))


async def test_what_is_not_offered_is_said_before_and_refused_after() -> None:
    offer = Offer(endpoints=False, images=frozenset({"else"}), instance_types=frozenset({"standard-1"}), machines=1)
    async with place(offer=offer) as here:
        problems = await here.sim.driver.preflight(spec_of(planes=3), deadline=soon())
        assert {problem.field for problem in problems} == {"image", "node_groups[0].instance_type", "ha"}
        assert not await here.sim.driver.offers_endpoint(deadline=soon())
        with pytest.raises(StepError) as caught:
            await here.sim.driver.create(C, EndpointWish("api", "vpc", 6443), deadline=soon())
        assert caught.value.code is Code.NOT_OFFERED
        await here.machine("one")
        with pytest.raises(StepError) as caught:
            await here.sim.driver.create(C, here.wish("two"), deadline=soon())
        assert caught.value.code is Code.PLATFORM_QUOTA


async def test_the_nth_call_goes_wrong_and_no_other(here: Place) -> None:
    here.sim.faults.add(Rule("third", "driver.find machine", code=Code.PLATFORM_THROTTLED, retry_after_s=7, first=3))
    outcomes: list[tuple[Code, float | None] | None] = []
    for _ in range(4):
        try:
            await here.sim.driver.find(Kind.MACHINE, C, deadline=soon())
            outcomes.append(None)
        except StepError as error:
            outcomes.append((error.code, error.retry_after_s))
    assert outcomes == [None, None, (Code.PLATFORM_THROTTLED, 7), None]


async def test_an_answer_can_be_lost_after_the_work_is_done(here: Place) -> None:
    here.sim.faults.add(Rule("lost", "driver.create credential *", Action.LOSE))
    with pytest.raises(StepError):
        await here.sim.driver.create(C, CredentialWish("access"), deadline=soon())
    assert len(await here.sim.driver.find(Kind.CREDENTIAL, C, deadline=soon())) == 1
    (call,) = [one for one in here.sim.calls(method="driver.create") if one.what == "credential access"]
    assert call.outcome == "lost"


@pytest.mark.parametrize(("action", "left"), [(Action.KILL_BEFORE, 0), (Action.KILL_AFTER, 1)])
async def test_a_caller_can_die_on_either_side_of_a_call(here: Place, action: Action, left: int) -> None:
    here.sim.faults.add(Rule("dead", "driver.create credential *", action))
    with pytest.raises(KilledError):
        await here.sim.driver.create(C, CredentialWish("access"), deadline=soon())
    assert len(await here.sim.driver.find(Kind.CREDENTIAL, C, deadline=soon())) == left


async def test_a_call_after_its_deadline_does_nothing(here: Place) -> None:
    with pytest.raises(StepError):
        await here.sim.driver.create(C, CredentialWish("access"), deadline=soon(-1))
    assert await here.sim.driver.find(Kind.CREDENTIAL, C, deadline=soon()) == []


async def test_machines_tell_what_their_user_data_says_and_to_whom(here: Place) -> None:
    await here.machine("one")
    (report,) = here.reports
    assert report.url == "https://kaas.test/boot/v1/report"
    assert report.token == "A" * 43
    assert report.phase == "booted"
    assert report.ssh_host_key == here.sim.machine("one").host_key
    assert "A" * 43 not in repr(report)


async def test_a_boot_can_go_wrong_or_never_come(here: Place) -> None:
    here.sim.faults.add(Rule("mute", "driver.create machine mute", Action.NEVER_BOOT))
    here.sim.faults.add(Rule("bad", "driver.create machine bad", Action.BOOT_ERROR, message="no sshd"))
    for name in ("mute", "bad"):
        await here.sim.driver.create(C, here.wish(name), deadline=soon())
    await here.booted("bad")
    (report,) = here.reports
    assert (report.phase, report.ssh_host_key, report.log_tail) == ("failed", "", "no sshd")


async def test_a_world_outlives_the_death_of_its_user(tmp_path: Path) -> None:
    path = tmp_path / "world.db"
    program = f"""
import asyncio, os, signal
from pathlib import Path
from tests.unit.kaas.simulator.place import C, place, soon
from kaas.domain.ports import CredentialWish
async def main():
    async with place(path=Path({str(path)!r})) as here:
        await here.machine("one")
        await here.sim.driver.create(C, CredentialWish("access"), deadline=soon())
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], cwd=Path.cwd(), env=os.environ, timeout=50, check=False
    )
    assert done.returncode == -signal.SIGKILL
    async with Simulator(phone, path=path).running() as sim:
        assert [one.name for one in await sim.driver.find(Kind.MACHINE, C, deadline=soon())] == ["one"]
        assert [one.name for one in await sim.driver.find(Kind.CREDENTIAL, C, deadline=soon())] == ["access"]
        assert len(sim.calls(method="driver.create")) == 5


async def test_two_users_of_one_world_see_the_same(tmp_path: Path) -> None:
    path = tmp_path / "world.db"
    async with Simulator(phone, path=path).running() as one, Simulator(phone, path=path).running() as other:
        wishes = [CredentialWish(f"access-{number}") for number in range(20)]
        makers = [one.driver, other.driver]
        await asyncio.gather(
            *(makers[number % 2].create(C, wish, deadline=soon()) for number, wish in enumerate(wishes))
        )
        for sim in (one, other):
            found = await sim.driver.find(Kind.CREDENTIAL, C, deadline=soon())
            assert len({external.id for external in found}) == 20
