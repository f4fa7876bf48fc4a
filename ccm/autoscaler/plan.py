"""What has to be done so that a group has the machines that it wants: pure."""

from collections.abc import Collection
from dataclasses import dataclass

from ccm.autoscaler.fleet import Fleet, filled
from ccm.autoscaler.model import Machine, NodeGroup
from ccm.autoscaler.record import GroupRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps for one group; each may be taken or left without the others."""

    launch: tuple[str, ...] = ()
    """Slots without a machine."""
    terminate: tuple[str, ...] = ()
    """Machines that nobody wants."""
    confirm: tuple[str, ...] = ()
    """Machines that the listing lacks: ask for each whether it is gone."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.launch or self.terminate or self.confirm)


def plan(record: GroupRecord, group: NodeGroup | None, fleet: Fleet, *, name: str, now: float) -> Plan:
    """Compare what is wanted with what is there. A group that is not described any more launches nothing.

    Machines whose slot is neither wanted nor known to have ended are left alone: `record.adopted` takes them in.
    """
    machines = fleet.of_group(name)
    slots = filled(record, machines)
    known = {machine.id for machine in machines}
    unwanted = [
        machine.id
        for slot, several in slots.items()
        for machine in (several if record.has_ended(slot) else _spare(several, fleet))
    ]
    doomed = [machine.id for machine in machines if machine.id in record.deleting]
    return Plan(
        launch=tuple(_to_launch(record, slots.keys(), fleet, name=name, now=now)) if group is not None else (),
        terminate=tuple(one for one in sorted({*unwanted, *doomed}) if not fleet.is_missing(one)),
        confirm=tuple(sorted({one for one in known if fleet.is_missing(one)} | (record.deleting.keys() - known))),
    )


def unfulfilled(record: GroupRecord, fleet: Fleet, *, name: str) -> tuple[str, ...]:
    """Give the slots for which there is no machine and none on its way, the newest first."""
    slots = filled(record, fleet.of_group(name))
    open_slots = [slot for slot in record.slots if slot not in slots and (name, slot) not in fleet.launching]
    return tuple(reversed(open_slots))


def _to_launch(record: GroupRecord, taken: Collection[str], fleet: Fleet, *, name: str, now: float) -> list[str]:
    waiting = {slot for (group, slot), failure in fleet.failures.items() if group == name and failure.retry_at > now}
    return [
        slot
        for slot in record.slots
        if slot not in taken and slot not in waiting and (name, slot) not in fleet.launching
    ]


def _spare(several: tuple[Machine, ...], fleet: Fleet) -> tuple[Machine, ...]:
    # While it is open whether the one that stays is still there, the others may be needed.
    return () if fleet.is_missing(several[0].id) else several[1:]
