"""Lists in pages and with what cannot be read, audits in the commit of their change, deletes that are begun again."""

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from kaas.db import tables
from kaas.domain.errors import Code
from kaas.domain.states import ClusterStatus, OperationKind, OperationState
from tests.support.kaas_tables import Kit, deleting, scope, unknown_id
from tests.unit.kaas.db.test_requests import refused


async def test_a_cluster_that_cannot_be_read_hides_no_other(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    broken = (await kit.make("b")).cluster
    for name in ("a", "c"):
        await kit.make(name)
    await kit.execute(update(tables.cluster).where(tables.cluster.c.uuid == broken.id).values(spec='{"version": 7}'))
    found = [one.cluster for one in await kit.requests.list(scope())]
    assert [one.name for one in found] == ["a", "b", "c"]
    assert [one.status for one in found] == [ClusterStatus.PENDING, ClusterStatus.FAILED, ClusterStatus.PENDING]
    assert "cannot be read" in found[1].status_reason
    assert broken.id in caplog.text


async def test_clusters_are_listed_in_pages(kit: Kit) -> None:
    made = {name: (await kit.make(name)).cluster for name in ("b-1", "a", "b1", "B", "b")}
    seen: list[str] = []
    while page := await kit.requests.list(scope(), marker=seen[-1] if seen else "", limit=2):
        assert len(page) <= 2
        seen += [one.cluster.name for one in page]
    assert seen == sorted(made)
    behind = await kit.requests.list(scope(), marker=made["b"].id)
    assert [one.cluster.name for one in behind] == ["b-1", "b1"]
    assert [one.cluster.name for one in await kit.requests.list(scope(), marker="aa", limit=1)] == ["b"]
    await refused(Code.INVALID, kit.requests.list(scope(), marker=unknown_id()))


async def test_operations_are_listed_in_pages(kit: Kit) -> None:
    made = [(await kit.make(name)).operation.id for name in ("a", "b", "c")]
    foreign = (await kit.make("theirs", scope("other"))).operation.id
    first = [one.id for one in await kit.requests.operations(scope(), limit=2)]
    assert first == [made[2], made[1]]
    rest = await kit.requests.operations(scope(), marker=first[-1], limit=2)
    assert [one.id for one in rest] == [made[0]]
    assert await kit.requests.operations(scope(), "c", marker=made[2]) == ()
    for marker in (foreign, unknown_id()):
        await refused(Code.INVALID, kit.requests.operations(scope(), marker=marker))


async def test_a_change_and_its_audit_are_one_commit(kit: Kit) -> None:
    who = replace(scope(), action="create_cluster", target="dev")
    kit.woken.fails = True
    with pytest.raises(RuntimeError):
        await kit.make("dev", who)
    assert await kit.count(tables.audit) == 0
    kit.woken.fails = False
    made = await kit.make("dev", who)
    await kit.requests.cancel(replace(scope(), action="cancel_operation", target="x"), made.operation.id)
    rows = await kit.rows(select(tables.audit).order_by(tables.audit.c.id))
    assert [(row.action, row.target, row.outcome) for row in rows] == [
        ("create_cluster", "dev", "accepted"),
        ("cancel_operation", "x", "accepted"),
    ]
    assert {(row.project_id, row.user_id, row.request_id) for row in rows} == {("acme", "ann", "req-1")}


async def test_delete_that_failed_is_begun_again_with_its_reason_and_at_once_by_a_request(kit: Kit) -> None:
    _, lease = await kit.held()
    asked = await kit.requests.change(scope(), "dev", deleting)
    for number in range(2):
        last = await kit.conducting.last_operation(lease)
        assert last is not None
        assert (last.kind, last.state) == (OperationKind.DELETE, OperationState.PENDING)
        await kit.conducting.update_operation(
            lease, last.id, OperationState.FAILED, error="machine dev-1 is there", cluster=ClusterStatus.DELETING
        )
        failed = await kit.conducting.last_operation(lease)
        assert failed is not None
        assert (failed.id, failed.state, failed.finished_at is None) == (last.id, OperationState.FAILED, False)
        if number == 0:
            again = deleting(await kit.seen(lease))
            assert await kit.conducting.start_operation(lease, again, requested_by="conductor") is not None
            cluster = (await kit.seen(lease)).cluster
            assert (cluster.status, cluster.status_reason) == (ClusterStatus.DELETING, "machine dev-1 is there")
    wanted = await kit.requests.change(scope(), "dev", deleting)
    assert wanted.operation.id != asked.operation.id
    assert wanted.operation.state is OperationState.PENDING
