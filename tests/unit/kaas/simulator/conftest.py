"""A world in memory with two machines that have booted."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.kaas.simulator.place import Place, place


@pytest.fixture
async def here() -> AsyncIterator[Place]:
    """Give a world with machines `cp` and `worker`."""
    async with place() as made:
        yield made
