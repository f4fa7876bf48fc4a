"""`tests/unit/kaas/db/test_migrations.py` on servers."""

from tests.unit.kaas.db.test_migrations import *  # noqa: F403
