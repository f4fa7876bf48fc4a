"""A request that comes again under its key."""

import pytest

from kaas.db import tables
from kaas.domain.errors import Code, RequestError
from kaas.domain.states import OperationState
from tests.support.kaas_tables import Kit, creation, deleting, scaling, scope


async def test_same_request_is_answered_the_same_even_when_the_cluster_is_gone(kit: Kit) -> None:
    async def ask():
        return await kit.requests.create(scope(), "dev", creation(), idempotency_key="k", request_hash="h")

    first = await ask()
    second = await ask()
    assert (second.cluster, second.operation) == (first.cluster, first.operation)
    assert (first.replayed, second.replayed) == (False, True)
    await kit.conducting.delete_cluster(await kit.lease(first.cluster.id))
    third = await ask()
    assert (third.cluster, third.operation, third.replayed) == (first.cluster, first.operation, True)
    assert await kit.requests.list(scope()) == []


async def test_other_request_under_the_key_is_refused(kit: Kit) -> None:
    await kit.requests.create(scope(), "dev", creation(), idempotency_key="k", request_hash="h")
    for request in (
        kit.requests.create(scope(), "new", creation(), idempotency_key="k", request_hash="i"),
        kit.requests.change(scope(), "dev", deleting, idempotency_key="k", request_hash="i"),
    ):
        with pytest.raises(RequestError) as caught:
            await request
        assert caught.value.code is Code.KEY_REUSED
    await kit.requests.create(scope("other"), "theirs", creation(), idempotency_key="k", request_hash="i")
    await kit.requests.create(scope(), "new", creation(), idempotency_key="K", request_hash="i")


async def test_change_is_made_once_and_decided_once(kit: Kit) -> None:
    made, lease = await kit.held()
    await kit.conducting.update_operation(lease, made.operation.id, OperationState.SUCCEEDED)
    answers = [
        await kit.requests.change(scope(), "dev", scaling(5), if_match=1, idempotency_key="k", request_hash="h")
        for _ in range(3)
    ]
    assert [answer.replayed for answer in answers] == [False, True, True]
    assert {answer.cluster.generation for answer in answers} == {2}
    assert await kit.count(tables.operation) == 2


async def test_refused_request_may_come_again_under_its_key(kit: Kit) -> None:
    await kit.make()
    with pytest.raises(RequestError, match="create running"):
        await kit.requests.change(scope(), "dev", scaling(5), idempotency_key="k", request_hash="h")
    assert await kit.count(tables.idempotency_key) == 0
    await kit.requests.change(scope(), "dev", deleting, idempotency_key="k", request_hash="h")


async def test_without_a_key_nothing_is_kept(kit: Kit) -> None:
    await kit.make()
    assert await kit.count(tables.idempotency_key) == 0


async def test_key_that_is_too_long_is_refused(kit: Kit) -> None:
    with pytest.raises(RequestError) as caught:
        await kit.requests.create(scope(), "dev", creation(), idempotency_key="k" * 256, request_hash="h")
    assert caught.value.code is Code.INVALID
    await kit.requests.create(scope(), "dev", creation(), idempotency_key="ü" * 255, request_hash="h")
