from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.controller.rig import TIERS, Rig, running_rig


@pytest.fixture(params=TIERS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """A controller on a platform of each tier in turn."""
    async with running_rig(tmp_path, tier=request.param) as running:
        yield running


@pytest.fixture
async def extended(tmp_path: Path) -> AsyncIterator[Rig]:
    """A controller on an extended platform."""
    async with running_rig(tmp_path, tier="extended") as running:
        yield running


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Rig]:
    """A controller on a strict platform."""
    async with running_rig(tmp_path, tier="strict") as running:
        yield running
