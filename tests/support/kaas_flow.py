"""Clusters from a request to their end: the real conductor, plans and steps in a simulated world, on tables or not."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kaas.crypto.certificates import new_authority
from kaas.crypto.envelope import Envelope
from kaas.crypto.keyring import KeyRing, new_keyring
from kaas.domain.model import (
    CONTROL_PLANE_GROUP,
    DEFAULT_GROUP,
    Cluster,
    ClusterSpec,
    Cni,
    Event,
    GroupSpec,
    Lease,
    Node,
    Operation,
    Role,
    Scope,
    Snapshot,
    StepRecord,
)
from kaas.domain.repair import Limits
from kaas.domain.states import NodeState, OperationKind, OperationState
from kaas.domain.store import Change, NewNode
from kaas.drivers.simulator.invariants import broken_quorums, duplicates, leaks, repeated_creates, strangers
from kaas.drivers.simulator.life import to_store
from kaas.drivers.simulator.simulator import Simulator
from kaas.drivers.simulator.world import Offer, Timing
from kaas.engine.inprocess import InProcessEngine
from kaas.reconcile import operation as operations
from kaas.reconcile.conductor import Conductor
from kaas.reconcile.plans.flow import FlowPlanner
from kaas.reconcile.step import Tools
from kaas.reconcile.steps.base import Recipe
from tests.support.kaas_memory import MemoryKit
from tests.support.kaas_store import loop_now
from tests.support.kaas_tables import Kit

WHO = Scope(tenant_id="acme", user_id="ann", role="admin", request_id="req-1")
CA = new_authority("phone home").cert_pem.decode()
RECIPE = Recipe(
    phone_home_url="https://kaas.test:8443",
    phone_home_ca_pem=CA,
    poll_s=0.01,
    silent_after_s=0.3,
    drain_s=0.2,
    drain_dead_s=0.05,
    release_s=0.3,
    api_patience_s=0.03,
)
LIMITS = Limits(patience=timedelta(0), patience_dead=timedelta(0), patience_api=timedelta(0))
"""Every second look acts."""
LIVING = frozenset(NodeState) - {NodeState.GONE}


class NoChance(random.Random):
    """Chooses the least, so that nobody waits."""

    def uniform(self, a: float, b: float) -> float:
        return a


class LightAddons:
    """Addons as the simulated clusters know them, by name."""

    def network(self, spec: ClusterSpec) -> Sequence[dict[str, object]]:
        return () if spec.cni is Cni.NONE else (workload("DaemonSet", "kube-flannel-ds"),)

    def access(self) -> Sequence[dict[str, object]]:
        return ({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "kaas"}},)

    def cloud(self, cluster: Cluster, api_key: str) -> Sequence[dict[str, object]]:
        return (secret(api_key), workload("Deployment", "thecloud-ccm"))

    def storage(self, cluster: Cluster, api_key: str) -> Sequence[dict[str, object]]:
        return (secret(api_key), workload("Deployment", "thecloud-csi-controller"))

    def namespaces(self, spec: ClusterSpec) -> Sequence[str]:
        return ("kube-system",)


def workload(kind: str, name: str) -> dict[str, object]:
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "kube-system"}}


def secret(api_key: str) -> dict[str, object]:
    assert api_key
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "access", "namespace": "kube-system"}}


def spec_of(*, planes: int = 1, workers: int = 2, cni: Cni = Cni.FLANNEL, **more: Any) -> ClusterSpec:
    made = ClusterSpec(
        version="v1.36.3",
        vpc_id="vpc-1",
        pod_cidr="192.168.0.0/16",
        service_cidr="10.96.0.0/12",
        cni=cni,
        image="kubernetes-v1.36.3",
        groups=(
            GroupSpec(CONTROL_PLANE_GROUP, Role.CONTROL_PLANE, planes, 1, 5, "standard-2"),
            GroupSpec(DEFAULT_GROUP, Role.WORKER, workers, 0, 100, "standard-1", labels={"disk": "fast"}),
        ),
    )
    return replace(made, **more)


def resized(spec: ClusterSpec, *, workers: int) -> ClusterSpec:
    groups = tuple(replace(group, size=workers) if group.role is Role.WORKER else group for group in spec.groups)
    return replace(spec, groups=groups)


@dataclass
class Rig:
    """One conductor with everything around it."""

    kit: Kit | MemoryKit
    sim: Simulator
    planner: FlowPlanner
    tools: Tools
    names: list[str] = field(default_factory=list)

    def conductor(self, owner: str = "one", **more: Any) -> Conductor:
        timing = operations.Timing(look_s=0.05, hold_s=5.0)
        options: dict[str, Any] = {"timing": timing, "chance": NoChance()} | more
        if isinstance(self.kit, MemoryKit):
            # Its time is the loop's.
            options["now"] = loop_now
        engine = InProcessEngine(self.kit.conducting)
        return Conductor(self.kit.conducting, engine, self.planner, self.tools, owner=owner, **options)

    async def create(self, name: str = "dev", spec: ClusterSpec | None = None, **sizes: Any) -> str:
        """Ask for a cluster; give its id."""
        spec = spec or spec_of(**sizes)
        add = tuple(NewNode(group.name, group.role) for group in spec.groups for _ in range(group.size))
        change = Change(OperationKind.CREATE, spec, deadline_s=60, add=add)
        accepted = await self.kit.requests.create(WHO, name, change)
        self.names.append(name)
        return accepted.cluster.id

    async def scale(self, cluster_id: str, workers: int) -> None:
        """Ask for another number of workers."""

        def decide(snapshot: Snapshot) -> Change:
            there = [
                node
                for node in snapshot.nodes
                if node.role is Role.WORKER and node.state in LIVING - {NodeState.LEAVING}
            ]
            return Change(
                OperationKind.SCALE,
                resized(snapshot.cluster.spec, workers=workers),
                deadline_s=60,
                add=tuple(NewNode(DEFAULT_GROUP, Role.WORKER) for _ in range(workers - len(there))),
                leave=tuple(node.id for node in there[workers:]),
            )

        await self.kit.requests.change(WHO, cluster_id, decide)

    async def repair(self, cluster_id: str, *, replace: Sequence[str] = ()) -> None:
        """Ask for a repair that replaces nodes."""

        def decide(snapshot: Snapshot) -> Change:
            nodes = [node for node in snapshot.nodes if node.name in replace]
            return Change(
                OperationKind.REPAIR,
                snapshot.cluster.spec,
                deadline_s=60,
                add=tuple(NewNode(node.group, node.role) for node in nodes),
                leave=tuple(node.id for node in nodes),
            )

        await self.kit.requests.change(WHO, cluster_id, decide)

    async def delete(self, cluster_id: str, *, volumes: bool = True) -> None:
        """Ask for its end."""

        def decide(snapshot: Snapshot) -> Change:
            return Change(
                OperationKind.DELETE, snapshot.cluster.spec, deadline_s=60, arguments={"delete_volumes": volumes}
            )

        await self.kit.requests.change(WHO, cluster_id, decide)

    async def settle(self, cluster_id: str, conductor: Conductor | None = None, *, turns: int = 50) -> Operation:
        """Let a conductor work until the newest operation has ended; give it."""
        conductor = conductor or self.conductor()
        for _ in range(turns):
            await conductor.handle(cluster_id)
            newest = (await self.kit.requests.operations(WHO, cluster_id))[0]
            if newest.finished_at is not None:
                return newest
        raise AssertionError(f"operation {newest.kind} does not end: {await self.ledger(newest)}")

    async def made(self, name: str = "dev", **sizes: Any) -> str:
        """Give a cluster that runs."""
        cluster_id = await self.create(name, **sizes)
        ended = await self.settle(cluster_id)
        assert ended.state is OperationState.SUCCEEDED, ended.error
        return cluster_id

    async def succeed(self, cluster_id: str, conductor: Conductor | None = None) -> Operation:
        """Let the newest operation end well."""
        ended = await self.settle(cluster_id, conductor)
        assert ended.state is OperationState.SUCCEEDED, f"{ended.error_code}: {ended.error}"
        return ended

    async def ledger(self, operation: Operation) -> dict[str, StepRecord]:
        _, steps = await self.kit.requests.operation(WHO, operation.id)
        return {record.key: record for record in steps}

    async def snapshot(self, cluster_id: str) -> Snapshot:
        return await self.kit.requests.get(WHO, cluster_id)

    async def nodes(self, cluster_id: str) -> dict[str, Node]:
        """Give the nodes that are not gone, by name."""
        snapshot = await self.snapshot(cluster_id)
        return {node.name: node for node in snapshot.nodes if node.state is not NodeState.GONE}

    async def events(self, cluster_id: str) -> list[Event]:
        return list(await self.kit.requests.events(WHO, cluster_id))

    async def lease(self, cluster_id: str) -> Lease:
        lease = await self.kit.conducting.claim(cluster_id, "test", ttl_s=600)
        assert lease is not None
        return lease

    async def until(self, happened: Callable[[], bool]) -> None:
        """Let others work until something has happened, which the test's own time limit bounds."""
        while not happened():
            for _ in range(20):
                await asyncio.sleep(0)

    def problems(self, cluster_id: str) -> list[str]:
        """Say what is wrong with a cluster that runs."""
        world = self.sim.world
        return [
            *duplicates(world, cluster_id),
            *broken_quorums(world),
            *strangers(world, cluster_id),
            *repeated_creates(world, cluster_id),
        ]

    def left(self, cluster_id: str, *, keeps_volumes: bool = False) -> list[str]:
        """Say what is left of a cluster that was deleted."""
        return leaks(self.sim.world, cluster_id, keeps_volumes=keeps_volumes)

    def count(self, method: str, start: str = "") -> int:
        """Count calls that were done."""
        calls = self.sim.calls(method=method)
        return sum(call.outcome in {"done", "lost"} and call.what.startswith(start) for call in calls)


@asynccontextmanager
async def rig_on(
    folder: Path,
    *,
    url: str = "",
    recipe: Recipe = RECIPE,
    limits: Limits = LIMITS,
    timing: Timing | None = None,
    offer: Offer | None = None,
    world: Path | None = None,
) -> AsyncIterator[Rig]:
    """Give a rig in memory, or on tables with a `url`; `world` outlives it."""
    kit = Kit(url) if url else MemoryKit()
    ring = folder / "keys"
    if not ring.exists():
        new_keyring(ring)
    sim = Simulator(to_store(kit.boots), path=world, timing=timing, offer=offer)
    tools = Tools(
        driver=sim.driver,
        remote=sim.remote,
        kube=sim.kube,
        sealed=Envelope(KeyRing(ring)),
        store=kit.conducting,
        boots=kit.boots,
        gone_gap_s=0.0,
    )
    planner = FlowPlanner(recipe, LightAddons(), limits)
    try:
        async with sim.running():
            yield Rig(kit, sim, planner, tools)
    finally:
        await (kit.close() if isinstance(kit, MemoryKit) else kit.store.close())


def utc(seconds: float = 0.0) -> datetime:
    """Give a fixed moment, and moments after it."""
    return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
