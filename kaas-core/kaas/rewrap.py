"""Stored secrets under the newest key, so that older keys are needed no more: `kaas keyring rewrap`.

Services and conductors go on meanwhile. What ends in the middle has done what it did, and goes on when it runs again.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from kaas.crypto.envelope import Envelope, key_id_of
from kaas.crypto.keyring import KeyRing
from kaas.db.sealed import SealedSecret, SealedStore
from kaas.domain.errors import Code, KaasError
from kaas.domain.sealing import context_of
from kaas.domain.texts import listed

_MOST = 20
"""So many secrets that do not open are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrapped:
    """What came of it."""

    changed: int
    needed: Mapping[str, int]
    """How many secrets are sealed with each key, counted afterwards."""
    unneeded: tuple[str, ...]
    """Keys of the key ring that no secret is sealed with, without the one that seals from now on."""
    failed: tuple[str, ...]
    """Secrets that stay as they were, as sentences."""

    def __str__(self) -> str:
        lines = [f"{self.changed} secrets rewrapped, {sum(self.needed.values())} are stored"]
        lines += [f"  {count} sealed with {key_id}" for key_id, count in sorted(self.needed.items())]
        if self.unneeded:
            keys = ", ".join(self.unneeded)
            lines.append(f"needed by no stored secret any more, though by backups from before: {keys}")
        return "\n".join(lines)


async def rewrap_all(store: SealedStore, keys: Envelope, ring: KeyRing | None, *, seals_with_ring: bool) -> Rewrapped:
    """Seal the data key of every secret again under the newest key, and tell which keys are still needed.

    A secret that does not open stays, and the others go on. Raises KaasError when whoever holds the keys does not
    answer, StoreUnavailableError.
    """
    changed, failed = 0, []
    async for one in _all(store):
        try:
            sealed = await keys.rewrap(one.sealed, context=context_of(one.cluster_id, one.kind))
        except KaasError as error:
            if error.code not in (Code.BUG, Code.KEY_MISSING):
                raise
            failed.append(f"{one.kind} of cluster {one.cluster_id}: {error.message}")
            continue
        # What a conductor has written meanwhile is sealed with the newest key, or counted below.
        if sealed != one.sealed and await store.replace(one, sealed):
            changed += 1
    needed = await _count(store)
    return Rewrapped(
        changed=changed,
        needed=needed,
        unneeded=await _unneeded(ring, needed, seals_with_ring=seals_with_ring),
        failed=_told(failed),
    )


async def _all(store: SealedStore) -> AsyncIterator[SealedSecret]:
    last = ""
    while page := await store.after(last):
        for one in page:
            yield one
        last = page[-1].id


async def _count(store: SealedStore) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    async for one in _all(store):
        try:
            counts[key_id_of(one.sealed)] += 1
        except KaasError:
            counts["a key that cannot be read"] += 1
    return counts


async def _unneeded(ring: KeyRing | None, needed: Mapping[str, int], *, seals_with_ring: bool) -> tuple[str, ...]:
    if ring is None:
        return ()
    there = await ring.key_ids()
    older = there[:-1] if seals_with_ring else there
    return tuple(key_id for key_id in older if key_id not in needed)


def _told(failed: list[str]) -> tuple[str, ...]:
    if not failed:
        return ()
    return (f"{len(failed)} secrets stay as they were: {listed(failed, most=_MOST)}",)
