"""How many clusters lost nodes at about the same time, over all tenants."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from kaas.db import clock, tables
from kaas.domain.states import ClusterStatus, NodeState
from kaas.domain.store import Losses, NodeUpdate
from tests.support.kaas_tables import Kit, scope

WINDOW = timedelta(minutes=10)


async def running(kit: Kit, name: str, tenant: str = "acme") -> str:
    """Give a cluster that was made."""
    made = await kit.make(name, scope(tenant))
    lease = await kit.lease(made.cluster.id)
    await kit.conducting.update_cluster(lease, status=ClusterStatus.RUNNING, version="v1.29.0")
    await kit.conducting.release(lease, due_in_s=None)
    return made.cluster.id


async def lose(kit: Kit, cluster_id: str, since: datetime, state: NodeState, nodes: int = 1) -> None:
    lease = await kit.lease(cluster_id)
    for node in (await kit.seen(lease)).nodes[:nodes]:
        await kit.conducting.update_node(lease, node.id, NodeUpdate(state=state, unhealthy_since=since))
    await kit.conducting.release(lease, due_in_s=None)


async def now(kit: Kit) -> datetime:
    return await kit.database.read(clock.read)


async def test_clusters_count_once_whoever_has_them(kit: Kit) -> None:
    at = await now(kit)
    clusters = [await running(kit, f"of-{tenant}", tenant) for tenant in ("acme", "other", "third")]
    assert await kit.conducting.losses(at, window=WINDOW) == Losses(losing=0, running=3)
    await lose(kit, clusters[0], at, NodeState.UNHEALTHY, nodes=3)
    await lose(kit, clusters[1], at, NodeState.LEAVING)
    assert await kit.conducting.losses(at, window=WINDOW) == Losses(losing=2, running=3)


@pytest.mark.parametrize(
    ("apart_s", "state", "counts"),
    [
        (599, NodeState.UNHEALTHY, True),
        (-599, NodeState.UNHEALTHY, True),
        (601, NodeState.UNHEALTHY, False),
        (-601, NodeState.UNHEALTHY, False),
        (0, NodeState.GONE, True),
        (0, NodeState.READY, False),
        (0, NodeState.JOINING, False),
    ],
)
async def test_what_counts(kit: Kit, apart_s: int, state: NodeState, counts: bool) -> None:
    at = await now(kit)
    await lose(kit, await running(kit, "dev"), at + timedelta(seconds=apart_s), state)
    assert (await kit.conducting.losses(at, window=WINDOW)).losing == counts


@pytest.mark.parametrize(("state", "counts"), [(NodeState.UNHEALTHY, True), (NodeState.GONE, False)])
async def test_what_is_lost_counts_until_it_is_back_and_what_was_replaced_for_a_while(
    kit: Kit, state: NodeState, counts: bool
) -> None:
    long_ago = await now(kit) - timedelta(hours=2)
    cluster_id = await running(kit, "dev")
    await lose(kit, cluster_id, long_ago, state)
    await kit.execute(update(tables.node).values(updated_at=clock.after(-3600)))
    assert (await kit.conducting.losses(long_ago, window=WINDOW)).losing == counts
    lease = await kit.lease(cluster_id)
    for node in (await kit.seen(lease)).nodes:
        await kit.conducting.update_node(lease, node.id, NodeUpdate(state=NodeState.READY, clear_unhealthy=True))
    assert (await kit.conducting.losses(long_ago, window=WINDOW)).losing == 0


@pytest.mark.parametrize(("status", "version"), [(ClusterStatus.DELETING, "v1.29.0"), (ClusterStatus.PROVISIONING, "")])
async def test_what_does_not_run_is_no_part_of_the_fleet(kit: Kit, status: ClusterStatus, version: str) -> None:
    at = await now(kit)
    cluster_id = await running(kit, "dev")
    await lose(kit, cluster_id, at, NodeState.UNHEALTHY)
    lease = await kit.lease(cluster_id)
    await kit.conducting.update_cluster(lease, status=status, version=version)
    assert await kit.conducting.losses(at, window=WINDOW) == Losses(losing=0, running=0)
