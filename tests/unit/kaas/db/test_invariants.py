"""Whatever is asked for in whatever order: one operation at a time, generations that grow, names used once."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from kaas.db import tables
from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Scope
from kaas.domain.states import FINAL, SUPERSEDES, OperationKind, OperationState
from tests.support.kaas_tables import Kit, deleting, repairing, scaling, scope

NAMES = ("a", "b")
Move = Callable[["Run", str], Awaitable[None]]


class Run:
    """A tenant of its own, and what must be true of its clusters."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.who: Scope = scope(f"t-{uuid.uuid4()}")
        self.ids: dict[str, str] = {}
        self.running: dict[str, OperationKind] = {}
        self.generations: dict[str, int] = {}
        self.node_ids: dict[str, str] = {}
        """By the cluster's id and the node's name."""

    async def create(self, name: str) -> None:
        try:
            accepted = await self.kit.make(name, self.who, workers=1)
        except RequestError as error:
            refusal = error.code
        else:
            refusal = None
            self.running[name] = OperationKind.CREATE
        assert refusal is (Code.NAME_TAKEN if name in self.ids else None)
        if refusal is None:
            self.ids[name] = accepted.cluster.id

    async def change(self, name: str, kind: OperationKind, decide) -> None:
        before = self.running.get(name)
        try:
            accepted = await self.kit.requests.change(self.who, name, decide)
        except RequestError as error:
            refusal = error.code
        else:
            refusal = None
            assert accepted.operation.kind is kind
        again = before is kind is OperationKind.DELETE
        if name not in self.ids:
            expected = Code.NOT_FOUND
        else:
            expected = None if before is None or again or before in SUPERSEDES[kind] else Code.WRONG_STATE
        assert refusal is expected
        if refusal is not None:
            return
        self.running[name] = kind

    async def scale(self, name: str) -> None:
        await self.change(name, OperationKind.SCALE, scaling(len(self.node_ids) % 4))

    async def repair(self, name: str) -> None:
        await self.change(name, OperationKind.REPAIR, repairing)

    async def delete(self, name: str) -> None:
        await self.change(name, OperationKind.DELETE, deleting)

    async def conduct(self, name: str) -> None:
        """Do what a conductor does in the end."""
        if name not in self.ids:
            return
        lease = await self.kit.lease(self.ids[name])
        snapshot = await self.kit.seen(lease)
        if snapshot.operation is None:
            started = await self.kit.conducting.start_operation(lease, repairing(snapshot), requested_by="us")
            assert started is not None
            self.running[name] = OperationKind.REPAIR
        elif snapshot.operation.kind is OperationKind.DELETE:
            await self.kit.conducting.delete_cluster(lease)
            del self.ids[name], self.running[name]
            return
        else:
            assert await self.kit.conducting.start_operation(lease, repairing(snapshot), requested_by="us") is None
            await self.kit.conducting.update_operation(lease, snapshot.operation.id, OperationState.SUCCEEDED)
            del self.running[name]
        await self.kit.conducting.release(lease, due_in_s=0)

    async def check(self) -> None:
        found = {one.cluster.name: one.cluster for one in await self.kit.requests.list(self.who)}
        assert {name: cluster.id for name, cluster in found.items()} == self.ids
        open_operations: dict[str, OperationKind] = {}
        for operation in await self.kit.requests.operations(self.who):
            if operation.state not in FINAL:
                assert operation.cluster_id not in open_operations
                open_operations[operation.cluster_id] = operation.kind
        assert open_operations == {self.ids[name]: kind for name, kind in self.running.items()}
        for cluster in found.values():
            assert cluster.generation >= self.generations.get(cluster.id, 1)
            self.generations[cluster.id] = cluster.generation
            nodes = select(tables.node).where(tables.node.c.cluster_id == cluster.id)
            for node in await self.kit.rows(nodes):
                assert self.node_ids.setdefault(f"{cluster.id}/{node.name}", node.uuid) == node.uuid


MOVES: dict[str, Move] = {
    "create": Run.create,
    "scale": Run.scale,
    "repair": Run.repair,
    "delete": Run.delete,
    "conduct": Run.conduct,
}


@settings(
    max_examples=8,
    deadline=None,
    database=None,
    # Every example has a tenant of its own and begins without clusters, so that the tables may be shared.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(moves=st.lists(st.tuples(st.sampled_from(sorted(MOVES)), st.sampled_from(NAMES)), max_size=14))
def test_any_order_of_requests_keeps_the_rules(url: str, moves: list[tuple[str, str]]) -> None:
    async def play() -> None:
        kit = Kit(url)
        try:
            # Names are compared over all tenants, and those of the example before count for nothing here.
            await kit.execute(delete(tables.cluster))
            run = Run(kit)
            await run.create("a")
            for move, name in moves:
                await MOVES[move](run, name)
                await run.check()
        finally:
            await kit.store.close()

    asyncio.run(play())
