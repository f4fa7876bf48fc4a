"""One leader among several processes, by a Lease. Whoever may have lost it stops before another can have it.

What makes that so:

- Every time is taken from this machine's own clock, one that never jumps and that goes on while the process or the
  machine sleeps. What clocks other machines have plays no part: a foreign lease has run out when this process has seen
  it unchanged for its whole duration.
- The lease counts from before a renewal was sent, and only until the renew deadline, which comes well before others
  may take it. At that time the work is cancelled and waited for.
- `is_valid` compares times when it is asked. A process that was stopped and goes on gets the right answer before any
  timer of its own has run, so that `KubeClient.guarded(elector.is_valid)` sends no write of the past.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from ccm.kube.client import KubeClient
from ccm.kube.errors import ApiError, KubeError, Unreachable
from ccm.kube.kinds import LEASES
from ccm.kube.model import Lease

_log = logging.getLogger(__name__)

_REASON = "LeaderElection"
_RELEASE_S = 5.0
_LEAST_REST_S = 0.1
_LEAST_STOP_S = 1.0
"""For work to end in a process that comes back after the lease has run out; it cannot write any more."""


class LeadershipLost(Exception):  # noqa: N818 - it says what happened
    """The lease could not be renewed in time, or another process has it. The process should end."""

    def __init__(self, message: str, *, has_stopped: bool) -> None:
        super().__init__(message)
        self.has_stopped = has_stopped
        """Whether the work has ended; if not, the process must end at once and by force."""


class LeaseEvents(Protocol):
    """Takes the events that are told about a lease; `EventRecorder` is one."""

    def normal(self, obj: Lease, reason: str, message: str) -> None:
        """Tell of something that is as it should be."""
        ...


def steady_clock() -> float:
    """Give seconds that never jump, those in which the machine slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaderElector:
    """Runs work while this process holds a Lease. Requests go out without waiting for a turn."""

    def __init__(
        self,
        client: KubeClient,
        *,
        name: str,
        namespace: str,
        identity: str,
        lease_duration_s: float = 15.0,
        renew_deadline_s: float = 10.0,
        retry_period_s: float = 2.0,
        events: LeaseEvents | None = None,
        clock: Callable[[], float] = steady_clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not 0 < retry_period_s < renew_deadline_s < lease_duration_s:
            raise ValueError("the retry period must be shorter than the renew deadline, and that than the lease")
        self._client = client.unlimited()
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._lease_duration_s = lease_duration_s
        self._renew_deadline_s = renew_deadline_s
        self._retry_period_s = retry_period_s
        self._events = events
        self._clock = clock
        self._chance = chance
        self._wire: dict[str, Any] | None = None
        """The Lease as it was last seen, with everything that others have put into it."""
        self._seen: Lease | None = None
        self._changed_at = 0.0
        """When a foreign lease was first seen as it is."""
        self._renewed_at = 0.0
        """When the last renewal that succeeded was sent."""
        self._leads = False

    def is_valid(self) -> bool:
        """Whether this process may write now."""
        return self._leads and self._left_s() > 0

    @property
    def holder(self) -> str:
        """Who held the lease when it was last looked at; empty: nobody."""
        return self._seen.spec.holder_identity if self._seen is not None else ""

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, then run `lead()` as long as it is held, and give the lease back when that ends.

        When cancelled, `lead()` is cancelled and waited for, then the lease is released, so that another takes over at
        once. What `lead()` raises is raised. Raises LeadershipLost when the lease is lost; `lead()` has been cancelled
        then, and `has_stopped` says whether it ended before another process may lead.
        """
        await self._acquire()
        self._leads = True
        self._tell("became leader")
        worker = asyncio.ensure_future(lead())
        lost = ""
        try:
            lost = await self._hold(worker)
            self._leads = not lost
        finally:
            try:
                # Whatever ended it: the work ends first, the lease goes after it.
                await self._stop(worker)
                if not lost and worker.done():
                    await self._release()
            finally:
                self._leads = False
        if lost:
            self._tell("stopped leading")
            text = f"lease {self._namespace}/{self._name}: {lost}"
            failure = _read_off(worker) if worker.done() else None
            raise LeadershipLost(text, has_stopped=worker.done()) from failure
        worker.result()

    # Getting it

    async def _acquire(self) -> None:
        said = ""
        while True:
            try:
                if await self._try(self._request_s()):
                    return
            except KubeError as error:
                _log.warning("lease %s/%s: not acquired: %s", self._namespace, self._name, error)
            if self.holder != said:
                said = self.holder
                _log.info("lease %s/%s is held by %s", self._namespace, self._name, said or "nobody")
            # Never longer than the period, so that a lease that was given back is taken within it.
            await asyncio.sleep(self._retry_period_s * (0.5 + 0.5 * self._chance()))

    async def _try(self, limit_s: float) -> bool:
        """Take or renew the lease if it may be; False if it is somebody else's. Raises KubeError."""
        deadline = asyncio.get_running_loop().time() + limit_s
        if not self._leads or self._wire is None:
            await self._look(deadline)
        if self._seen is not None and not self._may_take(self._seen):
            return False
        sent_at = self._clock()
        body = self._claim(self._wire)
        try:
            if self._wire is None:
                path = LEASES.path(namespace=self._namespace)
                answer = await self._client.request("POST", path, body=body, deadline=deadline)
            else:
                path = LEASES.path(self._name, self._namespace)
                answer = await self._client.request("PUT", path, body=body, deadline=deadline)
            self._note(answer)
        except BaseException:
            # It may or may not be written, or somebody else was faster: the next try looks first.
            self._wire = None
            raise
        self._renewed_at = sent_at
        return True

    async def _look(self, deadline: float) -> None:
        path = LEASES.path(self._name, self._namespace)
        try:
            answer = await self._client.request("GET", path, deadline=deadline)
        except ApiError as error:
            if not error.is_missing:
                raise
            self._wire = self._seen = None
            return
        self._note(answer)

    def _note(self, answer: bytes) -> None:
        try:
            wire = msgspec.json.decode(answer, type=dict[str, Any])
            seen = msgspec.convert(wire, Lease)
        except msgspec.MsgspecError as error:
            raise Unreachable(f"lease {self._namespace}/{self._name}: the answer cannot be read: {error}") from error
        if self._seen is None or seen.spec != self._seen.spec:
            self._changed_at = self._clock()
        self._wire, self._seen = wire, seen

    def _may_take(self, lease: Lease) -> bool:
        spec = lease.spec
        if spec.holder_identity == self._identity:
            return True
        if self._leads:
            return False
        if not spec.holder_identity:
            return True
        # The holder's own word counts where it is longer: it may have been configured in another way.
        duration_s = max(self._lease_duration_s, float(spec.lease_duration_seconds))
        return self._clock() - self._changed_at > duration_s

    def _claim(self, wire: dict[str, Any] | None) -> dict[str, Any]:
        """Make the Lease that says it is ours; what others have put into it stays."""
        now = micro_time()
        old = (wire or {}).get("spec") or {}
        spec = {**old, "holderIdentity": self._identity, "leaseDurationSeconds": int(self._lease_duration_s)}
        spec["renewTime"] = now
        spec.setdefault("leaseTransitions", 0)
        if old.get("holderIdentity") != self._identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] += 1 if wire is not None else 0
        head = {"apiVersion": LEASES.api_version, "kind": LEASES.kind}
        meta = {"name": self._name, "namespace": self._namespace} | ((wire or {}).get("metadata") or {})
        return {**(wire or {}), **head, "metadata": meta, "spec": spec}

    # Keeping it

    def _left_s(self) -> float:
        """How long this process may still lead."""
        return self._renewed_at + self._renew_deadline_s - self._clock()

    def _request_s(self) -> float:
        """How long one request may take: short enough for a second one before the deadline."""
        return self._renew_deadline_s / 2

    async def _hold(self, worker: asyncio.Future[None]) -> str:
        """Renew until the work ends; gives why the lease is lost, or nothing."""
        rest_s = self._retry_period_s
        while True:
            await asyncio.wait((worker,), timeout=max(0.0, min(rest_s, self._left_s())))
            # First: work that ended because its writes were refused has lost the lease, and gives none back.
            if self._left_s() <= 0:
                return f"it was not renewed for {self._renew_deadline_s:.0f} s"
            if worker.done():
                return ""
            rest_s = self._retry_period_s
            try:
                limit_s = min(self._request_s(), self._left_s())
                if not await self._renewed_unless_done(worker, limit_s):
                    return f"{self.holder or 'somebody'} has it now"
            except KubeError as error:
                _log.warning("lease %s/%s: not renewed: %s", self._namespace, self._name, error)
                rest_s = max(_LEAST_REST_S, self._retry_period_s / 4)

    async def _renewed_unless_done(self, worker: asyncio.Future[None], limit_s: float) -> bool:
        """Renew; a worker that ends meanwhile is not kept waiting for a server that hangs."""
        renewal = asyncio.ensure_future(self._try(limit_s))
        try:
            await asyncio.wait((worker, renewal), return_when=asyncio.FIRST_COMPLETED)
            return renewal.result() if renewal.done() else True
        finally:
            if not renewal.done():
                renewal.cancel()
                await asyncio.wait((renewal,))
                _read_off(renewal)

    async def _stop(self, worker: asyncio.Future[None]) -> None:
        """Cancel the work and wait for its end, at the longest until another process may lead."""
        worker.cancel()
        limit_s = max(_LEAST_STOP_S, self._left_s() + self._lease_duration_s - self._renew_deadline_s)
        had_ended = worker.done()
        # Once cancelled itself, this must still wait: the lease is not ours to give back before the work has ended.
        cancelled: asyncio.CancelledError | None = None
        until = asyncio.get_running_loop().time() + limit_s
        while not worker.done() and (left_s := until - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.wait((worker,), timeout=left_s)
            except asyncio.CancelledError as error:
                cancelled = error
        if not worker.done():
            _log.critical("lease %s/%s: the work has not stopped in time", self._namespace, self._name)
        elif not had_ended and (failure := _read_off(worker)) is not None:
            text = "lease %s/%s: the work failed when it was stopped"
            _log.error(text, self._namespace, self._name, exc_info=failure)
        if cancelled is not None:
            raise cancelled

    async def _release(self) -> None:
        """Give the lease back, so that nobody has to wait until it runs out."""
        if self._left_s() <= 0:
            return
        deadline = asyncio.get_running_loop().time() + min(_RELEASE_S, self._left_s())
        try:
            if self._wire is None:
                await self._look(deadline)
            if self.holder != self._identity or self._wire is None:
                return
            now = micro_time()
            spec = {**self._wire["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            body = {**self._wire, "spec": spec | {"renewTime": now, "acquireTime": now}}
            # The version in it keeps this from taking the lease of whoever has it by now.
            await self._client.replace(LEASES, self._name, self._namespace, body=body, deadline=deadline)
        except KubeError as error:
            _log.warning("lease %s/%s: not released, it runs out by itself: %s", self._namespace, self._name, error)
            return
        self._tell("stopped leading")

    def _tell(self, what: str) -> None:
        message = f"{self._identity} {what}"
        _log.info("lease %s/%s: %s", self._namespace, self._name, message)
        if self._events is not None and self._seen is not None:
            self._events.normal(self._seen, _REASON, message)


def _read_off(ended: asyncio.Future[Any]) -> BaseException | None:
    """Take note of how a task ended, lest the loop complains that nobody has."""
    return None if ended.cancelled() else ended.exception()


def micro_time() -> str:
    """Give the time as a Lease has it: UTC, always with six digits of a second. For people; nothing compares it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
