"""One service for all tests of this folder, with empty tables for each of them."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.unit.kaas.api.rig import Rig, make_tables
from tests.unit.kaas.cli.rig import Service


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    asyncio.run(make_tables(folder / "empty.db"))
    with Service(folder, folder / "empty.db") as started:
        yield started


@pytest.fixture
def service(served: Service) -> Service:
    """The service, with nothing in its tables."""
    served.do(Rig.forget)
    return served
