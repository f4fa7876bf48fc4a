"""Orders of the Cluster Autoscaler, and what becomes of them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ccm.autoscaler.model import GROUP_LABEL, REQUEST_LABEL, SLOT_LABEL, pending_id, provider_id
from ccm.autoscaler.ports import AutoscalerError, Problem
from ccm.model import InstanceState
from tests.unit.ccm.autoscaler.fakes import START, FakeMachines, MemoryStore, Rig, group, quota, store_away, unknown


async def grown(count: int, **sizes: Any) -> Rig:
    rig = Rig(group(**sizes))
    await rig.refresh()
    await rig.increase(count - await rig.target())
    await rig.settle()
    return rig


def ids(rig: Rig) -> list[str]:
    return [provider_id(one.id) for one in rig.live()]


async def problem_of(order: object) -> Problem:
    with pytest.raises(AutoscalerError) as caught:
        await order  # type: ignore[misc]
    return caught.value.problem


async def test_an_increase_is_recorded_before_anything_is_launched() -> None:
    rig = Rig()
    await rig.refresh()
    await rig.increase(2)
    assert (await rig.target(), rig.live(), rig.store.record().target) == (2, [], 2)
    await rig.settle()
    assert len(rig.live()) == 2


async def test_a_second_increase_adds_to_the_first() -> None:
    rig = Rig()
    await rig.refresh()
    await rig.increase(2)
    await rig.increase(3)
    assert await rig.target() == 5


async def test_machines_carry_all_labels_and_a_name_of_their_slot_from_the_start() -> None:
    rig = await grown(1)
    (machine,) = rig.live()
    assert machine.name == "c1-pool-a-1"
    assert (machine.labels[GROUP_LABEL], machine.labels[SLOT_LABEL]) == ("pool-a", "1")
    assert machine.labels[REQUEST_LABEL]


@pytest.mark.parametrize(
    ("delta", "problem"), [(0, Problem.INVALID), (-1, Problem.INVALID), (11, Problem.PRECONDITION)]
)
async def test_an_impossible_increase_changes_nothing(delta: int, problem: Problem) -> None:
    rig = Rig()
    await rig.refresh()
    assert await problem_of(rig.increase(delta)) is problem
    assert await rig.target() == 0


async def test_a_new_group_takes_in_what_is_there_and_fills_up_to_its_minimum() -> None:
    machines = FakeMachines()
    kept = machines.put(group="pool-a")
    rig = Rig(group(least=3), machines=machines)
    await rig.refresh()
    assert await rig.target() == 3
    await rig.settle()
    assert len(rig.live()) == 3
    assert kept in rig.live()
    assert machines.terminated == []


async def test_deleting_lowers_the_target_and_terminates() -> None:
    rig = await grown(3)
    first, second, _ = ids(rig)
    await rig.delete(first, second)
    assert await rig.target() == 1
    assert (
        dict.fromkeys((first, second), "deleting").items()
        <= {one: state for one, state, _ in await rig.shown()}.items()
    )
    await rig.settle()
    assert len(rig.live()) == 1
    assert rig.store.record().deleting == {}


async def test_deleting_again_lowers_nothing() -> None:
    rig = await grown(3)
    node = ids(rig)[0]
    await rig.delete(node, node)
    await rig.delete(node)
    assert await rig.target() == 2
    await rig.settle()
    await rig.delete(node)
    assert await rig.target() == 2
    assert len(rig.live()) == 2


async def test_deleting_again_after_a_change_of_leaders_lowers_nothing() -> None:
    rig = await grown(3)
    node = ids(rig)[0]
    await rig.delete(node)
    other = Rig(group(), machines=rig.machines, store=rig.store)
    await other.delete(node)
    assert await other.target() == 2
    await other.settle()
    assert len(other.live()) == 2


async def test_a_group_never_falls_below_its_minimum_and_then_nothing_is_deleted() -> None:
    rig = await grown(3, least=2)
    assert await problem_of(rig.delete(*ids(rig)[:2])) is Problem.PRECONDITION
    await rig.settle()
    assert (await rig.target(), len(rig.live()), rig.machines.terminated) == (3, 3, [])


async def test_nodes_of_others_are_refused_with_everything_that_came_along() -> None:
    rig = Rig(group(), group("pool-b"))
    foreign = rig.machines.put(group="pool-a", cluster="cluster-2")
    other = rig.machines.put(group="pool-b")
    rig.machines.put(group="pool-a")
    await rig.refresh()
    mine = provider_id(rig.live()[0].id)
    for node in (foreign, other):
        assert await problem_of(rig.delete(mine, provider_id(node.id))) is Problem.PRECONDITION
    assert await problem_of(rig.delete(mine, "aws:///i-1")) is Problem.INVALID
    await rig.settle()
    assert (await rig.target(), rig.machines.terminated) == (1, [])


async def test_a_node_that_is_gone_already_is_done() -> None:
    rig = await grown(2)
    await rig.delete("thecloud://00000000-0000-4000-8000-00000000ffff")
    assert await rig.target() == 2


async def test_whether_an_unknown_node_is_gone_is_never_guessed() -> None:
    rig = await grown(1)
    rig.machines.faults.add("look_up", unknown())
    assert await problem_of(rig.delete("thecloud://00000000-0000-4000-8000-00000000ffff")) is Problem.UNAVAILABLE


async def test_only_what_is_not_there_yet_can_be_given_up() -> None:
    rig = await grown(2)
    await rig.increase(2)
    assert await problem_of(rig.decrease(-3)) is Problem.PRECONDITION
    await rig.decrease(-1)
    assert await rig.target() == 3
    await rig.settle()
    assert (len(rig.live()), rig.machines.terminated) == (3, [])
    assert await problem_of(rig.decrease(-1)) is Problem.PRECONDITION
    assert await problem_of(rig.decrease(1)) is Problem.INVALID


async def test_no_room_shows_as_an_error_of_class_1_until_the_place_is_deleted() -> None:
    rig = Rig()
    await rig.refresh()
    rig.machines.faults.add("launch", quota(), times=100)
    await rig.increase(2)
    await rig.step()
    members = await rig.groups.members("pool-a", deadline=rig.deadline)
    assert [(one.state, one.is_out_of_resources, bool(one.error_code)) for one in members] == [
        ("creating", True, True)
    ] * 2
    place = members[0].id
    assert await rig.groups.group_of(place, deadline=rig.deadline) == group()
    await rig.delete(place)
    await rig.delete(place)
    assert await rig.target() == 1


async def test_after_a_lack_of_room_the_other_slots_are_not_tried() -> None:
    pace = replace(Rig().reconciler._pace, no_room_s=60.0, no_room_max_s=60.0, launches_at_once=1)
    rig = Rig(pace=pace)
    await rig.refresh()
    rig.machines.faults.add("launch", quota(), times=100)
    await rig.increase(5)
    pause_s = await rig.step()
    assert rig.machines.calls.count("launch") == 1
    assert len(rig.fleet.failures) == 5
    assert 0 < pause_s <= 60
    await rig.step()
    assert rig.machines.calls.count("launch") == 1


async def test_a_passing_failure_is_shown_from_the_third_time_on() -> None:
    rig = Rig()
    await rig.refresh()
    rig.machines.faults.add("launch", unknown(), times=3)
    await rig.increase(1)
    codes = []
    for _ in range(3):
        await rig.step()
        codes.append((await rig.shown())[0][2])
    assert codes == ["", "", "UNKNOWN"]
    await rig.settle()
    assert [(state, code) for _, state, code in await rig.shown()] == [("running", "")]


async def test_a_launch_whose_answer_is_lost_is_found_again() -> None:
    rig = Rig()
    await rig.refresh()
    rig.machines.faults.add("launch", unknown(), after=True)
    await rig.increase(1)
    await rig.settle()
    assert len(rig.live()) == 1
    assert rig.machines.terminated == []


async def test_of_two_machines_of_one_slot_the_older_stays() -> None:
    rig = await grown(1)
    (first,) = rig.live()
    rig.machines.put(group="pool-a", slot="1")
    await rig.settle()
    assert rig.live() == [first]


async def test_a_machine_that_comes_after_its_slot_has_ended_is_deleted() -> None:
    rig = await grown(1)
    await rig.increase(1)
    await rig.decrease(-1)
    late = rig.machines.put(group="pool-a", slot="2")
    await rig.settle()
    assert rig.machines.terminated == [late]
    assert await rig.target() == 1


async def test_a_listing_that_lacks_machines_launches_none() -> None:
    rig = await grown(3)
    rig.machines.hidden = set(rig.machines.all)
    for _ in range(4):
        await rig.step()
    assert len(rig.machines.all) == 3
    rig.machines.hidden = set()
    await rig.settle()
    assert (len(rig.live()), rig.machines.terminated) == (3, [])


async def test_a_machine_that_is_definitely_gone_is_replaced() -> None:
    rig = await grown(2)
    del rig.machines.all[rig.live()[0].id]
    await rig.settle()
    assert (len(rig.live()), await rig.target()) == (2, 2)
    assert sorted(one.slot for one in rig.live()) == ["1", "2"]


async def test_one_refresh_is_one_listing_and_everything_else_is_answered_from_memory() -> None:
    rig = await grown(3)
    rig.machines.calls.clear()
    await rig.refresh()
    for node in (*ids(rig), "thecloud://unknown", "", "aws:///i-1"):
        await rig.groups.group_of(node, deadline=rig.deadline)
    await rig.shown()
    await rig.target()
    assert rig.machines.calls == ["list"]


async def test_nodes_without_a_group_are_no_error() -> None:
    rig = Rig()
    alone = rig.machines.put()
    orphan = rig.machines.put(group="pool-z")
    await rig.refresh()
    for node in ("", "thecloud://", "thecloud://pending/", "kwok://1", provider_id(alone.id), provider_id(orphan.id)):
        assert await rig.groups.group_of(node, deadline=rig.deadline) is None


async def test_a_refresh_without_a_listing_says_so() -> None:
    rig = await grown(1)
    rig.machines.faults.add("list", unknown())
    assert await problem_of(rig.refresh()) is Problem.UNAVAILABLE
    assert await rig.target() == 1


async def test_states_are_told_apart() -> None:
    rig = Rig()
    fresh = START + timedelta(seconds=30)
    for state in (InstanceState.STARTING, InstanceState.RUNNING, InstanceState.STOPPED):
        rig.machines.put(group="pool-a", state=state)
    rig.machines.put(group="pool-a", state=InstanceState.ERROR, created_at=fresh)
    rig.machines.put(group="pool-a", state=InstanceState.ERROR, created_at=START - timedelta(hours=1))
    await rig.refresh()
    assert [(state, code) for _, state, code in await rig.shown()] == [
        ("creating", ""),
        ("running", ""),
        ("running", "STOPPED"),
        ("creating", "ERROR"),
        ("running", "ERROR"),
    ]


async def test_an_instance_that_ran_and_broke_is_not_given_up() -> None:
    rig = await grown(1)
    (machine,) = rig.live()
    rig.machines.all[machine.id] = replace(machine, state=InstanceState.ERROR)
    await rig.refresh()
    assert [state for _, state, _ in await rig.shown()] == ["running"]


async def test_slots_of_a_group_that_is_not_described_any_more_are_left_alone() -> None:
    rig = await grown(2)
    rig.definitions.groups = {}
    await rig.refresh()
    del rig.machines.all[rig.live()[0].id]
    for _ in range(4):
        await rig.step()
    assert (len(rig.live()), rig.machines.terminated) == (1, [])
    assert await problem_of(rig.target()) is Problem.NO_GROUP


async def test_a_raised_minimum_is_filled() -> None:
    rig = await grown(1)
    rig.definitions.groups = {"pool-a": group(least=3)}
    await rig.refresh()
    await rig.settle()
    assert len(rig.live()) == 3


async def test_a_restored_record_takes_in_newer_machines() -> None:
    rig = await grown(1)
    old = rig.store.text
    await rig.increase(2)
    await rig.settle()
    other = Rig(group(), machines=rig.machines, store=MemoryStore(text=old, version=99))
    await other.settle()
    assert (await other.target(), other.machines.terminated) == (3, [])


async def test_a_store_without_an_answer_leaves_the_question_open_and_never_counts_twice() -> None:
    rig = await grown(1)
    rig.store.faults.add("put", store_away(), after=True)
    await rig.increase(2)
    assert await rig.target() == 3
    rig.store.faults.add("put", store_away(), after=True)
    rig.store.faults.add("get", store_away(), times=5)
    assert await problem_of(rig.increase(2)) is Problem.UNAVAILABLE
    rig.store.faults.to_come.clear()
    await rig.refresh()
    assert await rig.target() == 5


async def test_a_record_that_cannot_be_read_is_never_overwritten() -> None:
    store = MemoryStore(text='{"format": 7}', version=3)
    rig = Rig(store=store)
    assert await problem_of(rig.refresh()) is Problem.PRECONDITION
    assert store.puts == 0


async def test_an_order_below_is_shown_as_pending_places() -> None:
    rig = Rig()
    await rig.refresh()
    await rig.increase(2)
    assert await rig.shown() == [(pending_id("pool-a", slot), "creating", "") for slot in ("1", "2")]


async def test_deleting_the_double_of_a_machine_lowers_nothing() -> None:
    rig = await grown(2)
    double = rig.machines.put(group="pool-a", slot="1")
    await rig.refresh()
    await rig.delete(provider_id(double.id))
    assert await rig.target() == 2
    await rig.settle()
    assert rig.machines.terminated == [double]


async def test_a_double_stays_while_it_is_open_whether_the_other_is_there() -> None:
    rig = await grown(1)
    (first,) = rig.live()
    rig.machines.put(group="pool-a", slot="1")
    rig.machines.hidden = {first.id}
    await rig.step()
    assert rig.machines.terminated == []
