"""The ports of one service in the strict tier: a load balancer of the platform for each, made, filled and taken away.

Nothing of the platform's can be changed but targets, one by one; what it answers to a repetition is no answer (platform
contract 9.2, 9.3). So everything here looks first, writes the difference, and looks again when an answer is lost.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ccm.cloud.errors import cloud_error
from ccm.cloud.strict_names import Names, key_of
from ccm.model import Algorithm
from ccm.ports import Cause, CloudError
from thecloud.call import Lane
from thecloud.client import Client
from thecloud.errors import Missing, PlatformError, Refused, UnknownOutcome
from thecloud.network_wire import LoadBalancerStatus, PortBalancer, PortTarget
from thecloud.presence import Gone

GENERATIONS = 32
"""How many deleted predecessors of one load balancer the platform may still remember."""
FIRST_POLL_S = 0.2
LAST_POLL_S = 2.0
"""Pauses between two looks whether the platform has forgotten one, the first and the longest; its worker comes round
every 5 s."""
_LISTS_AT_ONCE = 8
_LB_GONE = "LB_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a service as the platform has it."""

    number: int
    balancer: PortBalancer
    targets: tuple[PortTarget, ...]

    @property
    def algorithm(self) -> str:
        """How it chooses a target."""
        return self.balancer.algorithm or Algorithm.ROUND_ROBIN.value


@dataclass(frozen=True, slots=True)
class Marked:
    """Load balancers with this cluster's mark that are there, and those that the platform has yet to forget."""

    alive: Mapping[str, tuple[tuple[int, PortBalancer], ...]]
    """By uid: port and load balancer, by port and age."""
    dead: Mapping[str, tuple[PortBalancer, ...]]


class StrictPorts:
    """Reads and writes the load balancers of the strict tier that carry this cluster's mark, and no others.

    Every method takes `deadline` (loop time) and raises PlatformError or CloudError.
    """

    def __init__(self, client: Client, names: Names) -> None:
        self._balancers = client.port_balancers
        self._names = names

    async def marked(self, *, deadline: float) -> Marked:
        """List those of this cluster."""
        alive: dict[str, list[tuple[int, PortBalancer]]] = {}
        dead: dict[str, list[PortBalancer]] = {}
        for one in await self._balancers.list(deadline=deadline):
            meant = self._names.read(one.name)
            if meant is None:
                continue
            uid, port = meant
            if one.status is LoadBalancerStatus.DELETED:
                dead.setdefault(uid, []).append(one)
            elif one.port == port:
                alive.setdefault(uid, []).append((port, one))
        return Marked(
            {uid: tuple(sorted(ports, key=_age)) for uid, ports in alive.items()},
            {uid: tuple(ones) for uid, ones in dead.items()},
        )

    async def filled(self, found: Iterable[tuple[int, PortBalancer]], *, deadline: float) -> tuple[Port, ...]:
        """Give ports with their targets; a few are asked for at once."""
        turns = asyncio.Semaphore(_LISTS_AT_ONCE)

        async def fill(number: int, balancer: PortBalancer) -> Port:
            async with turns:
                return Port(number, balancer, await self._balancers.targets(balancer.id, deadline=deadline))

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(fill(*one)) for one in found]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return tuple(task.result() for task in tasks)

    async def create(
        self, uid: str, port: int, *, algorithm: str, vpc_id: str, dead: Collection[PortBalancer], deadline: float
    ) -> PortBalancer:
        """Make the load balancer for a port, or find the one that an earlier try made."""
        name = self._names.name_of(uid, port)
        used = {one.idempotency_key for one in dead}
        for generation in range(GENERATIONS):
            key = key_of(name, algorithm=algorithm, vpc_id=vpc_id, generation=generation)
            if key in used:
                continue
            made = await self._balancers.create(
                name=name, vpc_id=vpc_id, port=port, algorithm=algorithm, idempotency_key=key, deadline=deadline
            )
            # A key that was used before gives what it gave then, whatever has become of it.
            if made.status is not LoadBalancerStatus.DELETED and (made.name, made.port) == (name, port):
                return made
        text = f"the platform remembers {GENERATIONS} deleted load balancers {name!r}; it has to forget them first"
        raise CloudError(Cause.CONFLICT, text, resource="load_balancer")

    async def delete(self, gone: Iterable[PortBalancer], *, deadline: float) -> None:
        """Mark load balancers as deleted; those that are gone are no error."""
        for one in gone:
            try:
                await self._balancers.delete(one.id, deadline=deadline)
            except Missing as error:
                if error.error_type != _LB_GONE and error.resource != "load_balancer":
                    raise

    async def forgotten(self, gone: Iterable[PortBalancer], *, deadline: float) -> None:
        """Wait until the platform has forgotten them; raises CloudError UNKNOWN when it has not by the deadline."""
        loop = asyncio.get_running_loop()
        pause_s = FIRST_POLL_S
        for one in gone:
            while not isinstance(await self._balancers.get(one.id, deadline=deadline, lane=Lane.DELETE), Gone):
                if loop.time() + pause_s >= deadline:
                    text = f"load balancer {one.name!r} ({one.id}) is deleted and not yet forgotten by the platform"
                    raise CloudError(Cause.UNKNOWN, text, resource="load_balancer", details={"id": one.id})
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LAST_POLL_S)

    async def send_to(self, port: Port, wanted: Sequence[PortTarget], *, deadline: float) -> None:
        """Make these the targets of a port.

        What can be added is added before anything is taken away. One instance that the platform will not have does not
        keep the others out; it is raised at the end (CloudError REFUSED with `instance_id`).
        """
        have = {one.instance_id: one for one in port.targets}
        want = {one.instance_id: one for one in wanted}
        refused: list[CloudError] = []
        for instance_id, target in want.items():
            before = have.get(instance_id)
            if before == target:
                continue
            if before is not None:
                await self._remove(port.balancer.id, instance_id, deadline=deadline)
            try:
                await self._add(port.balancer.id, target, deadline=deadline)
            except CloudError as error:
                refused.append(error)
        for instance_id in have.keys() - want.keys():
            await self._remove(port.balancer.id, instance_id, deadline=deadline)
        if refused:
            raise refused[0]

    async def _add(self, balancer_id: str, target: PortTarget, *, deadline: float) -> None:
        try:
            await self._balancers.add_target(
                balancer_id, target.instance_id, port=target.port, weight=target.weight, deadline=deadline
            )
        except UnknownOutcome:
            # Also the answer to an instance that is a target already.
            if target not in await self._balancers.targets(balancer_id, deadline=deadline):
                raise
        except (Missing, Refused) as error:
            if error.error_type == _LB_GONE:
                raise
            raise _unusable(error, target.instance_id) from error

    async def _remove(self, balancer_id: str, instance_id: str, *, deadline: float) -> None:
        try:
            await self._balancers.remove_target(balancer_id, instance_id, deadline=deadline)
        except Missing:
            # The target or all of the load balancer: it is sent to no more in either case.
            return


def _unusable(error: PlatformError, instance_id: str) -> CloudError:
    """Say about an instance what the extended tier says in one answer."""
    said = cloud_error(error)
    details = {**said.details, "instance_id": instance_id}
    return CloudError(Cause.REFUSED, said.message, reason=said.reason, resource="instance", details=details)


def _age(one: tuple[int, PortBalancer]) -> tuple[int, str, str]:
    port, balancer = one
    created = balancer.created_at
    return (port, created.isoformat() if created is not None else "", balancer.id)
