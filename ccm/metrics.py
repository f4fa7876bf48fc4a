"""All metrics of the cloud controller manager, in one table.

Names that other cloud controller managers have are kept, so that dashboards and alerts go on working. The rest of the
code counts through `Metrics` and never names a metric; the reference page is made from `TABLE`. No label ever holds an
id, a name of an object or anything secret, so the number of series is bounded.
"""

import time
from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from ccm.names import MANAGER
from process.metrics import Kind, Metric

_SHORT_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WAIT_BUCKETS_S = tuple(4.0**power for power in range(6))
_SYNC_BUCKETS_S = tuple(2.0**power for power in range(15))

RUNNING = Metric(
    "running_managed_controllers", Kind.GAUGE, "1 while a controller works, 0 while it does not.", ("name", "manager")
)
LEADING = Metric(
    "leader_election_master_status", Kind.GAUGE, "1 while this process holds the Lease, 0 while it does not.", ("name",)
)
QUEUE_ADDS = Metric("workqueue_adds_total", Kind.COUNTER, "Keys that were put into a queue.", ("name",))
QUEUE_RETRIES = Metric("workqueue_retries_total", Kind.COUNTER, "Keys that were put back after a failure.", ("name",))
QUEUE_DEPTH = Metric("workqueue_depth", Kind.GAUGE, "Keys that wait in a queue.", ("name",))
QUEUE_WAIT = Metric(
    "workqueue_queue_duration_seconds",
    Kind.HISTOGRAM,
    "Time that a key waited in a queue.",
    ("name",),
    _SHORT_BUCKETS_S,
)
QUEUE_WORK = Metric(
    "workqueue_work_duration_seconds", Kind.HISTOGRAM, "Time of the work on a key.", ("name",), _SHORT_BUCKETS_S
)
QUEUE_UNFINISHED = Metric(
    "workqueue_unfinished_work_seconds", Kind.GAUGE, "Time of all work that is under way, added up.", ("name",)
)
QUEUE_LONGEST = Metric(
    "workqueue_longest_running_processor_seconds", Kind.GAUGE, "Time of the longest work that is under way.", ("name",)
)
TAINT_REMOVAL = Metric(
    "node_controller_cloud_provider_taint_removal_delay_seconds",
    Kind.HISTOGRAM,
    "Time from a Node's creation until its taint was taken away.",
    (),
    _WAIT_BUCKETS_S,
)
INITIAL_SYNC = Metric(
    "node_controller_initial_node_sync_delay_seconds",
    Kind.HISTOGRAM,
    "Time from a Node's creation until all that the platform knows of it was written.",
    (),
    _WAIT_BUCKETS_S,
)
NODE_WRITES = Metric("thecloud_ccm_node_writes_total", Kind.COUNTER, "Writes to Nodes, by what was written.", ("what",))
DELETIONS_STOPPED = Metric(
    "thecloud_ccm_node_deletions_stopped",
    Kind.GAUGE,
    "1 while no Node is deleted because the platform is not believed, by reason.",
    ("reason",),
)
BALANCER_SYNCS = Metric(
    "service_controller_loadbalancer_sync_total", Kind.COUNTER, "Passes over the load balancer of a service."
)
NODE_SYNC_SECONDS = Metric(
    "service_controller_nodesync_latency_seconds",
    Kind.HISTOGRAM,
    "Time of bringing new targets to all load balancers.",
    (),
    _SYNC_BUCKETS_S,
)
NODE_SYNC_ERRORS = Metric(
    "service_controller_nodesync_error_total", Kind.COUNTER, "Load balancers that did not take new targets."
)
HOST_UPDATE_SECONDS = Metric(
    "service_controller_update_loadbalancer_host_latency_seconds",
    Kind.HISTOGRAM,
    "Time of bringing new targets to one load balancer.",
    (),
    _SYNC_BUCKETS_S,
)
ROUTE_SYNCS = Metric("route_controller_route_sync_total", Kind.COUNTER, "Passes over all routes.")
KUBE_REQUESTS = Metric(
    "rest_client_requests_total",
    Kind.COUNTER,
    "Requests to Kubernetes, by HTTP status (`<error>` without one), method and host.",
    ("code", "method", "host"),
)
KUBE_SECONDS = Metric(
    "rest_client_request_duration_seconds",
    Kind.HISTOGRAM,
    "Time of one request to Kubernetes; a watch counts until it is open.",
    ("verb", "host"),
    _SHORT_BUCKETS_S,
)
PLATFORM_SECONDS = Metric(
    "thecloud_ccm_platform_call_duration_seconds",
    Kind.HISTOGRAM,
    "Time of one call of the platform, by route and outcome.",
    ("route", "outcome"),
    _SHORT_BUCKETS_S,
)

TABLE: tuple[Metric, ...] = (
    RUNNING,
    LEADING,
    QUEUE_ADDS,
    QUEUE_RETRIES,
    QUEUE_DEPTH,
    QUEUE_WAIT,
    QUEUE_WORK,
    QUEUE_UNFINISHED,
    QUEUE_LONGEST,
    TAINT_REMOVAL,
    INITIAL_SYNC,
    NODE_WRITES,
    DELETIONS_STOPPED,
    BALANCER_SYNCS,
    NODE_SYNC_SECONDS,
    NODE_SYNC_ERRORS,
    HOST_UPDATE_SECONDS,
    ROUTE_SYNCS,
    KUBE_REQUESTS,
    KUBE_SECONDS,
    PLATFORM_SECONDS,
)
NO_STATUS = "<error>"
"""In place of the HTTP status of a request that was not answered."""


class Metrics:
    """The counters of one process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` must be the one that the queues measure with; an event loop's is the default."""
        self._clock = clock
        self.registry = CollectorRegistry()
        self._counters = {row.name: _counter(row, self.registry) for row in _of(Kind.COUNTER)}
        self._gauges = {row.name: _gauge(row, self.registry) for row in _of(Kind.GAUGE)}
        self._histograms = {row.name: _histogram(row, self.registry) for row in _of(Kind.HISTOGRAM)}
        self._stopped = ""
        ProcessCollector(registry=self.registry)

    def render(self) -> bytes:
        """Give everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def controller_runs(self, name: str, *, runs: bool) -> None:
        """Note that a controller begins or ends its work."""
        self._set(RUNNING, float(runs), name, MANAGER)

    def leads(self, lease: str, *, leads: bool) -> None:
        """Note whether this process holds a Lease."""
        self._set(LEADING, float(leads), lease)

    def queue(self, name: str) -> "QueueMetrics":
        """Give what a queue of this name is observed by, as `ccm.kube.queue.QueueObserver`; once for each name."""
        observer = QueueMetrics(self, name, self._clock)
        for row, read in ((QUEUE_UNFINISHED, observer.unfinished_s), (QUEUE_LONGEST, observer.longest_s)):
            self._gauges[row.name].labels(name).set_function(read)
        return observer

    def queue_added(self, queue: str, depth: int) -> None:
        """Count a key that was put into a queue, where so many wait now."""
        self._count(QUEUE_ADDS, queue)
        self._set(QUEUE_DEPTH, depth, queue)

    def queue_taken(self, queue: str, depth: int, waited_s: float) -> None:
        """Count a key that was taken from a queue, where so many wait now."""
        self._set(QUEUE_DEPTH, depth, queue)
        self._observe(QUEUE_WAIT, waited_s, queue)

    def queue_worked(self, queue: str, duration_s: float) -> None:
        """Count how long the work on a key took."""
        self._observe(QUEUE_WORK, duration_s, queue)

    def queue_retried(self, queue: str) -> None:
        """Count a key that was put back after a failure."""
        self._count(QUEUE_RETRIES, queue)

    def node_initialized(self, age_s: float) -> None:
        """Count a node whose taint was taken, so long after it was made."""
        self._observe(TAINT_REMOVAL, age_s)
        self._observe(INITIAL_SYNC, age_s)

    def node_written(self, what: str) -> None:
        """Count a write to a node; `what` is a word from a fixed set."""
        self._count(NODE_WRITES, what)

    def deletions_stopped(self, reason: str) -> None:
        """Note why nodes are not deleted, a word from a fixed set; empty when they may be."""
        if self._stopped and self._stopped != reason:
            self._set(DELETIONS_STOPPED, 0, self._stopped)
        if reason:
            self._set(DELETIONS_STOPPED, 1, reason)
        self._stopped = reason

    def balancer_synced(self) -> None:
        """Count a pass over the load balancer of a service."""
        self._count(BALANCER_SYNCS)

    def nodes_synced(self, duration_s: float) -> None:
        """Count the time until all load balancers had new targets."""
        self._observe(NODE_SYNC_SECONDS, duration_s)

    def node_sync_failed(self) -> None:
        """Count a load balancer that did not take new targets."""
        self._count(NODE_SYNC_ERRORS)

    def targets_written(self, duration_s: float) -> None:
        """Count the time until one load balancer had new targets."""
        self._observe(HOST_UPDATE_SECONDS, duration_s)

    def routes_synced(self) -> None:
        """Count a pass over all routes."""
        self._count(ROUTE_SYNCS)

    def kube_called(self, *, method: str, host: str, status: int, duration_s: float) -> None:
        """Count one request to Kubernetes; status 0 when there was no answer."""
        self._count(KUBE_REQUESTS, str(status) if status else NO_STATUS, method, host)
        self._observe(KUBE_SECONDS, duration_s, method, host)

    def platform_called(self, *, method: str, route: str, outcome: str, seconds: float) -> None:
        """Count one call of the platform, as `thecloud.transport.Observer`; `route` is a pattern without ids."""
        self._observe(PLATFORM_SECONDS, seconds, f"{method} {route}", outcome)

    def _count(self, row: Metric, *labels: str) -> None:
        counter = self._counters[row.name]
        (counter.labels(*labels) if labels else counter).inc()

    def _set(self, row: Metric, value: float, *labels: str) -> None:
        self._gauges[row.name].labels(*labels).set(value)

    def _observe(self, row: Metric, value: float, *labels: str) -> None:
        histogram = self._histograms[row.name]
        (histogram.labels(*labels) if labels else histogram).observe(value)


class QueueMetrics:
    """Observes one queue."""

    def __init__(self, metrics: Metrics, name: str, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._name = name
        self._clock = clock
        self._since: list[float] = []
        """When the work that is under way began, the oldest first."""

    def added(self, depth: int) -> None:
        """Note that a key came to wait."""
        self._metrics.queue_added(self._name, depth)

    def started(self, depth: int, waited_s: float) -> None:
        """Note that the work on a key begins."""
        self._since.append(self._clock())
        self._metrics.queue_taken(self._name, depth, waited_s)

    def finished(self, worked_s: float) -> None:
        """Note that the work on a key ended."""
        began = self._clock() - worked_s
        if self._since:
            self._since.remove(min(self._since, key=lambda since: abs(since - began)))
        self._metrics.queue_worked(self._name, worked_s)

    def retried(self) -> None:
        """Note that a key failed and comes again later."""
        self._metrics.queue_retried(self._name)

    def unfinished_s(self) -> float:
        """Give the time of all work that is under way, added up."""
        now = self._clock()
        return sum(now - since for since in self._since)

    def longest_s(self) -> float:
        """Give the time of the longest work that is under way."""
        return self._clock() - self._since[0] if self._since else 0.0


def _of(kind: Kind) -> Iterable[Metric]:
    return (row for row in TABLE if row.kind is kind)


def _counter(row: Metric, registry: CollectorRegistry) -> Counter:
    return Counter(row.name, row.doc, row.labels, registry=registry)


def _gauge(row: Metric, registry: CollectorRegistry) -> Gauge:
    return Gauge(row.name, row.doc, row.labels, registry=registry)


def _histogram(row: Metric, registry: CollectorRegistry) -> Histogram:
    return Histogram(row.name, row.doc, row.labels, buckets=row.buckets_s, registry=registry)
