"""What the figures of kaas are taken on: PostgreSQL, `kaas api` and `kaas conductor` as processes, one simulated world.

All conductors share a state folder, and with it the simulator's file: one platform. They also share the socket that
machines report to, as behind a load balancer, so that a machine's report survives the conductor that made it.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from sqlalchemy import make_url

from benchmarks.kaas_ledger import StepTime
from kaas import people
from kaas.crypto.keyring import new_keyring
from kaas.domain.policy import Role
from kaas.drivers.simulator.ground import Ground
from kaas.drivers.simulator.world import World
from kaas.engine.procrastinate_schema import conninfo_of
from tests.support.databases import postgresql

MIB = 1 << 20
DATABASE = "TC_DATABASE_URL"
_OBSERVER = "bench"
"""Who looks into the tables for the benchmark; what they ask is not counted."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_SETTINGS: Mapping[str, str] = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.max": "10000",
}
"""Nothing here makes it faster than a database that people trust: what is committed is on the disk."""


@dataclass(slots=True)
class Program:
    """A process of kaas that runs."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    told: str = ""
    """The line in which it said where it serves."""

    @property
    def cpu_s(self) -> float:
        """The processor's time that it used."""
        return sum(_times(self.process.pid)[:2])

    @property
    def resident_mib(self) -> float:
        """The memory that it has."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB

    async def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """Ask it to end and wait for that; gives the exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        return await self.process.wait()


@dataclass(frozen=True, slots=True)
class Statements:
    """What a database was asked: statements without the begin and end of transactions, and transactions."""

    statements: int
    transactions: int


@dataclass(slots=True)
class Rig:
    """Everything that runs."""

    folder: Path
    database: str
    key: str
    http: httpx.AsyncClient
    tables: psycopg.AsyncConnection[tuple[Any, ...]]
    reports: socket.socket
    flags: Sequence[str]
    programs: list[Program] = field(default_factory=list)
    """The API and all conductors, those that were killed too."""

    async def start_api(self) -> None:
        """Start the API, before any conductor."""
        self.programs.append(await self._start("api", "--listen=127.0.0.1:0"))

    async def start_conductor(self) -> Program:
        """Start one more conductor."""
        number = self.reports.fileno()
        port = self.reports.getsockname()[1]
        flags = (f"--phone-home-listen=fd:{number}", f"--phone-home-url=https://127.0.0.1:{port}")
        made = await self._start(f"conductor-{len(self.programs)}", *flags, pass_fds=(number,))
        self.programs.append(made)
        return made

    async def _start(self, name: str, *flags: str, pass_fds: Sequence[int] = ()) -> Program:
        command = name.partition("-")[0]
        environ = own_environment() | {DATABASE: self.database}
        words = (command, *SIMULATED, "--engine=procrastinate", f"--state-dir={self.state}", *self.flags, *flags)
        return await started(name, words, environ, self.folder / f"{name}.log", pass_fds=pass_fds)

    @property
    def state(self) -> Path:
        """The state folder of all processes."""
        return self.folder / "state"

    @property
    def living(self) -> list[Program]:
        """The API and the conductors that run."""
        return [one for one in self.programs if one.process.returncode is None]

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """Ask the API."""
        url = self.programs[0].told.rpartition(" ")[2]
        answer = await self.http.request(method, url + path, json=body, headers={"X-API-Key": self.key})
        if answer.is_error:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Look into the tables."""
        cursor = await self.tables.execute(query.encode(), values or None)
        return await cursor.fetchall()

    async def statements(self) -> Statements:
        """Count what kaas asked its database until now."""
        counted = await self.rows(
            "SELECT s.query ~* '^(begin|commit|rollback|savepoint|release)', sum(s.calls)::bigint"
            " FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname <> %s GROUP BY 1",
            _OBSERVER,
        )
        ended = await self.rows("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'")
        return Statements(dict(counted).get(False, 0), int(ended[0][0]))

    async def steps(self, kind: str) -> list[StepTime]:
        """Give the steps of all operations of a kind that are done."""
        rows = await self.rows(
            "SELECT s.key, s.started_at, s.finished_at, s.attempt FROM operation_step s"
            " JOIN operation o ON o.uuid = s.operation_id WHERE o.kind = %s AND s.finished_at IS NOT NULL",
            kind,
        )
        return [StepTime(*row) for row in rows]

    def database_cpu_s(self) -> float:
        """Give the processor's time of PostgreSQL: of its servers, and of those that have ended."""
        folder = Path(str(make_url(self.database).query["host"]))
        first = int((folder / "data" / "postmaster.pid").read_text(encoding="ascii").split()[0])
        return sum(_times(first)) + sum(sum(_times(pid)[:2]) for pid in _children(first))

    @contextlib.contextmanager
    def world(self) -> Iterator[World]:
        """Look into the simulated world."""
        ground = Ground(self.state / "simulator.db")
        try:
            yield World(ground)
        finally:
            ground.close()


SIMULATED = ("--driver=simulator", "--log-level=warning")


@contextlib.asynccontextmanager
async def rig(folder: Path, *flags: str) -> AsyncIterator[Rig]:
    """Start PostgreSQL and the API on new tables; the caller starts conductors. All of them end with the block."""
    key = await asyncio.to_thread(furnish, folder / "state")
    async with contextlib.AsyncExitStack() as stack:
        database = await asyncio.to_thread(stack.enter_context, postgresql(_SETTINGS))
        environ = own_environment() | {DATABASE: database}
        await ran(("migrate", "--engine=procrastinate", f"--state-dir={folder / 'state'}"), environ)
        async with await psycopg.AsyncConnection.connect(conninfo_of(database), autocommit=True) as first:
            await first.execute(f"CREATE ROLE {_OBSERVER} SUPERUSER LOGIN".encode())
            await first.execute(b"CREATE EXTENSION pg_stat_statements")
        observer = database.replace("//kaas@", f"//{_OBSERVER}@")
        tables = await psycopg.AsyncConnection.connect(conninfo_of(observer), autocommit=True)
        made = Rig(
            folder,
            database,
            key,
            await stack.enter_async_context(httpx.AsyncClient(timeout=120.0)),
            await stack.enter_async_context(tables),
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024)),
            flags,
        )
        try:
            await made.start_api()
            yield made
        finally:
            for one in made.programs:
                await one.stop()


def own_environment() -> dict[str, str]:
    """Give the environment without what would change the settings of kaas."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TC_")}


def furnish(state: Path) -> str:
    """Make what a first start needs; gives the key of an admin."""
    state.mkdir(mode=0o700, parents=True)
    new_keyring(state / "keyring.json")
    return people.add(state / "users.yaml", people.Person("bench", "bench", Role.ADMIN))


async def started(
    name: str, words: Iterable[str], environ: Mapping[str, str], log: Path, *, pass_fds: Sequence[int] = ()
) -> Program:
    """Start a process of kaas and wait until it says where it serves."""
    argv = (sys.executable, "-m", "kaas.program", *words)
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *argv, env=dict(environ), stdout=asyncio.subprocess.PIPE, stderr=errors, pass_fds=pass_fds
        )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    if not line:
        raise SystemExit(f"{name} ended with {await process.wait()}; {await asyncio.to_thread(log.read_text)}")
    return Program(name, process, log, line)


async def ran(words: Iterable[str], environ: Mapping[str, str]) -> None:
    """Run a command of kaas to its end."""
    argv = (sys.executable, "-m", "kaas.program", *words)
    process = await asyncio.create_subprocess_exec(*argv, env=dict(environ), stdout=asyncio.subprocess.DEVNULL)
    if code := await process.wait():
        raise SystemExit(f"kaas {' '.join(words)} ended with {code}")


async def spread(work: Iterable[Callable[[], Awaitable[None]]], at_once: int) -> None:
    """Do pieces of work, so many at once."""
    room = asyncio.Semaphore(at_once)

    async def one(piece: Callable[[], Awaitable[None]]) -> None:
        async with room:
            await piece()

    async with asyncio.TaskGroup() as group:
        for piece in work:
            group.create_task(one(piece))


async def until(look: Callable[[], Awaitable[bool]], limit_s: float, *, every_s: float = 0.2) -> bool:
    """Wait until something is so; False when it is not by the limit."""
    try:
        async with asyncio.timeout(limit_s):
            while not await look():  # noqa: ASYNC110 - what is waited for is in other processes
                await asyncio.sleep(every_s)
    except TimeoutError:
        return False
    return True


def _times(pid: int) -> tuple[float, float, float, float]:
    """Give the processor's time of a process in user and system mode, and of its children that have ended; or zeros."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return (0.0, 0.0, 0.0, 0.0)
    user, system, children_user, children_system = line.rpartition(")")[2].split()[11:15]
    return (
        int(user) * _TICK_S,
        int(system) * _TICK_S,
        int(children_user) * _TICK_S,
        int(children_system) * _TICK_S,
    )


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(word) for word in text.split()]
