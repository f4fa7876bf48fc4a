"""What the platform has for this cluster's services: one listing, kept true by the answers to our own writes.

One leader writes at a time, so a listing and what the platform answered afterwards say what is there; what others
change meanwhile is found by the next listing (the drift pass), or when a write meets it.
"""

import asyncio
from collections.abc import Mapping, Sequence

from ccm.controllers.locks import held
from ccm.model import Balancer
from ccm.names import SERVICE_UID_TAG
from ccm.ports import CloudBalancers


class Observed:
    """Finds load balancers by the uid of a service: the tag names it, or a group does."""

    def __init__(self, balancers: CloudBalancers) -> None:
        self._balancers = balancers
        self._moment = 0
        self._listing = asyncio.Lock()
        self._taken_at = -1
        self._distrusted_at = 0
        self._doubted: dict[str, int] = {}
        self._by_id: dict[str, Balancer] = {}
        self._by_uid: dict[str, set[str]] = {}
        self._changed: dict[str, int] = {}
        """When an entry was last set by an answer other than a listing; newer than a listing that began before."""

    async def everything(self, *, since: int | None = None, deadline: float) -> Sequence[Balancer]:
        """Give all of this cluster's load balancers, as of a listing that began at `since` or later.

        None takes any listing. Callers at one time share one request. Raises CloudError.
        """
        await self._ensure(since, deadline)
        return tuple(self._by_id[one] for one in sorted(self._by_id))

    async def of(self, uid: str, *, since: int | None = None, deadline: float) -> Sequence[Balancer]:
        """Give those of one service, the oldest first; see `everything` for `since`. Raises CloudError."""
        await self._ensure(max(since or 0, self._doubted.get(uid, 0)), deadline)
        return sorted((self._by_id[one] for one in self._by_uid.get(uid, ())), key=_age)

    def latest(self, balancer: Balancer) -> Balancer | None:
        """Give what is known by now of one that was read a while ago; None when it is known to be gone."""
        known = self._by_id.get(balancer.id)
        return balancer if known is None and balancer.id not in self._changed else known

    def now(self) -> int:
        """Give the moment to name as `since` when what is wanted must be read after it; it is no time of any clock."""
        self._moment += 1
        return self._moment

    def note(self, balancer: Balancer) -> None:
        """Remember what the platform has just answered."""
        self._changed[balancer.id] = self.now()
        self._put(balancer)

    def forget(self, balancer_id: str) -> None:
        """Remember that this one is not there any more, or no longer ours."""
        self._changed[balancer_id] = self.now()
        self._drop(balancer_id)

    def doubt(self, uid: str = "") -> None:
        """Distrust what is known of one service's, or of everything: a write may or may not have happened."""
        if uid:
            self._doubted[uid] = self.now()
        else:
            self._distrusted_at = self.now()

    async def reread(self, balancer_id: str, *, deadline: float) -> Balancer | None:
        """Ask for one load balancer and remember the answer. Raises CloudError."""
        found = await self._balancers.get(balancer_id, deadline=deadline)
        if found is None:
            self.forget(balancer_id)
        elif balancer_id in self._by_id:
            self.note(found)
        return found

    async def _ensure(self, since: int | None, deadline: float) -> None:
        if self._is_enough(since):
            return
        async with held(self._listing, "the list of load balancers", deadline=deadline):
            if self._is_enough(since):
                return
            began = self.now()
            listed = await self._balancers.mine(max_age_s=0.0, deadline=deadline)
            self._replace(listed, began)

    def _is_enough(self, since: int | None) -> bool:
        return self._taken_at >= max(self._distrusted_at, since or 0)

    def _replace(self, listed: Sequence[Balancer], began: int) -> None:
        newer = {one for one, at in self._changed.items() if at >= began}
        kept = {one: self._by_id[one] for one in newer if one in self._by_id}
        fresh: Mapping[str, Balancer] = {one.id: one for one in listed if one.id not in newer} | kept
        self._by_id.clear()
        self._by_uid.clear()
        for balancer in fresh.values():
            self._put(balancer)
        self._changed = {one: self._changed[one] for one in newer}
        self._doubted = {uid: at for uid, at in self._doubted.items() if at >= began}
        self._taken_at = began

    def _put(self, balancer: Balancer) -> None:
        self._drop(balancer.id)
        self._by_id[balancer.id] = balancer
        for uid in uids_of(balancer):
            self._by_uid.setdefault(uid, set()).add(balancer.id)

    def _drop(self, balancer_id: str) -> None:
        old = self._by_id.pop(balancer_id, None)
        if old is None:
            return
        for uid in uids_of(old):
            ids = self._by_uid.get(uid)
            if ids is not None:
                ids.discard(balancer_id)
                if not ids:
                    del self._by_uid[uid]


def uids_of(balancer: Balancer) -> frozenset[str]:
    """Give the uids of the services that a load balancer serves: its owner by the tag, others by their groups."""
    named = {group.name for group in balancer.groups}
    owner = balancer.tags.get(SERVICE_UID_TAG, "")
    return frozenset(named | {owner} if owner else named)


def _age(balancer: Balancer) -> tuple[bool, str, str]:
    created = balancer.created_at
    return (created is None, created.isoformat() if created is not None else "", balancer.id)
