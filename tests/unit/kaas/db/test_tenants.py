"""Tenants never see each other, and use no more than they may."""

from datetime import UTC, datetime

import pytest

from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Event, Scope
from kaas.domain.states import OperationState
from kaas.domain.store import Amounts
from tests.support.kaas_tables import Kit, creation, deleting, repairing, scaling, scope

STRANGERS = [scope("other"), scope(""), scope("acme "), scope("Acme"), scope("%"), scope("acme\x00")]


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda who: repr(who.tenant_id))
async def test_other_tenants_see_and_change_nothing(kit: Kit, stranger: Scope) -> None:
    accepted, lease = await kit.held()
    await kit.conducting.put_secret(lease, "ca", b"secret")
    await kit.conducting.add_event(lease, Event(accepted.cluster.id, "NEWS", "private"))
    before = await kit.requests.get(scope(), "dev")
    until = datetime(2030, 1, 1, tzinfo=UTC)
    for ref in ("dev", accepted.cluster.id):
        for request in (
            kit.requests.get(stranger, ref),
            kit.requests.change(stranger, ref, deleting),
            kit.requests.operations(stranger, ref),
            kit.requests.events(stranger, ref),
            kit.requests.record_kubeconfig(
                stranger, ref, role="admin", serial="1", not_after=until, client_ip="192.0.2.1"
            ),
        ):
            with pytest.raises(RequestError) as caught:
                await request
            assert caught.value.code is Code.NOT_FOUND
    for about in (
        kit.requests.operation(stranger, accepted.operation.id),
        kit.requests.cancel(stranger, accepted.operation.id),
    ):
        with pytest.raises(RequestError) as caught:
            await about
        assert caught.value.code is Code.NOT_FOUND
    assert list(await kit.requests.list(stranger)) == []
    assert list(await kit.requests.operations(stranger)) == []
    assert list(await kit.requests.events(stranger)) == []
    assert await kit.requests.secret(stranger, accepted.cluster.id, "ca") is None
    assert await kit.requests.get(scope(), "dev") == before


async def test_cluster_that_is_gone_is_not_seen_by_others_either(kit: Kit) -> None:
    accepted, lease = await kit.held()
    await kit.conducting.add_event(lease, Event(accepted.cluster.id, "NEWS", "private"))
    await kit.conducting.delete_cluster(lease)
    for request in (
        kit.requests.operations(scope("other"), accepted.cluster.id),
        kit.requests.events(scope("other"), accepted.cluster.id),
    ):
        with pytest.raises(RequestError):
            await request


async def test_quota_refuses_what_is_too_much_and_writes_nothing(limited: Kit) -> None:
    await limited.make("a", workers=4)
    with pytest.raises(RequestError) as caught:
        await limited.make("b", workers=3)
    assert caught.value.code is Code.QUOTA
    assert "nodes: 8 allowed, 5 in use by other clusters, 4 wanted" in caught.value.message
    assert "vcpus" not in caught.value.message
    assert [one.cluster.name for one in await limited.requests.list(scope())] == ["a"]
    await limited.make("b", workers=2)
    with pytest.raises(RequestError, match="clusters: 2 allowed"):
        await limited.make("c", workers=0)
    await limited.make("c", scope("other"), workers=7)


async def test_quota_counts_what_a_cluster_becomes(limited: Kit) -> None:
    accepted, lease = await limited.held()
    await limited.conducting.update_operation(lease, accepted.operation.id, OperationState.SUCCEEDED)
    with pytest.raises(RequestError) as caught:
        await limited.requests.change(scope(), "dev", scaling(8))
    assert caught.value.code is Code.QUOTA
    await limited.requests.change(scope(), "dev", scaling(7))
    assert await limited.store.tenants.usage("acme") == Amounts(1, 8, 16, 2048 * 8)
    await limited.requests.change(scope(), "dev", scaling(1))
    assert (await limited.store.tenants.usage("acme")).nodes == 2


async def test_what_is_deleted_is_in_use_until_it_is_gone(limited: Kit) -> None:
    _, lease = await limited.held()
    await limited.requests.change(scope(), "dev", deleting)
    assert (await limited.store.tenants.usage("acme")).nodes == 3
    await limited.conducting.delete_cluster(lease)
    assert await limited.store.tenants.usage("acme") == Amounts()


async def test_change_without_amounts_leaves_what_is_reserved(limited: Kit) -> None:
    accepted, lease = await limited.held()
    await limited.conducting.update_operation(lease, accepted.operation.id, OperationState.SUCCEEDED)
    await limited.requests.change(scope(), "dev", repairing)
    assert (await limited.store.tenants.usage("acme")).nodes == 3


async def test_limits_of_a_tenant_go_before_the_default(limited: Kit) -> None:
    await limited.store.tenants.set_limits("acme", {"nodes": 2, "vcpus": 10**12})
    assert await limited.store.tenants.limits("acme") == {"nodes": 2, "vcpus": 10**12}
    with pytest.raises(RequestError, match="nodes: 2 allowed"):
        await limited.make(workers=2)
    await limited.store.tenants.set_limits("acme", {"nodes": None})
    assert await limited.store.tenants.limits("acme") == {"vcpus": 10**12}
    await limited.make(workers=2)


async def test_tenant_above_a_lowered_limit_may_shrink_but_not_grow(limited: Kit) -> None:
    accepted, lease = await limited.held()
    await limited.conducting.update_operation(lease, accepted.operation.id, OperationState.SUCCEEDED)
    await limited.store.tenants.set_limits("acme", {"nodes": 1})
    await limited.requests.change(scope(), "dev", scaling(1))
    with pytest.raises(RequestError):
        await limited.requests.change(scope(), "dev", scaling(2))
    await limited.requests.change(scope(), "dev", deleting)


async def test_limit_of_zero_is_a_limit(kit: Kit) -> None:
    await kit.store.tenants.set_limits("acme", {"clusters": 0})
    with pytest.raises(RequestError, match="clusters: 0 allowed"):
        await kit.requests.create(scope(), "dev", creation(0))


async def test_limits_that_are_none_are_refused_together(kit: Kit) -> None:
    with pytest.raises(RequestError) as caught:
        await kit.store.tenants.set_limits("acme", {"gpus": 1, "nodes": -1, "vcpus": 5})
    assert [problem.field for problem in caught.value.problems] == ["gpus", "nodes"]
    assert await kit.store.tenants.limits("acme") == {}
