"""A conductor whose database is away for longer than its leases last goes on where it was, and makes nothing twice."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from kaas.db.store import open_store
from kaas.domain.model import Scope
from kaas.domain.states import OperationKind, OperationState
from kaas.domain.store import Change
from kaas.engine.procrastinate import ProcrastinateEngine, ProcrastinateWakeups
from kaas.engine.procrastinate_schema import conninfo_of
from kaas.reconcile.conductor import Conductor
from kaas.reconcile.metrics import ConductorMetrics
from kaas.reconcile.operation import Timing
from process.life import Stop
from tests.integration.kaas_engine.rig import WITHIN_S, until
from tests.support.kaas_steps import FakePlanner, FakeStep, World, creating, tools
from tests.support.kaas_store import SPEC

SOCKET = ".s.PGSQL.5432"
SCOPE = Scope("t", "u", "member")
TIMING = Timing(lease_s=2.0, renew_s=0.3, look_s=0.3, after_error_s=0.1)


class Line:
    """A socket before the server's, which can be cut and put together again."""

    def __init__(self, server: Path, folder: Path) -> None:
        self._server = server
        self._socket = folder / SOCKET
        self._listening: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._listening = await asyncio.start_unix_server(self._carry, self._socket)

    async def cut(self) -> None:
        """End all connections and refuse new ones."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        self._socket.unlink(missing_ok=True)
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_unix_connection(self._server)
        self._ends |= {writer, before}
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(_copy(reader, before), _copy(behind, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, since that of a socket has to be."""
    made = Path(tempfile.mkdtemp(prefix="kaas-line-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def line(server, folder) -> Line:
    return Line(Path(str(make_url(server).query["host"])) / SOCKET, folder)


async def test_a_conductor_that_lost_its_database_for_a_while_goes_on(url, line, folder):
    await line.open()
    through = make_url(url).update_query_dict({"host": str(folder)}).render_as_string(hide_password=False)
    requests, world, metrics = open_store(url).requests(ProcrastinateWakeups()), World(), ConductorMetrics()
    store, reached = open_store(through), asyncio.Event()

    async def hang_once(_work: object) -> None:
        if not reached.is_set():
            reached.set()
            await asyncio.Event().wait()

    planner: FakePlanner = creating(
        FakeStep("a", world), FakeStep("b", world, needs=frozenset({"a"}), during_apply=hang_once)
    )
    engine = ProcrastinateEngine(
        conninfo_of(through), store.conducting, poll_s=0.2, heartbeat_s=0.2, stalled_s=1.0, observer=metrics
    )
    subject = Conductor(
        store.conducting, engine, planner, tools(store.conducting), owner="one", timing=TIMING, observer=metrics
    )
    accepted = await requests.create(SCOPE, "dev", Change(OperationKind.CREATE, SPEC, deadline_s=600))
    stop = Stop()
    async with asyncio.TaskGroup() as group:
        working = group.create_task(subject.run(stop))
        await asyncio.wait_for(reached.wait(), WITHIN_S)
        await line.cut()
        async with asyncio.timeout(WITHIN_S):
            # The work is let go; what is outside is not touched under a lease that may be another's by now.
            while world.active:  # noqa: ASYNC110 - it is in the middle of a step, which tells nobody
                await asyncio.sleep(0.05)
        await until(url, "SELECT count(*) FROM cluster WHERE lease_until > clock_timestamp()", [(0,)])
        assert not working.done()
        assert world.made == {"a": 1}
        await line.open()
        await until(url, "SELECT status FROM cluster", [("running",)])
        second = await requests.create(SCOPE, "two", Change(OperationKind.CREATE, SPEC, deadline_s=600))
        await until(url, "SELECT DISTINCT status FROM cluster", [("running",)])
        stop()
    assert world.made == {"a": 1, "b": 1}
    for made in (accepted, second):
        operation, _ = await requests.operation(SCOPE, made.operation.id)
        assert operation.state is OperationState.SUCCEEDED
    await store.close()
    await requests._database.close()
    await line.cut()
