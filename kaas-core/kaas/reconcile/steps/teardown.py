"""The end of a cluster: from inside as long as its API answers, then by record and by mark, kind by kind."""

import asyncio
from collections.abc import Container
from dataclasses import dataclass

from kaas.domain.errors import Code, KaasError, StepError
from kaas.domain.model import Event
from kaas.domain.ports import Condition, Kind
from kaas.domain.texts import listed
from kaas.domain.wanted import VOLUMES
from kaas.reconcile.step import NOTHING, Result, Work
from kaas.reconcile.steps import outside
from kaas.reconcile.steps.access import kube_access
from kaas.reconcile.steps.base import BaseStep, Recipe, pause
from kaas.reconcile.steps.leave import forget_node

_MOST = 20
"""So many things are named in an event; a step's result has all volumes."""
RELEASE = "release"
_DISPOSABLE = "disposable"
"""In the result of `RELEASE`: ids of the volumes that may be deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(BaseStep):
    """What the cluster made outside itself is given back by it, as far as it still can; this never blocks the end.

    With `volumes` it is asked as well which volumes may go: nobody else knows which of them somebody wanted kept.
    """

    volumes: bool
    recipe: Recipe

    async def verify(self, work: Work) -> Result:
        """Ask for it until nothing is left or the time for it is over; what is left is told, and goes by its mark."""
        if not work.snapshot.cluster.endpoint:
            return NOTHING
        deadline = min(work.deadline, asyncio.get_running_loop().time() + self.recipe.release_s)
        within = Work(work.tools, work.lease, work.snapshot, deadline, work.results)
        left, disposable = [""], set[str]()
        while left:
            try:
                access = await kube_access(within)
                if why := await within.tools.kube.readiness(access, deadline=deadline):
                    left = [why]
                    break
                if self.volumes:
                    # Before their claims are deleted, and their entries with them.
                    disposable |= set(await within.tools.kube.disposable_volumes(access, deadline=deadline))
                left = list(await within.tools.kube.release_outside(access, volumes=self.volumes, deadline=deadline))
            except KaasError as error:
                left = [error.message]
                if error.code is Code.API_SERVER_DOWN or not isinstance(error, StepError):
                    break
            if left and not await pause(within, self.recipe.poll_s):
                break
        if left:
            message = f"not given back by the cluster itself: {listed(left, most=_MOST)}"
            await work.tools.store.add_event(
                work.lease, Event(work.lease.cluster_id, "RELEASE_INCOMPLETE", message, "warning")
            )
        return {"left": left[:_MOST], _DISPOSABLE: sorted(disposable)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove(BaseStep):
    """Nothing of a kind is left, neither of what is recorded nor of what carries the mark.

    Of volumes only those go that the cluster itself has said may go; the others may be the only copy of something.
    """

    kind: Kind
    recipe: Recipe

    async def apply(self, work: Work) -> None:
        """Ask for the end of all of it."""
        await outside.delete_all(work, self.kind, among=_among(work, self.kind))

    async def verify(self, work: Work) -> Result:
        """Wait until it is gone. Raises StepError (SURVIVORS) that names what is not."""
        await outside.all_gone(work, self.kind, among=_among(work, self.kind), poll_s=self.recipe.poll_s)
        if self.kind is Kind.MACHINE:
            for node in work.snapshot.nodes:
                await forget_node(work, node)
        return NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVolumes(BaseStep):
    """It is told which volumes of claims stay on the platform, since nothing else knows of them any more.

    `asked`: their end was asked for.
    """

    asked: bool

    async def verify(self, work: Work) -> Result:
        """Look for them by the cluster's mark, and give their ids and names."""
        found = await work.tools.driver.find(Kind.VOLUME, work.lease.cluster_id, deadline=work.deadline)
        kept = sorted((one.name, one.id) for one in found if one.condition is not Condition.LEAVING)
        if kept:
            named = listed([f"{name} ({external_id})" for name, external_id in kept], most=_MOST, joint=", ")
            message = f"kept on the platform, with all that is on them: {len(kept)} volumes of claims: {named}"
            if self.asked:
                message += "; no answer of the cluster's API says that they may go: policy Retain, or no answer at all"
            event = Event(work.lease.cluster_id, "VOLUMES_KEPT", message, "warning")
            await work.tools.store.add_event(work.lease, event)
        return {VOLUMES: [{"id": external_id, "name": name} for name, external_id in kept]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep(BaseStep):
    """A last look at all kinds: a request that was on its way when the end began may have been carried out since."""

    kinds: tuple[Kind, ...]
    recipe: Recipe

    async def verify(self, work: Work) -> Result:
        """Look, and delete what has come."""
        for kind in self.kinds:
            await outside.delete_all(work, kind, among=_among(work, kind))
            await outside.all_gone(work, kind, among=_among(work, kind), poll_s=self.recipe.poll_s)
        work.tools.accesses.forget(work.lease.cluster_id)
        return NOTHING


def _among(work: Work, kind: Kind) -> Container[str] | None:
    """Give what of a kind may be deleted; None for all that carries the mark."""
    if kind is not Kind.VOLUME:
        return None
    told = work.results.get(RELEASE, NOTHING).get(_DISPOSABLE)
    return frozenset(told) if isinstance(told, list) else frozenset()
