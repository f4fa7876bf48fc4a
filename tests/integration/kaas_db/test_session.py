"""`tests/unit/kaas/db/test_session.py` on servers."""

from tests.unit.kaas.db.test_session import *  # noqa: F403
