"""`tests/unit/kaas/db/test_sealed.py` on servers."""

from tests.unit.kaas.db.test_sealed import *  # noqa: F403
