"""An SQLite file of its own for each test."""

import asyncio
import shutil
from pathlib import Path

import pytest

from kaas.db import migrate
from tests.support.kaas_tables import kit, limited, other

__all__ = ["kit", "limited", "other"]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file with empty tables, to be copied."""
    path = tmp_path_factory.mktemp("kaas") / "empty.db"
    asyncio.run(migrate.upgrade(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture
def url(migrated: Path, tmp_path: Path) -> str:
    """Give the address of a database with empty tables."""
    path = shutil.copy(migrated, tmp_path / "kaas.db")
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture
def empty_url(tmp_path: Path) -> str:
    """Give the address of a database without tables."""
    return f"sqlite+aiosqlite:///{tmp_path / 'none.db'}"
