"""The lifecycle controller on a rig."""

from typing import Any

from ccm.controllers.absence import Proof
from ccm.controllers.lifecycle import LifecycleController, LifecycleSettings
from tests.unit.ccm.controllers.rig import Rig

SPACING_S = Proof().spacing_s


def controller(rig: Rig, **settings: Any) -> LifecycleController:
    return LifecycleController(
        rig.store,
        rig.kube,
        rig.cloud.instances,
        rig.events,
        settings=LifecycleSettings(**settings),
        metrics=rig.metrics,
        clock=rig.clock,
    )


async def look(rig: Rig, watcher: LifecycleController, times: int, every_s: float = SPACING_S) -> None:
    """Look so many times, with the watch in between."""
    for _ in range(times):
        rig.watch()
        await watcher.tick()
        rig.clock.now += every_s
