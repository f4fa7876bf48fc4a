from collections.abc import AsyncIterator

import pytest

from tests.unit.ccm.controllers.rig import Rig, running_rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Nodes in an API server, and a platform."""
    async with running_rig() as running:
        yield running
