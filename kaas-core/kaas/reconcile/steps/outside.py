"""Making and unmaking what is outside, so that a crash at any point leaves neither a duplicate nor an orphan.

The reference is written before the call. After a crash, or a lost answer, the mark says whether there was one.
"""

from collections.abc import Container, Sequence

from kaas.domain.errors import Code, StepError
from kaas.domain.model import ExternalRef
from kaas.domain.ports import Condition, External, Kind, Wish
from kaas.domain.states import RefState
from kaas.domain.texts import listed
from kaas.reconcile.step import Work
from kaas.reconcile.steps import presence
from kaas.reconcile.steps.base import pause

_LOOKS = 15
_MOST = 20
"""So many of what is left are named."""


async def look(work: Work, kind: Kind, name: str) -> External | None:
    """Give what there is of a kind and name. What is there twice is deleted but for one: it carries our mark.

    None means of a machine that is written down that it is gone for sure (`kaas.reconcile.steps.presence`).
    """
    cluster = work.snapshot.cluster
    found = await work.tools.driver.find(kind, cluster.id, name=name, deadline=work.deadline)
    # Names are asked for, and not every driver can ask exactly.
    here = [one for one in found if one.name == name and one.condition is not Condition.LEAVING]
    recorded = {ref.external_id for ref in work.snapshot.refs if ref.kind == kind and ref.name == name}
    here.sort(key=lambda one: (one.id not in recorded, one.condition is Condition.FAILED, one.id))
    if kind is Kind.MACHINE:
        here = list(await presence.with_recorded(work, name, found, here))
    for extra in here[1:]:
        await work.tools.driver.delete(extra, deadline=work.deadline)
    return here[0] if here else None


async def intend(work: Work, kind: Kind, name: str, *, step: str, node_id: str = "") -> ExternalRef:
    """Write that there may be one from now on."""
    ref = ExternalRef(
        id="",
        cluster_id=work.snapshot.cluster.id,
        kind=kind,
        name=name,
        state=RefState.INTENDED,
        node_id=node_id,
        step=step,
    )
    return await work.tools.store.intend(work.lease, ref)


async def make(work: Work, wish: Wish, kind: Kind, *, step: str, node_id: str = "") -> External:
    """Make one, and write down which."""
    ref = await intend(work, kind, wish.name, step=step, node_id=node_id)
    made = await work.tools.driver.create(work.snapshot.cluster.id, wish, deadline=work.deadline)
    await work.tools.store.update_ref(work.lease, ref, RefState.PRESENT, external_id=made.id)
    return made


async def adopt(work: Work, external: External, *, step: str, node_id: str = "") -> None:
    """Write down one that was found, unless it is written down already."""
    for ref in work.snapshot.refs:
        if ref.kind == external.kind and ref.external_id == external.id and ref.state is RefState.PRESENT:
            return
    ref = await intend(work, external.kind, external.name, step=step, node_id=node_id)
    await work.tools.store.update_ref(work.lease, ref, RefState.PRESENT, external_id=external.id)


async def forget(work: Work, kind: Kind, name: str = "") -> None:
    """Write that what was looked for and not found is gone; all of a kind without a name."""
    for ref in work.snapshot.refs:
        if ref.kind == kind and (not name or ref.name == name) and ref.state is not RefState.GONE:
            await work.tools.store.update_ref(work.lease, ref, RefState.GONE, external_id=ref.external_id)


async def delete_all(work: Work, kind: Kind, *, name: str = "", among: Container[str] | None = None) -> None:
    """Ask for the end of everything with the cluster's mark, of a name if given, and of what is recorded only.

    `among`: of nothing else than these ids.
    """
    cluster = work.snapshot.cluster
    found = await work.tools.driver.find(kind, cluster.id, name=name, deadline=work.deadline)
    there = {one.id: one for one in found if not name or one.name == name}
    for ref in work.snapshot.refs:
        if ref.kind != kind or (name and ref.name != name) or ref.state is RefState.GONE:
            continue
        await work.tools.store.update_ref(work.lease, ref, RefState.DELETING, external_id=ref.external_id)
        if ref.external_id and ref.external_id not in there:
            # A listing may be behind; what is gone already is no error.
            there[ref.external_id] = External(kind, ref.external_id, ref.name, Condition.PENDING)
    if kind is Kind.MACHINE and name and (recorded := await presence.recorded_id(work, name)):
        there.setdefault(recorded, External(kind, recorded, name, Condition.PENDING))
    refused: list[StepError] = []
    for one in there.values():
        if one.condition is Condition.LEAVING or (among is not None and one.id not in among):
            continue
        try:
            await work.tools.driver.delete(one, deadline=work.deadline)
        except StepError as error:
            # One that cannot go yet does not keep the others.
            refused.append(error)
    if refused:
        raise refused[0]


async def all_gone(
    work: Work, kind: Kind, *, name: str = "", among: Container[str] | None = None, poll_s: float
) -> None:
    """Wait until nothing of a kind is there any more. Raises StepError (SURVIVORS) that names what is.

    `among`: nothing of these ids.
    """
    cluster = work.snapshot.cluster
    looks = 0
    while True:
        found = await work.tools.driver.find(kind, cluster.id, name=name, deadline=work.deadline)
        looks += 1
        left = [one for one in found if name in ("", one.name) and (among is None or one.id in among)]
        if kind is Kind.MACHINE and not left:
            left = list(await presence.still_there(work, await _recorded_machines(work, name)))
        if not left:
            await forget(work, kind, name)
            return
        # Some platforms show for a while what they were asked to delete as if nobody had asked.
        stays = looks >= _LOOKS and any(one.condition is not Condition.LEAVING for one in left)
        if stays or not await pause(work, poll_s):
            raise StepError(Code.SURVIVORS, f"still there: {_named(left)}; what the platform says of it is in brackets")


async def _recorded_machines(work: Work, name: str) -> Sequence[str]:
    """Give the ids of machines that are written down; of one node, with a name."""
    ids = {
        ref.external_id
        for ref in work.snapshot.refs
        if ref.kind == Kind.MACHINE and name in ("", ref.name) and ref.external_id and ref.state is not RefState.GONE
    }
    if name and (recorded := await presence.recorded_id(work, name)):
        ids.add(recorded)
    return sorted(ids)


def _named(left: Sequence[External]) -> str:
    told = [f"{one.kind} {one.name} {one.id} ({one.message or one.condition})" for one in left]
    return listed(told, most=_MOST, joint=", ")
