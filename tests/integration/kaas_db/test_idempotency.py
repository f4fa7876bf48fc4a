"""`tests/unit/kaas/db/test_idempotency.py` on servers."""

from tests.unit.kaas.db.test_idempotency import *  # noqa: F403
