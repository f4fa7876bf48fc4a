"""Whether a machine that is written down is still there. A listing that lacks it proves nothing.

Listings may be behind, cut short or empty for a moment, and who believes such a one deletes a machine that lives. So a
machine is gone only when the platform has said so of its id, definitely, twice, and some time apart.
"""

from collections.abc import Mapping, Sequence

from kaas.domain.errors import Code, StepError
from kaas.domain.model import Node
from kaas.domain.ports import Condition, External, Kind
from kaas.domain.states import RefState
from kaas.reconcile.step import Work
from kaas.reconcile.steps.base import pause, time_left

_USABLE = frozenset({Condition.PENDING, Condition.READY})


async def with_recorded(
    work: Work, name: str, found: Sequence[External], here: Sequence[External]
) -> Sequence[External]:
    """Give the machines of a node, with the one that is written down first, unless it is really gone.

    `found`: the listing; `here`: what of it can be kept. Raises StepError when the platform does not say for sure.
    """
    if len(here) == 1 and here[0].condition in _USABLE and here[0].id == _remembered(work, name):
        return here
    recorded = await recorded_id(work, name)
    listed = next((one for one in found if one.id == recorded), None)
    others = [one for one in here if one.id != recorded]
    if not recorded or (listed is not None and listed.condition is Condition.LEAVING):
        return others
    if listed is None or listed.condition is Condition.FAILED:
        listed = await by_id(work, name, recorded)
    if listed is None or listed.condition is Condition.LEAVING:
        return others
    return (listed, *others)


async def by_id(work: Work, name: str, machine_id: str) -> External | None:
    """Give a node's machine; None when the platform has said twice that there is none. Raises StepError."""
    gap_s = work.tools.gone_gap_s
    found = await _ask(work, machine_id)
    if found is not None:
        return found
    if time_left(work) <= gap_s or not await pause(work, gap_s):
        raise StepError(
            Code.PLATFORM_UNAVAILABLE,
            f"machine {machine_id} of {name}: the platform has said once that it is gone, and there is no time left to "
            "ask again; it counts as there until then",
        )
    return await _ask(work, machine_id)


async def among(work: Work, nodes: Sequence[Node]) -> Mapping[str, External | None]:
    """Give the machines of nodes by their names, None for what is gone; what is not known for sure is left out."""
    answers: dict[str, External | None] = {}
    for node in nodes:
        try:
            answers[node.name] = await _ask(work, node.instance_id)
        except StepError:
            continue
    lost = [node for node in nodes if node.name in answers and answers[node.name] is None]
    if not lost:
        return answers
    again = time_left(work) > work.tools.gone_gap_s and await pause(work, work.tools.gone_gap_s)
    for node in lost:
        del answers[node.name]
        if again:
            try:
                answers[node.name] = await _ask(work, node.instance_id)
            except StepError:
                continue
    return answers


async def still_there(work: Work, ids: Sequence[str]) -> Sequence[External]:
    """Give those of some machines that the platform has by their ids; for who has asked for their end."""
    seen = [await _ask(work, machine_id) for machine_id in ids]
    return [one for one in seen if one is not None]


async def recorded_id(work: Work, name: str) -> str:
    """Give the id of the machine that is written down for a node; empty when there is none."""
    # Not the snapshot's: a machine may have been made since it was read.
    node = await work.tools.store.node(work.lease, name)
    if node is not None and node.instance_id:
        return node.instance_id
    return _of_ref(work, name)


def _remembered(work: Work, name: str) -> str:
    node = work.snapshot.node(name)
    return node.instance_id if node is not None and node.instance_id else _of_ref(work, name)


def _of_ref(work: Work, name: str) -> str:
    ids = [
        ref.external_id
        for ref in work.snapshot.refs
        if ref.kind == Kind.MACHINE and ref.name == name and ref.state is RefState.PRESENT
    ]
    return ids[0] if ids else ""


async def _ask(work: Work, machine_id: str) -> External | None:
    return await work.tools.driver.machine(work.snapshot.cluster.id, machine_id, deadline=work.deadline)
