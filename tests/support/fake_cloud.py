"""A platform in memory behind the ports of `ccm.ports`, with faults at named points.

It keeps what the ports and docs/platform-network.md promise: idempotency keys, guards, one listener for a port,
addresses that come back. Points of failure are the ports' methods: `fleet`, `look_up`, `offer`, `balancers`, `get`,
`create`, `put_group`, `delete_group`, `modify`, `delete`, `certificates`, `find`, `create_certificate`,
`delete_certificate`. `calls` holds one entry for each request that a real platform would have seen.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ccm.model import Fleet, Instance, InstanceState
from ccm.ports import Cause, Cloud, CloudError
from tests.support.fake_balancers import FakeBalancers
from tests.support.fake_certificates import FakeCertificates

FOR_EVER = -1
CLUSTER_ID = "test-cluster"


def server_error() -> CloudError:
    """A 5xx, or no answer: nothing may be concluded."""
    return CloudError(Cause.UNKNOWN, "the platform answered 503")


def rate_limited(retry_after_s: float = 0.0) -> CloudError:
    """A 429 of the rate limit."""
    return CloudError(Cause.RATE_LIMITED, "the platform answered 429: rate limit exceeded", retry_after_s=retry_after_s)


def revoked() -> CloudError:
    """A 401: the key is not valid any more."""
    return CloudError(Cause.UNAUTHORIZED, "the platform answered 401: invalid API key")


def quota() -> CloudError:
    """A 429 of a quota: asking again does not help."""
    return CloudError(Cause.QUOTA, "the platform answered 429: quota exceeded")


@dataclass
class _Fault:
    failure: CloudError
    times: int
    is_after: bool
    about: str


class Gate:
    """A point that lets nobody through."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.reached = asyncio.Event()
        """Set once a request waits here."""


@dataclass
class Faults:
    """What goes wrong, by point; and the list of requests."""

    clock: Callable[[], float]
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Point, and the id or name that the request was about."""
    _faults: dict[str, list[_Fault]] = field(default_factory=dict)
    _gates: dict[str, Gate] = field(default_factory=dict)

    def fail(
        self, point: str, failure: CloudError, *, times: int = FOR_EVER, after: bool = False, about: str = ""
    ) -> None:
        """Make a point fail, so many times; `after`: it is done all the same, and the answer lost.

        `about` restricts it to requests about that id or name.
        """
        self._faults.setdefault(point, []).append(_Fault(failure, times, after, about))

    def mend(self, *points: str) -> None:
        """Take faults away, all of them without a point."""
        for point in points or tuple(self._faults):
            self._faults.pop(point, None)

    @contextmanager
    def held(self, point: str) -> Iterator[Gate]:
        """Let no request at this point get an answer while the block runs; a deadline still ends the caller's wait."""
        gate = self._gates[point] = Gate()
        try:
            yield gate
        finally:
            del self._gates[point]
            gate.opened.set()

    def count(self, *points: str) -> int:
        """Say how many requests there were at these points, all points without one."""
        return len([1 for point, _ in self.calls if not points or point in points])

    async def before(self, point: str, about: str, deadline: float) -> None:
        """Count a request, and fail it or hold it up as arranged."""
        self.calls.append((point, about))
        if gate := self._gates.get(point):
            gate.reached.set()
            try:
                async with asyncio.timeout_at(deadline):
                    await gate.opened.wait()
            except TimeoutError as failure:
                raise CloudError(Cause.UNKNOWN, f"{point}: no answer in time") from failure
        await asyncio.sleep(0)
        self._raise(point, about, is_after=False)

    def after(self, point: str, about: str) -> None:
        """Lose the answer of a request that was carried out, if so arranged."""
        self._raise(point, about, is_after=True)

    def _raise(self, point: str, about: str, *, is_after: bool) -> None:
        for fault in self._faults.get(point, ()):
            if fault.times == 0 or fault.is_after is not is_after or fault.about not in ("", about):
                continue
            fault.times -= fault.times > 0
            raise fault.failure


class FakeInstances:
    """Instances; what is listed and what is found by id can be made to lie."""

    def __init__(self, faults: Faults, on_delete: Callable[[str], None]) -> None:
        self.all: dict[str, Instance] = {}
        self.hidden_in_list: Callable[[Instance], bool] = lambda _: False
        """A lie of the listing: an empty answer with 200, or a part of it."""
        self.denied_by_id: Callable[[str], bool] = lambda _: False
        """A lie of the read by id: "definitely not there"."""
        self._faults = faults
        self._on_delete = on_delete
        self._listed: Fleet | None = None
        self._flight: asyncio.Task[Fleet] | None = None
        self._flight_since = 0.0

    def put(self, *instances: Instance) -> None:
        """Add instances, or replace those of the same id."""
        self.all.update({instance.id: instance for instance in instances})

    def remove(self, *instance_ids: str) -> None:
        """Terminate instances; they leave every group of every load balancer."""
        for instance_id in instance_ids:
            del self.all[instance_id]
            self._on_delete(instance_id)

    def turn(self, instance_id: str, state: InstanceState) -> None:
        """Put an instance into another state."""
        self.all[instance_id] = replace(self.all[instance_id], state=state)

    def hide(self, instance_ids: Iterable[str] | None = None) -> None:
        """Leave instances out of listings (all without ids); `hide(())` ends it."""
        hidden = None if instance_ids is None else frozenset(instance_ids)
        self.hidden_in_list = lambda instance: hidden is None or instance.id in hidden

    def deny(self, instance_ids: Iterable[str] | None = None) -> None:
        """Say of instances that they do not exist when asked by id (all without ids); `deny(())` ends it."""
        denied = None if instance_ids is None else frozenset(instance_ids)
        self.denied_by_id = lambda instance_id: denied is None or instance_id in denied

    async def fleet(self, *, max_age_s: float, deadline: float) -> Fleet:
        """As `ccm.ports.CloudInstances.fleet`: cached and with one request at a time."""
        if self._listed and max_age_s > 0 and self._faults.clock() - self._listed.taken_at <= max_age_s:
            return self._listed
        if self._flight is None or self._faults.clock() - self._flight_since > max_age_s:
            self._flight_since = self._faults.clock()
            self._flight = asyncio.create_task(self._list(deadline))
            self._flight.add_done_callback(self._landed)
        return await asyncio.shield(self._flight)

    async def look_up(self, instance_id: str, *, deadline: float) -> Instance | None:
        """As `ccm.ports.CloudInstances.look_up`."""
        await self._faults.before("look_up", instance_id, deadline)
        found = None if self.denied_by_id(instance_id) else self.all.get(instance_id)
        self._faults.after("look_up", instance_id)
        return found

    async def _list(self, deadline: float) -> Fleet:
        taken_at = self._faults.clock()
        await self._faults.before("fleet", "", deadline)
        # What begins after this moment does not share the listing: it would not see what was made since.
        self._flight = None
        instances = tuple(one for one in self.all.values() if not self.hidden_in_list(one))
        self._faults.after("fleet", "")
        self._listed = Fleet(instances, taken_at, {one.id: one for one in instances})
        return self._listed

    def _landed(self, flight: "asyncio.Task[Fleet]") -> None:
        if self._flight is flight:
            self._flight = None
        if not flight.cancelled():
            flight.exception()


class FakeCloud:
    """The platform; `ports` is what a controller gets. `clock` stamps listings (default: the running loop's)."""

    def __init__(self, *, cluster_id: str = CLUSTER_ID, clock: Callable[[], float] | None = None) -> None:
        self.faults = Faults(clock or (lambda: asyncio.get_running_loop().time()))
        self.certificates = FakeCertificates(self.faults, cluster_id, self._certificates_in_use)
        self.balancers = FakeBalancers(self.faults, cluster_id, self._has_instance, self.certificates.has)
        self.instances = FakeInstances(self.faults, self.balancers.forget_instance)
        self.ports = Cloud(self.instances, self.balancers, self.certificates)

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Every request: point, and what it was about."""
        return self.faults.calls

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Every request that changes something."""
        reads = {"fleet", "look_up", "offer", "balancers", "get", "certificates", "find"}
        return [call for call in self.calls if call[0] not in reads]

    def _has_instance(self, instance_id: str) -> bool:
        return instance_id in self.instances.all

    def _certificates_in_use(self) -> frozenset[str]:
        return frozenset(
            certificate_id
            for balancer in self.balancers.all.values()
            for group in balancer.groups
            for listener in group.listeners
            for certificate_id in listener.certificate_ids
        )
