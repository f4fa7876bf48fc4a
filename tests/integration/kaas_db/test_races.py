"""`tests/unit/kaas/db/test_races.py` on servers."""

from tests.unit.kaas.db.test_races import *  # noqa: F403
