"""`tests/unit/kaas/db/test_tenants.py` on servers."""

from tests.unit.kaas.db.test_tenants import *  # noqa: F403
