"""Takes the startup taint from this host's Node once the scheduler knows how many volumes it takes.

A Node may be born with the taint, so that no pod is placed on it before the driver is there. Being registered is not
enough: without the count in the CSINode object the scheduler places any number of volumes (CSI anchors: pods that wait
for ever on a full node). Not here: reading and changing the objects (`kube`).
"""

import asyncio
import logging
from typing import Protocol

from csi.driver import DRIVER_NAME
from csi.errors import CsiError, ErrorKind
from csi.registration import Registration
from node.kube.nodes import NodeObject

_LOG = logging.getLogger(__name__)

QUESTION_LIMIT_S = 5.0
FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 30.0
LAST_PAUSE_REFUSED_S = 300.0
"""After a refusal, which somebody has to mend before asking again makes sense."""


class Nodes(Protocol):
    """Reads and changes Nodes; `kube.nodes.KubeNodes`."""

    async def get(self, name: str, *, deadline: float) -> NodeObject:
        """Read one Node. Raises CsiError."""
        ...

    async def remove_taint(self, name: str, node: NodeObject, key: str, *, deadline: float) -> bool:
        """Take a taint from the Node as it was read; False when it was changed meanwhile. Raises CsiError."""
        ...


class CsiNodes(Protocol):
    """Reads CSINodes; `kube.csi_nodes.KubeCsiNodes`."""

    async def allocatable(self, node_name: str, driver: str, *, deadline: float) -> int | None:
        """Give the count that the scheduler knows; None when it knows none. Raises CsiError."""
        ...


class StartupTaint:
    """Removes one taint from one Node, never another one."""

    def __init__(
        self, *, nodes: Nodes, csi_nodes: CsiNodes, node_name: str, key: str, first_pause_s: float = FIRST_PAUSE_S
    ) -> None:
        self._nodes = nodes
        self._csi_nodes = csi_nodes
        self._node_name = node_name
        self._key = key
        self._first_pause_s = first_pause_s

    async def run(self, registration: Registration | None) -> None:
        """Clear the taint after each registration with the kubelet; once, when somebody else registers the plugin.

        A Node that was deleted and made anew has the taint again, and its kubelet has started and registers again. So
        nothing has to be watched: where there is no taint this costs one question for each registration.
        """
        times = 0
        while True:
            if registration is not None:
                times = await registration.wait_registered(after=times)
            await self.clear()
            if registration is None:
                return

    async def clear(self) -> None:
        """Return when the Node does not have the taint; failures are asked again as long as it takes."""
        pause_s, told = self._first_pause_s, ""
        while True:
            longest_s = LAST_PAUSE_S
            try:
                problem = await self._try()
            except CsiError as error:
                problem = error.message
                if error.kind is ErrorKind.PRECONDITION:
                    longest_s = LAST_PAUSE_REFUSED_S
            if not problem:
                return
            if problem != told:
                _LOG.warning("the startup taint %s is looked at again: %s", self._key, problem)
                told = problem
            await asyncio.sleep(min(pause_s, longest_s))
            pause_s = min(pause_s * 2.0, LAST_PAUSE_REFUSED_S)

    async def _try(self) -> str:
        """Give why the taint is still there; empty when it is not."""
        name = self._node_name
        node = await self._nodes.get(name, deadline=_soon())
        if not node.has_taint(self._key):
            _LOG.debug("node %s does not have the startup taint %s", name, self._key)
            return ""
        count = await self._csi_nodes.allocatable(name, DRIVER_NAME, deadline=_soon())
        if count is None:
            return f"CSINode {name!r} does not say yet how many volumes of {DRIVER_NAME} the node takes"
        if not await self._nodes.remove_taint(name, node, self._key, deadline=_soon()):
            return f"the taints of node {name!r} were changed by somebody else at the same moment"
        _LOG.info("took the startup taint %s from node %s, which takes %d volumes", self._key, name, count)
        return ""


def _soon() -> float:
    return asyncio.get_running_loop().time() + QUESTION_LIMIT_S
