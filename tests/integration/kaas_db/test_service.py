"""`tests/unit/kaas/db/test_service.py` on servers."""

from tests.unit.kaas.db.test_service import *  # noqa: F403
