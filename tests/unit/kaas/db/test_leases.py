"""Who works on a cluster: one at a time, and nobody who was too slow."""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import clock, leases, tables
from kaas.domain.errors import LeaseLostError
from kaas.domain.model import Event, Lease, Snapshot
from kaas.domain.states import ClusterStatus, OperationState, RefState, StepState
from kaas.domain.store import Boots, Conducting, NodeUpdate
from tests.support.kaas_tables import Kit, reference, repairing, scope, unknown_id

Write = Callable[[Kit, Lease, Snapshot], Awaitable[object]]


def operation_id(snapshot: Snapshot) -> str:
    assert snapshot.operation is not None
    return snapshot.operation.id


WRITES: dict[str, Write] = {
    "renew": lambda kit, lease, _: kit.conducting.renew(lease, ttl_s=60),
    "begin_step": lambda kit, lease, seen: kit.conducting.begin_step(lease, operation_id(seen), "new", "h"),
    "end_step": lambda kit, lease, seen: kit.conducting.end_step(lease, seen.steps[0], StepState.DONE),
    "intend": lambda kit, lease, _: kit.conducting.intend(lease, reference()),
    "update_ref": lambda kit, lease, seen: kit.conducting.update_ref(lease, seen.refs[0], RefState.PRESENT),
    "update_node": lambda kit, lease, seen: kit.conducting.update_node(
        lease, seen.nodes[0].id, NodeUpdate(address="10.0.0.1")
    ),
    "update_cluster": lambda kit, lease, _: kit.conducting.update_cluster(lease, status=ClusterStatus.FAILED),
    "settle_cluster": lambda kit, lease, _: kit.conducting.settle_cluster(lease, ClusterStatus.FAILED, "no"),
    "update_cluster, nothing": lambda kit, lease, _: kit.conducting.update_cluster(lease),
    "update_operation": lambda kit, lease, seen: kit.conducting.update_operation(
        lease, operation_id(seen), OperationState.FAILED
    ),
    "start_operation": lambda kit, lease, seen: kit.conducting.start_operation(
        lease, repairing(seen), requested_by="reconciler"
    ),
    "put_secret": lambda kit, lease, _: kit.conducting.put_secret(lease, "ca", b"x"),
    "add_event": lambda kit, lease, seen: kit.conducting.add_event(lease, Event(seen.cluster.id, "NEWS", "no")),
    "issue_boot_token": lambda kit, lease, seen: kit.boots.issue_boot_token(lease, seen.nodes[0].id, "t", ttl_s=9),
    "update_ref to gone": lambda kit, lease, seen: kit.conducting.update_ref(lease, seen.refs[0], RefState.GONE),
    "delete_cluster": lambda kit, lease, _: kit.conducting.delete_cluster(lease),
}


async def prepared(kit: Kit) -> tuple[Lease, Snapshot]:
    accepted, lease = await kit.held()
    await kit.conducting.begin_step(lease, accepted.operation.id, "preflight", "h")
    await kit.conducting.intend(lease, reference())
    return lease, await kit.seen(lease)


async def accepted_writes(kit: Kit, lease: Lease, seen: Snapshot) -> list[str]:
    passed = []
    for name, write in WRITES.items():
        try:
            await write(kit, lease, seen)
        except LeaseLostError as error:
            assert f"one has lost cluster {lease.cluster_id}" in str(error)  # noqa: PT017 -- all of them are tried
        else:
            passed.append(name)
    return passed


async def test_conductor_whose_lease_was_taken_over_writes_nothing(kit: Kit) -> None:
    first, before = await prepared(kit)
    await kit.run_out(first.cluster_id)
    second = await kit.lease(first.cluster_id, "two")
    assert second.token > first.token
    assert await accepted_writes(kit, first, before) == []
    assert await kit.seen(second) == before
    assert await kit.conducting.secret(second, "ca") is None
    assert await kit.requests.events(scope(), "dev") == ()


async def test_lease_that_has_run_out_is_lost_before_anybody_takes_it(kit: Kit) -> None:
    lease, before = await prepared(kit)
    await kit.run_out(lease.cluster_id)
    assert await accepted_writes(kit, lease, before) == []
    assert await kit.seen(lease) == before


async def test_all_of_them_are_written_while_it_is_held(kit: Kit) -> None:
    lease, seen = await prepared(kit)
    assert await accepted_writes(kit, lease, seen) == list(WRITES)


def test_every_method_that_takes_a_lease_and_writes_is_among_them() -> None:
    methods = {
        name
        for port in (Conducting, Boots)
        for name, method in vars(port).items()
        if not name.startswith("_") and "lease" in inspect.signature(method).parameters
    }
    only_read = {"snapshot", "node", "secret", "last_operation"}
    assert methods - {re.split("[, ]", name)[0] for name in WRITES} == {"release", *only_read}


@pytest.mark.parametrize("change", [{"owner": "two"}, {"token": 0}, {"token": 2}, {"cluster_id": unknown_id()}])
async def test_every_part_of_a_lease_counts(kit: Kit, change: dict[str, object]) -> None:
    lease, _ = await prepared(kit)
    other = replace(lease, **change)
    with pytest.raises(LeaseLostError):
        await kit.conducting.update_cluster(other, status=ClusterStatus.FAILED)
    with pytest.raises(LeaseLostError):
        await kit.conducting.renew(other, ttl_s=60)
    await kit.conducting.release(other, due_in_s=None)
    await kit.conducting.renew(lease, ttl_s=60)


async def test_later_try_of_a_step_ends_what_an_earlier_one_writes(kit: Kit) -> None:
    lease, seen = await prepared(kit)
    await kit.conducting.begin_step(lease, operation_id(seen), "preflight", "h")
    with pytest.raises(LeaseLostError):
        await kit.conducting.end_step(lease, seen.steps[0], StepState.DONE)


async def test_of_many_claims_at_once_exactly_one_wins(kit: Kit, other: Kit) -> None:
    cluster_id = (await kit.make()).cluster.id
    for turn in range(1, 4):
        claims = [(kit, other)[n % 2].conducting.claim(cluster_id, f"c{n}", ttl_s=600) for n in range(16)]
        (lease,) = [lease for lease in await asyncio.gather(*claims) if lease is not None]
        assert lease.token == turn
        await kit.conducting.update_cluster(lease, status_reason=lease.owner)
        assert (await other.seen(lease)).cluster.status_reason == lease.owner
        await kit.run_out(cluster_id)


async def test_claim_is_refused_while_somebody_has_it_even_the_same(kit: Kit) -> None:
    _, lease = await kit.held()
    assert await kit.conducting.claim(lease.cluster_id, "two", ttl_s=60) is None
    assert await kit.conducting.claim(lease.cluster_id, lease.owner, ttl_s=60) is None
    assert await kit.conducting.claim(unknown_id(), "two", ttl_s=60) is None


async def test_renewed_lease_is_kept(kit: Kit) -> None:
    accepted = await kit.make()
    lease = await kit.lease(accepted.cluster.id, ttl_s=30)
    before = (await kit.row(lease.cluster_id)).lease_until
    await kit.conducting.renew(lease, ttl_s=600)
    assert (await kit.row(lease.cluster_id)).lease_until > before
    assert await kit.conducting.claim(lease.cluster_id, "two", ttl_s=60) is None


async def test_token_grows_over_releases(kit: Kit) -> None:
    _, first = await kit.held()
    await kit.conducting.release(first, due_in_s=0)
    second = await kit.lease(first.cluster_id)
    assert second.token == first.token + 1
    await kit.conducting.release(first, due_in_s=0)
    await kit.conducting.renew(second, ttl_s=60)


async def test_released_cluster_is_due_when_it_was_said(kit: Kit) -> None:
    _, lease = await kit.held()
    assert await kit.conducting.due(limit=9) == []
    await kit.conducting.release(lease, due_in_s=3600)
    assert await kit.conducting.due(limit=9) == []
    again = await kit.lease(lease.cluster_id)
    await kit.conducting.release(again, due_in_s=0)
    assert await kit.conducting.due(limit=9) == [lease.cluster_id]
    again = await kit.lease(lease.cluster_id)
    await kit.conducting.release(again, due_in_s=None)
    assert await kit.conducting.due(limit=9) == []
    assert (await kit.row(lease.cluster_id)).due_at is None


@pytest.mark.parametrize("due_in_s", [None, 3600.0])
async def test_wake_up_while_it_is_held_is_not_put_off(kit: Kit, due_in_s: float | None) -> None:
    accepted, lease = await kit.held()
    await kit.requests.cancel(scope(), accepted.operation.id)
    assert await kit.conducting.due(limit=9) == []
    await kit.conducting.release(lease, due_in_s=due_in_s)
    assert await kit.conducting.due(limit=9) == [lease.cluster_id]
    again = await kit.lease(lease.cluster_id)
    await kit.conducting.release(again, due_in_s=due_in_s)
    assert await kit.conducting.due(limit=9) == []


async def test_cluster_of_a_dead_conductor_is_due(kit: Kit) -> None:
    _, lease = await kit.held()
    await kit.conducting.release(lease, due_in_s=None)
    await kit.lease(lease.cluster_id)
    await kit.run_out(lease.cluster_id)
    assert await kit.conducting.due(limit=9) == [lease.cluster_id]


async def test_leases_of_the_dead_are_taken_away_and_who_comes_back_writes_nothing(kit: Kit) -> None:
    ghost, before = await prepared(kit)
    free = (await kit.make("free")).cluster.id
    assert await kit.conducting.due(limit=9) == [free]
    assert await kit.conducting.take_away_leases() == 1
    assert set(await kit.conducting.due(limit=9)) == {ghost.cluster_id, free}
    assert await accepted_writes(kit, ghost, before) == []
    await kit.conducting.release(ghost, due_in_s=3600)
    second = await kit.lease(ghost.cluster_id, ghost.owner)
    assert second.token > ghost.token + 1
    assert (await kit.row(free)).lease_token == 0
    assert await accepted_writes(kit, ghost, before) == []
    assert await kit.seen(second) == before


async def test_due_clusters_are_given_longest_due_first(kit: Kit) -> None:
    ids = [(await kit.make(name)).cluster.id for name in ("a", "b", "c")]
    for cluster_id, due_in_s in zip(ids, (-10, -30, -20), strict=True):
        lease = await kit.lease(cluster_id)
        await kit.conducting.release(lease, due_in_s=due_in_s)
    assert await kit.conducting.due(limit=2) == [ids[1], ids[2]]
    assert await kit.conducting.due(limit=9) == [ids[1], ids[2], ids[0]]


async def test_claim_waits_for_the_commit_of_who_still_held_it(kit: Kit, other: Kit) -> None:
    """Whose lease runs out while it writes has written before the next one sees the cluster, or not at all."""
    accepted = await kit.make()
    lease = await kit.lease(accepted.cluster.id, ttl_s=0.3)
    holds, commit = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection) -> None:
        await leases.hold(connection, lease)
        holds.set()
        await commit.wait()
        this = tables.cluster.c.uuid == lease.cluster_id
        await connection.execute(update(tables.cluster).where(this).values(status_reason="written"))

    writing = asyncio.create_task(kit.database.write(slow))
    await holds.wait()
    while not (await kit.rows(select(tables.cluster.c.lease_until <= clock.now())))[0][0]:
        pass
    claiming = asyncio.create_task(other.conducting.claim(accepted.cluster.id, "two", ttl_s=60))
    finished, _ = await asyncio.wait({claiming}, timeout=0.2)
    commit.set()
    await writing
    second = await claiming
    assert not finished
    assert second is not None
    assert (await other.seen(second)).cluster.status_reason == "written"
