"""What requests read and change."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from kaas.db import tables
from kaas.domain.errors import Code, RequestError
from kaas.domain.model import CONTROL_PLANE_GROUP, DEFAULT_GROUP, Event, Role
from kaas.domain.states import ClusterStatus, NodeState, OperationKind, OperationState, StepState
from kaas.domain.store import Change, NewNode
from tests.support.kaas_tables import (
    Kit,
    creation,
    deleting,
    repairing,
    scaling,
    scope,
    spec,
    unknown_id,
)

NEWS = Event(cluster_id="", code="ASKED", message="somebody asked")


async def refused(code: Code, request) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await request
    assert caught.value.code is code
    return caught.value


async def test_create_writes_cluster_nodes_operation_events_and_wake_up_in_one_commit(kit: Kit) -> None:
    accepted = await kit.requests.create(scope(), "dev", creation(2, events=(NEWS,), arguments={"why": ["a", 1]}))
    snapshot = await kit.requests.get(scope(), "dev")
    assert snapshot.cluster == accepted.cluster
    assert snapshot.operation == accepted.operation
    assert not accepted.replayed
    assert accepted.cluster.spec == spec(2)
    assert accepted.cluster.status is ClusterStatus.PENDING
    assert (accepted.cluster.generation, accepted.cluster.observed_generation) == (1, 0)
    assert accepted.cluster.created_at.tzinfo is UTC
    assert accepted.operation.kind is OperationKind.CREATE
    assert accepted.operation.state is OperationState.PENDING
    assert accepted.operation.arguments == {"why": ["a", 1]}
    assert accepted.operation.deadline - accepted.operation.created_at == timedelta(hours=1)
    assert (accepted.operation.requested_by, accepted.operation.request_id) == ("ann", "req-1")
    assert [(node.name, node.role, node.state) for node in snapshot.nodes] == [
        ("dev-control-plane-0", Role.CONTROL_PLANE, NodeState.WANTED),
        ("dev-default-pool-0", Role.WORKER, NodeState.WANTED),
        ("dev-default-pool-1", Role.WORKER, NodeState.WANTED),
    ]
    (event,) = await kit.requests.events(scope(), "dev")
    assert (event.code, event.actor, event.operation_id) == ("ASKED", "ann", accepted.operation.id)
    assert await kit.conducting.due(limit=10) == [accepted.cluster.id]
    assert kit.woken.asked == kit.woken.done == [accepted.cluster.id]


async def test_wake_up_that_fails_undoes_the_request(kit: Kit) -> None:
    kit.woken.fails = True
    with pytest.raises(RuntimeError):
        await kit.make()
    assert await kit.requests.list(scope()) == []
    assert [await kit.count(table) for table in (tables.operation, tables.node, tables.quota_reservation)] == [0, 0, 0]
    assert kit.woken.done == []


async def test_decision_that_refuses_changes_nothing(kit: Kit) -> None:
    before = (await kit.make()).cluster

    def refuse(_snapshot: object) -> Change:
        raise RequestError(Code.WRONG_STATE, "not now")

    await refused(Code.WRONG_STATE, kit.requests.change(scope(), "dev", refuse))
    assert (await kit.requests.get(scope(), "dev")).cluster == before


async def test_name_is_taken_for_everybody(kit: Kit) -> None:
    await kit.make("dev")
    error = await refused(Code.NAME_TAKEN, kit.make("dev"))
    assert "'dev'" in error.message
    await refused(Code.NAME_TAKEN, kit.make("dev", scope("other")))
    await kit.make("Dev")
    await kit.make("dev ")


async def test_name_is_free_again_when_the_cluster_is_gone(kit: Kit) -> None:
    _, lease = await kit.held()
    await kit.conducting.delete_cluster(lease)
    await kit.make("dev")


async def test_cluster_is_found_by_id_and_by_name(kit: Kit) -> None:
    made = (await kit.make()).cluster
    assert (await kit.requests.get(scope(), made.id)).cluster == made
    assert (await kit.requests.get(scope(), "dev")).cluster == made


async def test_id_goes_before_a_name_that_looks_like_it(kit: Kit) -> None:
    first = (await kit.make()).cluster
    await kit.make(first.id)
    assert (await kit.requests.get(scope(), first.id)).cluster == first
    accepted = await kit.requests.change(scope(), first.id, deleting)
    assert accepted.cluster.id == first.id


@pytest.mark.parametrize("ref", ["none", "dev\x00", "\ud800", "%", "' OR 1=1 --", "x" * 5000])
async def test_unknown_cluster_is_not_found(kit: Kit, ref: str) -> None:
    await kit.make()
    await refused(Code.NOT_FOUND, kit.requests.get(scope(), ref))
    await refused(Code.NOT_FOUND, kit.requests.change(scope(), ref, scaling(3)))
    await refused(Code.NOT_FOUND, kit.requests.operations(scope(), ref))
    await refused(Code.NOT_FOUND, kit.requests.events(scope(), ref))
    await refused(Code.NOT_FOUND, kit.requests.operation(scope(), ref))
    await refused(Code.NOT_FOUND, kit.requests.cancel(scope(), ref))


async def test_clusters_are_listed_by_name(kit: Kit) -> None:
    for name in ("b", "a-b", "a", "aa", "a1"):
        await kit.make(name)
    assert [one.cluster.name for one in await kit.requests.list(scope())] == ["a", "a-b", "a1", "aa", "b"]


async def test_scale_supersedes_a_scale(kit: Kit) -> None:
    await settled(kit)
    first = await kit.requests.change(scope(), "dev", scaling(3))
    second = await kit.requests.change(scope(), "dev", scaling(5))
    assert (first.cluster.generation, second.cluster.generation) == (2, 3)
    assert second.cluster.status is ClusterStatus.UPDATING
    assert second.cluster.spec == spec(5)
    old, _ = await kit.requests.operation(scope(), first.operation.id)
    assert old.state is OperationState.SUPERSEDED
    assert old.finished_at is not None
    assert "scale" in old.error
    snapshot = await kit.requests.get(scope(), "dev")
    assert snapshot.operation == second.operation
    assert second.operation.generation == second.cluster.generation
    names = [node.name for node in snapshot.in_group(DEFAULT_GROUP)]
    assert names == [f"dev-default-pool-{number}" for number in range(5)]


async def test_scale_waits_for_the_end_of_create(kit: Kit) -> None:
    running = (await kit.make()).operation
    error = await refused(Code.WRONG_STATE, kit.requests.change(scope(), "dev", scaling(3)))
    assert running.id in error.message
    assert (await kit.requests.get(scope(), "dev")).operation == running


async def test_repair_does_not_supersede_a_scale(kit: Kit) -> None:
    await settled(kit)
    await kit.requests.change(scope(), "dev", scaling(3))
    await refused(Code.WRONG_STATE, kit.requests.change(scope(), "dev", repairing))


async def test_delete_supersedes_create_and_lets_nodes_leave(kit: Kit) -> None:
    created = await kit.make()
    deleted = await kit.requests.change(scope(), "dev", deleting)
    assert deleted.cluster.status is ClusterStatus.DELETING
    assert (await kit.requests.operation(scope(), created.operation.id))[0].state is OperationState.SUPERSEDED
    snapshot = await kit.requests.get(scope(), "dev")
    assert {node.state for node in snapshot.nodes} == {NodeState.LEAVING}


async def test_delete_again_gives_the_operation_that_runs(kit: Kit) -> None:
    await kit.make()
    first = await kit.requests.change(scope(), "dev", deleting)
    second = await kit.requests.change(scope(), "dev", deleting, idempotency_key="k", request_hash="h")
    assert second.operation == first.operation
    assert second.cluster == first.cluster
    assert await kit.count(tables.operation) == 2
    await refused(Code.WRONG_STATE, kit.requests.change(scope(), "dev", scaling(1)))


async def test_delete_after_a_failed_delete_is_a_new_one(kit: Kit) -> None:
    made = await kit.make()
    first = await kit.requests.change(scope(), "dev", deleting)
    lease = await kit.lease(made.cluster.id)
    await kit.conducting.update_operation(lease, first.operation.id, OperationState.FAILED, error="no")
    second = await kit.requests.change(scope(), "dev", deleting)
    assert second.operation.id != first.operation.id


async def test_stale_generation_is_refused(kit: Kit) -> None:
    await settled(kit)
    error = await refused(Code.STALE, kit.requests.change(scope(), "dev", scaling(3), if_match=0))
    assert "generation 1" in error.message
    accepted = await kit.requests.change(scope(), "dev", scaling(3), if_match=1)
    assert accepted.cluster.generation == 2


async def test_names_of_nodes_are_never_used_again(kit: Kit) -> None:
    lease = await settled(kit)
    await kit.requests.change(scope(), "dev", scaling(0))
    snapshot = await kit.seen(lease)
    for node in snapshot.nodes:
        if node.state is NodeState.LEAVING:
            await kit.conducting.update_node(lease, node.id, replace_state(NodeState.GONE))
    await kit.requests.change(scope(), "dev", scaling(2))
    snapshot = await kit.seen(lease)
    assert [node.name for node in snapshot.in_group(DEFAULT_GROUP)] == ["dev-default-pool-2", "dev-default-pool-3"]
    assert [node.name for node in snapshot.nodes if node.state is NodeState.GONE] == [
        "dev-default-pool-0",
        "dev-default-pool-1",
    ]


async def test_group_that_comes_again_does_not_use_its_old_names(kit: Kit) -> None:
    await settled(kit)
    extra = replace(spec().groups[1], name="extra", size=1)

    def with_groups(*groups, add=()):
        return lambda _: Change(OperationKind.SCALE, replace(spec(), groups=groups), deadline_s=60, add=add)

    both = with_groups(*spec().groups, extra, add=(NewNode("extra", Role.WORKER),))
    await kit.requests.change(scope(), "dev", both)
    assert await group_names(kit) == [CONTROL_PLANE_GROUP, DEFAULT_GROUP, "extra"]
    await kit.requests.change(scope(), "dev", with_groups(*spec().groups))
    assert await group_names(kit) == [CONTROL_PLANE_GROUP, DEFAULT_GROUP]
    await kit.requests.change(scope(), "dev", both)
    nodes = (await kit.requests.get(scope(), "dev")).in_group("extra")
    assert [node.name for node in nodes] == ["dev-extra-0", "dev-extra-1"]


async def test_groups_are_written_for_readers_of_tables(kit: Kit) -> None:
    await settled(kit)
    before = {row.name: row for row in await kit.rows(select(tables.nodegroup))}
    await kit.requests.change(scope(), "dev", scaling(7))
    after = {row.name: row for row in await kit.rows(select(tables.nodegroup))}
    assert after[DEFAULT_GROUP].uuid == before[DEFAULT_GROUP].uuid
    assert (before[DEFAULT_GROUP].node_count, after[DEFAULT_GROUP].node_count) == (2, 7)
    assert after[DEFAULT_GROUP].is_default is True


async def test_leaving_a_node_of_another_cluster_does_nothing(kit: Kit) -> None:
    await settled(kit)
    foreign = (await kit.make("prod", scope("other"))).cluster
    node = (await kit.requests.get(scope("other"), foreign.id)).nodes[0]

    def take(_: object) -> Change:
        return Change(OperationKind.SCALE, spec(), deadline_s=60, leave=(node.id,))

    await kit.requests.change(scope(), "dev", take)
    assert (await kit.requests.get(scope("other"), foreign.id)).nodes[0] == node


async def test_operations_are_newest_first_and_outlive_their_cluster(kit: Kit) -> None:
    lease = await settled(kit)
    scaled = await kit.requests.change(scope(), "dev", scaling(3))
    deleted = await kit.requests.change(scope(), "dev", deleting)
    kinds = [operation.kind for operation in await kit.requests.operations(scope(), "dev")]
    assert kinds == [OperationKind.DELETE, OperationKind.SCALE, OperationKind.CREATE]
    await kit.conducting.delete_cluster(lease)
    await refused(Code.NOT_FOUND, kit.requests.operations(scope(), "dev"))
    found = await kit.requests.operations(scope(), scaled.cluster.id)
    assert [operation.kind for operation in found] == kinds
    assert list(await kit.requests.operations(scope())) == list(found)
    ended, _ = await kit.requests.operation(scope(), deleted.operation.id)
    assert ended.state is OperationState.SUCCEEDED


async def test_operation_is_given_with_its_ledger(kit: Kit) -> None:
    accepted, lease = await kit.held()
    first = await kit.conducting.begin_step(lease, accepted.operation.id, "preflight", "h1")
    done = await kit.conducting.end_step(lease, first, StepState.DONE, result={"ok": True})
    second = await kit.conducting.begin_step(lease, accepted.operation.id, "machine/dev-control-plane-0", "h2")
    operation, steps = await kit.requests.operation(scope(), accepted.operation.id)
    assert operation == accepted.operation
    assert list(steps) == [done, second]


async def test_cancel_asks_the_operation_to_end(kit: Kit) -> None:
    accepted, lease = await kit.held()
    await kit.conducting.release(lease, due_in_s=None)
    kit.woken.asked.clear()
    asked = await kit.requests.cancel(scope(), accepted.operation.id)
    assert asked.cancel_requested
    assert asked.state is OperationState.PENDING
    assert kit.woken.asked == [accepted.cluster.id]
    assert await kit.conducting.due(limit=1) == [accepted.cluster.id]
    again = await kit.requests.cancel(scope(), accepted.operation.id)
    assert again == asked == (await kit.requests.get(scope(), "dev")).operation
    assert [event.code for event in await kit.requests.events(scope(), "dev")] == ["CANCEL_REQUESTED"]


async def test_cancel_of_an_ended_operation_is_refused(kit: Kit) -> None:
    accepted, lease = await kit.held()
    await kit.conducting.update_operation(lease, accepted.operation.id, OperationState.FAILED)
    await refused(Code.WRONG_STATE, kit.requests.cancel(scope(), accepted.operation.id))


async def test_events_are_read_on_from_the_last_one(kit: Kit) -> None:
    accepted, lease = await kit.held()
    for number in range(5):
        await kit.conducting.add_event(lease, Event(accepted.cluster.id, "NEWS", f"number {number}"))
    first = await kit.requests.events(scope(), "dev", limit=2)
    rest = await kit.requests.events(scope(), after_id=first[-1].id)
    assert [event.message for event in (*first, *rest)] == [f"number {number}" for number in range(5)]
    assert await kit.requests.events(scope(), "dev", after_id=rest[-1].id) == ()
    assert first[0].created_at is not None
    assert first[0].created_at.tzinfo is UTC
    assert first[0].actor == "one"


@pytest.mark.parametrize("after_id", ["x", "-1", "1e3", "\u0661", "9" * 30])
async def test_event_id_that_is_none_is_refused(kit: Kit, after_id: str) -> None:
    error = await refused(Code.INVALID, kit.requests.events(scope(), after_id=after_id))
    assert error.problems[0].field == "after_id"


async def test_events_outlive_their_cluster(kit: Kit) -> None:
    accepted, lease = await kit.held()
    await kit.conducting.add_event(lease, Event(accepted.cluster.id, "NEWS", "last words"))
    await kit.conducting.delete_cluster(lease)
    assert [event.message for event in await kit.requests.events(scope(), accepted.cluster.id)] == ["last words"]


async def test_kubeconfigs_and_audit_are_written_down(kit: Kit) -> None:
    made = (await kit.make()).cluster
    until = datetime(2031, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    await kit.requests.record_kubeconfig(
        scope(), made.id, role="viewer", serial="ab12", not_after=until, client_ip="192.0.2.7"
    )
    (issue,) = await kit.rows(select(tables.kubeconfig_issue))
    assert (issue.user_id, issue.cluster_id, issue.role, issue.serial) == ("ann", made.id, "viewer", "ab12")
    assert issue.not_after == until
    await refused(
        Code.NOT_FOUND,
        kit.requests.record_kubeconfig(
            scope(), unknown_id(), role="viewer", serial="1", not_after=until, client_ip="192.0.2.7"
        ),
    )
    await kit.requests.audit(scope(), "cluster.delete", "x" * 999, "refused: NOT_FOUND")
    (line,) = await kit.rows(select(tables.audit))
    assert (line.project_id, line.user_id, line.role, line.request_id) == ("acme", "ann", "admin", "req-1")
    assert line.target == "x" * 255


def replace_state(state: NodeState):
    from kaas.domain.store import NodeUpdate

    return NodeUpdate(state=state)


async def settled(kit: Kit):
    accepted, lease = await kit.held()
    await kit.conducting.update_operation(lease, accepted.operation.id, OperationState.SUCCEEDED)
    await kit.conducting.update_cluster(lease, status=ClusterStatus.RUNNING)
    return lease


async def group_names(kit: Kit) -> list[str]:
    return sorted(row.name for row in await kit.rows(select(tables.nodegroup)))
