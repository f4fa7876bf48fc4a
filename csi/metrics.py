"""All metrics of both programs, in one table.

The rest of the code counts through `Metrics` and never names a metric; the reference page is made from `TABLE`. No
label ever holds an id, a path or anything secret, so the number of series is bounded.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from process.metrics import Kind, Metric

_CALL_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0)
_WAIT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

RPC_SECONDS = Metric(
    "thecloud_csi_rpc_duration_seconds",
    Kind.HISTOGRAM,
    "Time of one CSI call, by method and gRPC code.",
    ("method", "code"),
    _CALL_BUCKETS_S,
)
RPC_IN_FLIGHT = Metric(
    "thecloud_csi_rpc_in_flight", Kind.GAUGE, "CSI calls that are being served, by method.", ("method",)
)
PLATFORM_SECONDS = Metric(
    "thecloud_csi_platform_call_duration_seconds",
    Kind.HISTOGRAM,
    "Time of one call of the platform, by route and outcome.",
    ("route", "outcome"),
    _CALL_BUCKETS_S,
)
DEVICE_WAIT_SECONDS = Metric(
    "thecloud_csi_device_wait_seconds",
    Kind.HISTOGRAM,
    "Time until the disk of an attached volume appeared on the node, by outcome.",
    ("outcome",),
    _WAIT_BUCKETS_S,
)
MKFS_SECONDS = Metric(
    "thecloud_csi_mkfs_seconds",
    Kind.HISTOGRAM,
    "Time of making a file system, by its type.",
    ("fs_type",),
    _WAIT_BUCKETS_S,
)
COMMAND_SECONDS = Metric(
    "thecloud_csi_command_seconds",
    Kind.HISTOGRAM,
    "Time of one host command, by program.",
    ("command",),
    _CALL_BUCKETS_S,
)
FORMAT_REFUSALS = Metric(
    "thecloud_csi_format_refusals_total",
    Kind.COUNTER,
    "Devices that were not formatted because they could hold data, by reason.",
    ("reason",),
)
FSCK_REPAIRS = Metric(
    "thecloud_csi_fsck_repairs_total",
    Kind.COUNTER,
    "File systems that e2fsck had to repair before they were used, by type.",
    ("fs_type",),
)

TABLE: tuple[Metric, ...] = (
    RPC_SECONDS,
    RPC_IN_FLIGHT,
    PLATFORM_SECONDS,
    DEVICE_WAIT_SECONDS,
    MKFS_SECONDS,
    COMMAND_SECONDS,
    FORMAT_REFUSALS,
    FSCK_REPAIRS,
)


class Metrics:
    """The counters of one program."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._histograms = {metric.name: self._histogram(metric) for metric in _of(Kind.HISTOGRAM)}
        self._in_flight = Gauge(RPC_IN_FLIGHT.name, RPC_IN_FLIGHT.doc, RPC_IN_FLIGHT.labels, registry=self.registry)
        self._refusals = self._counter(FORMAT_REFUSALS)
        self._repairs = self._counter(FSCK_REPAIRS)
        ProcessCollector(registry=self.registry)

    def rpc_started(self, method: str) -> None:
        """Count a call that begins."""
        self._in_flight.labels(method).inc()

    def rpc_ended(self, method: str, code: str, duration_s: float) -> None:
        """Count the end of a call of `rpc_started`; `code` is the gRPC code's name."""
        self._in_flight.labels(method).dec()
        self._observe(RPC_SECONDS, duration_s, method, code)

    def platform_called(self, route: str, outcome: str, duration_s: float) -> None:
        """Count one HTTP call. `route` is the pattern, never a path with ids."""
        self._observe(PLATFORM_SECONDS, duration_s, route, outcome)

    def device_waited(self, outcome: str, duration_s: float) -> None:
        """Count one wait for a disk."""
        self._observe(DEVICE_WAIT_SECONDS, duration_s, outcome)

    def file_system_made(self, fs_type: str, duration_s: float) -> None:
        """Count one successful mkfs."""
        self._observe(MKFS_SECONDS, duration_s, fs_type)

    def command_ended(self, program: str, duration_s: float) -> None:
        """Count one host command; `program` is its name without the folder."""
        self._observe(COMMAND_SECONDS, duration_s, program)

    def format_refused(self, reason: str) -> None:
        """Count one device that was left as it is; `reason` is a word from a fixed set."""
        self._refusals.labels(reason).inc()

    def file_system_repaired(self, fs_type: str) -> None:
        """Count one file system that had to be repaired."""
        self._repairs.labels(fs_type).inc()

    def render(self) -> bytes:
        """Give everything in Prometheus' text format, `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.doc, metric.labels, registry=self.registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.doc, metric.labels, buckets=metric.buckets_s, registry=self.registry)

    def _observe(self, metric: Metric, duration_s: float, *labels: str) -> None:
        self._histograms[metric.name].labels(*labels).observe(duration_s)


def _of(kind: Kind) -> Iterable[Metric]:
    return (metric for metric in TABLE if metric.kind is kind)
