"""`tests/unit/kaas/db/test_columns.py` on servers."""

from tests.unit.kaas.db.test_columns import *  # noqa: F403
