"""`tests/unit/kaas/db/test_conducting.py` on servers."""

from tests.unit.kaas.db.test_conducting import *  # noqa: F403
