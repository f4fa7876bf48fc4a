"""Procrastinate's own tables: made and brought up to date by `kaas migrate`, never by a conductor."""

import contextlib
import re
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import psycopg
from procrastinate.schema import SchemaManager
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import make_url

from kaas.domain.errors import StoreUnavailableError
from kaas.libpq import alive_arguments

_LOCK = 0x6B616173
"""Two migrations at one time take turns."""
_CONNECT_S = 10
_LOCK_S = 60
_MARK = re.compile(r"kaas: procrastinate ([0-9]+(?:\.[0-9]+)*)")
_TABLE = "procrastinate_jobs"


class EngineSchemaError(Exception):
    """The tables of the engine are not what this release works with; the text says what to do."""


def conninfo_of(url: str) -> str:
    """Give libpq's connection string for a SQLAlchemy URL of PostgreSQL with psycopg. It may hold a password."""
    parsed = make_url(url)
    _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    return make_conninfo("", **{"connect_timeout": _CONNECT_S, **alive_arguments(), **arguments})


async def migrate(conninfo: str) -> None:
    """Make Procrastinate's tables, or bring those of an older release up to date; all of it or nothing.

    Conductors of an older release are ended before. Raises EngineSchemaError, StoreUnavailableError.
    """
    installed = version("procrastinate")
    async with _connected(conninfo) as connection:
        await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_S}s'")
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        there, comment = await _state(connection)
        for script in _scripts(installed, comment) if there else [SchemaManager.get_schema()]:
            await connection.execute(script)
        mark = sql.Literal(f"kaas: procrastinate {installed}")
        await connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(_TABLE), mark))


async def check(conninfo: str) -> bool:
    """Tell whether the tables are there, and up to date; changes nothing.

    Raises EngineSchemaError when a newer release made them, or somebody else; StoreUnavailableError.
    """
    installed = version("procrastinate")
    async with _connected(conninfo) as connection:
        there, comment = await _state(connection)
        return there and not _scripts(installed, comment)


@contextlib.asynccontextmanager
async def _connected(conninfo: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """Give a connection with one transaction, which is committed at the end of the block."""
    try:
        async with await psycopg.AsyncConnection.connect(conninfo) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise StoreUnavailableError(
            f"the database does not answer as it should: {' '.join(str(error).split())}"
        ) from error


async def _state(connection: psycopg.AsyncConnection) -> tuple[bool, str]:
    cursor = await connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL, coalesce(obj_description(to_regclass(%s), 'pg_class'), '')",
        (_TABLE, _TABLE),
    )
    row = await cursor.fetchone()
    return (row[0], row[1]) if row is not None else (False, "")


def _scripts(installed: str, comment: str) -> list[str]:
    match = _MARK.fullmatch(comment)
    if match is None:
        raise EngineSchemaError(
            f"the database has a table {_TABLE} that kaas did not make; give kaas a database or a schema of its own"
        )
    there = _numbers(match[1])
    if there > _numbers(installed):
        raise EngineSchemaError(
            f"the tables are those of procrastinate {match[1]}, and {installed} is installed; install a newer kaas"
        )
    files = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    return [path.read_text() for path in files if _numbers(path.name.split("_")[0]) > there]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
