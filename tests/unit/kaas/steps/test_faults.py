"""What goes wrong outside, and what becomes of a cluster that is made meanwhile."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from kaas.domain.errors import Code
from kaas.domain.ports import CredentialWish, External, Wish
from kaas.domain.states import ClusterStatus, NodeState, OperationState
from kaas.drivers.simulator.faults import Action, KilledError, Rule
from kaas.drivers.simulator.invariants import duplicates, strangers
from kaas.drivers.simulator.records import Credential, Machine
from kaas.drivers.simulator.world import Offer
from tests.support.kaas_flow import Rig, rig_on

MADE = (
    "security-group",
    "key-pair",
    "endpoint",
    "credential",
    "machine dev-control-plane-0",
    "machine dev-default-pool-0",
)
CALLS = (
    "driver.find *",
    *(f"driver.create {what}*" for what in MADE),
    "driver.update endpoint *",
    "driver.update security-group *",
    "remote.put *",
    "remote.run look *",
    "remote.run kubeadm init *",
    "remote.ended kubeadm init *",
    "remote.run kubeadm join *",
    "remote.ended kubeadm join *",
    "remote.run rm *",
    "kube.readyz *",
    "kube.create_bootstrap_token *",
    "kube.nodes *",
    "kube.apply *",
    "kube.delete_bootstrap_tokens *",
)


DEATHS = (
    *((match, Action.KILL_AFTER) for match in CALLS),
    # Before a call is after the one before it, but for what is written in between: references and tokens.
    *((match, Action.KILL_BEFORE) for match in CALLS if match.startswith(("driver.create machine", "remote.ended"))),
)
FIRST = {"kube.readyz *": 2}
"""The first of these calls comes before there is anything to answer it."""


def died_of_it(error: BaseExceptionGroup | BaseException) -> bool:
    """Tell whether a conductor ended because its process was killed, and of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return any(died_of_it(one) for one in error.exceptions)
    return isinstance(error, KilledError)


async def survive(rig: Rig, cluster_id: str) -> int:
    """Work with one conductor after the other until the operation ends well; give how many died."""
    deaths = 0
    while True:
        try:
            await rig.succeed(cluster_id, rig.conductor(f"conductor-{deaths}"))
        except BaseException as error:
            if not died_of_it(error):
                raise
            deaths += 1
            await rig.kit.run_out(cluster_id)
        else:
            return deaths


@pytest.mark.parametrize("match", CALLS)
async def test_a_lost_answer_makes_nothing_twice(rig: Rig, match: str) -> None:
    code = Code.API_SERVER_DOWN if match.startswith("kube") else Code.PLATFORM_UNAVAILABLE
    if match.startswith("remote"):
        code = Code.NODE_UNREACHABLE
    rig.sim.faults.add(Rule("lost", match, Action.LOSE, code=code, first=FIRST.get(match, 1)))
    cluster_id = await rig.create(workers=1)
    await rig.succeed(cluster_id)
    assert any(call.outcome == "lost" for call in rig.sim.calls()), "the fault was never met"
    assert rig.problems(cluster_id) == []


@pytest.mark.parametrize(("match", "action"), DEATHS)
async def test_a_conductor_that_dies_at_a_call_is_followed_by_one_that_goes_on(
    rig: Rig, match: str, action: Action
) -> None:
    rig.sim.faults.add(Rule("dead", match, action, first=FIRST.get(match, 1)))
    cluster_id = await rig.create(workers=1)
    assert await survive(rig, cluster_id) == 1
    assert (await rig.snapshot(cluster_id)).cluster.status is ClusterStatus.RUNNING
    assert rig.problems(cluster_id) == []
    await rig.delete(cluster_id)
    await rig.succeed(cluster_id)
    assert rig.left(cluster_id) == []


@pytest.mark.parametrize("match", ["driver.find machine*", "driver.delete machine*", "driver.delete credential*"])
@pytest.mark.parametrize("action", [Action.REFUSE, Action.KILL_AFTER])
async def test_an_end_that_is_disturbed_comes_to_its_end(rig: Rig, match: str, action: Action) -> None:
    cluster_id = await rig.made(workers=1)
    await rig.delete(cluster_id)
    rig.sim.faults.add(Rule("dead", match, action))
    await survive(rig, cluster_id)
    assert rig.left(cluster_id) == []


async def test_a_platform_that_is_away_for_a_while_is_waited_for(rig: Rig) -> None:
    rig.sim.faults.add(Rule("away", "driver.create *", times=5))
    rig.sim.faults.add(
        Rule("busy", "driver.find *", code=Code.PLATFORM_THROTTLED, retry_after_s=0.05, first=3, times=2)
    )
    cluster_id = await rig.create(workers=1)
    await rig.succeed(cluster_id)
    assert rig.problems(cluster_id) == []


async def test_a_quota_that_is_used_up_fails_at_once_with_the_platforms_words(tmp_path: Path) -> None:
    async with rig_on(tmp_path, offer=Offer(machines=2)) as rig:
        cluster_id = await rig.create(workers=2)
        ended = await rig.settle(cluster_id)
        assert (ended.state, ended.error_code) == (OperationState.FAILED, "PLATFORM_QUOTA")
        assert "quota of instances is used up" in ended.error
        assert (await rig.snapshot(cluster_id)).cluster.status is ClusterStatus.FAILED
        await rig.delete(cluster_id)
        await rig.succeed(cluster_id)
        assert rig.left(cluster_id) == []


async def test_a_machine_that_the_platform_fails_to_make_is_made_anew(rig: Rig) -> None:
    rig.sim.faults.add(Rule("bad host", "driver.create machine dev-default-*", Action.FAIL_MACHINE, times=2))
    cluster_id = await rig.create(workers=1)
    await rig.succeed(cluster_id)
    assert rig.count("driver.create", "machine dev-default-pool-0") == 3
    assert rig.count("driver.delete", "machine dev-default-pool-0") == 2
    assert rig.problems(cluster_id) == []


async def test_machines_that_always_fail_end_the_operation_after_some_tries(rig: Rig) -> None:
    rule = Rule("bad", "driver.create machine dev-default-*", Action.FAIL_MACHINE, times=0, message="no host has room")
    rig.sim.faults.add(rule)
    cluster_id = await rig.create(workers=1)
    ended = await rig.settle(cluster_id)
    assert (ended.state, ended.error_code) == (OperationState.FAILED, "MACHINE_FAILED")
    assert "no host has room" in ended.error
    assert rig.count("driver.create", "machine dev-default-pool-0") == 3


async def test_a_machine_that_never_boots_is_replaced_once(rig: Rig) -> None:
    rig.sim.faults.add(Rule("silent", "driver.create machine dev-default-*", Action.NEVER_BOOT))
    cluster_id = await rig.create(workers=1)
    await rig.succeed(cluster_id)
    assert rig.count("driver.create", "machine dev-default-pool-0") == 2
    assert rig.problems(cluster_id) == []


async def test_the_second_machine_that_never_boots_ends_the_operation(rig: Rig) -> None:
    rig.sim.faults.add(Rule("silent", "driver.create machine dev-default-*", Action.NEVER_BOOT, times=0))
    cluster_id = await rig.create(workers=1)
    ended = await rig.settle(cluster_id)
    assert (ended.state, ended.error_code) == (OperationState.FAILED, "NODE_SILENT")
    assert "dev-default-pool-0" in ended.error
    assert "kaas.test:8443" in ended.error
    assert rig.count("driver.create", "machine dev-default-pool-0") == 2


async def test_a_boot_that_goes_wrong_is_told_with_the_machines_own_words(rig: Rig) -> None:
    rule = Rule("no sshd", "driver.create machine *pool-0", Action.BOOT_ERROR, times=0, message="sshd: not found")
    rig.sim.faults.add(rule)
    cluster_id = await rig.create(workers=1)
    ended = await rig.settle(cluster_id)
    assert ended.error_code == "NODE_SILENT"
    assert "sshd: not found" in ended.error


@pytest.mark.parametrize("name", ["dev-default-pool-0", "dev-control-plane-0"])
async def test_a_machine_that_dies_between_its_boot_and_its_join_is_made_anew(rig: Rig, name: str) -> None:
    killed: list[str] = []
    put = rig.tools.remote.put

    async def kill_and_put(*arguments: object, **more: object) -> None:
        if not killed:
            killed.append(rig.sim.kill(name).id)
        await put(*arguments, **more)  # type: ignore[arg-type]

    rig.tools.remote.put = kill_and_put  # type: ignore[method-assign]
    cluster_id = await rig.create(workers=1)
    await rig.succeed(cluster_id)
    assert rig.sim.machine(name).id not in killed
    assert rig.problems(cluster_id) == []


@pytest.mark.parametrize("name", ["dev-default-pool-0", "dev-control-plane-0"])
async def test_of_two_machines_the_one_that_was_kept_need_not_be_the_one_that_reported(rig: Rig, name: str) -> None:
    create = rig.tools.driver.create

    async def create_and_again(cluster_id: str, wish: Wish, *, deadline: float) -> External:
        made = await create(cluster_id, wish, deadline=deadline)
        if wish.name != name or rig.count("driver.create", f"machine {name}") > 1:
            return made
        ground = rig.sim.world.ground
        (slow,) = ground.all(Machine, name=name)
        slow.boots_at = None
        ground.put(slow)
        second = await create(cluster_id, wish, deadline=deadline)
        await rig.until(lambda: rig.sim.machine(name).reported)
        slow.boots_at, slow.reported = 0.0, True
        ground.put(slow)
        assert second.id != made.id
        return made

    rig.tools.driver.create = create_and_again  # type: ignore[method-assign]
    cluster_id = await rig.create(workers=1)
    await rig.succeed(cluster_id)
    assert rig.count("driver.create", f"machine {name}") == 3
    assert len(rig.sim.world.machines(cluster_id, name)) == 1
    assert [*duplicates(rig.sim.world), *strangers(rig.sim.world, cluster_id)] == []


async def test_what_came_late_and_twice_is_gone_at_the_end(rig: Rig) -> None:
    apply = rig.tools.kube.apply
    late: list[External] = []

    async def apply_late(*arguments: object, **more: object) -> None:
        if not late:
            (there,) = rig.sim.world.ground.all(Credential)
            wish = CredentialWish(there.name)
            late.append(
                await rig.tools.driver.create(there.cluster, wish, deadline=asyncio.get_running_loop().time() + 5)
            )
        await apply(*arguments, **more)  # type: ignore[arg-type]

    rig.tools.kube.apply = apply_late  # type: ignore[method-assign]
    cluster_id = await rig.create(workers=1)
    await rig.succeed(cluster_id)
    (kept,) = rig.sim.world.ground.all(Credential)
    assert kept.id != late[0].id


async def test_a_worker_that_dies_after_its_join_joins_again(rig: Rig) -> None:
    killed: list[str] = []
    rolled_out = rig.tools.kube.rolled_out

    async def kill_and_ask(*arguments: object, **more: object) -> Sequence[str]:
        if not killed:
            killed.append(rig.sim.kill("dev-default-pool-0").id)
            return ["it is still starting"]
        return await rolled_out(*arguments, **more)  # type: ignore[arg-type]

    rig.tools.kube.rolled_out = kill_and_ask  # type: ignore[method-assign]
    cluster_id = await rig.create(workers=1)
    await rig.succeed(cluster_id)
    assert rig.sim.machine("dev-default-pool-0").id not in killed
    assert rig.problems(cluster_id) == []


async def test_an_init_that_was_interrupted_is_undone_before_the_next(rig: Rig) -> None:
    rule = Rule("cut", "remote.ended kubeadm init *", code=Code.NODE_UNREACHABLE)
    rig.sim.faults.add(rule)
    cluster_id = await rig.create(planes=3, workers=1)
    await rig.succeed(cluster_id)
    assert rig.count("remote.run", "kubeadm reset") == 1
    assert rig.problems(cluster_id) == []


async def test_a_control_planes_join_that_was_interrupted_leaves_no_member_behind(rig: Rig) -> None:
    rig.sim.faults.add(Rule("cut", "remote.ended kubeadm join *", Action.LOSE, code=Code.NODE_UNREACHABLE, times=3))
    cluster_id = await rig.create(planes=3, workers=1)
    await rig.succeed(cluster_id)
    assert len(rig.sim.brain(cluster_id).members) == 3
    assert rig.problems(cluster_id) == []


async def test_a_creation_that_failed_is_taken_up_by_a_repair(rig: Rig) -> None:
    rule = Rule("bad", "driver.create machine dev-default-*", Action.FAIL_MACHINE, times=0, message="no host has room")
    rig.sim.faults.add(rule)
    cluster_id = await rig.create(workers=1)
    await rig.settle(cluster_id)
    rig.sim.faults.clear()
    await rig.repair(cluster_id)
    await rig.succeed(cluster_id)
    assert {node.state for node in (await rig.nodes(cluster_id)).values()} == {NodeState.READY}
    assert rig.problems(cluster_id) == []


@pytest.mark.parametrize("match", ["driver.create machine dev-default-pool-0", "remote.ended kubeadm init *"])
async def test_on_tables_a_dead_conductor_is_followed_as_well(stored: Rig, match: str) -> None:
    stored.sim.faults.add(Rule("dead", match, Action.KILL_AFTER))
    cluster_id = await stored.create(workers=1)
    assert await survive(stored, cluster_id) == 1
    assert stored.problems(cluster_id) == []
