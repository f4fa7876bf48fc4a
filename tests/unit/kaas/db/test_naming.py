"""No two groups give their machines the same names."""

import asyncio
from dataclasses import replace

import pytest

from kaas.db import tables
from kaas.domain.errors import Code, RequestError
from kaas.domain.model import GroupSpec, Role, Snapshot
from kaas.domain.names import clusters_behind
from kaas.domain.states import NodeState, OperationKind, OperationState
from kaas.domain.store import Accepted, Change, NewNode, NodeUpdate
from tests.support.kaas_tables import Kit, creation, scope, spec

CLASHING = "test-default-pool"
AT_ONCE = 4


def with_group(name: str, size: int = 1) -> Change:
    made = creation()
    more = GroupSpec(name, Role.WORKER, size, 0, 9, "standard-1")
    new = tuple(NewNode(name, Role.WORKER) for _ in range(size))
    return replace(made, spec=replace(made.spec, groups=(*made.spec.groups, more)), add=(*made.add, *new))


def adding(name: str):
    def decide(_snapshot: Snapshot) -> Change:
        change = with_group(name)
        return replace(change, kind=OperationKind.SCALE, add=(NewNode(name, Role.WORKER),))

    return decide


def without(name: str):
    def decide(snapshot: Snapshot) -> Change:
        leave = tuple(node.id for node in snapshot.in_group(name))
        return Change(OperationKind.SCALE, spec(), deadline_s=60, leave=leave)

    return decide


async def refused(request) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await request
    assert caught.value.code is Code.NAME_TAKEN
    return caught.value


async def settled(kit: Kit, made: Accepted):
    lease = await kit.lease(made.cluster.id)
    await kit.conducting.update_operation(lease, made.operation.id, OperationState.SUCCEEDED)
    return lease


async def test_cluster_whose_machines_would_be_called_as_others_is_refused(kit: Kit) -> None:
    await kit.requests.create(scope(), "dev", with_group(CLASHING))
    error = await refused(kit.make("dev-test"))
    assert "group default-pool of cluster 'dev-test' would be called dev-test-default-pool-0" in error.message
    assert "group test-default-pool of cluster 'dev'" in error.message
    assert [await kit.count(table) for table in (tables.cluster, tables.operation)] == [1, 1]


async def test_group_whose_machines_would_be_called_as_others_is_refused(kit: Kit) -> None:
    await kit.make("dev-test")
    await settled(kit, await kit.make("dev"))
    error = await refused(kit.requests.change(scope(), "dev", adding(CLASHING)))
    assert "of cluster 'dev-test'" in error.message
    assert (await kit.requests.get(scope(), "dev")).cluster.generation == 1
    await kit.requests.change(scope(), "dev", adding("test"))


async def test_clusters_of_all_tenants_are_compared_and_none_is_named(kit: Kit) -> None:
    await kit.requests.create(scope("other"), "dev", with_group(CLASHING))
    for name in ("dev-test", "dev"):
        error = await refused(kit.make(name))
        assert "another tenant's cluster" in error.message
        assert "'dev'" not in error.message or name == "dev"
    await kit.make("dev-prod")


async def test_group_that_goes_keeps_its_names_until_its_machines_are_gone(kit: Kit) -> None:
    made = await kit.requests.create(scope(), "dev", with_group(CLASHING))
    lease = await settled(kit, made)
    await kit.requests.change(scope(), "dev", without(CLASHING))
    await refused(kit.make("dev-test"))
    (node,) = (await kit.seen(lease)).in_group(CLASHING)
    await kit.conducting.update_node(lease, node.id, NodeUpdate(state=NodeState.GONE))
    await kit.make("dev-test")


async def test_of_requests_at_once_whose_names_clash_one_wins(kit: Kit, other: Kit) -> None:
    tenants = [scope(f"t{number}") for number in range(AT_ONCE)]
    requests = [
        (kit, other)[number % 2].requests.create(who, name, change)
        for number, who in enumerate(tenants)
        for name, change in (("dev", with_group(CLASHING)), ("dev-test", creation()))
    ]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    accepted = {answer.cluster.name for answer in answers if isinstance(answer, Accepted)}
    codes = [answer.code for answer in answers if isinstance(answer, RequestError)]
    assert len(accepted) == 1
    assert codes == [Code.NAME_TAKEN] * (2 * AT_ONCE - 1)


async def test_of_creates_of_one_name_in_many_vpcs_at_once_one_wins(kit: Kit, other: Kit) -> None:
    changes = [replace(creation(), spec=replace(spec(), vpc_id=f"vpc-{number}")) for number in range(AT_ONCE)]
    requests = [
        (kit, other)[number % 2].requests.create(scope(f"t{number // 2}"), "dev", change)
        for number, change in enumerate(changes)
    ]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert sum(isinstance(answer, Accepted) for answer in answers) == 1
    assert await kit.count(tables.cluster) == 1


def test_all_clusters_that_a_name_may_be_of() -> None:
    assert clusters_behind("dev-test-pool") == {"dev", "dev-test"}
    assert clusters_behind("a--b") == {"a", "a-"}
