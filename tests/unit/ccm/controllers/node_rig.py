"""The node controller on a rig."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ccm.controllers.node import NodeController, NodeSettings
from ccm.kube.queue import WorkQueue
from ccm.names import OLD_ZONE_LABEL, REGION_LABEL, TYPE_LABEL, ZONE_LABEL
from tests.unit.ccm.controllers.rig import NEW, Rig, wire_node

LABELS = {
    ZONE_LABEL: "zone-a",
    OLD_ZONE_LABEL: "zone-a",
    REGION_LABEL: "region-1",
    "failure-domain.beta.kubernetes.io/region": "region-1",
    TYPE_LABEL: "basic-2",
    "beta.kubernetes.io/instance-type": "basic-2",
}


class Queued(WorkQueue):
    """A queue that can be looked into."""

    def keys(self) -> list[str]:
        found = list(self._waiting)
        self._waiting.clear()
        self._added_at.clear()
        return found


def controller(rig: Rig, queue: WorkQueue | None = None, **settings: Any) -> NodeController:
    made = NodeController(
        rig.store,
        rig.kube,
        rig.cloud.instances,
        rig.events,
        Queued("node") if queue is None else queue,
        settings=NodeSettings(**settings),
        metrics=rig.metrics,
        now=lambda: datetime.now(UTC) + timedelta(seconds=0.5),
    )
    rig.store.subscribe(made.on_node)
    return made


def new_node(number: int, **changed: Any) -> dict[str, Any]:
    return wire_node(number, **{"provider_id": "", "taints": [NEW], **changed})


def initialised(number: int, **changed: Any) -> dict[str, Any]:
    return wire_node(number, **{"labels": LABELS, **changed})
