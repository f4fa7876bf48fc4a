"""`tests/unit/kaas/db/test_boots.py` on servers."""

from tests.unit.kaas.db.test_boots import *  # noqa: F403
