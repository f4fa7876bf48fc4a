"""The tables of kaas with short words for what tests do with them. Which database it is, `url` says."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import Executable, Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kaas.db import clock, tables
from kaas.db.requests import RequestStore
from kaas.db.session import Database, make_engine
from kaas.db.store import Store
from kaas.domain.model import (
    CONTROL_PLANE_GROUP,
    DEFAULT_GROUP,
    ClusterSpec,
    Cni,
    ExternalRef,
    GroupSpec,
    Lease,
    Role,
    Scope,
    Snapshot,
)
from kaas.domain.states import OperationKind, RefState
from kaas.domain.store import Accepted, Amounts, Change, NewNode


def scope(tenant: str = "acme", user: str = "ann") -> Scope:
    """Give somebody of a tenant."""
    return Scope(tenant_id=tenant, user_id=user, role="admin", request_id="req-1")


def spec(workers: int = 2) -> ClusterSpec:
    """Give what is wanted of a cluster with one control plane."""
    return ClusterSpec(
        version="v1.29.0",
        vpc_id="vpc-1",
        pod_cidr="192.168.0.0/16",
        service_cidr="10.96.0.0/12",
        cni=Cni.CALICO,
        image="kubernetes-v1.29.0",
        groups=(
            GroupSpec(CONTROL_PLANE_GROUP, Role.CONTROL_PLANE, 1, 1, 1, "standard-2"),
            GroupSpec(DEFAULT_GROUP, Role.WORKER, workers, 0, 100, "standard-1", labels={"disk": "fast"}),
        ),
    )


def amounts(workers: int) -> Amounts:
    """Give what such a cluster uses."""
    return Amounts(clusters=1, nodes=workers + 1, vcpus=2 * workers + 2, memory_mb=2048 * (workers + 1))


def creation(workers: int = 2, **more: Any) -> Change:
    """Give the change that makes such a cluster."""
    nodes = (
        NewNode(CONTROL_PLANE_GROUP, Role.CONTROL_PLANE),
        *(NewNode(DEFAULT_GROUP, Role.WORKER) for _ in range(workers)),
    )
    made = Change(OperationKind.CREATE, spec(workers), deadline_s=3600, add=nodes, usage=amounts(workers))
    return replace(made, **more)


def scaling(workers: int) -> Callable[[Snapshot], Change]:
    """Give a decision for another number of workers."""

    def decide(snapshot: Snapshot) -> Change:
        there = snapshot.in_group(DEFAULT_GROUP)
        return Change(
            OperationKind.SCALE,
            spec(workers),
            deadline_s=600,
            add=tuple(NewNode(DEFAULT_GROUP, Role.WORKER) for _ in range(workers - len(there))),
            leave=tuple(node.id for node in there[workers:]),
            usage=amounts(workers),
        )

    return decide


def repairing(snapshot: Snapshot) -> Change:
    """Decide for a repair."""
    return Change(OperationKind.REPAIR, snapshot.cluster.spec, deadline_s=600)


def deleting(snapshot: Snapshot) -> Change:
    """Decide for the end of a cluster."""
    leave = tuple(node.id for node in snapshot.nodes)
    return Change(OperationKind.DELETE, snapshot.cluster.spec, deadline_s=600, leave=leave)


def reference(name: str = "sg-dev", kind: str = "security-group", **more: Any) -> ExternalRef:
    """Give something outside that is going to exist."""
    return ExternalRef(id="", cluster_id="", kind=kind, name=name, state=RefState.INTENDED, **more)


@dataclass
class Woken:
    """Wake-ups that were asked for, and those whose transaction was committed."""

    asked: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    fails: bool = False

    async def enqueue(self, connection: AsyncConnection, cluster_id: str) -> None:
        assert connection.in_transaction()
        self.asked.append(cluster_id)
        if self.fails:
            raise RuntimeError("no wake-ups today")

    def committed(self, cluster_id: str) -> None:
        self.done.append(cluster_id)


class Kit:
    """A store on a database of its own, with all that it has."""

    def __init__(self, url: str, quota: Amounts | None = None) -> None:
        self.url = url
        self.engine: AsyncEngine = make_engine(url)
        self.database = Database(self.engine)
        self.store = Store(self.database, default_quota=quota)
        self.woken = Woken()
        self.requests: RequestStore = self.store.requests(self.woken)
        self.boots = self.store.boots(self.woken)
        self.conducting = self.store.conducting

    async def make(self, name: str = "dev", who: Scope | None = None, workers: int = 2) -> Accepted:
        """Ask for a cluster."""
        return await self.requests.create(who or scope(), name, creation(workers))

    async def lease(self, cluster_id: str, owner: str = "one", ttl_s: float = 600) -> Lease:
        """Claim a cluster that is free."""
        lease = await self.conducting.claim(cluster_id, owner, ttl_s=ttl_s)
        assert lease is not None
        return lease

    async def held(self, name: str = "dev") -> tuple[Accepted, Lease]:
        """Ask for a cluster and claim it."""
        accepted = await self.make(name)
        return accepted, await self.lease(accepted.cluster.id)

    async def seen(self, lease: Lease) -> Snapshot:
        """Give what a conductor sees."""
        snapshot = await self.conducting.snapshot(lease)
        assert snapshot is not None
        return snapshot

    async def run_out(self, cluster_id: str) -> None:
        """Let the lease of a cluster run out."""
        this = tables.cluster.c.uuid == cluster_id
        await self.execute(update(tables.cluster).where(this).values(lease_until=clock.after(-1)))

    async def execute(self, statement: Executable) -> int:
        """Run a statement past the store; gives the number of rows."""
        async with self.engine.begin() as connection:
            return (await connection.execute(statement)).rowcount  # type: ignore[no-any-return,attr-defined]

    async def rows(self, statement: Any) -> Sequence[Row[Any]]:
        """Read past the store."""

        async def work(connection: AsyncConnection) -> Sequence[Row[Any]]:
            return (await connection.execute(statement)).all()

        return await self.database.read(work)

    async def row(self, cluster_id: str) -> Row[Any]:
        """Give a cluster's row."""
        return (await self.rows(select(tables.cluster).where(tables.cluster.c.uuid == cluster_id)))[0]

    async def count(self, table: Any) -> int:
        """Give the number of a table's rows."""
        return len(await self.rows(select(table)))


@pytest.fixture
async def kit(url: str) -> AsyncIterator[Kit]:
    """Give a store without quotas."""
    made = Kit(url)
    yield made
    await made.store.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[Kit]:
    """Give a second process on the same database, as far as it is one."""
    made = Kit(url)
    yield made
    await made.store.close()


@pytest.fixture
async def limited(url: str) -> AsyncIterator[Kit]:
    """Give a store where a tenant may have two clusters with eight nodes together."""
    made = Kit(url, quota=Amounts(clusters=2, nodes=8, vcpus=1000, memory_mb=10**9))
    yield made
    await made.store.close()


def unknown_id() -> str:
    """Give an id that nothing has."""
    return str(uuid.uuid4())
