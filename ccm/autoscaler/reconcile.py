"""Makes the machines of each group as many as are wanted: one pass after another, each from a fresh listing.

Belongs here: carrying out plans, and waiting after failures. Does not belong here: what is to be done (`plan.py`).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ccm.autoscaler.fleet import Fleet, Slot
from ccm.autoscaler.groups import Groups
from ccm.autoscaler.ledger import Ledger
from ccm.autoscaler.model import (
    CLUSTER_LABEL,
    GROUP_LABEL,
    REQUEST_LABEL,
    SLOT_LABEL,
    Failure,
    Launch,
    NodeGroup,
)
from ccm.autoscaler.plan import Plan, plan
from ccm.autoscaler.ports import AutoscalerError, Machines
from ccm.autoscaler.record import GroupRecord, settled
from ccm.ports import Cause, CloudError

LOG = logging.getLogger("ccm.autoscaler")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast things are done; times in seconds."""

    idle_s: float = 60.0
    """Between two passes with nothing to do."""
    busy_s: float = 5.0
    """Between two passes with something left to do."""
    gather_s: float = 0.5
    """Between an order and the pass that carries it out."""
    pass_limit_s: float = 120.0
    call_limit_s: float = 60.0
    """For one launch or deletion."""
    launches_at_once: int = 5
    retry_s: float = 5.0
    retry_max_s: float = 300.0
    no_room_s: float = 60.0
    no_room_max_s: float = 600.0


class Reconciler:
    """Launches and terminates machines. One at a time for a cluster: two would launch twice."""

    def __init__(
        self,
        *,
        cluster_id: str,
        name_prefix: str,
        groups: Groups,
        ledger: Ledger,
        machines: Machines,
        fleet: Fleet,
        new_id: Callable[[], str],
        work: asyncio.Event,
        pace: Pace,
    ) -> None:
        """`work` is set by whoever knows that there is something to do."""
        self._cluster_id = cluster_id
        self._name_prefix = name_prefix
        self._groups = groups
        self._ledger = ledger
        self._machines = machines
        self._fleet = fleet
        self._new_id = new_id
        self._pace = pace
        self._work = work
        self._slots = asyncio.Semaphore(pace.launches_at_once)

    async def run(self) -> None:
        """Keep the machines as wanted, for ever; cancelling loses nothing that is not found again by its labels."""
        loop = asyncio.get_running_loop()
        pause_s = 0.0
        while True:
            await self._rest(pause_s)
            try:
                pause_s = await self.step(deadline=loop.time() + self._pace.pass_limit_s)
            except (AutoscalerError, CloudError, TimeoutError) as error:
                LOG.warning("node groups: pass given up, trying again: %s", error or "out of time")
                pause_s = self._pace.busy_s

    async def _rest(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._work.wait()
        except TimeoutError:
            pass
        else:
            # Orders come in bunches: a pass for each would list as often.
            await asyncio.sleep(self._pace.gather_s)
        self._work.clear()

    async def step(self, *, deadline: float) -> float:
        """Make one pass; gives the seconds until the next is due. Raises AutoscalerError without a usable view."""
        async with asyncio.timeout_at(deadline):
            groups = await self._groups.all(deadline=deadline)
            names = await self._ledger.read(deadline=deadline)
            await self._groups.observe(deadline=deadline)
            await self._groups.take_in(groups, deadline=deadline)
            is_busy = False
            for name in {**names, **groups}:
                # Read anew for each group: orders go on coming while others are carried out.
                record = (await self._groups.records(deadline=deadline)).get(name) or GroupRecord()
                now = asyncio.get_running_loop().time()
                steps = plan(record, groups.get(name), self._fleet, name=name, now=now)
                self._forget_failures(name, record)
                is_busy |= not steps.is_empty
                await self._carry_out(name, groups.get(name), record, steps, deadline)
            return self._pace.busy_s if is_busy else self._until_retry()

    def _until_retry(self) -> float:
        now = asyncio.get_running_loop().time()
        due = [failure.retry_at - now for failure in self._fleet.failures.values()]
        return max(0.0, min([self._pace.idle_s, *due]))

    async def _carry_out(
        self, name: str, group: NodeGroup | None, record: GroupRecord, steps: Plan, deadline: float
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            for machine_id in steps.terminate:
                tasks.create_task(self._terminate(name, machine_id, deadline))
            if group is not None:
                for slot in steps.launch:
                    self._fleet.launching.add((name, slot))
                    task = tasks.create_task(self._launch(group, slot, deadline))
                    # Also when it is cancelled before it begins.
                    task.add_done_callback(partial(self._landed, (name, slot)))
            gone = [machine for machine in steps.confirm if await self._is_gone(machine, deadline)]
        if settled(record, gone) is not record:
            await self._ledger.change(name, lambda known: settled(known or GroupRecord(), gone), deadline=deadline)

    def _landed(self, key: Slot, _: object) -> None:
        self._fleet.launching.discard(key)

    async def _terminate(self, name: str, machine_id: str, deadline: float) -> None:
        async with self._slots:
            try:
                await self._machines.terminate(machine_id, group=name, deadline=self._limit(deadline))
            except CloudError as error:
                LOG.warning("node group %s: cannot delete instance %s: %s", name, machine_id, error)
            else:
                LOG.info("node group %s: deleted instance %s", name, machine_id)

    async def _is_gone(self, machine_id: str, deadline: float) -> bool:
        began_at = asyncio.get_running_loop().time()
        try:
            machine = await self._machines.look_up(machine_id, deadline=self._limit(deadline))
        except CloudError as error:
            LOG.warning("cannot tell whether instance %s is gone: %s", machine_id, error)
            return False
        if machine is None:
            return self._fleet.confirm_gone(machine_id)
        if machine.labels.get(CLUSTER_LABEL) == self._cluster_id:
            self._fleet.add(machine, at=began_at)
        return False

    async def _launch(self, group: NodeGroup, slot: str, deadline: float) -> None:
        async with self._slots:
            key = (group.name, slot)
            if self._has_no_room(group.name):
                self._fail(key, "QUOTA", "not tried: there was no room for another machine of the group", Cause.QUOTA)
                return
            if not await self._is_wanted(group.name, slot, deadline):
                return
            began_at = asyncio.get_running_loop().time()
            try:
                machine = await self._machines.launch(self._request(group, slot), deadline=self._limit(deadline))
            except CloudError as error:
                self._fail(key, error.reason or error.cause.name, error.message, error.cause, error.retry_after_s)
                return
            self._fleet.add(machine, at=began_at)
            self._fleet.failures.pop(key, None)
            LOG.info("node group %s: launched instance %s as %s", group.name, machine.id, machine.name)

    async def _is_wanted(self, name: str, slot: str, deadline: float) -> bool:
        # The record may have changed while the launch waited for its turn.
        try:
            record = (await self._groups.records(deadline=deadline)).get(name)
        except AutoscalerError as error:
            LOG.warning("node group %s: slot %s waits: %s", name, slot, error)
            return False
        return record is not None and slot in record.slots

    def _request(self, group: NodeGroup, slot: str) -> Launch:
        return Launch(
            name=machine_name(self._name_prefix, group.name, slot),
            template=group.template,
            labels={
                **group.template.instance_labels,
                CLUSTER_LABEL: self._cluster_id,
                GROUP_LABEL: group.name,
                SLOT_LABEL: slot,
                REQUEST_LABEL: self._new_id(),
            },
        )

    def _has_no_room(self, name: str) -> bool:
        now = asyncio.get_running_loop().time()
        return any(
            failure.is_out_of_resources and failure.retry_at > now
            for (group, _), failure in self._fleet.failures.items()
            if group == name
        )

    def _fail(self, key: Slot, code: str, message: str, cause: Cause, retry_after_s: float = 0.0) -> None:
        before = self._fleet.failures.get(key)
        count = before.count + 1 if before is not None else 1
        no_room = cause is Cause.QUOTA
        first_s, most_s = (
            (self._pace.no_room_s, self._pace.no_room_max_s)
            if no_room
            else (self._pace.retry_s, self._pace.retry_max_s)
        )
        wait_s = max(min(first_s * 2.0 ** min(count - 1, 16), most_s), retry_after_s)
        retry_at = asyncio.get_running_loop().time() + wait_s
        self._fleet.failures[key] = Failure(code, message, no_room, count, retry_at)
        LOG.warning(
            "node group %s: no instance for slot %s (%d. time), again in %.0f s: %s", *key, count, wait_s, message
        )

    def _forget_failures(self, name: str, record: GroupRecord) -> None:
        taken = {machine.slot for machine in self._fleet.of_group(name)}
        for group, slot in tuple(self._fleet.failures):
            if group == name and (slot not in record.slots or slot in taken):
                del self._fleet.failures[(group, slot)]

    def _limit(self, deadline: float) -> float:
        return min(deadline, asyncio.get_running_loop().time() + self._pace.call_limit_s)


_MAX_NAME = 64


def machine_name(prefix: str, group: str, slot: str) -> str:
    """Give the name of a slot's machine: always the same one, of letters, digits and `-`, at most 64 long."""
    safe = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in prefix).strip("-")
    tail = f"{group}-{slot[:12]}"
    return f"{safe[: _MAX_NAME - len(tail) - 1]}-{tail}" if safe else tail
