"""What the Cluster Autoscaler may ask and order: answered from memory, orders recorded before they are carried out.

Belongs here: the rules of the calls. Does not belong here: gRPC (`servicer.py`), launching and terminating
(`reconcile.py`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from ccm.autoscaler.fleet import Fleet, filled
from ccm.autoscaler.ledger import Ledger
from ccm.autoscaler.model import (
    CLUSTER_LABEL,
    PROVIDER_PREFIX,
    Machine,
    Member,
    NodeGroup,
    parse_pending,
    pending_id,
    provider_id,
)
from ccm.autoscaler.plan import unfulfilled
from ccm.autoscaler.ports import AutoscalerError, DefinitionsError, Machines, NodeGroups, Problem
from ccm.autoscaler.record import GroupRecord, Records, adopted, ended, increased
from ccm.model import InstanceState
from ccm.ports import CloudError

LOG = logging.getLogger("ccm.autoscaler")

_SHOWN_AFTER = 3
"""Failures in a row, other than for lack of resources, before they are shown: a group that shows one is backed off."""


def utc_now() -> datetime:
    """Give the time of day."""
    return datetime.now(UTC)


class Groups:
    """The node groups of one cluster. Every method but `refresh` answers without the platform where it can.

    Methods raise AutoscalerError.
    """

    def __init__(
        self,
        *,
        cluster_id: str,
        definitions: NodeGroups,
        ledger: Ledger,
        machines: Machines,
        fleet: Fleet,
        wake: Callable[[], None],
        provision_limit_s: float,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`wake` tells that there is something to do; `provision_limit_s` is how long a machine may take to come up."""
        self._cluster_id = cluster_id
        self._definitions = definitions
        self._ledger = ledger
        self._machines = machines
        self._fleet = fleet
        self._wake = wake
        self._provision_limit_s = provision_limit_s
        self._now = now
        self._groups: Mapping[str, NodeGroup] | None = None
        self._turn = asyncio.Lock()

    async def refresh(self, *, deadline: float) -> None:
        """Look at everything once: the groups' description, the record, and one listing of the platform."""
        async with self._turn:
            groups = await self._load()
            # The record first: what it has a machine for is in a listing that begins later, or was ended since.
            await self._ledger.read(deadline=deadline)
            await self.observe(deadline=deadline)
            await self.take_in(groups, deadline=deadline)
            self._groups = groups
        self._wake()

    async def observe(self, *, deadline: float) -> None:
        """List the machines."""
        began_at = asyncio.get_running_loop().time()
        try:
            machines = await self._machines.list(deadline=deadline)
        except CloudError as error:
            raise AutoscalerError(Problem.UNAVAILABLE, f"cannot list this cluster's instances: {error}") from error
        self._fleet.observe(machines, began_at=began_at)

    async def take_in(self, groups: Mapping[str, NodeGroup], *, deadline: float) -> None:
        """Record what no record knows of: new groups, their minimum, machines that somebody else made for them."""
        for name, group in groups.items():
            machines = self._fleet.of_group(name)
            record = (await self._ledger.records(deadline=deadline)).get(name)
            if adopted(record, group, machines) is record:
                continue
            edit = partial(adopted, group=group, machines=machines)
            new = await self._ledger.change(name, edit, deadline=deadline)
            LOG.info("node group %s: taken in, target size %d", name, new.target)

    async def all(self, *, deadline: float) -> Mapping[str, NodeGroup]:
        """Give the groups as of the last refresh; refreshes when there was none."""
        if self._groups is None:
            await self.refresh(deadline=deadline)
        return self._groups or {}

    async def get(self, name: str, *, deadline: float) -> NodeGroup:
        """Give one group."""
        group = (await self.all(deadline=deadline)).get(name)
        if group is None:
            raise AutoscalerError(Problem.NO_GROUP, f"there is no node group {name[:80]!r}")
        return group

    async def records(self, *, deadline: float) -> Records:
        """Give what is recorded of all groups."""
        return await self._ledger.records(deadline=deadline)

    async def group_of(self, node_id: str, *, deadline: float) -> NodeGroup | None:
        """Give the group of a node by its provider id; None for one that is in none, or not known."""
        groups = await self.all(deadline=deadline)
        pending = parse_pending(node_id)
        if pending is not None:
            return groups.get(pending[0])
        machine = self._fleet.get(node_id.removeprefix(PROVIDER_PREFIX)) if _is_ours(node_id) else None
        return groups.get(machine.group) if machine is not None else None

    async def target_size(self, name: str, *, deadline: float) -> int:
        """Give how many machines the group wants, whether they are there or not."""
        await self.get(name, deadline=deadline)
        return (await self._record(name, deadline)).target

    async def increase(self, name: str, delta: int, *, deadline: float) -> None:
        """Want `delta` machines more; returns when that is recorded."""
        if delta <= 0:
            raise AutoscalerError(Problem.INVALID, f"node group {name}: an increase by {delta} is none")
        group = await self.get(name, deadline=deadline)
        record = await self._ledger.change(
            name, lambda known: increased(_known(known, name), group, delta), deadline=deadline
        )
        LOG.info("node group %s: %d more, target size %d", name, delta, record.target)
        self._wake()

    async def delete(self, name: str, node_ids: Sequence[str], *, deadline: float) -> None:
        """Delete these nodes and want as many fewer: all or none. A node counts once, however often it is named.

        Returns when that is recorded. Refused below the group's minimum, and for a node of another group or cluster.
        """
        group = await self.get(name, deadline=deadline)
        slots: set[str] = set()
        machines: list[Machine] = []
        for node_id in node_ids:
            pending = parse_pending(node_id)
            if pending is None:
                machine = await self._own_machine(name, node_id, deadline)
                machines += [] if machine is None else [machine]
            elif pending[0] == name:
                slots.add(pending[1])
            else:
                raise _foreign(name, node_id, f"it is in node group {pending[0]}")
        record = await self._ledger.change(
            name, lambda known: self._ended(_known(known, name), group, slots, machines), deadline=deadline
        )
        LOG.info("node group %s: deleting %s, target size %d", name, ", ".join(node_ids), record.target)
        self._wake()

    async def decrease(self, name: str, delta: int, *, deadline: float) -> None:
        """Give up `-delta` machines that are wanted and not there; refused when there are not as many of those."""
        if delta >= 0:
            raise AutoscalerError(Problem.INVALID, f"node group {name}: a decrease by {delta} is none")
        group = await self.get(name, deadline=deadline)

        def edit(known: GroupRecord | None) -> GroupRecord:
            record = _known(known, name)
            idle = unfulfilled(record, self._fleet, name=name)
            if len(idle) < -delta:
                raise AutoscalerError(
                    Problem.PRECONDITION,
                    f"node group {name}: of {record.target} machines, {len(idle)} are not there yet, so that {-delta}"
                    " cannot be given up; name nodes to delete",
                )
            return ended(record, group, idle[:-delta], {})

        record = await self._ledger.change(name, edit, deadline=deadline)
        LOG.info("node group %s: %d given up, target size %d", name, -delta, record.target)

    async def members(self, name: str, *, deadline: float) -> tuple[Member, ...]:
        """Give the group's machines, and a place for each that is wanted and not there yet."""
        await self.get(name, deadline=deadline)
        record = await self._record(name, deadline)
        machines = self._fleet.of_group(name)
        slots = filled(record, machines)
        shown = [self._member(machine, is_going=_is_going(machine, record, slots)) for machine in machines]
        return (*shown, *(self._place(name, slot) for slot in record.slots if slot not in slots))

    def _ended(
        self, record: GroupRecord, group: NodeGroup, slots: set[str], machines: Sequence[Machine]
    ) -> GroupRecord:
        staying = filled(record, self._fleet.of_group(group.name))
        doomed = {machine.id: machine.slot for machine in machines if machine.id not in record.deleting}
        # One that only doubles another does not take the slot with it.
        emptied = {slot for one, slot in doomed.items() if slot not in staying or staying[slot][0].id == one}
        return ended(record, group, slots | emptied, doomed)

    async def _own_machine(self, name: str, node_id: str, deadline: float) -> Machine | None:
        """Give the machine behind a node, None when it is gone; raises AutoscalerError for one of somebody else."""
        if not _is_ours(node_id):
            raise AutoscalerError(Problem.INVALID, f"{node_id[:120]!r} is no provider id of an instance")
        machine_id = node_id.removeprefix(PROVIDER_PREFIX)
        machine = self._fleet.get(machine_id)
        if machine is None:
            began_at = asyncio.get_running_loop().time()
            try:
                machine = await self._machines.look_up(machine_id, deadline=deadline)
            except CloudError as error:
                raise AutoscalerError(Problem.UNAVAILABLE, f"cannot look up {node_id[:120]}: {error}") from error
            if machine is None:
                return None
            if machine.labels.get(CLUSTER_LABEL) != self._cluster_id:
                raise _foreign(name, node_id, "its instance does not carry this cluster's label")
            self._fleet.add(machine, at=began_at)
        if machine.group != name:
            raise _foreign(name, node_id, f"its instance is in node group {machine.group or '(none)'}")
        return machine

    async def _record(self, name: str, deadline: float) -> GroupRecord:
        return _known((await self._ledger.records(deadline=deadline)).get(name), name)

    async def _load(self) -> Mapping[str, NodeGroup]:
        try:
            return await self._definitions.load()
        except DefinitionsError as error:
            if self._groups is None:
                raise AutoscalerError(Problem.UNAVAILABLE, str(error)) from error
            # To lose all groups for a mistake in the file would be worse than to go on with what it said before.
            LOG.error("%s; keeping what was read before", error)  # noqa: TRY400 - the text says it all
            return self._groups

    def _member(self, machine: Machine, *, is_going: bool) -> Member:
        node_id = provider_id(machine.id)
        if is_going:
            return Member(node_id, "deleting")
        if machine.state is InstanceState.STARTING:
            return Member(node_id, "creating")
        if machine.state is InstanceState.ERROR and self._never_came_up(machine):
            return Member(node_id, "creating", "ERROR", "the platform could not start the instance")
        if machine.state is InstanceState.RUNNING:
            return Member(node_id, "running")
        return Member(node_id, "running", machine.state.value, f"the instance is {machine.state.value}")

    def _never_came_up(self, machine: Machine) -> bool:
        # An instance that ran and broke may have work on it, and heals by itself: nodes of it are not ours to give up.
        if self._fleet.has_run(machine.id) or machine.created_at is None:
            return False
        return (self._now() - machine.created_at).total_seconds() < self._provision_limit_s

    def _place(self, name: str, slot: str) -> Member:
        place = Member(pending_id(name, slot), "creating")
        failure = self._fleet.failures.get((name, slot))
        if failure is None or not (failure.is_out_of_resources or failure.count >= _SHOWN_AFTER):
            return place
        return Member(place.id, place.state, failure.code, failure.message, failure.is_out_of_resources)


def _is_ours(node_id: str) -> bool:
    return node_id.startswith(PROVIDER_PREFIX) and len(node_id) > len(PROVIDER_PREFIX)


def _is_going(machine: Machine, record: GroupRecord, slots: Mapping[str, tuple[Machine, ...]]) -> bool:
    if machine.id in record.deleting or record.has_ended(machine.slot):
        return True
    return slots[machine.slot][0].id != machine.id


def _known(record: GroupRecord | None, name: str) -> GroupRecord:
    if record is None:
        raise AutoscalerError(Problem.UNAVAILABLE, f"node group {name} has no record yet; refresh first")
    return record


def _foreign(name: str, node_id: str, why: str) -> AutoscalerError:
    return AutoscalerError(
        Problem.PRECONDITION, f"node group {name}: {node_id[:120]} is not one of its nodes: {why}; nothing was deleted"
    )
