"""All metrics of the conductors, in one table, of which the reference page is made.

No label ever holds an id, a name of an object or anything secret, so the number of series is bounded.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from process.metrics import Kind, Metric

_STEP_BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

STEP_SECONDS = Metric(
    "kaas_step_duration_seconds",
    Kind.HISTOGRAM,
    "Time of one try of a step, by the first part of its key and how it ended (done, waiting, failed, halted).",
    ("step", "outcome"),
    _STEP_BUCKETS_S,
)
STEP_RETRIES = Metric(
    "kaas_step_retries_total", Kind.COUNTER, "Tries of steps that are repeated, by the code of the error.", ("code",)
)
LEASE_LOSSES = Metric(
    "kaas_lease_losses_total", Kind.COUNTER, "Clusters that were let go because the lease may have been lost."
)
OLDEST_DUE = Metric(
    "kaas_oldest_due_seconds",
    Kind.GAUGE,
    "For how long this process has seen the oldest cluster that is due and that nobody works on.",
)
RUNNING = Metric("kaas_running_clusters", Kind.GAUGE, "Clusters that this process works on.")
OPERATIONS = Metric(
    "kaas_operations_ended_total", Kind.COUNTER, "Operations that ended here, by kind and state.", ("kind", "state")
)
SUSPENDED = Metric(
    "kaas_repairs_suspended_total",
    Kind.COUNTER,
    "Looks at clusters after which no node was replaced, because too many clusters lost nodes at the same time.",
)

TABLE: tuple[Metric, ...] = (STEP_SECONDS, STEP_RETRIES, LEASE_LOSSES, OLDEST_DUE, RUNNING, OPERATIONS, SUSPENDED)


class ConductorMetrics:
    """The counters of one conductor: `StepObserver`, `EngineObserver`, `ConductorObserver`, `RepairObserver` in one."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._counters = {
            row.name: Counter(row.name, row.doc, row.labels, registry=self.registry) for row in _of(Kind.COUNTER)
        }
        self._gauges = {
            row.name: Gauge(row.name, row.doc, row.labels, registry=self.registry) for row in _of(Kind.GAUGE)
        }
        self._histograms = {
            row.name: Histogram(row.name, row.doc, row.labels, buckets=row.buckets_s, registry=self.registry)
            for row in _of(Kind.HISTOGRAM)
        }

    def step_ended(self, key: str, outcome: str, duration_s: float) -> None:
        """Count a try of a step; only the first part of its key becomes a label."""
        self._histograms[STEP_SECONDS.name].labels(key.partition("/")[0], outcome).observe(duration_s)

    def step_retried(self, code: str) -> None:
        """Count a step that is tried again."""
        self._counters[STEP_RETRIES.name].labels(code).inc()

    def lease_lost(self) -> None:
        """Count a cluster that was let go."""
        self._counters[LEASE_LOSSES.name].inc()

    def operation_ended(self, kind: str, state: str) -> None:
        """Count an operation that ended."""
        self._counters[OPERATIONS.name].labels(kind, state).inc()

    def repair_suspended(self) -> None:
        """Count a look at a cluster whose nodes are not replaced because of the fleet."""
        self._counters[SUSPENDED.name].inc()

    def oldest_due(self, age_s: float) -> None:
        """Note for how long the oldest due cluster has been seen."""
        self._gauges[OLDEST_DUE.name].set(age_s)

    def running(self, clusters: int) -> None:
        """Note how many clusters are worked on."""
        self._gauges[RUNNING.name].set(clusters)


def _of(kind: Kind) -> Iterable[Metric]:
    return (row for row in TABLE if row.kind is kind)
