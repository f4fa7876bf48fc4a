"""Scenes that are told once, and which of the tests run without being asked for."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.faults.kaas.scenes import STORIES, Scene

Tell = Callable[[str], Scene]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is thorough, unless `-m` says what is wanted."""
    if config.option.markexpr:
        return
    here = Path(__file__).parent
    left = [item for item in items if here in item.path.parents and item.get_closest_marker("thorough")]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Tell:
    """Give the scene of a story, to be copied."""

    @cache
    def tell(name: str) -> Scene:
        return STORIES[name].tell(tmp_path_factory.mktemp("scene") / "first")

    return tell


@pytest.fixture
def scene(told: Tell, tmp_path: Path) -> Tell:
    """Give scenes of one's own, one for each story."""
    return lambda name: told(name).copied(tmp_path / name)
