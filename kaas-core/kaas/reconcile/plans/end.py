"""The plan of a cluster's end, from whatever state: also one that was never made, or is made right now."""

from kaas.domain.model import Snapshot
from kaas.domain.ports import Kind
from kaas.domain.wanted import DELETE_VOLUMES, KEPT_VOLUMES
from kaas.reconcile.step import Step
from kaas.reconcile.steps.base import Recipe
from kaas.reconcile.steps.teardown import RELEASE, KeptVolumes, Release, Remove, Sweep

_DEADLINE_S = 1800.0


def end(snapshot: Snapshot, recipe: Recipe) -> tuple[Step, ...]:
    """Give the steps: from inside first, then kind by kind in their order, and a last look."""
    operation = snapshot.operation
    volumes = bool(operation is not None and operation.arguments.get(DELETE_VOLUMES))
    steps: list[Step] = [Release(key=RELEASE, deadline_s=recipe.release_s + 300.0, volumes=volumes, recipe=recipe)]
    kinds = tuple(kind for kind in Kind if volumes or kind is not Kind.VOLUME)
    for kind in kinds:
        before = frozenset({steps[-1].key})
        steps.append(Remove(key=f"remove/{kind}", needs=before, deadline_s=_DEADLINE_S, kind=kind, recipe=recipe))
    # By now nothing makes or deletes volumes any more.
    before = frozenset({steps[-1].key})
    steps.append(KeptVolumes(key=KEPT_VOLUMES, needs=before, deadline_s=_DEADLINE_S, asked=volumes))
    last = frozenset({steps[-1].key})
    steps.append(Sweep(key="sweep", needs=last, deadline_s=_DEADLINE_S, kinds=kinds, recipe=recipe))
    return tuple(steps)
