"""One world, and several processes whose machines boot in it."""

import asyncio
from pathlib import Path

from kaas.drivers.simulator.ground import Ground
from kaas.drivers.simulator.life import _AT_ONCE, Life, Report
from kaas.drivers.simulator.records import Machine
from kaas.drivers.simulator.world import World
from tests.unit.kaas.simulator.place import user_data

MACHINES = _AT_ONCE + 1


async def test_a_machine_whose_report_another_process_carried_is_silent(tmp_path: Path) -> None:
    ground, elsewhere = Ground(tmp_path / "world.db"), Ground(tmp_path / "world.db")
    with ground.change():
        for number in range(MACHINES):
            ground.put(_machine(number))
    told: list[Report] = []
    go, first = asyncio.Event(), asyncio.Semaphore(0)

    async def phone(report: Report) -> bool:
        told.append(report)
        first.release()
        await go.wait()
        return True

    async with Life(World(ground), phone).running():
        for _ in range(_AT_ONCE):
            await first.acquire()
        with elsewhere.change():
            for machine in elsewhere.waiting(Machine):
                machine.reported = True
                elsewhere.put(machine)
        go.set()
        # The next look comes after all of the first one have been told of or left out.
        made = _machine(MACHINES)
        with ground.change():
            ground.put(made)
        await first.acquire()
    assert len(told) == _AT_ONCE + 1
    assert told[-1].ssh_host_key == made.host_key
    ground.close()
    elsewhere.close()


def _machine(number: int) -> Machine:
    return Machine(
        id=f"machine-{number:07d}",
        cluster="c",
        name=f"dev-{number}",
        image="any",
        instance_type="any",
        vpc_id="",
        zone="",
        key_pair_id="",
        security_group_id="",
        user_data=list(user_data()),
        labels={},
        host_key=f"ssh-ed25519 {number}",
        ready_at=0.0,
        boots_at=0.0,
    )
