"""Nodes whose instance is stopped: the shutdown taint, and on demand the out-of-service taint (KEP-2268).

The shutdown taint tells people and keeps pods away. The out-of-service taint makes Kubernetes force-delete the pods and
detach the volumes at once, which is only right when nothing can run there any more: so it takes the platform's own word
STOPPED, several times over a time and by id, and never for more nodes at once than may be lost at once. A paused
instance may go on at any moment with its memory and its writes, so it never counts. We take the taint away only where
we put it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ccm.controllers.absence import Limit, Proof, Series, continued
from ccm.controllers.node_edit import Body, edit, loop_time, with_taint, without_taint
from ccm.controllers.node_ports import NodeClient, NodeMetrics, Recorder
from ccm.kube import patch
from ccm.kube.errors import KubeError
from ccm.kube.model import Node, Taint
from ccm.model import Instance, InstanceState
from ccm.names import OUT_OF_SERVICE_ANNOTATION, OUT_OF_SERVICE_TAINT, SHUTDOWN_TAINT
from ccm.ports import CloudError, CloudInstances

_log = logging.getLogger(__name__)

_SHUTDOWN = Taint(key=SHUTDOWN_TAINT, effect="NoSchedule")
_OUT_OF_SERVICE = Taint(key=OUT_OF_SERVICE_TAINT, value="nodeshutdown", effect="NoExecute")
_ALIVE = frozenset({InstanceState.RUNNING, InstanceState.STARTING})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownSettings:
    """When a node gets which taint."""

    states: frozenset[InstanceState] = frozenset({InstanceState.STOPPED, InstanceState.PAUSED})
    """What counts as shut down. ERROR does not: the platform may heal it by itself (platform contract 4.2)."""
    out_of_service_after_s: float = 0.0
    """How long an instance has been STOPPED before its node is out of service; 0: never."""


class Shutdown:
    """Puts the taints of stopped instances on nodes, and takes them away."""

    def __init__(
        self,
        kube: NodeClient,
        instances: CloudInstances,
        events: Recorder,
        metrics: NodeMetrics,
        *,
        settings: ShutdownSettings,
        proof: Proof,
        limit: Limit,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._kube = kube
        self._instances = instances
        self._events = events
        self._metrics = metrics
        self._settings = settings
        self._proof = proof
        self._limit = limit
        self._timeout_s = timeout_s
        self._clock = clock
        self._stopped: dict[str, Series] = {}
        """By the node's uid: how long its instance has been seen STOPPED."""

    async def recover(self, node: Node) -> None:
        """Take our taints from a node that is Ready, whatever the platform says."""
        self._stopped.pop(node.metadata.uid, None)
        if without_taint(node, SHUTDOWN_TAINT) is not None or _is_marked(node):
            await self._write(node, _recovered, "shutdown")

    async def follow(self, cases: Sequence[tuple[Node, Instance]], nodes: int) -> None:
        """Bring the taints of nodes that are not Ready, and whose instance exists, in line with its state.

        `nodes` is how many nodes have an instance of this platform.
        """
        seen = {node.metadata.uid for node, _ in cases}
        self._stopped = {uid: series for uid, series in self._stopped.items() if uid in seen}
        for node, instance in cases:
            if instance.state in self._settings.states:
                if await self._write(node, _shut_down, "shutdown"):
                    text = f"Instance {instance.id} is {instance.state.value}; the node takes no new pods"
                    self._events.normal(node, "NodeShutdown", text)
            elif instance.state in _ALIVE and _is_marked(node):
                await self._write(node, _in_service, "out-of-service")
        if self._settings.out_of_service_after_s > 0:
            await self._put_out_of_service(cases, nodes)

    async def _put_out_of_service(self, cases: Sequence[tuple[Node, Instance]], nodes: int) -> None:
        stopped = [case for case in cases if case[1].state is InstanceState.STOPPED]
        for node, instance in cases:
            self._note(node, instance)
        if len(stopped) > self._limit.of(nodes):
            return
        for node, instance in stopped:
            series = self._stopped.get(node.metadata.uid)
            is_enough = series is not None and self._is_long(series)
            if is_enough and not _has_out_of_service(node) and await self._is_stopped(instance.id):
                await self.take_out(node, instance.id, "is stopped")

    def _note(self, node: Node, instance: Instance) -> None:
        uid, is_stopped = node.metadata.uid, instance.state is InstanceState.STOPPED
        series = continued(self._stopped.get(uid), instance.id, holds=is_stopped, at=self._clock(), proof=self._proof)
        if series is None:
            self._stopped.pop(uid, None)
        else:
            self._stopped[uid] = series

    def _is_long(self, series: Series) -> bool:
        lasted_s = series.last - series.since
        return series.answers >= self._proof.answers and lasted_s >= self._settings.out_of_service_after_s

    async def _is_stopped(self, instance_id: str) -> bool:
        try:
            found = await self._instances.look_up(instance_id, deadline=loop_time() + self._timeout_s)
        except CloudError as failure:
            _log.warning("instance %s: cannot tell whether it is stopped: %s", instance_id, failure)
            return False
        return found is not None and found.state is InstanceState.STOPPED

    async def take_out(self, node: Node, instance_id: str, why: str) -> None:
        """Let Kubernetes remove a node's pods and detach its volumes at once; its instance runs no more, and `why`."""

        def change(current: Node) -> Body | None:
            if current.ready == "True" or _has_out_of_service(current):
                return None
            mark = patch.metadata(annotations={OUT_OF_SERVICE_ANNOTATION: instance_id})
            return patch.merged(mark, patch.taints((*current.taints, _OUT_OF_SERVICE)))

        if await self._write(node, change, "out-of-service"):
            text = (
                f"Instance {instance_id} {why}; pods are removed by force and volumes detached "
                f"(taint {OUT_OF_SERVICE_TAINT})"
            )
            self._events.warning(node, "NodeOutOfService", text)

    async def _write(self, node: Node, change: Callable[[Node], Body | None], what: str) -> bool:
        """Edit a node; says whether something was written. A failure is told in the log: the next pass comes again."""
        try:
            edited = await edit(self._kube, node, change, deadline=loop_time() + self._timeout_s)
        except KubeError as failure:
            _log.warning("node %s: %s taint not changed: %s", node.metadata.name, what, failure)
            return False
        if edited is None or not edited.is_written:
            return False
        self._metrics.node_written(what)
        return True


def _shut_down(node: Node) -> Body | None:
    taints = with_taint(node, _SHUTDOWN)
    return None if taints is None or node.ready == "True" else patch.taints(taints)


def _recovered(node: Node) -> Body | None:
    keys = {SHUTDOWN_TAINT, *([OUT_OF_SERVICE_TAINT] if _is_marked(node) else [])}
    return _without(node, keys) if node.ready == "True" else None


def _in_service(node: Node) -> Body | None:
    return _without(node, {OUT_OF_SERVICE_TAINT}) if _is_marked(node) else None


def _without(node: Node, keys: set[str]) -> Body | None:
    rest = tuple(taint for taint in node.taints if taint.key not in keys)
    is_ours = OUT_OF_SERVICE_TAINT in keys and _is_marked(node)
    marks = patch.metadata(annotations={OUT_OF_SERVICE_ANNOTATION: None} if is_ours else None)
    return patch.merged(marks, patch.taints(rest) if len(rest) != len(node.taints) else {}) or None


def _is_marked(node: Node) -> bool:
    return OUT_OF_SERVICE_ANNOTATION in node.annotations


def _has_out_of_service(node: Node) -> bool:
    return any(taint.key == OUT_OF_SERVICE_TAINT for taint in node.taints)
