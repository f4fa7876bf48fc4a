"""`tests/unit/kaas/db/test_requests.py` on servers."""

from tests.unit.kaas.db.test_requests import *  # noqa: F403
