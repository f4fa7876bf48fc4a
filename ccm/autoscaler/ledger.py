"""The record of what is wanted, changed by compare and set.

Belongs here: that each change happens once, or is reported as unknown. Does not belong here: what a change is
(`record.py`), where it is stored (`ports.TargetStore`).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ccm.autoscaler.ports import AutoscalerError, Problem, StoreConflict, Stored, StoreUnavailable, TargetStore
from ccm.autoscaler.record import Document, GroupRecord, Records, decode, encode

_ATTEMPTS = 4
_PAUSE_S = 0.1

Edit = Callable[[GroupRecord | None], GroupRecord]
"""Gives the record as it shall be; pure, since it may be asked again with a newer record."""


@dataclass(frozen=True, slots=True)
class _Read:
    document: Document
    version: str


class Ledger:
    """What each group wants. One change at a time in this process; others are noticed by the version."""

    def __init__(self, store: TargetStore, *, new_id: Callable[[], str]) -> None:
        """`new_id` gives an id that no other change has."""
        self._store = store
        self._new_id = new_id
        self._lock = asyncio.Lock()
        self._known: _Read | None = None
        """None as well while nobody knows whether a write happened."""

    async def records(self, *, deadline: float) -> Records:
        """Give the records as last seen, read now when that is not certain; raises AutoscalerError."""
        known = self._known
        if known is not None:
            return known.document.groups
        return await self.read(deadline=deadline)

    async def read(self, *, deadline: float) -> Records:
        """Read the records from the store; raises AutoscalerError."""
        async with self._lock:
            return (await self._read(deadline)).document.groups

    async def change(self, group: str, edit: Edit, *, deadline: float) -> GroupRecord:
        """Change one group's record and give it as it is now.

        Raises what `edit` raises, with nothing changed then, and AutoscalerError with UNAVAILABLE when the store gave
        no answer: the change may have happened, and never happens twice.
        """
        async with self._lock:
            return await self._change(group, edit, deadline)

    async def _change(self, group: str, edit: Edit, deadline: float) -> GroupRecord:
        change = self._new_id()
        doubtful: str | None = None
        """Version that an attempt without an answer was based on."""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_PAUSE_S * attempt)
            current = self._known or await self._read(deadline)
            groups = current.document.groups
            if doubtful is not None and current.document.change == change:
                return groups[group]
            if doubtful is not None and current.version != doubtful:
                break
            before = groups.get(group)
            after = edit(before)
            if after is before:
                return after
            document = Document(change=change, groups={**groups, group: after})
            try:
                await self._write(document, current.version, deadline)
            except StoreConflict:
                continue
            except StoreUnavailable:
                doubtful = current.version
                continue
            return after
        raise AutoscalerError(
            Problem.UNAVAILABLE,
            f"node group {group}: nobody knows whether its record was changed, or others change it at the same time;"
            " ask for its target size again",
        )

    async def _write(self, document: Document, version: str, deadline: float) -> None:
        self._known = None
        stored = await self._store.put(encode(document), version=version, deadline=deadline)
        self._known = _Read(document, stored.version)

    async def _read(self, deadline: float) -> _Read:
        try:
            stored: Stored = await self._store.get(deadline=deadline)
        except StoreUnavailable as error:
            raise AutoscalerError(Problem.UNAVAILABLE, f"the record of the node groups: {error}") from error
        self._known = _Read(decode(stored.text), stored.version)
        return self._known
