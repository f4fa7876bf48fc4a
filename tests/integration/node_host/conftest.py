"""Real loop devices for each test of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.loops import Loops, missing_for_loops


@pytest.fixture
def loops(tmp_path: Path) -> Iterator[Loops]:
    missing = missing_for_loops()
    if missing:
        pytest.skip(missing)
    made = Loops(tmp_path)
    try:
        yield made
    finally:
        made.clean()
