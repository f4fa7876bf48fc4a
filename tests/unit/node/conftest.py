"""A node plugin on a simulated host for each test."""

from pathlib import Path

import pytest

from tests.support.node_plugin import Plugin


@pytest.fixture
async def plugin(tmp_path: Path) -> Plugin:
    made = Plugin(tmp_path)
    await made.start()
    return made
