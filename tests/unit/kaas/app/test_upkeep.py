"""What is done around a conductor, and what becomes of the conductor when that fails."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from kaas.db.conductors import Conductor
from kaas.db.store import Store
from kaas.domain.errors import StoreUnavailableError
from kaas.engine.advisory_lock import Alone
from kaas.upkeep import Upkeep


class Tables:
    """Tables on which removing old rows ends as it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.pruned = asyncio.Event()
        self.there: set[str] = set()
        self.taken_away = 0

    async def register(self, conductor_id: str, **_: str) -> None:
        self.there.add(conductor_id)

    async def remove(self, conductor_id: str) -> None:
        self.there.discard(conductor_id)

    async def list(self) -> list[Conductor]:
        return []

    async def prune(self, *, older_than_s: float, audit_older_than_s: float) -> None:
        assert (older_than_s, audit_older_than_s) == (60, 90)
        self.pruned.set()
        if self.error is not None:
            raise self.error

    async def take_away_leases(self) -> int:
        self.taken_away += 1
        return 1

    def upkeep(self) -> Upkeep:
        store = SimpleNamespace(conductors=self, retention=self, conducting=self)
        return Upkeep(cast(Store, store), "one", "1.0", keep_events_s=60, keep_audit_s=90)


async def test_a_mistake_in_it_ends_the_conductor() -> None:
    tables = Tables(ValueError("a mistake"))
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(20), tables.upkeep().running():
            await asyncio.Event().wait()
    assert isinstance(caught.value.exceptions[0], ValueError)
    assert tables.there == set()


async def test_tables_that_do_not_answer_do_not() -> None:
    tables = Tables(StoreUnavailableError("away"))
    async with tables.upkeep().running():
        await tables.pruned.wait()
        assert tables.there == {"one"}
    assert tables.there == set()


async def test_leases_are_taken_away_only_by_who_is_alone() -> None:
    tables = Tables()
    async with tables.upkeep().running():
        assert tables.taken_away == 0
    async with tables.upkeep().running(alone=Alone()):
        assert tables.taken_away == 1
