"""A process that is stopped past its lease, on PostgreSQL: another takes over, and what goes on then writes nothing."""

import asyncio
import os
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from kaas.db import migrate, tables
from kaas.domain.states import ClusterStatus, OperationState
from kaas.engine.procrastinate_schema import conninfo_of
from kaas.reconcile.faults import BEFORE_OUTCOME, Point
from kaas.reconcile.operation import Timing
from tests.faults.kaas.scenes import PATIENT
from tests.support.databases import postgresql
from tests.support.kaas_deaths import Watch, watched
from tests.support.kaas_flow import WHO, Rig, rig_on

SHORT = Timing(look_s=0.05, hold_s=5.0, lease_s=2.0, renew_s=0.5)
CHANGES = ("driver.create", "driver.update", "driver.delete", "remote.put", "kube.apply")
_LIMIT_S = 50


@pytest.fixture
def url() -> Iterator[str]:
    with postgresql() as made:
        asyncio.run(migrate.upgrade(made))
        yield made


async def asked(folder: Path, url: str) -> str:
    async with rig_on(folder, url=url, world=folder / "world.db", recipe=PATIENT) as rig:
        return await rig.create("dev", workers=1)


async def conduct(folder: Path, url: str, cluster_id: str, *, stop_at: str = "") -> None:
    """Bring the cluster to its end, as soon as its lease can be had; a process stops itself at a point."""

    def passed(point: str) -> None:
        if point == stop_at:
            os.kill(os.getpid(), signal.SIGSTOP)

    watch = Watch(passed)
    async with rig_on(folder, url=url, world=folder / "world.db", recipe=PATIENT) as rig:
        rig.tools = watched(rig, watch)
        # One step after the other: a process that is stopped in the middle of a write would keep its locks.
        conductor = rig.conductor(f"process-{os.getpid()}", faults=watch, timing=SHORT, parallel=1)
        while await is_open(rig, cluster_id):
            await conductor.handle(cluster_id)
            await asyncio.sleep(0.05)


async def is_open(rig: Rig, cluster_id: str) -> bool:
    return (await rig.kit.requests.operations(WHO, cluster_id))[0].finished_at is None


def elsewhere(folder: Path, url: str, cluster_id: str, stop_at: str) -> int:
    """Let a process of its own conduct; gives its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(_LIMIT_S)
            asyncio.run(conduct(folder, url, cluster_id, stop_at=stop_at))
            code = 0
        except BaseException:
            (folder / "error").write_text(traceback.format_exc())
            raise
        finally:
            os._exit(code)
    return child


def written(url: str) -> dict[str, list[object]]:
    """Give every row there is."""
    with psycopg.connect(conninfo_of(url)) as connection:
        return {
            name: sorted(map(repr, connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))))
            for name in tables.metadata.tables
        }


async def changes(folder: Path) -> int:
    """Count what was changed outside."""
    async with rig_on(folder, world=folder / "world.db") as rig:
        return sum(rig.count(method) for method in CHANGES)


async def outcome(folder: Path, url: str, cluster_id: str) -> tuple[object, ...]:
    async with rig_on(folder, url=url, world=folder / "world.db") as rig:
        newest = (await rig.kit.requests.operations(WHO, cluster_id))[0]
        return newest.state, (await rig.snapshot(cluster_id)).cluster.status, rig.problems(cluster_id)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "point",
    [
        "after driver.create 1 of machine/dev-control-plane-0",
        BEFORE_OUTCOME,
        *(
            pytest.param(point, marks=pytest.mark.thorough)
            for point in (
                f"machine/dev-default-pool-0:{Point.AFTER_CHECK}",
                "after remote.run 2 of init/dev-control-plane-0",
                "after kube.apply 1 of csi",
            )
        ),
    ],
)
def test_it_writes_nothing_when_it_goes_on(url: str, tmp_path: Path, point: str) -> None:
    cluster_id = asyncio.run(asked(tmp_path, url))
    stopped = elsewhere(tmp_path, url, cluster_id, point)
    _, status = os.waitpid(stopped, os.WUNTRACED)
    assert os.WIFSTOPPED(status), f"{point} was not reached"
    try:
        asyncio.run(conduct(tmp_path, url, cluster_id))
        before, done = written(url), asyncio.run(changes(tmp_path))
    finally:
        os.kill(stopped, signal.SIGCONT)
        _, status = os.waitpid(stopped, 0)
    assert os.WEXITSTATUS(status) == 0, (tmp_path / "error").read_text()
    assert written(url) == before
    assert asyncio.run(changes(tmp_path)) == done
    ended = asyncio.run(outcome(tmp_path, url, cluster_id))
    assert ended == (OperationState.SUCCEEDED, ClusterStatus.RUNNING, [])
