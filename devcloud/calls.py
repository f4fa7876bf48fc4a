"""Counts and times of calls per route, so that tests and benchmarks see what a client costs the platform."""

from bisect import bisect_left
from dataclasses import dataclass, replace

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class RouteCalls:
    """What one route saw since the last reset."""

    count: int = 0
    platform_s: float = 0.0
    """Time inside the platform, injected waits included."""
    max_s: float = 0.0
    started_at: float | None = None
    """When the last one began, on a clock of no fixed zero."""
    closest_s: float | None = None
    """The shortest time between the beginnings of two calls; None before the second."""


@dataclass(slots=True)
class _Histogram:
    buckets: list[int]
    count: int = 0
    sum_s: float = 0.0


class CallLog:
    """Counts calls per `METHOD /route/{template}`; the figures of `render` are not reset."""

    def __init__(self) -> None:
        self._routes: dict[str, RouteCalls] = {}
        self._statuses: dict[tuple[str, str, str], int] = {}
        self._durations: dict[tuple[str, str], _Histogram] = {}

    def began(self, method: str, path: str, at: float) -> None:
        """Take note of a call that begins; `at` never goes back."""
        seen = self._routes.get(f"{method} {path}", RouteCalls())
        closest_s = seen.closest_s
        if seen.started_at is not None:
            gap_s = at - seen.started_at
            closest_s = gap_s if closest_s is None else min(closest_s, gap_s)
        self._routes[f"{method} {path}"] = replace(seen, started_at=at, closest_s=closest_s)

    def ended(self, method: str, path: str, status: str, duration_s: float) -> None:
        """Count one answered (or lost) call."""
        seen = self._routes.get(f"{method} {path}", RouteCalls())
        self._routes[f"{method} {path}"] = replace(
            seen,
            count=seen.count + 1,
            platform_s=seen.platform_s + duration_s,
            max_s=max(seen.max_s, duration_s),
        )
        self._statuses[method, path, status] = self._statuses.get((method, path, status), 0) + 1
        histogram = self._durations.setdefault((method, path), _Histogram([0] * (len(_BUCKETS_S) + 1)))
        histogram.buckets[bisect_left(_BUCKETS_S, duration_s)] += 1
        histogram.count += 1
        histogram.sum_s += duration_s

    def reset(self) -> None:
        """Start again at zero."""
        self._routes.clear()

    @property
    def by_route(self) -> dict[str, RouteCalls]:
        """What every route saw."""
        return dict(self._routes)

    @property
    def total(self) -> int:
        """How many calls there were on all routes."""
        return sum(seen.count for seen in self._routes.values())

    def render(self) -> list[str]:
        """Give all figures as lines of the Prometheus text format."""
        total, duration = "thecloud_http_requests_total", "thecloud_http_request_duration_seconds"
        lines = [f"# TYPE {total} counter"]
        lines += [
            f'{total}{{method="{method}",path="{path}",status="{status}"}} {count}'
            for (method, path, status), count in sorted(self._statuses.items())
        ]
        lines.append(f"# TYPE {duration} histogram")
        for (method, path), histogram in sorted(self._durations.items()):
            labels = f'method="{method}",path="{path}"'
            below = 0
            for limit, count in zip((*_BUCKETS_S, "+Inf"), histogram.buckets, strict=True):
                below += count
                lines.append(f'{duration}_bucket{{{labels},le="{limit}"}} {below}')
            lines.append(f"{duration}_sum{{{labels}}} {histogram.sum_s}")
            lines.append(f"{duration}_count{{{labels}}} {histogram.count}")
        return lines
