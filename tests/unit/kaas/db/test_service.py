"""What the service keeps about itself, and what it takes away."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from kaas.db import clock, retention, tables
from kaas.db.retention import Pruned
from kaas.domain.errors import RequestError
from kaas.domain.model import Event
from kaas.domain.states import NodeState, OperationState, RefState
from kaas.domain.store import NodeUpdate
from tests.support.kaas_tables import Kit, creation, reference, scope

DAY_S = 86_400.0


async def test_conductors_are_registered_seen_and_forgotten(kit: Kit) -> None:
    conductors = kit.store.conductors
    assert await conductors.beat("b") is False
    await conductors.register("b", host="host-b", version="1.0")
    await conductors.register("a", host="host-a", version="1.0")
    assert [found.id for found in await conductors.list()] == ["a", "b"]
    await kit.execute(update(tables.conductor).values(last_seen_up=clock.after(-100)))
    assert await conductors.beat("a") is True
    first, second = await conductors.list()
    assert first.silent_s < 50 < second.silent_s
    assert first.last_seen_at > second.last_seen_at
    assert (first.host, first.version, first.disabled) == ("host-a", "1.0", False)
    await conductors.remove("b")
    await conductors.remove("b")
    assert [found.id for found in await conductors.list()] == ["a"]


async def test_disabled_conductor_stays_so_when_it_starts_again(kit: Kit) -> None:
    conductors = kit.store.conductors
    await conductors.register("a", host="host", version="1.0")
    await conductors.disable("a", "maintenance")
    assert await conductors.beat("a") is False
    await conductors.register("a", host="host", version="1.1")
    (found,) = await conductors.list()
    assert (found.version, found.disabled, found.disabled_reason) == ("1.1", True, "maintenance")
    await conductors.enable("a")
    assert await conductors.beat("a") is True


async def test_a_disabled_conductor_claims_nothing_more_and_keeps_what_it_has(kit: Kit) -> None:
    for name in ("a", "b"):
        await kit.store.conductors.register(name, host="host", version="1.0")
    accepted = [await kit.requests.create(scope(), name, creation(0)) for name in ("one", "two")]
    first, second = (one.cluster.id for one in accepted)
    held = await kit.conducting.claim(first, "a", ttl_s=60)
    assert held is not None
    await kit.store.conductors.disable("a", "maintenance")
    assert await kit.conducting.claim(second, "a", ttl_s=60) is None
    await kit.conducting.renew(held, ttl_s=60)
    assert await kit.conducting.claim(second, "b", ttl_s=60) is not None
    await kit.conducting.release(held, due_in_s=0)
    await kit.store.conductors.enable("a")
    assert await kit.conducting.claim(first, "a", ttl_s=60) is not None


async def test_unknown_conductor_cannot_be_disabled(kit: Kit) -> None:
    with pytest.raises(RequestError, match="there is no conductor 'a'"):
        await kit.store.conductors.disable("a", "why not")


async def filled(kit: Kit) -> tuple[str, str]:
    """Make two clusters of which one has an operation that runs; gives the ids of an ended and a running operation."""
    ids = []
    for name in ("ended", "runs"):
        accepted = await kit.requests.create(scope(), name, creation(1), idempotency_key=name, request_hash="h")
        lease = await kit.lease(accepted.cluster.id)
        await kit.conducting.add_event(lease, Event(accepted.cluster.id, "NEWS", name))
        first, second = (await kit.seen(lease)).nodes
        await kit.boots.issue_boot_token(lease, first.id, f"short-{name}", ttl_s=0)
        await kit.boots.issue_boot_token(lease, second.id, f"long-{name}", ttl_s=2 * DAY_S)
        if name == "ended":
            await kit.conducting.update_operation(lease, accepted.operation.id, OperationState.SUCCEEDED)
        ids.append(accepted.operation.id)
    return ids[0], ids[1]


async def test_prune_takes_what_is_old_and_over(kit: Kit) -> None:
    ended, running = await filled(kit)
    assert await kit.store.retention.prune(older_than_s=DAY_S) == Pruned(0, 0, 0)
    for table in (tables.event, tables.idempotency_key):
        await kit.execute(update(table).values(created_at=clock.after(-2 * DAY_S)))
    short = tables.boot_token.c.token_hash.like("short-%")
    await kit.execute(update(tables.boot_token).where(short).values(expires_at=clock.after(-2 * DAY_S)))
    assert await kit.store.retention.prune(older_than_s=DAY_S) == Pruned(events=2, idempotency_keys=1, boot_tokens=2)
    assert await kit.requests.events(scope()) == ()
    assert [row.operation_id for row in await kit.rows(tables.idempotency_key.select())] == [running]
    assert {row.token_hash for row in await kit.rows(tables.boot_token.select())} == {"long-ended", "long-runs"}
    assert {operation.id for operation in await kit.requests.operations(scope())} == {ended, running}


async def test_events_go_in_portions(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_PORTION", 2)
    accepted, lease = await kit.held()
    for number in range(5):
        await kit.conducting.add_event(lease, Event(accepted.cluster.id, "NEWS", str(number)))
    await kit.execute(update(tables.event).values(created_at=clock.after(-2 * DAY_S)))
    await kit.conducting.add_event(lease, Event(accepted.cluster.id, "NEWS", "new"))
    assert (await kit.store.retention.prune(older_than_s=DAY_S)).events == 5
    assert [event.message for event in await kit.requests.events(scope())] == ["new"]


async def test_number_of_a_pruned_event_is_not_given_again(kit: Kit) -> None:
    accepted, lease = await kit.held()
    await kit.conducting.add_event(lease, Event(accepted.cluster.id, "NEWS", "first"))
    (first,) = await kit.requests.events(scope())
    await kit.execute(update(tables.event).values(created_at=clock.after(-2 * DAY_S)))
    await kit.store.retention.prune(older_than_s=DAY_S)
    await kit.conducting.add_event(lease, Event(accepted.cluster.id, "NEWS", "second"))
    (second,) = await kit.requests.events(scope(), after_id=first.id)
    assert second.message == "second"


async def test_what_is_over_goes_with_its_ledger_and_what_is_under_way_stays(kit: Kit) -> None:
    over, lease = await kit.held()
    await kit.conducting.begin_step(lease, over.operation.id, "step", "h")
    for name in ("gone", "there"):
        ref = await kit.conducting.intend(lease, reference(name))
        await kit.conducting.update_ref(lease, ref, RefState.GONE if name == "gone" else RefState.PRESENT)
    gone = (await kit.seen(lease)).nodes[0]
    await kit.conducting.update_node(lease, gone.id, NodeUpdate(state=NodeState.GONE))
    await kit.conducting.update_operation(lease, over.operation.id, OperationState.SUCCEEDED)
    running, other = await kit.held("prod")
    await kit.conducting.begin_step(other, running.operation.id, "step", "h")
    leaving = (await kit.seen(other)).nodes[0]
    await kit.conducting.update_node(other, leaving.id, NodeUpdate(state=NodeState.GONE))
    assert (await kit.store.retention.prune(older_than_s=DAY_S)).operations == 0

    long_ago = clock.after(-2 * DAY_S)
    ended = tables.operation.c.finished_at.is_not(None)
    await kit.execute(update(tables.operation).where(ended).values(finished_at=long_ago))
    for table in (tables.node, tables.external_ref):
        await kit.execute(update(table).values(updated_at=long_ago))
    pruned = await kit.store.retention.prune(older_than_s=DAY_S)
    assert (pruned.operations, pruned.nodes, pruned.references) == (1, 1, 1)
    assert {row.operation_id for row in await kit.rows(tables.operation_step.select())} == {running.operation.id}
    assert leaving.id in {row.uuid for row in await kit.rows(tables.node.select())}
    assert [row.name for row in await kit.rows(tables.external_ref.select())] == ["there"]


async def test_who_was_given_access_is_known_for_as_long_as_it_is_good_and_longer(kit: Kit) -> None:
    accepted, _ = await kit.held()
    now = datetime.now(UTC)
    for days in (-9, -1, 300):
        await kit.requests.record_kubeconfig(
            scope(),
            accepted.cluster.id,
            role="admin",
            serial=str(days),
            not_after=now + timedelta(days=days),
            client_ip="10.0.0.1",
        )
    await kit.requests.audit(scope(), "scale_cluster", "dev", "accepted")
    for table in (tables.audit, tables.kubeconfig_issue):
        await kit.execute(update(table).values(created_at=clock.after(-10 * DAY_S)))
    assert (await kit.store.retention.prune(older_than_s=DAY_S)).audit == 0
    pruned = await kit.store.retention.prune(older_than_s=DAY_S, audit_older_than_s=5 * DAY_S)
    assert (pruned.audit, pruned.kubeconfigs) == (1, 1)
    assert {row.serial for row in await kit.rows(tables.kubeconfig_issue.select())} == {"-1", "300"}
