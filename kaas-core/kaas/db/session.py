"""The database: how it is connected to, and the one way in which a transaction runs."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from kaas.db.columns import MYSQL
from kaas.domain.errors import StoreUnavailableError
from kaas.libpq import alive_arguments

SQLITE, POSTGRESQL = "sqlite", "postgresql"
DRIVERS = {SQLITE: "sqlite+aiosqlite", POSTGRESQL: "postgresql+psycopg", MYSQL: "mysql+aiomysql"}
POOL_SIZE = 10
"""Connections that are kept; for a while there may be as many again."""
_CONNECT_S = 10
_LOCK_S = 10
_MIGRATION_LOCK_S = 60
_STATEMENT_S = 30
_IDLE_S = 60
_WHOLE_S = 90
_TRIES = 5
_PAUSE_S = 0.02
_READING = "kaas_reading"

_DEADLOCKS = frozenset({"40001", "40P01", 1020, 1213})
"""PostgreSQL's and MariaDB's words for: others were in the way, the same again may pass."""

Result = TypeVar("Result")
Work = Callable[[AsyncConnection], Awaitable[Result]]


def parse_url(text: str) -> URL:
    """Read the address of a database. Raises ValueError, without the address: there may be a password in it."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError("the address of the database is none") from None
    if url.drivername not in DRIVERS.values():
        raise ValueError(f"the address of the database begins with {' or '.join(DRIVERS.values())}")
    if url.drivername == DRIVERS[SQLITE] and url.database in {None, "", ":memory:"}:
        raise ValueError("the address of an SQLite database names a file: sqlite+aiosqlite:////var/lib/kaas/kaas.db")
    return url


def make_engine(text: str, *, pool_size: int = POOL_SIZE, for_migrations: bool = False) -> AsyncEngine:
    """Make an engine; nothing is connected yet. Migrations take their time, and replace tables that others refer to."""
    url = parse_url(text)
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=_CONNECT_S,
        # Errors are logged, and parameters are sealed secrets and hashes of tokens.
        hide_parameters=True,
        connect_args=_arguments(url, for_migrations=for_migrations),
    )
    if url.drivername == DRIVERS[SQLITE]:
        _prepare_sqlite(engine, foreign_keys=not for_migrations)
    elif url.drivername == DRIVERS[MYSQL]:
        _prepare_mysql(engine)
    return engine


class Database:
    """Runs transactions. What is passed in may run again, so that it changes nothing but the tables.

    `at_once`: so many at one time; others wait here, where nobody gives up on them, and not for a connection. What is
    `urgent` does not wait, for which the pool has to have a few connections more.
    """

    def __init__(self, engine: AsyncEngine, *, at_once: int = POOL_SIZE) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**_reading_options(engine.dialect.name))
        # SQLite has one writer; those of this process line up here instead of asking again and again.
        self._turn = asyncio.Lock() if engine.dialect.name == SQLITE else contextlib.nullcontext()
        self._room = asyncio.Semaphore(at_once)

    async def write(self, work: Work[Result], *, urgent: bool = False) -> Result:
        """Run one transaction, again when others were in the way. Raises StoreUnavailableError."""
        async with self._turn, contextlib.nullcontext() if urgent else self._room:
            return await _run(self._engine, work)

    async def read(self, work: Work[Result]) -> Result:
        """Run statements that see one moment and change nothing. Raises StoreUnavailableError."""
        async with self._room:
            return await _run(self._reader, work)

    async def close(self) -> None:
        """Give up all connections."""
        await self._engine.dispose()


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a database says when it is away, busy or broken into StoreUnavailableError."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        if not _is_trouble(error):
            raise
        raise StoreUnavailableError(f"the database does not answer as it should: {_cause(error)}") from error


class _AgainError(Exception):
    """Nothing was committed, and the same may pass."""


async def _run(engine: AsyncEngine, work: Work[Result]) -> Result:
    for attempt in range(_TRIES):
        try:
            return await _once(engine, work)
        except _AgainError as error:
            if attempt == _TRIES - 1:
                raise StoreUnavailableError(f"the database gave up {_TRIES} times: {error}") from error
            await asyncio.sleep(random.uniform(0, _PAUSE_S * 2**attempt))  # noqa: S311 -- no secret
    raise AssertionError("unreachable")


async def _once(engine: AsyncEngine, work: Work[Result]) -> Result:
    committing = False
    with plain_errors():
        try:
            # The server's own limits are shorter; this one is for a server that does not say anything any more.
            async with _within(_WHOLE_S), engine.begin() as connection:
                result = await work(connection)
                committing = True
        except DBAPIError as error:
            # A commit whose answer was lost may have happened, and is not done again.
            if committing or not _passes(error):
                raise
            raise _AgainError(_cause(error)) from error
        return result


@contextlib.asynccontextmanager
async def _within(limit_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limit_s) as limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise StoreUnavailableError(f"the database did not answer within {limit_s:g} s") from error


def _passes(error: DBAPIError) -> bool:
    return error.connection_invalidated or _code(error) in _DEADLOCKS


def _is_trouble(error: SQLAlchemyError) -> bool:
    # The drivers' word for what is not the statement's fault; any other is a mistake of ours, and shown as it is.
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"OperationalError", "InterfaceError", "InternalError", "TimeoutError"})


def _code(error: DBAPIError) -> object:
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state
    arguments = error.orig.args if error.orig is not None else ()
    return arguments[0] if arguments else None


def _cause(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split())


def _arguments(url: URL, *, for_migrations: bool) -> dict[str, Any]:
    # Nobody waits for ever: a lock that is not given and a statement that does not end are errors.
    lock_s, statement_s = (_MIGRATION_LOCK_S, 0) if for_migrations else (_LOCK_S, _STATEMENT_S)
    if url.drivername == DRIVERS[POSTGRESQL]:
        limits = {
            "lock_timeout": f"{lock_s}s",
            "statement_timeout": f"{statement_s}s",
            "idle_in_transaction_session_timeout": f"{_IDLE_S}s",
        }
        options = " ".join(f"-c {name}={value}" for name, value in limits.items())
        return {"connect_timeout": _CONNECT_S, "options": options, **alive_arguments()}
    if url.drivername == DRIVERS[MYSQL]:
        # Read committed: who waited for a lock sees what the one before has written.
        settings = (
            f"innodb_lock_wait_timeout={lock_s}, lock_wait_timeout={lock_s}, max_statement_time={statement_s}, "
            f"idle_transaction_timeout={_IDLE_S}, "
            "tx_isolation='READ-COMMITTED', time_zone='+00:00', sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
        )
        return {"connect_timeout": _CONNECT_S, "charset": "utf8mb4", "init_command": f"SET SESSION {settings}"}
    return {"timeout": lock_s}


def _reading_options(dialect: str) -> dict[str, Any]:
    if dialect == POSTGRESQL:
        return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return {_READING: True}


def _prepare_sqlite(engine: AsyncEngine, *, foreign_keys: bool) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        # The driver would begin transactions by itself, and not before the first change.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            # A commit is on the disk when it is answered, or what was intended outside would be forgotten.
            "synchronous=FULL",
            f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # The write lock first: a reader that becomes a writer later would be refused when another was faster.
        reading = connection.get_execution_options().get(_READING)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _prepare_mysql(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_READING):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
