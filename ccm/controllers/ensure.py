"""One pass over a service that wants a load balancer: wanted, observed, difference, steps, and what the service says.

The finalizer is there before anything is written to the platform; the service's status is written after it, in one
request, and only with the address of a load balancer that works. A pass that finds nothing to do writes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ccm.controllers.apply import Applier, is_targets_only, makes
from ccm.controllers.certificates import Certificates
from ccm.controllers.locks import BalancerLocks
from ccm.controllers.observed import Observed
from ccm.controllers.orphans import drop_unused_certificates
from ccm.controllers.places import Places
from ccm.controllers.progress import Progress
from ccm.controllers.published import Published, failing, is_told, working
from ccm.controllers.service_ports import ServiceMetrics
from ccm.controllers.service_writes import ServiceWrites
from ccm.controllers.telling import Telling
from ccm.controllers.wishes import Wish, Wishes
from ccm.desired.wanted import Wanted
from ccm.kube.model import Service
from ccm.model import Balancer, BalancerState
from ccm.names import CLUSTER_TAG, FINALIZER
from ccm.notices import Notice
from ccm.plan import Delete, Plan, diff, follow

ENSURING, ENSURED, UPDATED = "EnsuringLoadBalancer", "EnsuredLoadBalancer", "UpdatedLoadBalancer"
SYNC_FAILED = "SyncLoadBalancerFailed"
PENDING = "Pending"
_AGAIN_S = 1.0
"""Until the cache knows what the server has just said, or until what was just learned is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What passes over services work with."""

    wishes: Wishes
    places: Places
    observed: Observed
    applier: Applier
    certificates: Certificates
    writes: ServiceWrites
    telling: Telling
    progress: Progress
    metrics: ServiceMetrics
    locks: BalancerLocks
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """What one pass has worked out."""

    wanted: Wanted
    notices: tuple[Notice, ...]
    home: Balancer | None
    """Where the service's ports are, or shall be."""
    plan: Plan

    @property
    def uid(self) -> str:
        return self.wanted.service_uid

    @property
    def is_targets_only(self) -> bool:
        return is_targets_only(self.plan.steps)


class Ensure:
    """Brings the load balancer of one service to what it wants."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def run(self, service: Service, *, deadline: float) -> float | None:
        """Do one pass; gives the seconds after which to look again, or None when nothing is pending.

        Raises CloudError, ApiError, Unreachable.
        """
        tools = self._tools
        tools.metrics.balancer_synced()
        current, wish = await tools.wishes.of(service, deadline=deadline)
        if current is None:
            return _AGAIN_S
        wanted = wish.wanted
        if wanted is None:
            return await self._refuse(current, wish, deadline)
        found = await tools.places.of(current, wanted, deadline=deadline)
        if wanted.host_uid and found.home is None and not tools.progress.is_slow(wanted.service_uid):
            return tools.progress.pause(wanted.service_uid)
        async with tools.locks.held((one.id for one in found.all), deadline=deadline):
            where = tools.places.latest(wanted, found)
            if found.home is not None and where.home is None:
                return _AGAIN_S
            plan = diff(wanted, where.home, old=where.old)
            notices = (*plan.refusals, *wish.notices)
            tools.telling.notices(current, notices, is_old=is_told(current, wanted, notices))
            course = _Course(wanted=wanted, notices=notices, home=where.home, plan=plan)
            return await self._carry_out(current, course, deadline)

    async def _refuse(self, service: Service, wish: Wish, deadline: float) -> float | None:
        """Make and change nothing, but let the targets of what is there follow the nodes, if it is known which."""
        tools, uid = self._tools, service.metadata.uid
        tools.telling.notices(service, wish.notices, is_old=is_told(service, None, wish.notices))
        here = await tools.observed.of(uid, deadline=deadline)
        plan = follow(uid, wish.targets, here) if wish.follows_nodes else Plan()
        if here:
            after = await tools.writes.hold(service, deadline=deadline)
            if after is None:
                return _AGAIN_S
            service = after
        applied = await tools.applier.run(plan, uid, deadline=deadline)
        tools.wishes.refused(uid, applied.refused_targets)
        await self._publish_failure(service, here, wish.notices, deadline)
        tools.telling.is_well(service)
        return None

    async def _carry_out(self, service: Service, course: _Course, deadline: float) -> float | None:
        tools, uid, plan = self._tools, course.uid, course.plan
        if plan.is_empty and (course.home is None or FINALIZER in service.finalizers):
            return await self._conclude(service, course, deadline)
        prepared = await self._prepare(service, course, deadline)
        if prepared is None:
            return _AGAIN_S
        began = tools.clock()
        applied = await tools.applier.run(plan, uid, deadline=deadline)
        if not applied.is_finished:
            return tools.progress.pause(uid)
        if not plan.is_empty and course.is_targets_only:
            tools.metrics.targets_written(tools.clock() - began)
        again_s = await self._conclude(prepared, replace(course, home=applied.balancer or course.home), deadline)
        if applied.refused_targets:
            tools.wishes.refused(uid, applied.refused_targets)
            return _AGAIN_S
        return again_s

    async def _prepare(self, service: Service, course: _Course, deadline: float) -> Service | None:
        """Write to the service what has to stand there before the platform is written to; None when it is gone."""
        tools, steps = self._tools, course.plan.steps
        after = await tools.writes.hold(service, deadline=deadline)
        if after is None:
            return None
        if steps and not course.is_targets_only:
            tools.telling.begun(after, ENSURING, "Ensuring load balancer")
        loses_address = any(isinstance(one, Delete) for one in steps) or (course.home is None and makes(steps))
        if not after.ingress or not loses_address:
            return after
        # The address goes, or is gone: nobody may be sent there.
        return await tools.writes.publish(after, Published(ingress=()), deadline=deadline)

    async def _conclude(self, service: Service, course: _Course, deadline: float) -> float | None:
        tools, home = self._tools, course.home
        if home is None or course.plan.refusals:
            here = await tools.observed.of(course.uid, deadline=deadline)
            seen = here if home is None else (*here, home)
            await self._publish_failure(service, seen, course.notices, deadline)
            # What is missing may come by itself: the load balancer to be adopted or shared, a free port.
            return tools.progress.longest_pause_s if course.plan.is_empty else None
        if home.state is not BalancerState.ACTIVE:
            return await self._wait(service, course, home, deadline)
        said = working(course.wanted, home, course.notices)
        after = await tools.writes.publish(service, said, deadline=deadline)
        if after is None:
            return _AGAIN_S
        self._tell_success(after, course, home)
        await self._drop_certificates(course.wanted, deadline)
        return None

    async def _wait(self, service: Service, course: _Course, home: Balancer, deadline: float) -> float:
        """Look again after a while: no worker is held up by a load balancer that comes slowly."""
        tools, uid = self._tools, course.uid
        pause_s = tools.progress.pause(uid)
        why = f": {home.state_reason}" if home.state_reason else ""
        text = f"load balancer {home.id} is {home.state.value}{why}"
        is_broken = home.state is BalancerState.ERROR
        if is_broken or tools.progress.is_slow(uid):
            tools.telling.failed(service, SYNC_FAILED, text)
        if is_broken or tools.progress.is_slow(uid) or service.ingress:
            await self._publish_failure(service, (home,), course.notices, deadline, text)
        never_worked = not home.addresses and not service.ingress and all(one.name == uid for one in home.groups)
        if is_broken and course.wanted.is_own and never_worked and tools.progress.is_hopeless(uid):
            tools.progress.forget(uid)
            tools.telling.done(service, ENSURING, f"{text}; it never had an address and is made anew")
            guard = (CLUSTER_TAG, course.wanted.tags[CLUSTER_TAG])
            await tools.applier.run(Plan((Delete(home.id, guard),)), uid, deadline=deadline)
        return pause_s

    async def _publish_failure(
        self,
        service: Service,
        here: Sequence[Balancer],
        notices: Sequence[Notice],
        deadline: float,
        pending: str = "",
    ) -> None:
        reason = PENDING if pending or not notices else notices[0].reason.value
        texts = [pending, *(one.text for one in notices)]
        said = failing(service, here, reason, filter(None, texts))
        await self._tools.writes.publish(service, said, deadline=deadline)

    def _tell_success(self, service: Service, course: _Course, home: Balancer) -> None:
        tools, uid = self._tools, course.uid
        was_waiting = tools.progress.is_waiting(uid)
        tools.progress.forget(uid)
        if course.plan.is_empty and not was_waiting:
            tools.telling.is_well(service)
        elif course.plan.is_empty or not course.is_targets_only:
            tools.telling.done(service, ENSURED, f"Ensured load balancer {home.id}")
        else:
            text = f"Updated load balancer {home.id}: {len(course.wanted.group.targets)} targets"
            tools.telling.done(service, UPDATED, text)

    async def _drop_certificates(self, wanted: Wanted, deadline: float) -> None:
        """Take away the certificate that the service does not use any more."""
        tools = self._tools
        used = [one for listener in wanted.group.listeners for one in listener.certificate_ids]
        if not tools.certificates.claim(wanted.service_uid, used):
            return
        every = await tools.observed.everything(deadline=deadline)
        await drop_unused_certificates(tools.certificates, every, deadline=deadline)
