"""`tests/unit/kaas/db/test_lists.py` on servers."""

from tests.unit.kaas.db.test_lists import *  # noqa: F403
