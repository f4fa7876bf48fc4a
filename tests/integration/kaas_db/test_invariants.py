"""`tests/unit/kaas/db/test_invariants.py` on servers."""

from tests.unit.kaas.db.test_invariants import *  # noqa: F403
