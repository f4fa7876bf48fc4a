"""Nodes say of their instance what the platform says: provider id, addresses, zone, region, type.

A node that its kubelet has just made carries the uninitialized taint. It is matched to its instance, gets labels and
addresses first and loses the taint last, so that a crash in between never leaves a node that pods can be put on before
it can be reached. Later changes of the platform are found by one listing of the fleet for all nodes, again and again.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ccm.controllers.matching import Claims, Directory, Unmatched
from ccm.controllers.node_edit import Body, Edited, edit, loop_time, without_taint
from ccm.controllers.node_ports import NodeClient, NodeMetrics, Nodes, NoMetrics, Recorder
from ccm.desired.node import (
    AddressError,
    desired_addresses,
    desired_labels,
    missing_labels,
    reconcile_old_labels,
    same_addresses,
)
from ccm.kube import patch
from ccm.kube.model import Node
from ccm.kube.queue import WorkQueue, work
from ccm.model import Fleet, Instance
from ccm.names import UNINITIALIZED_TAINT
from ccm.ports import CloudError, CloudInstances
from ccm.provider_id import format_provider_id, is_foreign, parse_provider_id

_log = logging.getLogger(__name__)

_BATCH = 100
"""Nodes compared before others get their turn on the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """How nodes are kept in line."""

    workers: int = 32
    """Nodes worked on at one time (`--concurrent-node-syncs`)."""
    sync_period_s: float = 60.0
    """Between two comparisons of all nodes with the platform (`--node-status-update-frequency`)."""
    listing_age_s: float = 10.0
    """How old a listing may be that a new node's instance is found in."""
    fresh_age_s: float = 1.0
    """How old one may be that lacks it; bounds the listings that unknown nodes can cause."""
    timeout_s: float = 30.0
    """For one node."""
    extra_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that every node gets."""


class NodeController:
    """Initialises nodes, and keeps addresses and labels as the platform has them."""

    def __init__(
        self,
        nodes: Nodes,
        kube: NodeClient,
        instances: CloudInstances,
        events: Recorder,
        queue: WorkQueue,
        *,
        settings: NodeSettings | None = None,
        metrics: NodeMetrics | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._nodes = nodes
        self._kube = kube
        self._instances = instances
        self._events = events
        self._queue = queue
        self._settings = settings or NodeSettings()
        self._metrics = metrics or NoMetrics()
        self._now = now
        self._directory: Directory | None = None
        self._claims = Claims()
        self._written: dict[str, str] = {}
        """By the node's uid: its version after our last write, until the watch has told of it."""
        self._told: dict[str, set[str]] = {}
        """By the node's uid: what was said already."""

    async def run(self) -> None:
        """Work for ever."""
        self._nodes.subscribe(self.on_node)
        async with asyncio.TaskGroup() as group:
            group.create_task(work(self._queue, self._settings.workers, self.reconcile))
            group.create_task(self._sweep_for_ever())

    def on_node(self, old: Node | None, new: Node | None) -> None:
        """Take a change of a node, as `Store.subscribe` gives it."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._told.pop(old.metadata.uid, None)
            self._written.pop(old.metadata.uid, None)
        if new is None:
            if old is not None:
                self._claims.drop(old.metadata.name)
            return
        if (instance_id := parse_provider_id(new.spec.provider_id)) is not None:
            self._claims.take(instance_id, new.metadata.name)
        if not self._is_behind(new) and _needs_look(new) and (old is None or _decisive(old) != _decisive(new)):
            self._queue.add(new.metadata.name)

    async def reconcile(self, name: str) -> float | None:
        """Bring one node in line; gives the seconds until the next look, None when no other is needed.

        Raises CloudError, KubeError and Unmatched, after which it is to be tried again.
        """
        node = self._nodes.get(name)
        if node is None or node.is_going or self._is_behind(node):
            return None
        if is_foreign(node.spec.provider_id):
            text = f"Left alone: its provider id {node.spec.provider_id[:120]!r} is another provider's"
            self._tell(node, "UnknownProviderIDPrefix", text, self._events.warning)
            return None
        deadline = loop_time() + self._settings.timeout_s
        if _is_new(node):
            try:
                return await self._initialise(node, deadline)
            except Unmatched as failure:
                self._tell(node, failure.reason, f"Not initialised: {failure}", self._events.warning)
                raise
            except AddressError as failure:
                self._tell(node, "InvalidNodeAddress", f"Not initialised: {failure}", self._events.warning)
                raise
        await self._refresh(node, deadline)
        return None

    async def sweep(self) -> None:
        """Compare all nodes with the platform; queue those that differ or are still new. Raises CloudError."""
        deadline = loop_time() + self._settings.timeout_s
        fleet = await self._instances.fleet(max_age_s=self._settings.sync_period_s / 2, deadline=deadline)
        for number, node in enumerate(tuple(self._nodes.values())):
            if number % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)
            if _is_new(node):
                self._queue.add(node.metadata.name)
                continue
            instance = fleet.by_id.get(parse_provider_id(node.spec.provider_id) or "")
            if instance is None or node.is_going:
                continue
            try:
                is_different = self._status_body(node, instance) is not None
            except AddressError as failure:
                self._tell(node, "InvalidNodeAddress", f"Addresses not updated: {failure}", self._events.warning)
                continue
            if is_different:
                self._queue.add(node.metadata.name)

    async def _sweep_for_ever(self) -> None:
        while True:
            wait_s = self._settings.sync_period_s
            try:
                await self.sweep()
            except CloudError as failure:
                _log.warning("nodes not compared with the platform: %s", failure)
                wait_s = max(wait_s, failure.retry_after_s)
            await asyncio.sleep(wait_s)

    async def _initialise(self, node: Node, deadline: float) -> float | None:
        instance = await self._instance_of(node, deadline)
        # Somebody else's later match with the same instance is refused from now on, before the write is seen.
        self._claims.take(instance.id, node.metadata.name)
        _check_reachable(node, instance)
        known = node.spec.provider_id
        edited = await self._write(node, known, lambda one: self._status_body(one, instance), "status", deadline)
        if edited is not None:
            edited = await self._write(edited.node, known, lambda one: _spec_body(one, instance), "spec", deadline)
        if edited is None:
            return None
        after = edited.node
        if _is_new(after):
            # Another provider id came in between; what the watch tells next decides.
            return self._settings.fresh_age_s
        if not edited.is_written:
            return None
        self._told.pop(node.metadata.uid, None)
        self._events.normal(after, "Synced", f"Node initialised: it is instance {instance.id}")
        if (created := node.metadata.creation_timestamp) is not None:
            self._metrics.node_initialized(max(0.0, (self._now() - created).total_seconds()))
        return None

    async def _refresh(self, node: Node, deadline: float) -> None:
        instance_id = parse_provider_id(node.spec.provider_id)
        if instance_id is None:
            await self._write(node, "", _old_labels_body, "status", deadline)
            return
        fleet = await self._instances.fleet(max_age_s=self._settings.sync_period_s, deadline=deadline)
        instance = fleet.by_id.get(instance_id)
        if instance is None:
            return
        try:
            known = node.spec.provider_id
            edited = await self._write(node, known, lambda one: self._status_body(one, instance), "status", deadline)
        except AddressError as failure:
            self._tell(node, "InvalidNodeAddress", f"Addresses not updated: {failure}", self._events.warning)
            return
        if edited is not None and edited.is_written and (text := _difference(node, edited.node)):
            self._events.normal(edited.node, "NodeRefreshed", f"As instance {instance.id} says: {text}")

    async def _write(
        self, node: Node, known: str, change: Callable[[Node], Body | None], what: str, deadline: float
    ) -> Edited | None:
        """Edit a node as long as its provider id is the known one; with another it is another machine."""

        def guarded(current: Node) -> Body | None:
            return change(current) if current.spec.provider_id == known else None

        subresource = "status" if what == "status" else ""
        edited = await edit(self._kube, node, guarded, subresource=subresource, deadline=deadline)
        if edited is not None and edited.is_written:
            self._metrics.node_written(what)
            self._written[edited.node.metadata.uid] = edited.node.metadata.resource_version
        return edited

    async def _instance_of(self, node: Node, deadline: float) -> Instance:
        """Find the instance of a node: in a listing that is at hand, else in one that is made now, else by its id."""
        found = await self._found(node, self._settings.listing_age_s, deadline)
        if isinstance(found, Unmatched) or not found.private_addresses:
            found = await self._found(node, self._settings.fresh_age_s, deadline)
        if isinstance(found, Instance):
            return found
        instance_id = parse_provider_id(node.spec.provider_id)
        if instance_id is not None and (by_id := await self._instances.look_up(instance_id, deadline=deadline)):
            return by_id
        raise found

    async def _found(self, node: Node, max_age_s: float, deadline: float) -> Instance | Unmatched:
        fleet = await self._instances.fleet(max_age_s=max_age_s, deadline=deadline)
        instance_id = parse_provider_id(node.spec.provider_id)
        if instance_id is not None:
            missing = Unmatched("InstanceNotFound", f"the platform has no instance {instance_id} (its provider id)")
            return fleet.by_id.get(instance_id) or missing
        try:
            return self._directory_of(fleet).match(node, self._claims)
        except Unmatched as failure:
            return failure

    def _directory_of(self, fleet: Fleet) -> Directory:
        if self._directory is None or self._directory.fleet is not fleet:
            self._directory = Directory(fleet)
        return self._directory

    def _status_body(self, node: Node, instance: Instance) -> Body | None:
        wanted = desired_labels(instance, node, self._settings.extra_labels)
        for notice in wanted.notices:
            self._tell(node, notice.reason.value, notice.text, self._events.warning)
        labels = {**wanted.labels}
        labels |= reconcile_old_labels({**node.labels, **labels})
        addresses = desired_addresses(instance, node)
        is_new = addresses and not same_addresses(addresses, node.addresses)
        changed = patch.addresses(addresses) if is_new else {}
        return patch.merged(patch.metadata(labels=missing_labels(labels, node)), changed) or None

    def _is_behind(self, node: Node) -> bool:
        """Say whether the watch has yet to tell of our own last write: nothing is decided by what was before it."""
        uid, seen = node.metadata.uid, node.metadata.resource_version
        written = self._written.get(uid, "")
        if written.isdigit() and seen.isdigit() and int(seen) < int(written):
            return True
        self._written.pop(uid, None)
        return False

    def _tell(self, node: Node, reason: str, text: str, say: Callable[[Node, str, str], None]) -> None:
        """Say something about a node once; a text that changes with every look is known by its reason."""
        told = self._told.setdefault(node.metadata.uid, set())
        if reason not in told:
            told.add(reason)
            _log.warning("node %s: %s", node.metadata.name, text)
            say(node, reason, text)


def _is_new(node: Node) -> bool:
    return any(taint.key == UNINITIALIZED_TAINT for taint in node.taints)


def _needs_look(node: Node) -> bool:
    return _is_new(node) or is_foreign(node.spec.provider_id) or bool(reconcile_old_labels(node.labels))


def _decisive(node: Node) -> object:
    """Give what a look depends on: a failing node's heartbeats must not undo its waiting time."""
    meta = node.metadata
    return meta.uid, node.spec.provider_id, node.taints, node.addresses, node.labels, meta.annotations


def _check_reachable(node: Node, instance: Instance) -> None:
    if (
        instance.private_addresses
        or instance.public_addresses
        or any(one.type == "InternalIP" for one in node.addresses)
    ):
        return
    raise Unmatched(
        "InstanceHasNoAddress",
        f"instance {instance.id} ({instance.state.value}) has no address yet, and the node reports none of its own",
    )


def _spec_body(node: Node, instance: Instance) -> Body | None:
    taints = without_taint(node, UNINITIALIZED_TAINT)
    named = {} if node.spec.provider_id else patch.provider_id(format_provider_id(instance.id))
    return patch.merged(named, {} if taints is None else patch.taints(taints)) or None


def _old_labels_body(node: Node) -> Body | None:
    return patch.metadata(labels=reconcile_old_labels(node.labels)) or None


def _difference(before: Node, after: Node) -> str:
    said = []
    if before.addresses != after.addresses:
        said.append("addresses " + ", ".join(one.address for one in after.addresses))
    changed = missing_labels(after.labels, before)
    said.extend(f"{key}={value}" for key, value in sorted(changed.items()))
    return "; ".join(said)
