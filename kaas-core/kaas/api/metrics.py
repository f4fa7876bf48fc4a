"""All metrics of the API, in one table. No label ever holds an id, a name or anything secret."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from process.metrics import Kind, Metric

REQUESTS = Metric(
    "kaas_api_requests_total", Kind.COUNTER, "Requests, by route and status.", ("method", "route", "status")
)
SECONDS = Metric(
    "kaas_api_request_seconds",
    Kind.HISTOGRAM,
    "Time from a request to its answer.",
    ("method", "route"),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
TABLE = (REQUESTS, SECONDS)
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})


class Metrics:
    """Counts requests in a registry, which may be shared with the rest of the program."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests = Counter(REQUESTS.name, REQUESTS.doc, REQUESTS.labels, registry=registry)
        self._seconds = Histogram(
            SECONDS.name, SECONDS.doc, SECONDS.labels, buckets=SECONDS.buckets_s, registry=registry
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def render(self) -> bytes:
        """Give all metrics of the registry in Prometheus' text format."""
        return generate_latest(self._registry)
