"""Nodes whose instance is gone are deleted; nodes of living instances never are.

Asked about are only nodes that are not Ready. One listing of the fleet serves all of them; what it lacks is asked for
by id, and `absence` says when that proves anything. Whatever is in doubt stays. Nodes without a provider id, or with
somebody else's, are none of our business.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ccm.controllers.absence import Existence, Expected, Limit, Proof, Series, continued, why_doubted, why_stopped
from ccm.controllers.node_edit import loop_time
from ccm.controllers.node_ports import NodeClient, NodeMetrics, Nodes, NoMetrics, Recorder
from ccm.controllers.shutdown import Shutdown, ShutdownSettings
from ccm.kube.errors import KubeError
from ccm.kube.kinds import NODES
from ccm.kube.model import Node
from ccm.model import Fleet
from ccm.names import CONFIRM_GONE_ANNOTATION, GOING_TAINT, KEEP_NODE_ANNOTATION, UNINITIALIZED_TAINT
from ccm.ports import CloudError, CloudInstances
from ccm.provider_id import parse_provider_id

_log = logging.getLogger(__name__)

_PARALLEL = 8
_SAMPLE = 5
"""So many are asked for by id, and told by an event, while so much is missing that nothing is believed anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleSettings:
    """How often is looked, and what is believed."""

    period_s: float = 5.0
    """Between two looks while something is undecided (`--node-monitor-period`)."""
    steady_s: float = 60.0
    """Between two looks at nodes that stay as they are."""
    timeout_s: float = 10.0
    """Of one request."""
    proof: Proof = field(default_factory=Proof)
    uninitialized_over_s: float = 300.0
    """Least time of the proof for a node that was never initialised: its instance may not be visible everywhere yet."""
    limit: Limit = field(default_factory=Limit)
    detach_s: float = 60.0
    """How long the Node of an instance that is gone stays for Kubernetes to detach its volumes.

    With the Node gone, Kubernetes waits six minutes before it attaches them elsewhere.
    """
    shutdown: ShutdownSettings = field(default_factory=ShutdownSettings)


@dataclass(frozen=True, slots=True)
class _Case:
    node: Node
    instance_id: str

    @property
    def uid(self) -> str:
        return self.node.metadata.uid


class LifecycleController:
    """Watches over nodes that are not Ready."""

    def __init__(
        self,
        nodes: Nodes,
        kube: NodeClient,
        instances: CloudInstances,
        events: Recorder,
        *,
        settings: LifecycleSettings | None = None,
        metrics: NodeMetrics | None = None,
        clock: Callable[[], float] = loop_time,
    ) -> None:
        """Clock is monotonic; the wall clock decides nothing here."""
        self._nodes = nodes
        self._kube = kube
        self._instances = instances
        self._events = events
        self._settings = settings or LifecycleSettings()
        self._metrics = metrics or NoMetrics()
        self._clock = clock
        self._shutdown = Shutdown(
            kube,
            instances,
            events,
            self._metrics,
            settings=self._settings.shutdown,
            proof=self._settings.proof,
            limit=self._settings.limit,
            timeout_s=self._settings.timeout_s,
            clock=clock,
        )
        self._bell = asyncio.Event()
        self._series: dict[str, Series] = {}
        """By the node's uid: what proves that its instance is gone."""
        self._detaching_since: dict[str, float] = {}
        """By the node's uid: since when its volumes are waited for."""
        self._deleted_at: deque[float] = deque()
        self._suspended_since: float | None = None
        self._is_told = False
        self._quiet_looks = 0
        self._last_seen: object = None
        self._complaint = ""
        """What was logged of a platform that does not answer, so that it is not logged at every look."""

    async def run(self) -> None:
        """Look again and again, for ever: at once when a node stops being Ready, else ever less often."""
        self._nodes.subscribe(self._on_node)
        while True:
            self._bell.clear()
            wait_s = await self.tick()
            least_s = min(wait_s, self._settings.period_s)
            await asyncio.sleep(least_s)
            try:
                async with asyncio.timeout(wait_s - least_s):
                    await self._bell.wait()
            except TimeoutError:
                continue

    def _on_node(self, old: Node | None, new: Node | None) -> None:
        if new is not None and (old is None or (old.ready == "True") != (new.ready == "True")):
            self._bell.set()

    async def tick(self) -> float:
        """Look once at all nodes; gives the seconds until the next look."""
        cases = [_Case(node, found) for node in self._nodes.values() if (found := _instance_of(node))]
        for case in cases:
            if case.node.ready == "True":
                await self._shutdown.recover(case.node)
        unready = [case for case in cases if case.node.ready != "True"]
        watched = {case.uid for case in unready}
        self._series = {uid: series for uid, series in self._series.items() if uid in watched}
        self._detaching_since = {uid: at for uid, at in self._detaching_since.items() if uid in watched}
        if not unready:
            self._resume()
            return self._settings.steady_s
        try:
            fleet = await self._instances.fleet(max_age_s=self._settings.period_s / 2, deadline=self._deadline())
        except CloudError as failure:
            # No answer is no evidence, and what was collected before it is no unbroken series any more.
            self._series.clear()
            if str(failure) != self._complaint:
                self._complaint = str(failure)
                _log.warning("instances not listed, so %d nodes that are not Ready stay: %s", len(unready), failure)
            return max(self._settings.period_s, failure.retry_after_s)
        self._complaint = ""
        there = [(case.node, fleet.by_id[case.instance_id]) for case in unready if case.instance_id in fleet.by_id]
        for node, _ in there:
            self._series.pop(node.metadata.uid, None)
        await self._shutdown.follow(there, len(cases))
        missing = [case for case in unready if case.instance_id not in fleet.by_id and not _is_kept(case.node)]
        if missing:
            await self._judge(missing, cases, fleet)
        else:
            self._resume()
        states = frozenset((node.metadata.uid, instance.state) for node, instance in there)
        return self._pause((states, frozenset(case.uid for case in missing)), is_settled=not missing or self._is_told)

    def _pause(self, seen: object, *, is_settled: bool) -> float:
        self._quiet_looks = self._quiet_looks + 1 if is_settled and seen == self._last_seen else 0
        self._last_seen = seen
        longer_s = self._settings.period_s * 2.0 ** min(self._quiet_looks, 16)
        return min(longer_s, max(self._settings.steady_s, self._settings.period_s))

    async def _judge(self, missing: Sequence[_Case], cases: Sequence[_Case], fleet: Fleet) -> None:
        """Ask for each instance that the listing lacks, and delete the nodes of those that are proved gone."""
        limit = self._settings.limit
        lost = [case.node.metadata.name for case in missing if not _is_expected(case.node)]
        stop = why_stopped(lost, self._recent(), len(cases), limit)
        answers = await self._ask(missing, is_sample=bool(stop))
        doubt = why_doubted(fleet, _expected(cases), limit)
        if found := [case.instance_id for case in missing if answers.get(case.uid) is Existence.EXISTS]:
            doubt = doubt or f"the platform's listing lacks instance {found[0]}, which it shows when asked by id"
        if not stop and not doubt:
            self._resume()
        else:
            self._suspend(stop or doubt, "breaker" if stop else "listing", missing)
        for case in missing:
            is_proved = answers.get(case.uid) is Existence.GONE and self._is_proved(case)
            is_free = _is_confirmed(case.node) or not (doubt or (stop and not _is_expected(case.node)))
            if is_proved and is_free:
                await self._delete(case)

    async def _ask(self, missing: Sequence[_Case], *, is_sample: bool) -> dict[str, Existence]:
        """Ask by id about those whose turn it is; gives the answers by the node's uid, and notes them."""
        proof, now = self._settings.proof, self._clock()
        due = [case for case in missing if (one := self._series.get(case.uid)) is None or one.is_due(now, proof)]
        if is_sample:
            expected = [case for case in due if _is_expected(case.node)]
            due = expected + [case for case in due if not _is_expected(case.node)][:_SAMPLE]
        answers: dict[str, Existence] = {}
        gate, deadline = asyncio.Semaphore(_PARALLEL), self._deadline()

        async def ask(case: _Case) -> None:
            async with gate:
                # One time limit for the round: an answer that is minutes old by the time it counts is none.
                if loop_time() >= deadline:
                    return
                at = self._clock()
                answers[case.uid] = answer = await self._existence(case, deadline)
            series = continued(
                self._series.pop(case.uid, None),
                case.instance_id,
                holds=answer is Existence.GONE,
                at=at,
                proof=proof,
            )
            if series is not None:
                self._series[case.uid] = series

        async with asyncio.TaskGroup() as group:
            for case in due:
                group.create_task(ask(case))
        return answers

    async def _existence(self, case: _Case, deadline: float) -> Existence:
        try:
            found = await self._instances.look_up(case.instance_id, deadline=deadline)
        except CloudError as failure:
            name = case.node.metadata.name
            _log.warning("node %s: cannot tell whether instance %s exists: %s", name, case.instance_id, failure)
            return Existence.UNKNOWN
        return Existence.GONE if found is None else Existence.EXISTS

    def _is_proved(self, case: _Case) -> bool:
        proof, series = self._settings.proof, self._series.get(case.uid)
        if any(taint.key == UNINITIALIZED_TAINT for taint in case.node.taints):
            proof = replace(proof, over_s=max(proof.over_s, self._settings.uninitialized_over_s))
        return series is not None and series.is_proved(proof)

    async def _delete(self, case: _Case) -> None:
        name = case.node.metadata.name
        current = self._nodes.get(name)
        if current is None or not _is_still(current, case) or not await self._is_detached(current, case):
            return
        series = self._series.pop(case.uid)
        text = (
            f"Deleting node {name}: its instance {case.instance_id} does not exist (asked {series.answers} times "
            f"in {series.last - series.since:.0f} s)"
        )
        _log.warning("%s", text)
        self._events.normal(current, "DeletingNode", text)
        try:
            await self._kube.delete(NODES, name, uid=case.uid, deadline=self._deadline())
        except KubeError as failure:
            _log.warning("node %s not deleted: %s", name, failure)
            self._events.warning(current, "DeletingNodeFailed", f"Error deleting node {name}: {failure}")
            return
        self._metrics.node_written("delete")
        if not _is_expected(case.node):
            self._deleted_at.append(self._clock())

    async def _is_detached(self, node: Node, case: _Case) -> bool:
        """Say whether nothing is attached to the node any more, or was waited for long enough; see to it."""
        if not node.status.volumes_attached:
            return True
        since = self._detaching_since.setdefault(case.uid, self._clock())
        if self._clock() - since >= self._settings.detach_s:
            return True
        await self._shutdown.take_out(node, case.instance_id, "does not exist any more")
        return False

    def _recent(self) -> int:
        now, window_s = self._clock(), self._settings.limit.window_s
        while self._deleted_at and not 0 <= now - self._deleted_at[0] <= window_s:
            self._deleted_at.popleft()
        return len(self._deleted_at)

    def _suspend(self, why: str, what: str, missing: Sequence[_Case]) -> None:
        now = self._clock()
        if self._suspended_since is None or now < self._suspended_since:
            self._suspended_since = now
        self._metrics.deletions_stopped(what)
        if self._is_told or now - self._suspended_since < self._settings.proof.over_s:
            return
        self._is_told = True
        _log.error("no node is deleted: %s", why)
        for case in missing[:_SAMPLE]:
            text = (
                f"Not deleted, although the platform does not list its instance {case.instance_id}: {why}. If the "
                f"instance is gone, annotate the node with {CONFIRM_GONE_ANNOTATION}=true, or delete it."
            )
            self._events.warning(case.node, "NodeDeletionSuspended", text)

    def _resume(self) -> None:
        if self._suspended_since is not None:
            self._metrics.deletions_stopped("")
        if self._is_told:
            _log.warning("nodes are deleted again when their instance is gone")
        self._suspended_since, self._is_told = None, False

    def _deadline(self) -> float:
        return loop_time() + self._settings.timeout_s


def _instance_of(node: Node) -> str | None:
    return None if node.is_going else parse_provider_id(node.spec.provider_id)


def _is_kept(node: Node) -> bool:
    return node.annotations.get(KEEP_NODE_ANNOTATION) == "true"


def _is_confirmed(node: Node) -> bool:
    return node.annotations.get(CONFIRM_GONE_ANNOTATION) == "true"


def _is_leaving(node: Node) -> bool:
    return any(taint.key == GOING_TAINT for taint in node.taints)


def _is_expected(node: Node) -> bool:
    """Say whether somebody meant the instance to go: it counts for no brake."""
    return _is_leaving(node) or _is_confirmed(node)


def _is_still(current: Node, case: _Case) -> bool:
    """Say whether the node is the one that was judged, and nothing came in between."""
    is_same = current.metadata.uid == case.uid and _instance_of(current) == case.instance_id
    return is_same and current.ready != "True" and not _is_kept(current)


def _expected(cases: Sequence[_Case]) -> Expected:
    ready = [case.instance_id for case in cases if case.node.ready == "True" and not _is_leaving(case.node)]
    return Expected(ready=ready, others=[case.instance_id for case in cases])
