"""Says whether this host's Node is going away, and waits until the cluster has detached the volumes from it.

The kubelet can unmount volumes only as long as this plugin lives, and the cluster detaches what is unmounted at once,
but what may still be mounted only after six minutes, in which pods elsewhere wait with a Multi-Attach error. So the
plugin of a node that is drained has to outlive the volumes of its pods. Not here: the command (`pre_stop`), and reading
the objects (`kube`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from csi.driver import DRIVER_NAME
from csi.errors import CsiError, ErrorKind
from node.kube.attachments import Attachment
from node.kube.nodes import NodeObject

_LOG = logging.getLogger(__name__)

QUESTION_LIMIT_S = 5.0
PATIENCE_S = 8.0
"""How long the cluster's API may be away before nothing more is waited for: the pod's end must not hang on it."""
FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 3.0
_SHOWN = 8

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class DepartureTaint:
    """A taint that is put on a Node only when its machine is about to leave the cluster or has left."""

    key: str
    meaning: str


DEPARTURE_TAINTS = (
    DepartureTaint("node.kubernetes.io/unschedulable", "it is cordoned, as kubectl drain does first"),
    DepartureTaint("node.kubernetes.io/out-of-service", "an administrator says that its machine is off for good"),
    DepartureTaint("node.cloudprovider.kubernetes.io/shutdown", "the cloud controller manager sees its instance off"),
    DepartureTaint("ToBeDeletedByClusterAutoscaler", "the cluster autoscaler takes it away"),
    DepartureTaint("karpenter.sh/disrupted", "Karpenter takes it away"),
    DepartureTaint("karpenter.sh/disruption", "Karpenter before 1.0 takes it away"),
)
"""Not among them: `DeletionCandidateOfClusterAutoscaler`, which is taken back as often as not, and the taints of a node
that is only sick (not-ready, unreachable, pressure): its volumes stay where its pods stay."""


class Nodes(Protocol):
    """Reads Nodes; `kube.nodes.KubeNodes`."""

    async def find(self, name: str, *, deadline: float) -> NodeObject | None:
        """Read one Node; None when there is none. Raises CsiError."""
        ...


class Attachments(Protocol):
    """Reads VolumeAttachments; `kube.attachments.KubeAttachments`."""

    async def of_node(self, node_name: str, driver: str, *, deadline: float) -> tuple[Attachment, ...]:
        """List those of one driver and node. Raises CsiError."""
        ...

    async def exists(self, name: str, *, deadline: float) -> bool:
        """Say whether one is still there. Raises CsiError."""
        ...


def why_leaving(node: NodeObject | None) -> str:
    """Say why a Node is going away; empty when it stays. None stands for a Node that the cluster does not have."""
    if node is None:
        return "the cluster does not have it any more"
    if node.is_being_deleted:
        return "it is being deleted"
    for taint in DEPARTURE_TAINTS:
        if node.has_taint(taint.key):
            return f"{taint.meaning} (taint {taint.key})"
    return "it is cordoned, as kubectl drain does first" if node.is_unschedulable else ""


class Departure:
    """Waits for the volumes of one node, if there is a reason to."""

    def __init__(
        self,
        *,
        nodes: Nodes,
        attachments: Attachments,
        node_name: str,
        patience_s: float = PATIENCE_S,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._nodes = nodes
        self._attachments = attachments
        self._node_name = node_name
        self._patience_s = patience_s
        self._first_pause_s = first_pause_s
        self._until = float("inf")

    async def wait(self, *, limit_s: float) -> str:
        """Return when nothing has to be waited for any more, after `limit_s` at the latest; gives the outcome in words.

        Raises CsiError when the cluster cannot be asked.
        """
        begun = asyncio.get_running_loop().time()
        self._until = until = begun + limit_s
        node = f"node {self._node_name}"
        reason = why_leaving(await self._ask(self._find_node))
        if not reason:
            return f"{node} stays, so nothing is waited for"
        left = list(await self._ask(self._list_attachments))
        if not left:
            return f"{node} goes away: {reason}; no volume of {DRIVER_NAME} is attached to it"
        count = len(left)
        _LOG.info("%s goes away: %s; waiting until %s detached: %s", node, reason, _are(count), _names(left))
        pause_s = self._first_pause_s
        while left:
            try:
                async with asyncio.timeout_at(until):
                    await asyncio.sleep(pause_s)
                    left = await self._look_again(left)
            except TimeoutError:
                return f"{node} goes away, and after {limit_s:g} s {_are(len(left))} still attached: {_names(left)}"
            pause_s = min(pause_s * 1.5, LAST_PAUSE_S)
        seconds = asyncio.get_running_loop().time() - begun
        return f"{node} goes away, and no volume is attached to it any more; {_are(count)} gone after {seconds:.1f} s"

    async def _look_again(self, left: list[Attachment]) -> list[Attachment]:
        """Give what is still attached. One question is enough as long as the first one is there."""
        for place, attachment in enumerate(left):
            if await self._ask(partial(self._exists, attachment.name)):
                return left[place:]
        # A pod that tolerates the drain may have brought another volume meanwhile.
        return list(await self._ask(self._list_attachments))

    async def _ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        loop = asyncio.get_running_loop()
        give_up_at, pause_s = loop.time() + self._patience_s, self._first_pause_s
        while True:
            try:
                return await question()
            except CsiError as error:
                if error.kind is ErrorKind.PRECONDITION or loop.time() + pause_s >= give_up_at:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2.0, LAST_PAUSE_S)

    async def _find_node(self) -> NodeObject | None:
        return await self._nodes.find(self._node_name, deadline=self._soon())

    async def _list_attachments(self) -> tuple[Attachment, ...]:
        return await self._attachments.of_node(self._node_name, DRIVER_NAME, deadline=self._soon())

    async def _exists(self, name: str) -> bool:
        return await self._attachments.exists(name, deadline=self._soon())

    def _soon(self) -> float:
        # No question may outlast the wait: the pod's end would wait for its thread.
        return min(asyncio.get_running_loop().time() + QUESTION_LIMIT_S, self._until)


def _names(attachments: list[Attachment]) -> str:
    shown = ", ".join(attachment.volume or attachment.name for attachment in attachments[:_SHOWN])
    return f"{shown}, …" if len(attachments) > _SHOWN else shown


def _are(count: int) -> str:
    return "1 volume is" if count == 1 else f"{count} volumes are"
