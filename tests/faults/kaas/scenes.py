"""Clusters on an SQLite file, in a simulated world in another file.

Each scene is an operation that has just been asked for; processes come and go in it.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path

from kaas.db import migrate
from kaas.domain.ports import Kind
from kaas.domain.states import NodeState, OperationKind
from kaas.drivers.simulator.platform import RECORDS
from tests.support.kaas_flow import RECIPE, WHO, Rig, rig_on

PATIENT = replace(RECIPE, silent_after_s=300.0, api_patience_s=1.0)
"""Many deaths take their time, and are no silence of a machine."""
_MANY = "2999-01-01 00:00:00.000000"
_ROWS = ("cluster", "nodegroup", "node", "operation", "operation_step", "external_ref")


@dataclass(frozen=True, slots=True)
class Scene:
    """A folder with tables, keys and a world, which outlives every process that works in it."""

    folder: Path
    cluster_id: str

    @asynccontextmanager
    async def rig(self) -> AsyncIterator[Rig]:
        """Give a conductor with everything around it."""
        async with rig_on(self.folder, url=self.url, world=self.folder / "world.db", recipe=PATIENT) as rig:
            yield rig

    @property
    def url(self) -> str:
        return f"sqlite+aiosqlite:///{self.database}"

    @property
    def database(self) -> Path:
        return self.folder / "kaas.db"

    def copied(self, folder: Path) -> "Scene":
        """Give the same once more."""
        shutil.copytree(self.folder, folder)
        return Scene(folder, self.cluster_id)

    def execute(self, statement: str, *values: object) -> int:
        """Write past everybody."""
        with closing(sqlite3.connect(self.database, timeout=20)) as connection, connection:
            return connection.execute(statement, values).rowcount

    def let_the_lease_run_out(self) -> None:
        self.execute("UPDATE cluster SET lease_until = '2000-01-01 00:00:00.000000' WHERE lease_until IS NOT NULL")

    def rows(self) -> Mapping[str, int]:
        """Count rows: nothing is lost, and nothing is written twice."""
        with closing(sqlite3.connect(self.database)) as connection:
            return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _ROWS}

    async def end(self) -> dict[str, object]:
        """Say in what everything has ended; ids of the platform, times and numbers of tries left out."""
        async with self.rig() as rig:
            newest = (await rig.kit.requests.operations(WHO, self.cluster_id))[0]
            found: dict[str, object] = {
                "operation": (newest.kind, newest.state, newest.error),
                "steps": {key: record.state for key, record in (await rig.ledger(newest)).items()},
                "rows": self.rows(),
                "world": sorted(
                    (one.kind, one.name) for kind in Kind for one in rig.sim.world.ground.all(RECORDS[kind])
                ),
                "problems": rig.problems(self.cluster_id),
                "left": [],
            }
            if newest.kind is OperationKind.DELETE:
                return {**found, "left": rig.left(self.cluster_id), "clusters": await rig.kit.requests.list(WHO)}
            seen = await rig.snapshot(self.cluster_id)
            cluster, brain = seen.cluster, rig.sim.brain(self.cluster_id)
            found["cluster"] = (cluster.status, cluster.version, cluster.generation - cluster.observed_generation)
            found["nodes"] = {node.name: (node.state, node.role, bool(node.address)) for node in seen.nodes}
            found["refs"] = sorted((ref.kind, ref.name, ref.state) for ref in seen.refs)
            found["registered"] = (sorted(brain.nodes), len(brain.members), brain.tokens)
            machines = {one.id: one.name for one in rig.sim.world.machines(self.cluster_id)}
            known = {node.instance_id: node.name for node in seen.nodes if node.state is not NodeState.GONE}
            found["recorded is there"] = machines == known
            return found

    async def delete(self) -> None:
        """Take the cluster away, whatever became of it, and see that nothing is left."""
        async with self.rig() as rig:
            await rig.delete(self.cluster_id)
            await rig.succeed(self.cluster_id)
            assert rig.left(self.cluster_id) == []
            assert not await rig.kit.requests.list(WHO)


Wish = Callable[[Rig, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Story:
    """How a scene comes about: a cluster that runs, what happens to it, and what is asked for; None: its creation."""

    planes: int = 1
    workers: int = 1
    ask: Wish | None = None

    def tell(self, folder: Path) -> Scene:
        """Make the scene."""
        folder.mkdir()
        return asyncio.run(self._tell(Scene(folder, "")))

    async def _tell(self, scene: Scene) -> Scene:
        await migrate.upgrade(scene.url)
        async with scene.rig() as rig:
            cluster_id = await rig.create("dev", planes=self.planes, workers=self.workers)
            if self.ask is not None:
                await rig.succeed(cluster_id)
                await self.ask(rig, cluster_id)
        scene.execute("UPDATE operation SET deadline = ?", _MANY)
        return replace(scene, cluster_id=cluster_id)


async def _grow(rig: Rig, cluster_id: str) -> None:
    await rig.scale(cluster_id, 2)


async def _shrink(rig: Rig, cluster_id: str) -> None:
    await rig.scale(cluster_id, 1)


async def _lose_a_worker(rig: Rig, cluster_id: str) -> None:
    rig.sim.kill("dev-default-pool-0")
    await rig.repair(cluster_id, replace=["dev-default-pool-0"])


async def _lose_a_control_plane(rig: Rig, cluster_id: str) -> None:
    rig.sim.kill("dev-control-plane-1")
    await rig.repair(cluster_id, replace=["dev-control-plane-1"])


async def _delete(rig: Rig, cluster_id: str) -> None:
    rig.sim.add_service(cluster_id, "web")
    rig.sim.add_claim(cluster_id, "data")
    await rig.delete(cluster_id)


STORIES = {
    "create": Story(),
    "create with three control planes": Story(planes=3),
    "grow": Story(ask=_grow),
    "shrink": Story(workers=2, ask=_shrink),
    "repair": Story(workers=2, ask=_lose_a_worker),
    "repair a control plane": Story(planes=3, ask=_lose_a_control_plane),
    "delete": Story(ask=_delete),
}
