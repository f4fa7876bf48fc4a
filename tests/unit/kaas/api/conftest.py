"""One service for all tests of this folder, with empty tables for each of them: making one costs more than any test."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings
from pytest_asyncio import is_async_test

from tests.unit.kaas.api.rig import Rig, make_tables, serving

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of the folder in the loop of the service."""
    for item in items:
        if FOLDER in item.path.parents and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and nothing in them."""
    path = tmp_path_factory.mktemp("tables") / "empty.db"
    asyncio.run(make_tables(path))
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> AsyncIterator[Rig]:
    async with serving(tmp_path_factory.mktemp("service"), empty) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def rig(service: Rig) -> Rig:
    """The service, with nothing in its tables."""
    await service.forget()
    return service


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> AsyncIterator[Rig]:
    """For modules whose requests are refused: a service with a cluster `blue-dev` that runs, in the tenant blue."""
    async with serving(tmp_path_factory.mktemp("shared"), empty) as made:
        await made.running("blue-dev", with_refs=True)
        yield made
