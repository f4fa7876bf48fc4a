"""PostgreSQL and MariaDB, one private server of each for the whole run; every test finds the tables empty.

The tests are those of `tests/unit/kaas/db`, and a few about what only servers do.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest
from sqlalchemy import URL, make_url, text

from kaas.db import migrate
from kaas.db.session import make_engine
from kaas.db.tables import metadata
from tests.support.databases import mariadb, postgresql
from tests.support.kaas_tables import kit, limited, other
from tests.support.tools import MissingToolError

__all__ = ["kit", "limited", "other"]

SERVERS: dict[str, Callable[[], AbstractContextManager[str]]] = {"postgresql": postgresql, "mariadb": mariadb}


class Server:
    """A running server with one database that has the tables, and one for tests that make them."""

    def __init__(self, first: str) -> None:
        self._first = make_url(first)
        self.url = self.make("tables")
        self.empty_url = self.make("none")
        asyncio.run(migrate.upgrade(self.url))

    def make(self, name: str) -> str:
        asyncio.run(_statements(self._first, f"CREATE DATABASE kaas_{name}"))
        return self._first.set(database=f"kaas_{name}").render_as_string(hide_password=False)

    def clear(self) -> None:
        names = [f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)]
        asyncio.run(_statements(make_url(self.url), *names))


async def _statements(url: URL, *statements: str) -> None:
    engine = make_engine(url.render_as_string(hide_password=False)).execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Server]]:
    """Give the servers; each starts when a test needs it first."""
    running: dict[str, Server] = {}
    with ExitStack() as stack:

        def server(name: str) -> Server:
            if name not in running:
                running[name] = Server(stack.enter_context(SERVERS[name]()))
            return running[name]

        yield server


@pytest.fixture(params=list(SERVERS))
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    """Give one server after the other."""
    try:
        return servers(request.param)
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    """Give the address of a database with empty tables."""
    yield server.url
    server.clear()


@pytest.fixture
def empty_url(server: Server) -> Iterator[str]:
    """Give the address of a database without tables."""
    yield server.empty_url
    asyncio.run(migrate.downgrade(server.empty_url, "base"))
