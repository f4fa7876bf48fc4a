"""Routes to the pods of nodes, on a platform that has any.

Event driven: a node that comes, goes, or changes its pod networks or its instance leads to one comparison, at most one
in a while. A platform without routes to instances (platform contract 12) has no route controller; there the pod network
comes from an overlay or from the platform itself, and nothing is written to nodes.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from ccm.controllers.node_edit import loop_time
from ccm.controllers.node_ports import NodeMetrics, Nodes, NoMetrics, Recorder
from ccm.desired.routes import Network, Route, plan_routes, pod_cidrs
from ccm.kube.errors import KubeError
from ccm.kube.kinds import NODES
from ccm.kube.model import Node
from ccm.ports import CloudError
from ccm.provider_id import parse_provider_id

_log = logging.getLogger(__name__)

CONDITION = "NetworkUnavailable"
_MADE, _NOT_MADE = "RouteCreated", "NoRouteCreated"
_PARALLEL = 20
_MERGE_PATCH = "application/merge-patch+json"


class CloudRoutes(Protocol):
    """Routes of the platform. Every method raises CloudError and nothing else."""

    async def routes(self, *, deadline: float) -> Sequence[Route]:
        """List them."""
        ...

    async def create(self, route: Route, *, deadline: float) -> None:
        """Make one; idempotent."""
        ...

    async def delete(self, route: Route, *, deadline: float) -> None:
        """Take one away; a missing one is no error."""
        ...


class RawClient(Protocol):
    """Plain requests; `ccm.kube.client.KubeClient` is one.

    A node's conditions are written back whole, so no field of them may be lost in reading.
    """

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = ...,
        deadline: float,
    ) -> bytes:
        """Make a request and give the body of its success. Raises KubeError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """How often routes are compared."""

    cluster_networks: tuple[Network, ...]
    """Of the pods (`--cluster-cidr`); routes outside them are never deleted."""
    least_s: float = 10.0
    """Between two comparisons (`--route-reconciliation-period`)."""
    drift_s: float = 600.0
    """Until a comparison without a reason."""
    timeout_s: float = 30.0


class RouteController:
    """Keeps one route for each pod network of each node."""

    def __init__(
        self,
        nodes: Nodes,
        kube: RawClient,
        routes: CloudRoutes | None,
        events: Recorder,
        *,
        settings: RouteSettings,
        metrics: NodeMetrics | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`routes` is None where the platform has none."""
        self._nodes = nodes
        self._kube = kube
        self._routes = routes
        self._events = events
        self._settings = settings
        self._metrics = metrics or NoMetrics()
        self._now = now
        self._bell = asyncio.Event()

    async def run(self) -> None:
        """Work for ever; returns at once, with the reason in the log, where there is nothing to do."""
        if self._routes is None:
            _log.info(
                "no route controller: the platform has no routes whose target is an instance. Use an overlay network, "
                "or a platform that routes the nodes' pod networks by itself"
            )
            return
        self._nodes.subscribe(self.on_node)
        while True:
            self._bell.clear()
            try:
                wait_s = self._settings.drift_s if await self.sync() else self._settings.least_s
            except CloudError as failure:
                _log.warning("routes not compared: %s", failure)
                wait_s = max(self._settings.least_s, failure.retry_after_s)
            await asyncio.sleep(self._settings.least_s)
            try:
                async with asyncio.timeout(max(0.0, wait_s - self._settings.least_s)):
                    await self._bell.wait()
            except TimeoutError:
                continue

    def on_node(self, old: Node | None, new: Node | None) -> None:
        """Take a change of a node, as `Store.subscribe` gives it."""
        if _decisive(old) != _decisive(new):
            self._bell.set()

    async def sync(self) -> bool:
        """Compare once and do what is missing; says whether everything is as it should be. Raises CloudError."""
        if self._routes is None:
            return True
        deadline = loop_time() + self._settings.timeout_s
        nodes = tuple(self._nodes.values())
        plan = plan_routes(nodes, await self._routes.routes(deadline=deadline), self._settings.cluster_networks)
        # Deletions first: the new route may need the destination of an old one.
        kept = await _each(plan.delete, lambda route: self._delete(route, deadline))
        failed = await _each(plan.add, lambda route: self._add(route, deadline))
        lacking = {route.instance_id: error for route, error in failed.items()}
        for node in nodes:
            instance_id = parse_provider_id(node.spec.provider_id)
            if instance_id is None or node.is_going or not pod_cidrs(node):
                continue
            if error := lacking.get(instance_id):
                self._events.warning(node, "FailedToCreateRoute", error)
            await self._set_condition(node, is_routed=instance_id not in lacking, deadline=deadline)
        self._metrics.routes_synced()
        return not kept and not failed

    async def _add(self, route: Route, deadline: float) -> None:
        if self._routes is not None:
            await self._routes.create(route, deadline=deadline)

    async def _delete(self, route: Route, deadline: float) -> None:
        if self._routes is not None:
            await self._routes.delete(route, deadline=deadline)

    async def _set_condition(self, node: Node, *, is_routed: bool, deadline: float) -> None:
        status, reason = ("False", _MADE) if is_routed else ("True", _NOT_MADE)
        found = next((one for one in node.status.conditions or () if one.type == CONDITION), None)
        # A pod network that keeps this condition itself (Calico does) is not to be fought with.
        is_foreign = found is not None and found.reason not in (_MADE, _NOT_MADE, "")
        if is_foreign or (found is not None and (found.status, found.reason) == (status, reason)):
            return
        path = NODES.path(node.metadata.name)
        try:
            current = json.loads(await self._kube.request("GET", path, deadline=deadline))
            body = _with_condition(current, status, reason, self._now())
            await self._kube.request("PATCH", f"{path}/status", body=body, content_type=_MERGE_PATCH, deadline=deadline)
        except KubeError as failure:
            _log.warning("node %s: condition %s not written: %s", node.metadata.name, CONDITION, failure)
            return
        self._metrics.node_written("condition")


async def _each(routes: Sequence[Route], do: Callable[[Route], Awaitable[None]]) -> dict[Route, str]:
    """Do something for each route, some at one time; gives the failures."""
    failed: dict[Route, str] = {}
    gate = asyncio.Semaphore(_PARALLEL)

    async def one(route: Route) -> None:
        async with gate:
            try:
                await do(route)
            except CloudError as failure:
                failed[route] = f"route {route.destination} to instance {route.instance_id}: {failure}"
                _log.warning("%s", failed[route])

    async with asyncio.TaskGroup() as group:
        for route in routes:
            group.create_task(one(route))
    return failed


def _decisive(node: Node | None) -> object:
    return None if node is None else (node.metadata.uid, node.is_going, pod_cidrs(node), node.spec.provider_id)


def _with_condition(node: Mapping[str, Any], status: str, reason: str, now: datetime) -> dict[str, Any]:
    """Give the patch that sets our condition and leaves the others as they are, if the node has not changed since."""
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = (
        "Routes to the pods of this node exist" if reason == _MADE else "A route to the pods of this node is missing"
    )
    ours = {"type": CONDITION, "status": status, "reason": reason, "message": message}
    ours |= {"lastHeartbeatTime": stamp, "lastTransitionTime": stamp}
    others = [one for one in node.get("status", {}).get("conditions") or [] if one.get("type") != CONDITION]
    meta = {"uid": node["metadata"]["uid"], "resourceVersion": node["metadata"]["resourceVersion"]}
    return {"metadata": meta, "status": {"conditions": [*others, ours]}}
