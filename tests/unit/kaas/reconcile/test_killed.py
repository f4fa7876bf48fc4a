"""A real process is killed with SIGKILL at every boundary, on a real SQLite file; another one goes on with it.

What is outside is a file that both append to, so that everything that was made twice is seen.
"""

import asyncio
import os
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from kaas.db import migrate
from kaas.db.store import open_store
from kaas.domain.model import Scope
from kaas.domain.states import ClusterStatus, OperationKind, OperationState
from kaas.domain.store import Change
from kaas.reconcile import faults as points
from kaas.reconcile.conductor import Conductor
from kaas.reconcile.faults import Faults, Point
from tests.support.kaas_steps import FileWorld, NoEngine, World, three_steps, tools
from tests.support.kaas_store import SPEC

SCOPE = Scope("tenant", "user", "member")
STEPS = ("a", "b", "c")
DIED_S = 30


class Signal:
    """Sends this process a signal at a point."""

    def __init__(self, point: str, number: signal.Signals) -> None:
        self._point = point
        self._number = number

    async def at(self, point: str) -> None:
        if point == self._point:
            os.kill(os.getpid(), self._number)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """A file with tables and one request to create a cluster."""
    path = tmp_path_factory.mktemp("tables") / "kaas.db"

    async def make() -> None:
        await migrate.upgrade(url_of(path))
        store = open_store(url_of(path))
        await store.requests().create(SCOPE, "dev", Change(OperationKind.CREATE, SPEC, deadline_s=3600))
        await store.close()

    asyncio.run(make())
    return path


@pytest.fixture
def database(tables, tmp_path) -> Path:
    for path in tables.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / tables.name


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


async def conduct(database: Path, world: World, *, owner: str, faults: Faults | None = None) -> None:
    store = open_store(url_of(database))
    # One step after the other: a process that is stopped in the middle of a write would keep SQLite's lock.
    subject = Conductor(
        store.conducting,
        NoEngine(),
        three_steps(world),
        tools(store.conducting),
        owner=owner,
        faults=faults,
        parallel=1,
    )
    for cluster_id in await store.conducting.due(limit=10):
        await subject.handle(cluster_id)
    await store.close()


def conduct_elsewhere(database: Path, world: World, point: str, number: signal.Signals) -> int:
    """Let a process of its own conduct, which gets a signal at a point; gives its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(DIED_S)
            asyncio.run(conduct(database, world, owner="first", faults=Signal(point, number)))
            code = 0
        finally:
            os._exit(code)
    return child


def conduct_and_die(database: Path, world: World, point: str) -> None:
    _, status = os.waitpid(conduct_elsewhere(database, world, point, signal.SIGKILL), 0)
    assert os.WIFSIGNALED(status), f"{point} was not reached"
    assert os.WTERMSIG(status) == signal.SIGKILL


def let_the_lease_run_out(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        changed = connection.execute("UPDATE cluster SET lease_until = '2000-01-01 00:00:00.000000'").rowcount
    connection.close()
    assert changed <= 1


def dump(database: Path) -> list[str]:
    connection = sqlite3.connect(database)
    lines = list(connection.iterdump())
    connection.close()
    return lines


async def seen(database: Path) -> tuple:
    store = open_store(url_of(database))
    operation = (await store.requests().operations(SCOPE))[0]
    operation, steps = await store.requests().operation(SCOPE, operation.id)
    clusters = [one.cluster for one in await store.requests().list(SCOPE)]
    await store.close()
    return operation, {step.key: step for step in steps}, clusters


async def delete(database: Path) -> None:
    store = open_store(url_of(database))
    change = Change(OperationKind.DELETE, SPEC, deadline_s=3600)
    await store.requests().change(SCOPE, "dev", lambda _snapshot: change)
    await store.close()


@pytest.mark.parametrize("point", [*(f"b:{point}" for point in Point), *points.OPERATION_POINTS])
def test_a_create_ends_the_same(database, tmp_path, point):
    made = tmp_path / "made"
    conduct_and_die(database, FileWorld(made), point)
    let_the_lease_run_out(database)
    asyncio.run(conduct(database, FileWorld(made), owner="second"))
    operation, steps, (cluster,) = asyncio.run(seen(database))
    assert operation.state is OperationState.SUCCEEDED
    assert {key: step.state.value for key, step in steps.items()} == dict.fromkeys(STEPS, "done")
    assert (cluster.status, cluster.observed_generation) == (ClusterStatus.RUNNING, cluster.generation)
    assert sorted(made.read_text().split()) == list(STEPS)


@pytest.mark.parametrize("point", ["b:after-apply", points.BEFORE_OUTCOME, points.AFTER_OPERATION])
def test_a_delete_ends_the_same(database, tmp_path, point):
    made = tmp_path / "made"
    asyncio.run(delete(database))
    conduct_and_die(database, FileWorld(made), point)
    if point != points.AFTER_OPERATION:
        let_the_lease_run_out(database)
    asyncio.run(conduct(database, FileWorld(made), owner="second"))
    operation, _, clusters = asyncio.run(seen(database))
    assert operation.kind is OperationKind.DELETE
    assert operation.state is OperationState.SUCCEEDED
    assert not clusters
    assert sorted(made.read_text().split()) == list(STEPS)


def test_while_the_lease_of_the_dead_lasts_nobody_else_begins(database, tmp_path):
    made = tmp_path / "made"
    conduct_and_die(database, FileWorld(made), "b:after-apply")
    asyncio.run(conduct(database, FileWorld(made), owner="second"))
    _, steps, _ = asyncio.run(seen(database))
    assert steps["b"].state.value == "running"


@pytest.mark.parametrize("point", ["b:after-begin", "b:after-apply", "b:after-verify", points.BEFORE_OUTCOME])
def test_a_process_that_was_stopped_past_its_lease_writes_nothing_when_it_goes_on(database, tmp_path, point):
    made = tmp_path / "made"
    stopped = conduct_elsewhere(database, FileWorld(made), point, signal.SIGSTOP)
    _, status = os.waitpid(stopped, os.WUNTRACED)
    assert os.WIFSTOPPED(status), f"{point} was not reached"
    try:
        let_the_lease_run_out(database)
        asyncio.run(conduct(database, FileWorld(made), owner="second"))
        before = dump(database)
    finally:
        os.kill(stopped, signal.SIGCONT)
        _, status = os.waitpid(stopped, 0)
    assert os.WEXITSTATUS(status) == 0
    assert dump(database) == before
    assert asyncio.run(seen(database))[0].state is OperationState.SUCCEEDED
