"""The API on the real tables (SQLite), with two tenants, and a conductor that does what the test says."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from kaas.api.app import create_app
from kaas.api.ports import IssuedKubeconfig, Networks
from kaas.api.settings import ApiSettings
from kaas.api.static_users import StaticUsers, hash_key
from kaas.db import tables
from kaas.db.session import make_engine
from kaas.db.store import Store, open_store
from kaas.domain.catalogue import PLATFORM_TYPES, Catalogue, Offer
from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Cni, ExternalRef, Health, Lease, Scope, Snapshot
from kaas.domain.requests import Rules
from kaas.domain.states import ClusterStatus, NodeState, OperationKind, OperationState, RefState, StepState
from kaas.domain.store import Amounts, NodeUpdate
from kaas.domain.versions import parse_version
from kaas.domain.wanted import Defaults

VPC = "6f0c9a52-4a3f-4be2-9a35-0b7f6a9b0c01"
BLUE, GREEN = "blue", "green"
KEYS = {
    (BLUE, "admin"): "key-of-ada",
    (BLUE, "member"): "key-of-max",
    (BLUE, "reader"): "key-of-rita",
    (GREEN, "admin"): "key-of-gus",
}
_ONLINE = ("v1.28.4", "v1.29.0", "v1.29.3", "v1.30.2")
CATALOGUE = Catalogue(
    (
        *(Offer(version=parse_version(text), image=f"kubernetes-{text}") for text in _ONLINE),
        Offer(version=parse_version("v1.36.3"), image="kubernetes-v1.36.3", cnis=frozenset({Cni.FLANNEL, Cni.BRIDGE})),
    ),
    PLATFORM_TYPES,
)
DEFAULTS = Defaults(vpc_id=VPC, node_network="10.77.0.0/24")
KUBECONFIG = "apiVersion: v1\nkind: Config\n"
SSH_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot a real one\n-----END OPENSSH PRIVATE KEY-----\n"
_LEASE_S = 600.0


class FakeAccess:
    """`kaas.api.ports.Access` that issues a text instead of a certificate."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, float]] = []

    async def kubeconfig(self, scope: Scope, snapshot: Snapshot, role: str, ttl_s: float) -> IssuedKubeconfig:
        self.asked.append((scope.user_id, role, ttl_s))
        text = f"{KUBECONFIG}current-context: {snapshot.cluster.name}-{role}\n"
        return IssuedKubeconfig(text, "42", datetime.now(UTC) + timedelta(seconds=ttl_s))

    async def ssh_key(self, scope: Scope, snapshot: Snapshot) -> str:
        return SSH_KEY


class FakeNetworks:
    """`kaas.api.ports.Networks` of one tenant with one VPC."""

    def __init__(self, cidr: str) -> None:
        self._cidr = cidr

    async def range_of(self, scope: Scope, vpc_id: str) -> str:
        if (scope.tenant_id, vpc_id) != (BLUE, VPC):
            raise RequestError(Code.NOT_FOUND, f"vpc {vpc_id} not found")
        return self._cidr


class Wakeups:
    """`kaas.engine.port.Wakeups` that a test waits for."""

    def __init__(self) -> None:
        self.woken: asyncio.Queue[str] = asyncio.Queue()

    async def enqueue(self, connection: object, cluster_id: str) -> None:
        del connection, cluster_id

    def committed(self, cluster_id: str) -> None:
        self.woken.put_nowait(cluster_id)


class Rig:
    def __init__(self, app: FastAPI, store: Store, access: FakeAccess, wakeups: Wakeups) -> None:
        self.app = app
        self.wakeups = wakeups
        self.store = store
        self.access = access
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kaas")

    async def forget(self) -> None:
        """Empty the tables, and whatever else is remembered."""

        async def work(connection: Any) -> None:
            for table in reversed(tables.metadata.sorted_tables):
                await connection.execute(table.delete())

        await self.store._database.write(work)
        self.access.asked.clear()
        self.app.state.context.history._timelines.clear()
        while not self.wakeups.woken.empty():
            self.wakeups.woken.get_nowait()

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        tenant: str = BLUE,
        role: str = "admin",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Ask as somebody of a tenant; a body of bytes is sent as it is."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"X-API-Key": KEYS[tenant, role], "Content-Type": "application/json", **(headers or {})}
        return await self.http.request(method, path, content=content, headers=sent)

    async def create(self, name: str = "dev", *, tenant: str = BLUE, **body: Any) -> dict[str, Any]:
        """Ask for a cluster, and give it."""
        answer = await self.ask("POST", "/clusters", {"name": name, **body}, tenant=tenant)
        assert answer.status_code == 202, answer.text
        cluster: dict[str, Any] = answer.json()["data"]
        return cluster

    async def running(
        self, name: str = "dev", *, tenant: str = BLUE, with_refs: bool = False, **body: Any
    ) -> dict[str, Any]:
        """Ask for a cluster and let it come to run."""
        cluster = await self.create(name, tenant=tenant, **body)
        await self.conduct(cluster["id"], with_refs=with_refs)
        return cluster

    async def snapshot(self, ref: str, *, tenant: str = BLUE) -> Snapshot:
        return await self.store.requests().get(Scope(tenant, "test", "admin"), ref)

    async def clusters(self, tenant: str = BLUE) -> Sequence[str]:
        return [one.cluster.name for one in await self.store.requests().list(Scope(tenant, "test", "admin"))]

    async def audited(self) -> list[tuple[str, str, str, str]]:
        """What was written down: who, what, on what, and how it went."""
        return [(row.user_id, row.action, row.target, row.outcome) for row in await self.rows(tables.audit)]

    async def rows(self, table: Any) -> Sequence[Any]:
        async def work(connection: Any) -> Sequence[Any]:
            return (await connection.execute(table.select())).all()

        return await self.store._database.read(work)

    async def counts(self) -> list[int]:
        """How many rows there are of all that a request can make."""
        made = (tables.cluster, tables.operation, tables.node, tables.event, tables.kubeconfig_issue)
        return [len(await self.rows(table)) for table in made]

    @contextlib.asynccontextmanager
    async def lease(self, cluster_id: str) -> AsyncIterator[Lease]:
        """Be the conductor of a cluster."""
        lease = await self.store.conducting.claim(cluster_id, "test", ttl_s=_LEASE_S)
        assert lease is not None
        yield lease
        await self.store.conducting.release(lease, due_in_s=None)

    async def conduct(
        self,
        cluster_id: str,
        *,
        state: OperationState = OperationState.SUCCEEDED,
        status: ClusterStatus = ClusterStatus.RUNNING,
        steps: Sequence[str] = ("preflight", "ready"),
        error: str = "",
        with_refs: bool = False,
    ) -> None:
        """Do the cluster's operation: all steps, all nodes (and their machines), and the end that is given."""
        conducting = self.store.conducting
        async with self.lease(cluster_id) as lease:
            snapshot = await conducting.snapshot(lease)
            assert snapshot is not None
            assert snapshot.operation is not None
            for key in steps:
                step = await conducting.begin_step(lease, snapshot.operation.id, key, "1")
                await conducting.end_step(lease, step, StepState.DONE)
            await self._settle_nodes(lease, snapshot, with_refs=with_refs)
            if snapshot.operation.kind is OperationKind.DELETE and state is OperationState.SUCCEEDED:
                await conducting.delete_cluster(lease)
                return
            await conducting.update_operation(lease, snapshot.operation.id, state, error=error)
            nodes = sum(group.size for group in snapshot.cluster.spec.groups)
            await conducting.update_cluster(
                lease,
                status=status,
                status_reason=error,
                endpoint="10.77.0.10:6443",
                version=snapshot.cluster.spec.version,
                health=Health(True, nodes, nodes, "", datetime.now(UTC)),
                observed_generation=snapshot.cluster.generation,
            )

    async def _settle_nodes(self, lease: Lease, snapshot: Snapshot, *, with_refs: bool) -> None:
        conducting = self.store.conducting
        is_end = snapshot.operation is not None and snapshot.operation.kind is OperationKind.DELETE
        if is_end:
            for ref in snapshot.refs:
                await conducting.update_ref(lease, ref, RefState.GONE)
        for number, node in enumerate(snapshot.nodes):
            if is_end or node.state is NodeState.LEAVING:
                await conducting.update_node(lease, node.id, NodeUpdate(state=NodeState.GONE))
            elif node.state is not NodeState.GONE:
                if with_refs:
                    ref = ExternalRef("", lease.cluster_id, "machine", node.name, RefState.INTENDED, node_id=node.id)
                    there = await conducting.intend(lease, ref)
                    await conducting.update_ref(lease, there, RefState.PRESENT, external_id=f"i-{node.name}")
                update = NodeUpdate(
                    state=NodeState.READY, instance_id=f"i-{node.name}", address=f"10.77.0.{10 + number}"
                )
                await conducting.update_node(lease, node.id, update)


async def make_tables(path: Path) -> None:
    engine = make_engine(f"sqlite+aiosqlite:///{path}")
    async with engine.begin() as connection:
        await connection.run_sync(tables.metadata.create_all)
    await engine.dispose()


def write_users(path: Path) -> Path:
    users = [
        {"id": key.removeprefix("key-of-"), "key_sha256": hash_key(key), "tenants": {tenant: role}}
        for (tenant, role), key in KEYS.items()
    ]
    path.write_text(json.dumps({"users": users}))
    path.chmod(0o600)
    return path


def application(
    folder: Path,
    empty: Path,
    *,
    quota: Amounts | None = None,
    networks: Networks | None = None,
    settings: ApiSettings | None = None,
    defaults: Defaults = DEFAULTS,
) -> tuple[FastAPI, Store, FakeAccess, Wakeups]:
    """Make the application on a copy of an empty database."""
    database = folder / "kaas.db"
    shutil.copy(empty, database)
    store = open_store(f"sqlite+aiosqlite:///{database}", default_quota=quota)
    access, wakeups = FakeAccess(), Wakeups()
    app = create_app(
        requests=store.requests(wakeups),
        authenticator=StaticUsers(write_users(folder / "users.yaml")),
        access=access,
        rules=Rules(CATALOGUE, defaults),
        networks=networks,
        settings=settings,
    )
    return app, store, access, wakeups


@contextlib.asynccontextmanager
async def serving(folder: Path, empty: Path, **options: Any) -> AsyncIterator[Rig]:
    app, store, access, wakeups = application(folder, empty, **options)
    rig = Rig(app, store, access, wakeups)
    try:
        yield rig
    finally:
        await rig.http.aclose()
        await store.close()


def without_vpc() -> Defaults:
    return replace(DEFAULTS, vpc_id="")


def fields_of(answer: httpx.Response) -> list[str]:
    """Give the fields that a refusal complains of."""
    return [problem["field"] for problem in answer.json()["error"].get("problems", [])]


def documented_routes() -> list[tuple[str, str]]:
    """Give method and path of all routes, without a service."""
    nothing: Any = None
    app = create_app(requests=nothing, authenticator=nothing, access=nothing, rules=Rules(CATALOGUE, DEFAULTS))
    return [(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods]
