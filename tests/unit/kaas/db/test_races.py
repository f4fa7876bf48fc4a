"""Requests at once: of two, one."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import leases, operations, tables
from kaas.domain.errors import Code, RequestError
from kaas.domain.states import FINAL, OperationState
from kaas.domain.store import Accepted, Amounts
from tests.support.kaas_tables import Kit, creation, deleting, scaling, scope

AT_ONCE = 8


async def outcomes(requests: Sequence[Awaitable[Accepted]]) -> tuple[list[Accepted], Counter[Code]]:
    answers = await asyncio.gather(*requests, return_exceptions=True)
    refused: Counter[Code] = Counter()
    accepted = []
    for answer in answers:
        if isinstance(answer, RequestError):
            refused[answer.code] += 1
        elif isinstance(answer, BaseException):
            raise answer
        else:
            accepted.append(answer)
    return accepted, refused


async def test_of_creates_of_one_name_at_once_one_wins(kit: Kit, other: Kit) -> None:
    accepted, refused = await outcomes([(kit, other)[n % 2].make("dev") for n in range(AT_ONCE)])
    assert len(accepted) == 1
    assert refused == {Code.NAME_TAKEN: AT_ONCE - 1}
    assert [await kit.count(table) for table in (tables.cluster, tables.operation, tables.node)] == [1, 1, 3]
    assert kit.woken.done + other.woken.done == [accepted[0].cluster.id]


async def test_creates_of_many_tenants_at_once_all_win(kit: Kit, other: Kit) -> None:
    accepted, refused = await outcomes([(kit, other)[n % 2].make(f"dev{n}", scope(f"t{n}")) for n in range(AT_ONCE)])
    assert (len(accepted), refused) == (AT_ONCE, {})


async def test_quota_is_not_passed_by_requests_at_once(url: str) -> None:
    kits = [Kit(url, quota=Amounts(clusters=99, nodes=7, vcpus=999, memory_mb=10**9)) for _ in range(2)]
    try:
        requests = [kits[n % 2].make(f"c{n}", workers=2) for n in range(AT_ONCE)]
        accepted, refused = await outcomes(requests)
        assert (len(accepted), refused) == (2, {Code.QUOTA: AT_ONCE - 2})
        assert (await kits[0].store.tenants.usage("acme")).nodes == 6
    finally:
        for kit in kits:
            await kit.store.close()


async def test_same_key_at_once_makes_one_cluster_and_one_answer(kit: Kit, other: Kit) -> None:
    requests = [
        (kit, other)[n % 2].requests.create(scope(), "dev", creation(), idempotency_key="k", request_hash="h")
        for n in range(AT_ONCE)
    ]
    accepted, refused = await outcomes(requests)
    assert refused == {}
    assert Counter(answer.replayed for answer in accepted) == {False: 1, True: AT_ONCE - 1}
    assert len({(answer.cluster.id, answer.operation.id) for answer in accepted}) == 1
    assert await kit.count(tables.cluster) == 1
    assert len(kit.woken.done + other.woken.done) == 1


async def test_same_key_for_other_requests_at_once_is_refused(kit: Kit, other: Kit) -> None:
    requests = [
        (kit, other)[n % 2].requests.create(scope(), f"c{n}", creation(), idempotency_key="k", request_hash=f"h{n}")
        for n in range(AT_ONCE)
    ]
    accepted, refused = await outcomes(requests)
    assert (len(accepted), refused) == (1, {Code.KEY_REUSED: AT_ONCE - 1})


async def test_scales_at_once_leave_one_operation_and_no_name_twice(kit: Kit, other: Kit) -> None:
    made, lease = await kit.held()
    await kit.conducting.update_operation(lease, made.operation.id, OperationState.SUCCEEDED)
    requests = [(kit, other)[n % 2].requests.change(scope(), "dev", scaling(2 + n)) for n in range(AT_ONCE)]
    accepted, refused = await outcomes(requests)
    assert refused == {}
    assert sorted(answer.cluster.generation for answer in accepted) == list(range(2, AT_ONCE + 2))
    states = Counter(operation.state for operation in await kit.requests.operations(scope(), "dev"))
    assert states == {
        OperationState.SUCCEEDED: 1,
        OperationState.SUPERSEDED: AT_ONCE - 1,
        OperationState.PENDING: 1,
    }
    snapshot = await kit.requests.get(scope(), "dev")
    names = [node.name for node in snapshot.nodes]
    assert len(set(names)) == len(names)
    last = max(accepted, key=lambda answer: answer.cluster.generation)
    assert snapshot.operation == last.operation
    assert snapshot.cluster.spec == last.cluster.spec


async def test_if_match_lets_one_of_many_pass(kit: Kit, other: Kit) -> None:
    made, lease = await kit.held()
    await kit.conducting.update_operation(lease, made.operation.id, OperationState.SUCCEEDED)
    requests = [(kit, other)[n % 2].requests.change(scope(), "dev", scaling(2 + n), if_match=1) for n in range(AT_ONCE)]
    accepted, refused = await outcomes(requests)
    assert (len(accepted), refused) == (1, {Code.STALE: AT_ONCE - 1})


async def test_deletes_at_once_are_one(kit: Kit, other: Kit) -> None:
    await kit.make()
    requests = [(kit, other)[n % 2].requests.change(scope(), "dev", deleting) for n in range(AT_ONCE)]
    accepted, refused = await outcomes(requests)
    assert refused == {}
    assert len({answer.operation.id for answer in accepted}) == 1


async def test_end_and_change_at_once_leave_one_operation(kit: Kit, other: Kit) -> None:
    """The conductor ends an operation while users ask for the next one: whoever is first, nothing is lost."""
    made, lease = await kit.held()
    ending = kit.conducting.update_operation(lease, made.operation.id, OperationState.SUCCEEDED)
    deleted, _, snapshot = await asyncio.gather(
        other.requests.change(scope(), "dev", deleting), ending, kit.conducting.snapshot(lease)
    )
    assert snapshot is not None
    created, _ = await kit.requests.operation(scope(), made.operation.id)
    assert created.state in FINAL
    assert (await kit.requests.get(scope(), "dev")).operation == deleted.operation


async def test_change_is_decided_on_what_a_conductor_was_about_to_write(kit: Kit, other: Kit) -> None:
    made, lease = await kit.held()
    with pytest.raises(RequestError, match="create running"):
        await other.requests.change(scope(), "dev", scaling(3))
    holds, commit = asyncio.Event(), asyncio.Event()

    async def ending(connection: AsyncConnection) -> None:
        held = await leases.hold(connection, lease)
        holds.set()
        await commit.wait()
        await operations.move(connection, made.cluster.id, made.operation.id, OperationState.SUCCEEDED, held.now)

    writing = asyncio.create_task(kit.database.write(ending))
    await holds.wait()
    changing = asyncio.create_task(other.requests.change(scope(), "dev", scaling(3)))
    await asyncio.wait({changing}, timeout=0.4)
    commit.set()
    await writing
    assert (await changing).cluster.generation == 2


@pytest.mark.parametrize("passes", range(0, 60, 7))
async def test_cancelled_caller_leaves_all_or_nothing(kit: Kit, passes: int) -> None:
    task = asyncio.create_task(kit.make())
    for _ in range(passes):
        await asyncio.sleep(0)
    task.cancel()
    (answer,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(answer, (asyncio.CancelledError, Accepted))
    clusters = [one.cluster for one in await kit.requests.list(scope())]
    assert await kit.count(tables.node) == 3 * len(clusters)
    assert await kit.count(tables.operation) == len(clusters)
    if isinstance(answer, Accepted):
        assert clusters == [answer.cluster]
    await kit.make("next")
