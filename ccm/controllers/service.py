"""The service controller: every service of type LoadBalancer has a load balancer, and no other has one.

Level triggered: a key says that something may have changed, and a pass compares what is wanted with what is there.
Changes come from services, from nodes (one signal for many, `ccm.controllers.fleet`), and from the drift pass, which
compares everything every few minutes since others may change what is on the platform (ccm-anchors 1.4, 1.6).
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ccm.annotations.parsing import parse
from ccm.annotations.table import SHARE_WITH, TLS_CERT
from ccm.controllers.apply import Applier
from ccm.controllers.certificates import Certificates, SecretReader
from ccm.controllers.cleanup import Cleanup
from ccm.controllers.ensure import SYNC_FAILED, Ensure, Tools
from ccm.controllers.fleet import FleetWatch
from ccm.controllers.left_out import LeftOut
from ccm.controllers.locks import BalancerLocks
from ccm.controllers.object_client import ObjectClient
from ccm.controllers.observed import Observed
from ccm.controllers.orphans import Orphans, SweepRules, drop_unused_certificates
from ccm.controllers.places import Places
from ccm.controllers.progress import Patience, Progress
from ccm.controllers.service_ports import Nodes, NoServiceMetrics, ServiceMetrics, Services
from ccm.controllers.service_writes import ServiceWrites
from ccm.controllers.telling import Recorder, Telling
from ccm.controllers.wishes import Wishes
from ccm.desired.services import changed, needs_balancer, needs_cleanup
from ccm.desired.wanted import Cluster
from ccm.kube.errors import ApiError
from ccm.kube.kinds import SERVICES
from ccm.kube.model import Service
from ccm.kube.queue import WorkQueue, work
from ccm.names import BALANCER_CLASS, FINALIZER
from ccm.plan import Plan
from ccm.ports import Cause, Cloud, CloudError

log = logging.getLogger(__name__)

DELETING, DELETED = "DeletingLoadBalancer", "DeletedLoadBalancer"
DELETE_FAILED = "DeleteLoadBalancerFailed"
_BY_UID, _BY_PARTNER = "service/uid", "service/share-with"
_AGAIN_S = 1.0
_RATE_LIMIT_PAUSE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class ServiceRules:
    """How the controller works; times in seconds."""

    cluster: Cluster
    our_class: str = BALANCER_CLASS
    workers: int = 10
    pass_timeout_s: float = 120.0
    drift_period_s: float = 600.0
    retry_min_s: float = 5.0
    retry_max_s: float = 300.0
    nodes_quiet_s: float = 1.0
    """Nodes must have been quiet so long before their change is acted on."""
    nodes_longest_s: float = 2.0
    """A burst of changes of nodes is waited for no longer."""
    nodes_patience_s: float = 60.0
    """A node must have been without a provider id of ours so long before people are told."""
    patience: Patience = field(default_factory=Patience)
    sweep: SweepRules = field(default_factory=SweepRules)


class ServiceController:
    """Looks after the load balancers of all services. One object for one time of leadership; `run` is its life.

    The stores are filled by others; `is_complete` says whether that of services has all of them.
    """

    def __init__(
        self,
        *,
        services: Services,
        nodes: Nodes,
        client: ObjectClient[Service],
        read_secret: SecretReader,
        cloud: Cloud,
        recorder: Recorder,
        rules: ServiceRules,
        is_complete: Callable[[], bool] = lambda: True,
        metrics: ServiceMetrics | None = None,
        queue: WorkQueue | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        clock = clock or (lambda: asyncio.get_running_loop().time())
        self._services, self._rules, self._clock = services, rules, clock
        self._metrics = metrics or NoServiceMetrics()
        self.queue = queue or WorkQueue("service", min_delay_s=rules.retry_min_s, max_delay_s=rules.retry_max_s)
        services.add_index(_BY_UID, lambda one: (one.metadata.uid,))
        services.add_index(_BY_PARTNER, _partners)
        self._nodes = nodes
        self.fleet = FleetWatch(
            nodes.values, self.on_fleet, quiet_s=rules.nodes_quiet_s, longest_s=rules.nodes_longest_s
        )
        self.left_out = LeftOut(recorder, patience_s=rules.nodes_patience_s, clock=clock)
        self._writes = ServiceWrites(client, now=_now)
        self._telling = Telling(recorder)
        self._observed = Observed(cloud.balancers)
        self._certificates = Certificates(cloud.certificates, read_secret, cluster_id=rules.cluster.id)
        self._progress = Progress(rules.patience, clock=clock)
        applier, locks = Applier(cloud.balancers, self._observed), BalancerLocks()
        self._cleanup = Cleanup(cloud.balancers, self._observed, applier, cluster_id=rules.cluster.id, locks=locks)
        self._wishes = Wishes(
            cloud.balancers,
            self._certificates,
            self._writes,
            cluster=rules.cluster,
            our_class=rules.our_class,
            find=services.get,
            nodes=self.fleet.current,
        )
        self._ensure = Ensure(
            Tools(
                wishes=self._wishes,
                places=Places(cloud.balancers, self._observed),
                observed=self._observed,
                applier=applier,
                certificates=self._certificates,
                writes=self._writes,
                telling=self._telling,
                progress=self._progress,
                metrics=self._metrics,
                locks=locks,
                clock=clock,
            )
        )
        self.orphans = Orphans(
            cloud.balancers,
            self._observed,
            self._certificates,
            locks,
            cluster_id=rules.cluster.id,
            is_alive=lambda uid: any(map(self._may_have_one, services.by_index(_BY_UID, uid))),
            is_user=self._may_have_one,
            is_complete=is_complete,
            read_service=lambda namespace, name, deadline: client.get(SERVICES, name, namespace, deadline=deadline),
            recorder=recorder,
            clock=clock,
            rules=rules.sweep,
        )
        self._last: dict[str, Service] = {}
        """By key, the service that something was last done for: one of the same name may take its place."""
        self._since_fleet: tuple[float, set[str]] | None = None
        """When nodes last changed, and the keys that have not been looked at since."""

    async def run(self) -> None:
        """Work until cancelled; the stores should be complete before."""
        self._services.subscribe(self.on_service)
        self._nodes.subscribe(self.fleet.on_node)
        self._nodes.subscribe(self.left_out.on_node)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work(self.queue, self._rules.workers, self.reconcile))
            tasks.create_task(self.fleet.run())
            tasks.create_task(self.left_out.run())
            tasks.create_task(self._look_for_drift())
            tasks.create_task(self.orphans.run())

    # What may have changed

    def on_service(self, old: Service | None, new: Service | None) -> None:
        """Take a change of a service, as `Store.subscribe` gives it."""
        one = new or old
        if one is None or not self._is_news(old, new):
            return
        self.queue.add(one.key)
        # Whose load balancer a service uses depends on those that it shares with.
        for partner in self._services.by_index(_BY_PARTNER, one.key):
            self.queue.add(partner.key)

    def on_fleet(self) -> None:
        """Have every service looked at, since the nodes have changed."""
        self._wishes.nodes_changed()
        keys = {one.key for one in self._services.values() if needs_balancer(one, self._rules.our_class)}
        self._since_fleet = (self._clock(), set(keys)) if keys else None
        for key in keys:
            self.queue.add(key)

    def look_again(self) -> None:
        """Have everything compared with what the platform says now."""
        self._observed.doubt()
        self._certificates.reset()
        for one in self._services.values():
            if self._is_ours(one):
                self.queue.add(one.key)

    async def _look_for_drift(self) -> None:
        while True:
            # A part is left to chance, so that several clusters do not ask at one time.
            await asyncio.sleep(self._rules.drift_period_s * random.uniform(0.9, 1.1))  # noqa: S311 - no secret
            self.look_again()

    def _is_news(self, old: Service | None, new: Service | None) -> bool:
        ours = self._rules.our_class
        if new is None:
            return old is not None and (old.key in self._last or self._is_ours(old))
        if old is None:
            return self._is_ours(new)
        lost_finalizer = FINALIZER in old.finalizers and FINALIZER not in new.finalizers
        has_changed = changed(old, new, ours) and (self._is_ours(old) or self._is_ours(new))
        return has_changed or needs_cleanup(new, ours) or (lost_finalizer and needs_balancer(new, ours))

    def _is_ours(self, service: Service) -> bool:
        ours = self._rules.our_class
        return needs_balancer(service, ours) or needs_cleanup(service, ours)

    # What is done about it

    async def reconcile(self, key: str) -> float | None:
        """Do one pass over a service; gives the seconds after which to look again.

        Raises what failed when it is to be tried again with growing pauses.
        """
        deadline = asyncio.get_running_loop().time() + self._rules.pass_timeout_s
        cached = self._services.get(key)
        service = None if cached is None else self._writes.newest(cached)
        former = self._last.get(key)
        if former is not None and (service is None or service.metadata.uid != former.metadata.uid):
            again_s = await self._watched(former, self._clean(former, deadline))
            if again_s is not None:
                return again_s
        if service is None:
            return None
        if needs_balancer(service, self._rules.our_class):
            self._last[key] = service
            again_s = await self._watched(service, self._ensure.run(service, deadline=deadline))
            self._note_fleet(key)
            return again_s
        # Without our finalizer it is finished, unless that was taken away by force from one that we know.
        if needs_cleanup(service, self._rules.our_class) or key in self._last:
            self._last[key] = service
            return await self._watched(service, self._clean(service, deadline))
        return None

    async def _clean(self, service: Service, deadline: float) -> float | None:
        """Take away a service's load balancer, then its finalizer; the server is asked before anything is deleted."""
        fresh = await self._writes.read(service, deadline=deadline)
        if fresh is not None and needs_balancer(fresh, self._rules.our_class):
            return _AGAIN_S
        if not await self._take_away(fresh or service, deadline):
            return self._progress.pause(service.metadata.uid)
        if fresh is not None:
            await self._writes.release(fresh, deadline=deadline)
        self._forget(service)
        return None

    async def _take_away(self, service: Service, deadline: float) -> bool:
        uid, written = service.metadata.uid, False

        def begins(_: Plan) -> None:
            nonlocal written
            written = True
            self._telling.begun(service, DELETING, "Deleting load balancer")

        if not await self._cleanup.run(service, begins=begins, deadline=deadline):
            return False
        if written or self._progress.is_waiting(uid):
            self._telling.done(service, DELETED, "Deleted load balancer")
        if self._certificates.claim(uid, ()) or TLS_CERT.name() in service.annotations:
            every = await self._observed.everything(deadline=deadline)
            await drop_unused_certificates(self._certificates, every, deadline=deadline)
        return True

    async def _watched(self, service: Service, pass_: Awaitable[float | None]) -> float | None:
        """Do a pass and say what failed, once; gives when to try again where the platform says so."""
        try:
            return await pass_
        except CloudError as failure:
            return self._failed(service, failure)
        except ApiError as failure:
            self._telling.failed(service, SYNC_FAILED, f"Error syncing load balancer: {failure}")
            raise

    def _failed(self, service: Service, failure: CloudError) -> float:
        self._observed.doubt(service.metadata.uid)
        if failure.cause is Cause.RATE_LIMITED:
            # Nothing is wrong with the service: it has to wait its turn.
            return failure.retry_after_s or _RATE_LIMIT_PAUSE_S
        self._certificates.reset()
        reason = SYNC_FAILED if needs_balancer(service, self._rules.our_class) else DELETE_FAILED
        self._telling.failed(service, reason, f"Error syncing load balancer: {failure.message}")
        if self._since_fleet is not None and service.key in self._since_fleet[1]:
            self._metrics.node_sync_failed()
        if failure.retry_after_s:
            return failure.retry_after_s
        if failure.cause in (Cause.REFUSED, Cause.UNSUPPORTED):
            # The same again changes nothing; what is done about it elsewhere may.
            return self._rules.retry_max_s
        raise failure

    def _may_have_one(self, service: Service) -> bool:
        return FINALIZER in service.finalizers or needs_balancer(service, self._rules.our_class)

    def _forget(self, service: Service) -> None:
        uid, key = service.metadata.uid, service.key
        if key in self._last and self._last[key].metadata.uid == uid:
            del self._last[key]
        self._telling.forget(uid)
        self._wishes.forget(uid)
        self._progress.forget(uid)
        self._writes.forget(uid)

    def _note_fleet(self, key: str) -> None:
        if self._since_fleet is None:
            return
        since, keys = self._since_fleet
        keys.discard(key)
        if not keys:
            self._since_fleet = None
            self._metrics.nodes_synced(self._clock() - since)


def _partners(service: Service) -> tuple[str, ...]:
    values, _ = parse(service.annotations)
    return tuple(values.get(SHARE_WITH))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
