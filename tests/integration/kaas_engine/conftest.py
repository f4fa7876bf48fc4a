"""A private PostgreSQL, and a database of its own for each test, with the tables of kaas and of the engine."""

import itertools
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from sqlalchemy.engine import make_url

from kaas.db import migrate
from kaas.engine import procrastinate_schema
from kaas.engine.procrastinate_schema import conninfo_of
from tests.support.databases import postgresql

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with postgresql() as url:
        yield url


@pytest.fixture
async def empty(server) -> AsyncIterator[str]:
    """The URL of a database without tables."""
    name = f"kaas_{next(_numbers)}"
    async with await psycopg.AsyncConnection.connect(conninfo_of(server), autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {name}")
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def url(empty) -> str:
    """The URL of a database with all tables."""
    await migrate.upgrade(empty)
    await procrastinate_schema.migrate(conninfo_of(empty))
    return empty
