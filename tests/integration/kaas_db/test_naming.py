"""`tests/unit/kaas/db/test_naming.py` on servers."""

from tests.unit.kaas.db.test_naming import *  # noqa: F403
