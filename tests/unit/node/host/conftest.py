"""A simulated host for each test."""

from pathlib import Path

import pytest

from tests.support.fake_host import FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "target"
    folder.mkdir()
    return folder
