"""What is recorded of each group, and the changes to it: pure.

A change that is made twice is made once, except an increase, which has no identity of its own.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from ccm.autoscaler.model import Machine, NodeGroup
from ccm.autoscaler.ports import AutoscalerError, Problem

_FORMAT = 1


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a group wants."""

    next: int = 1
    """Number of the next slot. A lower number that is not in `slots` has ended."""
    slots: tuple[str, ...] = ()
    deleting: Mapping[str, str] = {}
    """Machines whose deletion is decided and not confirmed yet, with the slots that they filled."""

    @property
    def target(self) -> int:
        """The target size."""
        return len(self.slots)

    def has_ended(self, slot: str) -> bool:
        """Whether this slot was one of the group's and is not wanted any more."""
        return slot not in self.slots and slot.isdecimal() and int(slot) < self.next


Records = Mapping[str, GroupRecord]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """All records as they are stored."""

    format: int = _FORMAT
    change: str = ""
    """Id of the change that wrote it, so that a writer without an answer finds out."""
    groups: Records = {}


_DECODER = msgspec.json.Decoder(Document)


def decode(text: str) -> Document:
    """Read what is stored; nothing is an empty document. Raises AutoscalerError for what we did not write."""
    if not text:
        return Document()
    try:
        document = _DECODER.decode(text)
    except msgspec.MsgspecError as error:
        raise _unusable(str(error)) from error
    if document.format != _FORMAT:
        raise _unusable(f"its format is {document.format}, known is {_FORMAT}")
    return document


def encode(document: Document) -> str:
    """Give the text to store."""
    return msgspec.json.encode(document, order="deterministic").decode()


def increased(record: GroupRecord, group: NodeGroup, delta: int) -> GroupRecord:
    """Want `delta` machines more; raises AutoscalerError beyond the group's maximum."""
    if record.target + delta > group.max_size:
        raise AutoscalerError(
            Problem.PRECONDITION,
            f"node group {group.name}: {record.target} + {delta} is more than its maximum {group.max_size}",
        )
    return _grown(record, delta)


def ended(record: GroupRecord, group: NodeGroup, slots: Collection[str], machines: Mapping[str, str]) -> GroupRecord:
    """Want these slots no more, and these machines (with the slots that they fill) deleted.

    Raises AutoscalerError, and changes nothing, if that went below the group's minimum. What has ended before counts
    no second time.
    """
    left = tuple(slot for slot in record.slots if slot not in slots)
    if left != record.slots and len(left) < group.min_size:
        raise AutoscalerError(
            Problem.PRECONDITION,
            f"node group {group.name}: {record.target} - {record.target - len(left)} is less than its minimum"
            f" {group.min_size}",
        )
    deleting = {**record.deleting, **machines}
    if left == record.slots and deleting == record.deleting:
        return record
    return msgspec.structs.replace(record, slots=left, deleting=deleting)


def settled(record: GroupRecord, gone: Collection[str]) -> GroupRecord:
    """Forget machines that are confirmed to be gone."""
    left = {machine: slot for machine, slot in record.deleting.items() if machine not in gone}
    return record if left == record.deleting else msgspec.structs.replace(record, deleting=left)


def adopted(record: GroupRecord | None, group: NodeGroup, machines: Iterable[Machine]) -> GroupRecord:
    """Take in machines of the group that no record knows of, and want at least the group's minimum.

    Such are machines that were there before us or that somebody else made for the group, and those that are newer than
    a record that was restored.
    """
    known = record or GroupRecord()
    slots = dict.fromkeys(known.slots)
    following = known.next
    for machine in sorted(machines, key=lambda one: one.slot):
        slot = machine.slot
        if machine.id in known.deleting or (record is not None and known.has_ended(slot)):
            continue
        slots[slot] = None
        if slot.isdecimal():
            following = max(following, int(slot) + 1)
    if record is None or following != known.next or len(slots) != len(known.slots):
        known = msgspec.structs.replace(known, slots=tuple(slots), next=following)
    return _grown(known, max(0, group.min_size - known.target))


def _grown(record: GroupRecord, count: int) -> GroupRecord:
    if not count:
        return record
    fresh = tuple(str(number) for number in range(record.next, record.next + count))
    return msgspec.structs.replace(record, slots=(*record.slots, *fresh), next=record.next + count)


def _unusable(why: str) -> AutoscalerError:
    return AutoscalerError(
        Problem.PRECONDITION,
        f"the stored record of the node groups cannot be used: {why}; repair it, or delete it to start from the"
        " instances that are there",
    )
