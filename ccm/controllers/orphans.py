"""What carries this cluster's mark on the platform, though the service that it was made for is gone.

Nothing leaks as long as finalizers are left alone; this sweep is for those that were taken away by force. It reports
first. It deletes only what was an orphan in several sweeps in a row over a time of grace, while the list of services
was complete, and after the API server itself has said that the service is not there. It does nothing in the first
minutes, and only reports when much of what is there looks orphaned at once: that is how a wrong cluster id looks.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from ccm.controllers.certificates import Certificates
from ccm.controllers.locks import BalancerLocks
from ccm.controllers.observed import Observed, uids_of
from ccm.controllers.telling import Recorder
from ccm.kube.model import Meta, Service
from ccm.model import Balancer
from ccm.names import CLUSTER_TAG, SERVICE_TAG, SERVICE_UID_TAG
from ccm.ports import Cause, CloudBalancers, CloudError

log = logging.getLogger(__name__)

ORPHANED = "OrphanedLoadBalancer"
DELETED = "DeletedOrphanedLoadBalancer"
_SMALL_NUMBER = 3
"""So many orphans are deleted even when there is nothing else."""

ServiceReader = Callable[[str, str, float], Awaitable[Service | None]]
"""Asks the API server for a service by namespace, name and deadline; None when it is not there."""


@dataclass(frozen=True, kw_only=True)
class SweepRules:
    """When an orphan is deleted; times in seconds."""

    first_after_s: float = 600.0
    every_s: float = 300.0
    grace_s: float = 1800.0
    confirmations: int = 3
    deletes: bool = True
    """Off: report only."""
    request_timeout_s: float = 60.0


@dataclass(slots=True)
class _Suspect:
    since: float
    sightings: int = 0


class Orphans:
    """Looks for orphans again and again.

    `is_alive` says whether the store has a service of this uid that may have a load balancer, `is_user` whether a
    service may have one, `is_complete` whether the store has all services.
    """

    def __init__(
        self,
        balancers: CloudBalancers,
        observed: Observed,
        certificates: Certificates,
        locks: BalancerLocks,
        *,
        cluster_id: str,
        is_alive: Callable[[str], bool],
        is_user: Callable[[Service], bool],
        is_complete: Callable[[], bool],
        read_service: ServiceReader,
        recorder: Recorder,
        clock: Callable[[], float],
        rules: SweepRules | None = None,
    ) -> None:
        self._balancers = balancers
        self._observed = observed
        self._certificates = certificates
        self._locks = locks
        self._mark = (CLUSTER_TAG, cluster_id)
        self._is_alive = is_alive
        self._is_user = is_user
        self._is_complete = is_complete
        self._read_service = read_service
        self._recorder = recorder
        self._clock = clock
        self._rules = rules or SweepRules()
        self._started_at = clock()
        self._suspects: dict[str, _Suspect] = {}

    async def run(self) -> None:
        """Sweep for ever; the first minutes count from here."""
        self._started_at = self._clock()
        await asyncio.sleep(self._rules.first_after_s)
        while True:
            try:
                await self.sweep(deadline=asyncio.get_running_loop().time() + self._rules.request_timeout_s)
            except CloudError as failure:
                log.warning("the sweep for orphaned load balancers was not finished: %s", failure)
            await asyncio.sleep(self._rules.every_s)

    async def sweep(self, *, deadline: float) -> None:
        """Look once. Raises CloudError when the platform does not answer."""
        if not self._is_complete() or self._clock() < self._started_at + self._rules.first_after_s:
            self._suspects.clear()
            return
        every = await self._observed.everything(since=self._observed.now(), deadline=deadline)
        if not self._is_complete():
            return
        orphans = [one for one in every if self._is_orphan(one)]
        self._note(orphans)
        if not self._rules.deletes or len(orphans) > max(_SMALL_NUMBER, len(every) // 2):
            if self._rules.deletes:
                log.error("%d of %d load balancers look orphaned: none is deleted", len(orphans), len(every))
            return
        for orphan in orphans:
            if self._is_ripe(orphan) and await self._is_confirmed(orphan, deadline=deadline):
                await self._delete(orphan, deadline=deadline)
        await drop_unused_certificates(self._certificates, every, deadline=deadline)

    def _is_orphan(self, one: Balancer) -> bool:
        # Without the uid of a service it was let go on purpose (the policy `orphan`).
        return SERVICE_UID_TAG in one.tags and not any(map(self._is_alive, uids_of(one)))

    def _note(self, orphans: Collection[Balancer]) -> None:
        now = self._clock()
        self._suspects = {one.id: self._suspects.get(one.id) or _Suspect(now) for one in orphans}
        for orphan in orphans:
            suspect = self._suspects[orphan.id]
            suspect.sightings += 1
            if suspect.sightings == 1:
                text = f"load balancer {orphan.id} ({orphan.name}) is left over: its service is gone"
                log.warning("%s; service %s", text, orphan.tags.get(SERVICE_TAG, "unknown"))
                self._tell(orphan, ORPHANED, text)

    def _is_ripe(self, orphan: Balancer) -> bool:
        suspect = self._suspects[orphan.id]
        is_old = self._clock() >= suspect.since + self._rules.grace_s
        return is_old and suspect.sightings >= self._rules.confirmations

    async def _is_confirmed(self, orphan: Balancer, *, deadline: float) -> bool:
        """Say whether the API server itself says that the service is gone; without its name nobody can be asked."""
        namespace, slash, name = orphan.tags.get(SERVICE_TAG, "").partition("/")
        if not slash or not namespace or not name:
            return False
        try:
            found = await self._read_service(namespace, name, deadline)
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is no proof
            log.warning("service %s/%s cannot be asked for: %s", namespace, name, failure)
            return False
        return found is None or found.metadata.uid not in uids_of(orphan) or not self._is_user(found)

    async def _delete(self, orphan: Balancer, *, deadline: float) -> None:
        async with self._locks.held((orphan.id,), deadline=deadline):
            # A service may have been put on it since it was listed.
            there = await self._observed.reread(orphan.id, deadline=deadline)
            if there is not None and not self._is_orphan(there):
                return
            log.warning("deleting orphaned load balancer %s (%s)", orphan.id, orphan.name)
            await self._balancers.delete(orphan.id, guard=self._mark, deadline=deadline)
            self._observed.forget(orphan.id)
        self._suspects.pop(orphan.id, None)
        self._tell(orphan, DELETED, f"deleted load balancer {orphan.id} ({orphan.name}), whose service is gone")

    def _tell(self, orphan: Balancer, reason: str, text: str) -> None:
        namespace, slash, name = orphan.tags.get(SERVICE_TAG, "").partition("/")
        if slash:
            uid = orphan.tags.get(SERVICE_UID_TAG, "")
            self._recorder.warning(Service(metadata=Meta(name=name, namespace=namespace, uid=uid)), reason, text)


async def drop_unused_certificates(
    certificates: Certificates, balancers: Collection[Balancer], *, deadline: float
) -> None:
    """Remove certificates that no service claims and none of our load balancers has; a failure is left to the sweep."""
    in_use = frozenset(
        one
        for balancer in balancers
        for group in balancer.groups
        for listener in group.listeners
        for one in listener.certificate_ids
    )
    try:
        removed = await certificates.collect(in_use=in_use, deadline=deadline)
    except CloudError as failure:
        if failure.cause is not Cause.UNSUPPORTED:
            log.warning("certificates that nothing uses were not removed: %s", failure)
        return
    for certificate_id, name in removed.items():
        log.info("removed certificate %s (%s), which nothing uses", certificate_id, name)
