"""Machines: marked at launch, found by their labels, never doubled, deleted only with the cluster's mark."""

import pytest

from devcloud.faults import Kind as Trouble
from devcloud.network_rows import GROUP_MEMBERS
from devcloud.rows import INSTANCES, Instance
from kaas.domain.errors import Code, StepError
from kaas.domain.ports import Condition, External, Kind, MachineFacts
from tests.unit.kaas.drivers_thecloud.conftest import (
    CLUSTER,
    KEY_PAIR,
    OTHER,
    PUBLIC_KEY,
    Site,
    key_pair,
    machine,
    security_group,
    soon,
)
from thecloud.launches import Launches

NODE = "dev-default-pool-0"


async def nodes(site: Site) -> list[Instance]:
    """The instances that were launched, the oldest first."""
    return [row for row in await site.rows(INSTANCES) if row.image != "this-machine"]


async def find(site: Site, name: str = "", cluster_id: str = CLUSTER) -> list[External]:
    return list(await site.driver.find(Kind.MACHINE, cluster_id, name=name, deadline=soon()))


async def test_a_machine_is_pending_until_it_runs_and_carries_its_marks_from_the_start(both: Site) -> None:
    both.machines.may_boot.clear()
    made = await both.driver.create(CLUSTER, machine(NODE), deadline=soon())
    assert (made.kind, made.name, made.condition, made.cluster_id) == (Kind.MACHINE, NODE, Condition.PENDING, CLUSTER)
    (row,) = await nodes(both)
    assert row.labels == {"kaas-cluster": CLUSTER, "kaas-node": NODE, "kaas-role": "worker"}
    assert row.vpc_id == await both.vpc_id()

    both.machines.may_boot.set()
    ready = await both.ready(Kind.MACHINE, NODE)

    assert ready.id == made.id == row.id
    assert isinstance(ready.facts, MachineFacts)
    assert ready.facts.address == (await nodes(both))[0].private_ip
    assert "/" not in ready.facts.address


async def test_only_the_cluster_s_own_machines_are_found_by_name_or_all(both: Site) -> None:
    for name in (NODE, "dev-default-pool-1"):
        await both.launch(name)
    await both.driver.create(OTHER, machine(NODE), deadline=soon())

    assert {one.name for one in await find(both)} == {NODE, "dev-default-pool-1"}
    assert [one.cluster_id for one in await find(both, NODE)] == [CLUSTER]
    assert [one.cluster_id for one in await find(both, NODE, OTHER)] == [OTHER]
    assert await find(both, "dev") == []


async def test_a_machine_that_does_not_come_up_has_failed(both: Site) -> None:
    both.machines.broken.add(NODE)
    await both.driver.create(CLUSTER, machine(NODE), deadline=soon())

    async def failed() -> list[External]:
        return [one for one in await find(both, NODE) if one.condition is Condition.FAILED]

    (seen,) = await both.until(failed)
    assert "ERROR" in seen.message


async def test_a_stopped_machine_will_not_become_ready_and_a_paused_one_is_waited_for(both: Site) -> None:
    stopped, paused = await both.launch(NODE), await both.launch("dev-default-pool-1")
    await both.call("POST", f"/instances/{stopped.id}/stop")
    await both.call("POST", f"/instances/{paused.id}/pause")

    conditions = {one.id: one.condition for one in await find(both)}

    assert conditions == {stopped.id: Condition.FAILED, paused.id: Condition.PENDING}


async def test_a_lost_answer_is_unknown_and_the_machine_is_found_by_the_next_try(both: Site) -> None:
    both.trouble(Trouble.LOST_ANSWER, "/instances")
    with pytest.raises(StepError) as lost:
        await both.driver.create(CLUSTER, machine(NODE), deadline=soon())
    assert (lost.value.code, lost.value.retryable) == (Code.PLATFORM_UNAVAILABLE, True)
    assert repr(NODE) in lost.value.message

    again = await both.driver.create(CLUSTER, machine(NODE), deadline=soon())

    assert [row.id for row in await nodes(both)] == [again.id]


async def test_doubles_of_a_listing_that_was_behind_are_deleted_but_for_the_oldest(both: Site) -> None:
    both.trouble(Trouble.STALE_READ, "/instances", "GET", count=None, seconds=600.0)
    first = await both.driver.create(CLUSTER, machine(NODE), deadline=soon())
    second = await both.driver.create(CLUSTER, machine(NODE), deadline=soon())
    assert first.id != second.id
    both.calm()
    await both.until(lambda: _all_run(both))

    assert [one.id for one in await find(both, NODE)] == [first.id, second.id]
    kept = await both.driver.create(CLUSTER, machine(NODE), deadline=soon())

    assert kept.id == first.id
    assert [row.id for row in await nodes(both)] == [first.id]


async def test_a_failed_double_goes_even_if_it_is_the_oldest(both: Site) -> None:
    both.trouble(Trouble.STALE_READ, "/instances", "GET", count=None, seconds=600.0)
    both.machines.broken.add(NODE)
    broken = await both.driver.create(CLUSTER, machine(NODE), deadline=soon())
    await both.until(lambda: _is_in(both, broken.id, "ERROR"))
    both.machines.broken.clear()
    second = await both.driver.create(CLUSTER, machine(NODE), deadline=soon())
    both.calm()

    assert (await both.driver.create(CLUSTER, machine(NODE), deadline=soon())).id == second.id
    assert [row.id for row in await nodes(both)] == [second.id]


async def test_an_update_keeps_the_machine_that_is_known_and_gives_it_its_group(both: Site) -> None:
    group = await both.driver.create(CLUSTER, security_group(), deadline=soon())
    both.trouble(Trouble.STALE_READ, "/instances", "GET", count=None, seconds=600.0)
    first = await both.driver.create(CLUSTER, machine(NODE), deadline=soon())
    second = await both.driver.create(CLUSTER, machine(NODE), deadline=soon())
    both.calm()
    await both.until(lambda: _all_run(both))

    wish = machine(NODE, security_group_id=group.id)
    updated = await both.driver.update(second, wish, deadline=soon())
    assert (updated.id, updated.condition) == (second.id, Condition.READY)
    await both.driver.update(second, wish, deadline=soon())

    assert [row.id for row in await nodes(both)] == [second.id]
    assert [row.instance_id for row in await both.rows(GROUP_MEMBERS)] == [second.id]
    with pytest.raises(StepError, match="gone") as gone:
        await both.driver.update(first, wish, deadline=soon())
    assert gone.value.code is Code.NOT_READY


async def test_by_its_id_a_machine_is_there_whatever_the_listing_shows_and_gone_when_it_is(both: Site) -> None:
    made = await both.launch(NODE)
    seen = await both.driver.machine(CLUSTER, made.id, deadline=soon())
    assert seen == made
    with pytest.raises(StepError, match="is expected") as refused:
        await both.driver.machine(OTHER, made.id, deadline=soon())
    assert refused.value.code is Code.PLATFORM_REFUSED
    with pytest.raises(StepError, match="no id of an instance"):
        await both.driver.machine(CLUSTER, "node-a", deadline=soon())

    await both.driver.delete(made, deadline=soon())

    async def gone() -> bool:
        return await both.driver.machine(CLUSTER, made.id, deadline=soon()) is None

    await both.until(gone)


@pytest.mark.parametrize(
    "trouble", [Trouble.ERROR_BEFORE, Trouble.EMPTY_500, Trouble.NOT_FOUND_PLAIN, Trouble.TRUNCATED_BODY]
)
async def test_an_answer_that_says_nothing_is_not_gone(both: Site, trouble: Trouble) -> None:
    made = await both.launch(NODE)
    both.trouble(trouble, "/instances/{ref}", "GET", count=None)
    with pytest.raises(StepError) as unknown:
        await both.driver.machine(CLUSTER, made.id, deadline=soon(1.0))
    assert (unknown.value.code, unknown.value.retryable) == (Code.PLATFORM_UNAVAILABLE, True)


async def test_a_machine_that_does_not_run_yet_gets_no_group(both: Site) -> None:
    group = await both.driver.create(CLUSTER, security_group(), deadline=soon())
    both.machines.may_boot.clear()
    wish = machine(NODE, security_group_id=group.id)
    made = await both.driver.create(CLUSTER, wish, deadline=soon())

    assert (await both.driver.update(made, wish, deadline=soon())).condition is Condition.PENDING
    assert await both.rows(GROUP_MEMBERS) == []
    both.machines.may_boot.set()


async def test_key_and_commands_reach_the_machine_in_the_form_that_the_tier_understands(both: Site) -> None:
    pair = await both.driver.create(CLUSTER, key_pair(), deadline=soon())
    await both.launch(NODE, key_pair_id=pair.id, user_data=("echo one", "echo two"))

    (row,) = await nodes(both)
    if both.is_strict:
        install, *rest = row.cmd
        assert (row.ssh_key_id, rest) == ("", ["echo one", "echo two"])
        assert " ".join(PUBLIC_KEY.split()[:2]) in install
        assert "somebody" not in install
    else:
        assert (row.ssh_key_id, row.cmd, row.hostname) == (pair.id, ["echo one", "echo two"], NODE)


async def test_a_key_alone_is_given_as_a_key_and_a_missing_one_is_told(strict: Site) -> None:
    pair = await strict.driver.create(CLUSTER, key_pair(), deadline=soon())
    await strict.launch(NODE, key_pair_id=pair.id)
    assert (await nodes(strict))[0].ssh_key_id == pair.id

    await strict.driver.delete(pair, deadline=soon())
    wish = machine("dev-default-pool-1", key_pair_id=pair.id, user_data=("true",))
    with pytest.raises(StepError, match="key pair") as missing:
        await strict.driver.create(CLUSTER, wish, deadline=soon())
    assert missing.value.code is Code.NOT_READY
    assert await strict.driver.find(Kind.KEY_PAIR, CLUSTER, name=KEY_PAIR, deadline=soon()) == []


async def test_deletion_is_of_the_marked_machine_only_and_may_be_repeated(both: Site) -> None:
    made = await both.launch(NODE)
    recorded = External(Kind.MACHINE, made.id, NODE, Condition.PENDING)

    await both.driver.delete(recorded, deadline=soon())
    await both.driver.delete(made, deadline=soon())

    assert await find(both) == []
    await both.driver.delete(External(Kind.MACHINE, "", NODE, Condition.PENDING), deadline=soon())


async def test_machines_of_others_are_left_alone(both: Site) -> None:
    strangers = both.served.instances["node-a"]
    made = await both.launch(NODE)
    wrong = (
        External(Kind.MACHINE, strangers, "node-a", Condition.READY),
        External(Kind.MACHINE, made.id, NODE, Condition.READY, cluster_id=OTHER),
        External(Kind.MACHINE, made.id, "dev-default-pool-9", Condition.READY),
    )
    for external in wrong:
        with pytest.raises(StepError) as refused:
            await both.driver.delete(external, deadline=soon())
        assert refused.value.code is Code.PLATFORM_REFUSED
    with pytest.raises(StepError):
        await both.driver.update(wrong[0], machine("node-a"), deadline=soon())

    assert {row.id for row in await both.rows(INSTANCES)} == {strangers, made.id}


async def test_a_404_of_the_deletion_is_believed_only_if_the_lookup_says_so_too(
    both: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await both.launch(NODE)
    terminate = Launches.terminate

    async def twice(launches: Launches, instance_id: str, *, deadline: float) -> None:
        await terminate(launches, instance_id, deadline=deadline)
        await terminate(launches, instance_id, deadline=deadline)

    async def lie(launches: Launches, instance_id: str, *, deadline: float) -> None:
        await terminate(launches, "00000000-0000-4000-8000-000000000000", deadline=deadline)
        del instance_id

    monkeypatch.setattr(Launches, "terminate", lie)
    with pytest.raises(StepError) as unknown:
        await both.driver.delete(made, deadline=soon())
    assert unknown.value.code is Code.PLATFORM_UNAVAILABLE
    monkeypatch.setattr(Launches, "terminate", twice)
    await both.driver.delete(made, deadline=soon())

    assert await find(both) == []


async def test_quota_and_unknown_types_are_final_and_say_what_to_do(both: Site) -> None:
    for number in range(8):
        await both.driver.create(CLUSTER, machine(f"dev-default-pool-{number}"), deadline=soon())
    with pytest.raises(StepError, match=r"quota exceeded for vcpus.*quota raised") as quota:
        await both.driver.create(CLUSTER, machine("dev-default-pool-8"), deadline=soon())
    with pytest.raises(StepError, match="nonsense-1") as refused:
        await both.driver.create(CLUSTER, machine("dev-x-0", instance_type="nonsense-1"), deadline=soon())

    assert (quota.value.code, quota.value.retryable) == (Code.PLATFORM_QUOTA, False)
    assert (refused.value.code, refused.value.retryable) == (Code.PLATFORM_REFUSED, False)


async def _all_run(site: Site) -> bool:
    return all(row.status == "RUNNING" for row in await nodes(site))


async def _is_in(site: Site, instance_id: str, status: str) -> bool:
    return any(row.id == instance_id and row.status == status for row in await nodes(site))
