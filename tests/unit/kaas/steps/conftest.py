"""A simulated world of its own for each test, and a store in memory or on tables."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.kaas_flow import Rig, rig_on
from tests.unit.kaas.db.conftest import migrated, url

__all__ = ["migrated", "url"]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Give a conductor with everything around it, quickly."""
    async with rig_on(tmp_path) as made:
        yield made


@pytest.fixture
async def stored(url: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """Give the same on an SQLite file."""
    async with rig_on(tmp_path, url=url) as made:
        yield made
