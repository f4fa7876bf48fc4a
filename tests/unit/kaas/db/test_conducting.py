"""What conductors write, and that they may write it."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, select

from kaas.db import tables
from kaas.domain.errors import Code, StepError
from kaas.domain.model import Event, Health, Lease
from kaas.domain.states import ClusterStatus, NodeState, OperationKind, OperationState, RefState, StepState
from kaas.domain.store import Change, NewNode, NodeUpdate
from tests.support.kaas_tables import Kit, creation, deleting, reference, scope, spec, unknown_id


async def test_step_keeps_the_time_of_its_first_try(kit: Kit) -> None:
    accepted, lease = await kit.held()
    first = await kit.conducting.begin_step(lease, accepted.operation.id, "boot/a", "h")
    assert (first.state, first.attempt, first.seq, first.result) == (StepState.RUNNING, 1, 1, {})
    waiting = await kit.conducting.end_step(
        lease, first, StepState.WAITING, error_code="NODE_SILENT", error="no word", retry_in_s=30
    )
    assert waiting.finished_at is None
    assert waiting.next_try_at is not None
    assert first.started_at is not None
    assert timedelta(0) <= waiting.next_try_at - first.started_at - timedelta(seconds=30) < timedelta(minutes=1)
    second = await kit.conducting.begin_step(lease, accepted.operation.id, "boot/a", "h")
    assert (second.attempt, second.seq, second.error, second.next_try_at) == (2, 1, "", None)
    assert second.started_at == first.started_at
    done = await kit.conducting.end_step(lease, second, StepState.DONE, result={"address": "10.0.0.5"})
    assert done.finished_at is not None
    assert (await kit.seen(lease)).steps == (done,)


async def test_one_node_is_what_a_snapshot_says_of_it(kit: Kit) -> None:
    _, lease = await kit.held()
    for node in (await kit.seen(lease)).nodes:
        await kit.conducting.update_node(lease, node.id, NodeUpdate(instance_id=f"i-{node.name}"))
    seen = (await kit.seen(lease)).nodes
    assert len(seen) > 1
    assert [await kit.conducting.node(lease, node.name) for node in seen] == list(seen)
    assert await kit.conducting.node(lease, "no-such-node") is None
    assert await kit.conducting.node(replace(lease, cluster_id=unknown_id()), seen[0].name) is None


async def test_step_with_other_inputs_starts_anew(kit: Kit) -> None:
    accepted, lease = await kit.held()
    first = await kit.conducting.begin_step(lease, accepted.operation.id, "cni", "h1")
    await kit.conducting.end_step(lease, first, StepState.DONE, result={"version": 1})
    second = await kit.conducting.begin_step(lease, accepted.operation.id, "cni", "h2")
    assert (second.attempt, second.inputs_hash, second.result) == (2, "h2", {"version": 1})
    assert first.started_at is not None
    assert second.started_at is not None
    assert second.started_at >= first.started_at
    failed = await kit.conducting.end_step(lease, second, StepState.FAILED, error_code="ADDON_FAILED", error="no")
    assert failed.result == {"version": 1}
    assert failed.finished_at is not None


async def test_steps_are_in_the_order_in_which_they_began(kit: Kit) -> None:
    accepted, lease = await kit.held()
    for key in ("c", "a", "b"):
        await kit.conducting.begin_step(lease, accepted.operation.id, key, "h")
    await kit.conducting.begin_step(lease, accepted.operation.id, "c", "h")
    assert [(step.key, step.seq) for step in (await kit.seen(lease)).steps] == [("c", 1), ("a", 2), ("b", 3)]


async def test_intended_reference_is_found_again(kit: Kit) -> None:
    accepted, lease = await kit.held()
    first = await kit.conducting.intend(lease, reference(step="security-group/sg-dev", external_id="made up"))
    assert first.id
    assert (first.cluster_id, first.state, first.external_id) == (accepted.cluster.id, RefState.INTENDED, "")
    await kit.conducting.update_ref(lease, first, RefState.PRESENT, external_id="sg-7")
    second = await kit.conducting.intend(lease, reference(step="other"))
    assert second == replace(first, state=RefState.PRESENT, external_id="sg-7")
    await kit.conducting.update_ref(lease, second, RefState.DELETING)
    assert (await kit.seen(lease)).refs == (replace(second, state=RefState.DELETING),)


async def test_reference_that_is_gone_can_be_intended_again(kit: Kit) -> None:
    _, lease = await kit.held()
    first = await kit.conducting.intend(lease, reference())
    await kit.conducting.update_ref(lease, first, RefState.GONE, external_id="sg-7")
    again = await kit.conducting.intend(lease, reference(node_id="n", step="s"))
    assert again == replace(first, state=RefState.INTENDED, external_id="", node_id="n", step="s")
    assert (await kit.seen(lease)).refs == (again,)


async def test_reference_that_was_never_intended_is_a_mistake(kit: Kit) -> None:
    _, lease = await kit.held()
    with pytest.raises(StepError, match="never intended"):
        await kit.conducting.update_ref(lease, replace(reference(), id=unknown_id()), RefState.PRESENT)


async def test_node_is_written_field_by_field(kit: Kit) -> None:
    _, lease = await kit.held()
    node = (await kit.seen(lease)).nodes[0]
    since = datetime(2030, 1, 1, tzinfo=UTC)
    everything = NodeUpdate(
        state=NodeState.UNHEALTHY,
        instance_id="i-1",
        address="10.0.0.5",
        boot_phase="booted",
        log_tail="a\x00b \ud800",
        ssh_host_key="ssh-ed25519 AAAA",
        version="v1.29.0",
        unhealthy_since=since,
    )
    await kit.conducting.update_node(lease, node.id, everything)
    expected = replace(
        node,
        state=NodeState.UNHEALTHY,
        instance_id="i-1",
        address="10.0.0.5",
        boot_phase="booted",
        log_tail="a\ufffdb ?",
        ssh_host_key="ssh-ed25519 AAAA",
        version="v1.29.0",
        unhealthy_since=since,
    )
    assert (await kit.seen(lease)).node(node.name) == expected
    await kit.conducting.update_node(lease, node.id, NodeUpdate(state=NodeState.READY, clear_unhealthy=True))
    expected = replace(expected, state=NodeState.READY, unhealthy_since=None)
    assert (await kit.seen(lease)).node(node.name) == expected


async def test_node_of_another_cluster_is_not_written(kit: Kit) -> None:
    _, lease = await kit.held()
    _, foreign = await kit.held("prod")
    node = (await kit.seen(foreign)).nodes[0]
    with pytest.raises(StepError) as caught:
        await kit.conducting.update_node(lease, node.id, NodeUpdate(address="10.0.0.9"))
    assert caught.value.code is Code.BUG
    assert (await kit.seen(foreign)).nodes[0] == node


async def test_cluster_is_written_field_by_field(kit: Kit) -> None:
    accepted, lease = await kit.held()
    await kit.conducting.update_cluster(lease)
    assert (await kit.seen(lease)).cluster == accepted.cluster
    health = Health(api_server=True, nodes_total=3, nodes_ready=2, message="one is not", checked_at=datetime.now(UTC))
    await kit.conducting.update_cluster(lease, health=health)
    assert (await kit.seen(lease)).cluster == replace(accepted.cluster, health=health)
    assert (await kit.row(accepted.cluster.id)).health_status == "UNHEALTHY"
    await kit.conducting.update_cluster(
        lease,
        status=ClusterStatus.RUNNING,
        status_reason="all is well",
        endpoint="203.0.113.1:6443",
        version="v1.29.0",
        observed_generation=1,
    )
    seen = (await kit.seen(lease)).cluster
    assert seen.updated_at >= accepted.cluster.updated_at
    assert seen == replace(
        accepted.cluster,
        health=health,
        status=ClusterStatus.RUNNING,
        status_reason="all is well",
        endpoint="203.0.113.1:6443",
        version="v1.29.0",
        observed_generation=1,
        updated_at=seen.updated_at,
    )


async def test_only_a_cluster_that_nothing_is_done_to_is_settled(kit: Kit) -> None:
    accepted, lease = await kit.held()
    assert await kit.conducting.settle_cluster(lease, ClusterStatus.FAILED, "nothing was done") is False
    assert (await kit.seen(lease)).cluster == accepted.cluster
    await kit.conducting.update_operation(lease, accepted.operation.id, OperationState.CANCELLED)
    assert await kit.conducting.settle_cluster(lease, ClusterStatus.FAILED, "nothing was done") is True
    seen = (await kit.seen(lease)).cluster
    assert (seen.status, seen.status_reason) == (ClusterStatus.FAILED, "nothing was done")


async def test_ended_operation_stays_as_it_is(kit: Kit) -> None:
    accepted, lease = await kit.held()
    await kit.conducting.update_operation(lease, accepted.operation.id, OperationState.RUNNING)
    running = (await kit.seen(lease)).operation
    assert running is not None
    assert (running.state, running.finished_at) == (OperationState.RUNNING, None)
    await kit.conducting.update_operation(
        lease, accepted.operation.id, OperationState.FAILED, error_code="DEADLINE", error="too late"
    )
    assert (await kit.seen(lease)).operation is None
    await kit.conducting.update_operation(lease, accepted.operation.id, OperationState.RUNNING)
    ended, _ = await kit.requests.operation(scope(), accepted.operation.id)
    assert (ended.state, ended.error_code, ended.error) == (OperationState.FAILED, "DEADLINE", "too late")
    assert ended.finished_at is not None


async def test_an_operation_ends_with_its_cluster_and_its_news(kit: Kit) -> None:
    accepted, lease = await kit.held()
    assert await end(kit, lease, accepted.operation.id)
    seen = await kit.seen(lease)
    assert seen.operation is None
    cluster = seen.cluster
    assert (cluster.status, cluster.status_reason, cluster.observed_generation) == (ClusterStatus.RUNNING, "well", 1)
    (news,) = await kit.requests.events(scope(), "dev")
    assert (news.code, news.actor) == ("OPERATION_SUCCEEDED", lease.owner)


async def test_what_a_newer_request_has_taken_over_is_not_written_any_more(kit: Kit) -> None:
    accepted, lease = await kit.held()
    await kit.requests.change(scope(), "dev", deleting)
    before, events = await kit.seen(lease), await kit.requests.events(scope(), "dev")
    assert not await end(kit, lease, accepted.operation.id)
    assert await kit.seen(lease) == before
    assert before.cluster.status is ClusterStatus.DELETING
    assert await kit.requests.events(scope(), "dev") == events


@pytest.mark.parametrize("ends", ["update_operation", "delete_cluster"])
async def test_a_crash_within_an_end_leaves_all_or_nothing_of_it(kit: Kit, ends: str) -> None:
    """The process dies after each statement in turn, until one has come to the commit."""
    accepted, lease = await kit.held()
    await kit.requests.change(scope(), "dev", deleting)
    before = await kit.seen(lease)
    assert before.operation is not None
    died = 0
    while True:
        with dies_after(kit, died + 1):
            try:
                if ends == "delete_cluster":
                    await kit.conducting.delete_cluster(lease, event=NEWS)
                else:
                    await end(kit, lease, before.operation.id)
                break
            except DeadError:
                died += 1
        assert await kit.seen(lease) == before
        assert await kit.requests.events(scope(), accepted.cluster.id) == ()
        assert (await kit.store.tenants.usage("acme")).clusters == 1
    assert died > 3
    operation, _ = await kit.requests.operation(scope(), before.operation.id)
    assert operation.state is OperationState.SUCCEEDED
    assert len(await kit.requests.events(scope(), accepted.cluster.id)) == 1
    left = 0 if ends == "delete_cluster" else 1
    assert (await kit.store.tenants.usage("acme")).clusters == left


NEWS = Event("", "OPERATION_SUCCEEDED", "delete succeeded")


async def end(kit: Kit, lease: Lease, operation_id: str) -> bool:
    return await kit.conducting.update_operation(
        lease,
        operation_id,
        OperationState.SUCCEEDED,
        error="well",
        cluster=ClusterStatus.RUNNING,
        observed_generation=1,
        event=NEWS,
    )


class DeadError(Exception):
    """The process is gone."""


@contextlib.contextmanager
def dies_after(kit: Kit, statements: int) -> Iterator[None]:
    """Let the process die when so many statements were carried out and another one, or the commit, is to follow."""
    left = itertools.count(statements - 1, -1)

    def statement(*_: object) -> None:
        if next(left) < 0:
            raise DeadError

    engine = kit.engine.sync_engine
    for name in ("before_cursor_execute", "commit"):
        event.listen(engine, name, statement)
    try:
        yield
    finally:
        for name in ("before_cursor_execute", "commit"):
            event.remove(engine, name, statement)


async def test_progress_only_grows(kit: Kit) -> None:
    accepted, lease = await kit.held()
    for progress, seen in ((0, 0), (40, 40), (10, 40), (60, 60)):
        await kit.conducting.begin_step(lease, accepted.operation.id, "cni", "h", progress=progress)
        operation = (await kit.seen(lease)).operation
        assert operation is not None
        assert operation.progress == seen


def replacing(node_id: str, **more) -> Change:
    change = Change(
        OperationKind.REPAIR, spec(), deadline_s=600, add=(NewNode("default-pool", "worker"),), leave=(node_id,)
    )
    return replace(change, **more)


async def test_repair_of_our_own_changes_nodes_but_not_the_generation(kit: Kit) -> None:
    accepted, lease = await kit.held()
    node = (await kit.seen(lease)).nodes[1]
    news = Event("", "NODE_REPLACED", "it was silent", node_id=node.id)
    assert await kit.conducting.start_operation(lease, replacing(node.id), requested_by="reconciler") is None
    assert (await kit.seen(lease)).operation == accepted.operation
    await kit.conducting.update_operation(lease, accepted.operation.id, OperationState.SUCCEEDED)
    change = replacing(node.id, events=(news,))
    repair = await kit.conducting.start_operation(lease, change, requested_by="reconciler")
    seen = await kit.seen(lease)
    assert repair is not None
    assert seen.operation == repair
    assert (repair.kind, repair.requested_by, repair.generation) == (OperationKind.REPAIR, "reconciler", 1)
    assert (seen.cluster.status, seen.cluster.generation) == (ClusterStatus.REPAIRING, 1)
    states = {node.name: node.state for node in seen.nodes}
    assert states[node.name] is NodeState.LEAVING
    assert states["dev-default-pool-2"] is NodeState.WANTED
    assert [event.code for event in await kit.requests.events(scope(), "dev")] == ["NODE_REPLACED"]


async def test_operation_of_our_own_with_another_spec_is_a_new_generation(kit: Kit) -> None:
    accepted, lease = await kit.held()
    await kit.conducting.update_operation(lease, accepted.operation.id, OperationState.SUCCEEDED)
    node = (await kit.seen(lease)).nodes[1]
    change = replacing(node.id, spec=spec(3), usage=creation(3).usage)
    repair = await kit.conducting.start_operation(lease, change, requested_by="reconciler")
    assert repair is not None
    assert repair.generation == (await kit.seen(lease)).cluster.generation == 2
    assert (await kit.store.tenants.usage("acme")).nodes == 4


async def test_secret_is_replaced_by_one_of_its_kind(kit: Kit) -> None:
    accepted, lease = await kit.held()
    until = datetime(2030, 1, 1, tzinfo=UTC)
    assert await kit.conducting.secret(lease, "cluster-ca") is None
    await kit.conducting.put_secret(lease, "cluster-ca", b"\x00\xff one")
    await kit.conducting.put_secret(lease, "ssh-key", b"key")
    await kit.conducting.put_secret(lease, "cluster-ca", b"\x00\xff" * 100_000, not_after=until)
    assert await kit.conducting.secret(lease, "cluster-ca") == b"\x00\xff" * 100_000
    assert await kit.requests.secret(scope(), accepted.cluster.id, "ssh-key") == b"key"
    assert await kit.requests.secret(scope(), accepted.cluster.id, "other") is None
    rows = {row.kind: row for row in await kit.rows(select(tables.x509keypair))}
    assert len(rows) == 2
    assert rows["cluster-ca"].not_after == until


async def test_long_texts_come_back_whole(kit: Kit) -> None:
    accepted, lease = await kit.held()
    node = (await kit.seen(lease)).nodes[0]
    tail = "ü€😀\n" * 40_000
    await kit.conducting.update_node(lease, node.id, NodeUpdate(log_tail=tail))
    step = await kit.conducting.begin_step(lease, accepted.operation.id, "big", "h")
    await kit.conducting.end_step(lease, step, StepState.DONE, result={"text": tail, "nul": "\x00"})
    seen = await kit.seen(lease)
    assert seen.nodes[0].log_tail == tail
    assert seen.steps[0].result == {"text": tail, "nul": "\x00"}


async def test_cluster_goes_with_all_that_refers_to_it(kit: Kit) -> None:
    accepted, lease = await kit.held()
    ref = await kit.conducting.intend(lease, reference())
    await kit.conducting.put_secret(lease, "ssh-key", b"key")
    node = (await kit.seen(lease)).nodes[0]
    await kit.boots.issue_boot_token(lease, node.id, "hash", ttl_s=60)
    await kit.requests.change(scope(), "dev", deleting)
    with pytest.raises(StepError, match=r"security-group 'sg-dev' \(intended\)") as caught:
        await kit.conducting.delete_cluster(lease)
    assert caught.value.code is Code.SURVIVORS
    await kit.conducting.update_ref(lease, ref, RefState.GONE)
    await kit.conducting.delete_cluster(lease)
    assert await kit.conducting.snapshot(lease) is None
    of_cluster = {
        tables.cluster: 0,
        tables.nodegroup: 0,
        tables.node: 0,
        tables.external_ref: 0,
        tables.x509keypair: 0,
        tables.quota_reservation: 0,
        tables.boot_token: 0,
    }
    assert {table: await kit.count(table) for table in of_cluster} == of_cluster
    assert (await kit.store.tenants.usage("acme")).nodes == 0
    states = [operation.state for operation in await kit.requests.operations(scope(), accepted.cluster.id)]
    assert states == [OperationState.SUCCEEDED, OperationState.SUPERSEDED]


async def test_what_runs_otherwise_ends_with_the_cluster(kit: Kit) -> None:
    accepted, lease = await kit.held()
    await kit.conducting.delete_cluster(lease)
    ended, _ = await kit.requests.operation(scope(), accepted.operation.id)
    assert ended.state is OperationState.CANCELLED
