"""What this process knows of the machines between two listings.

Belongs here: memory, and how it follows from what was seen. Does not belong here: calls to anybody, decisions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ccm.autoscaler.model import Failure, Machine
from ccm.autoscaler.record import GroupRecord
from ccm.model import InstanceState

Slot = tuple[str, str]
"""Group and slot."""

_CONFIRMATIONS = 2
"""Definite answers, in as many passes, before a machine that a listing lacks counts as gone."""


@dataclass(slots=True)
class Fleet:
    """The machines of this cluster, and what is being done about slots without one."""

    listed_at: float | None = None
    """Loop time at which the last listing began; None before the first."""
    failures: dict[Slot, Failure] = field(default_factory=dict)
    launching: set[Slot] = field(default_factory=set)
    _machines: dict[str, Machine] = field(default_factory=dict)
    _missing: dict[str, int] = field(default_factory=dict)
    """Machines that the last listing lacks, with the number of definite answers that they are gone."""
    _added_at: dict[str, float] = field(default_factory=dict)
    _ran: set[str] = field(default_factory=set)

    def observe(self, machines: Iterable[Machine], *, began_at: float) -> None:
        """Take in a listing. What it lacks is kept as missing, unless the machine is younger than the listing."""
        if self.listed_at is not None and began_at < self.listed_at:
            return
        self.listed_at = began_at
        listed = {machine.id: machine for machine in machines}
        kept = {one: machine for one, machine in self._machines.items() if one not in listed}
        self._missing = {one: self._missing.get(one, 0) for one in kept if self._added_at.get(one, 0.0) < began_at}
        self._added_at = {one: at for one, at in self._added_at.items() if one in kept}
        self._machines = {**listed, **kept}
        self._ran &= self._machines.keys()
        self._ran |= {one.id for one in self._machines.values() if one.state is InstanceState.RUNNING}

    def add(self, machine: Machine, *, at: float) -> None:
        """Take in one machine that was seen by itself, at this loop time."""
        self._machines[machine.id] = machine
        self._missing.pop(machine.id, None)
        self._added_at[machine.id] = at

    def confirm_gone(self, machine_id: str) -> bool:
        """Count a definite answer that a machine is gone; whether that is enough to forget it, which it then is."""
        if machine_id in self._machines:
            count = self._missing.get(machine_id, 0) + 1
            if count < _CONFIRMATIONS:
                self._missing[machine_id] = count
                return False
        self._machines.pop(machine_id, None)
        self._missing.pop(machine_id, None)
        self._added_at.pop(machine_id, None)
        return True

    def get(self, machine_id: str) -> Machine | None:
        """Give a machine that is there as far as known."""
        return self._machines.get(machine_id)

    def of_group(self, group: str) -> tuple[Machine, ...]:
        """Give the machines that carry the group's label."""
        return tuple(machine for machine in self._machines.values() if machine.group == group)

    def is_missing(self, machine_id: str) -> bool:
        """Whether the last listing lacks it."""
        return machine_id in self._missing

    def has_run(self, machine_id: str) -> bool:
        """Whether it was ever seen running by this process."""
        return machine_id in self._ran


def filled(record: GroupRecord, machines: Iterable[Machine]) -> Mapping[str, tuple[Machine, ...]]:
    """Give the machines of each slot, the one that stays first; machines being deleted fill none.

    The oldest that did not fail stays: it is the one that may have work on it.
    """
    slots: dict[str, list[Machine]] = {}
    for machine in machines:
        if machine.id not in record.deleting:
            slots.setdefault(machine.slot, []).append(machine)
    return {slot: tuple(sorted(several, key=_seniority)) for slot, several in slots.items()}


def _seniority(machine: Machine) -> tuple[bool, float, str]:
    born = machine.created_at.timestamp() if machine.created_at is not None else float("inf")
    return machine.state is InstanceState.ERROR, born, machine.id
