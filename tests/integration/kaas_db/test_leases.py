"""`tests/unit/kaas/db/test_leases.py` on servers."""

from tests.unit.kaas.db.test_leases import *  # noqa: F403
