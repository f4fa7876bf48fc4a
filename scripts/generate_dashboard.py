"""Writes the Grafana dashboard from a table of panels and the names in `csi.metrics`; `--check` compares."""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csi.metrics import (
    COMMAND_SECONDS,
    DEVICE_WAIT_SECONDS,
    FORMAT_REFUSALS,
    FSCK_REPAIRS,
    MKFS_SECONDS,
    PLATFORM_SECONDS,
    RPC_IN_FLIGHT,
    RPC_SECONDS,
)
from process.metrics import Metric

DASHBOARD = Path(__file__).parents[1] / "deploy" / "components" / "monitoring" / "dashboard.json"
COLUMNS = 24
PANEL_WIDTH = 8
PANEL_HEIGHT = 8
RATE = "[$__rate_interval]"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: its queries as pairs of PromQL and legend."""

    title: str
    doc: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def rate(metric: Metric, by: str, where: str = "") -> str:
    """Give calls per second of a histogram or counter."""
    suffix = "" if metric.name.endswith("_total") else "_count"
    return f"sum by ({by}) (rate({metric.name}{suffix}{where}{RATE}))"


def quantile(metric: Metric, by: str, share: float = 0.95) -> str:
    """Give a quantile of a histogram."""
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({metric.name}_bucket{RATE})))"


def count(metric: Metric, by: str) -> str:
    """Give how often it happened within the range on show."""
    return f"sum by ({by}) (increase({metric.name}[$__range]))"


SIDECAR_FAILURES = (
    "sum by (method_name, grpc_status_code) (rate(csi_sidecar_operations_seconds_count"
    f'{{driver_name="csi.thecloud.io", grpc_status_code!="OK"}}{RATE}))'
)

PANELS = (
    Panel("CSI calls", "by method", "reqps", ((rate(RPC_SECONDS, "method"), "{{method}}"),)),
    Panel(
        "CSI calls that failed",
        "by method and code; docs/errors.md says what a message means",
        "reqps",
        ((rate(RPC_SECONDS, "method, code", '{code!="OK"}'), "{{method}} {{code}}"),),
    ),
    Panel("Time of a CSI call", "95 of 100 are faster", "s", ((quantile(RPC_SECONDS, "method"), "{{method}}"),)),
    Panel("CSI calls running", "by method", "short", ((f"sum by (method) ({RPC_IN_FLIGHT.name})", "{{method}}"),)),
    Panel("Calls of the platform", "by outcome", "reqps", ((rate(PLATFORM_SECONDS, "outcome"), "{{outcome}}"),)),
    Panel(
        "Time of a call of the platform",
        "95 of 100 are faster",
        "s",
        ((quantile(PLATFORM_SECONDS, "route"), "{{route}}"),),
    ),
    Panel(
        "Wait for an attached disk",
        "from the call on the node until the kernel shows the disk",
        "s",
        ((quantile(DEVICE_WAIT_SECONDS, "outcome"), "95 % {{outcome}}"),),
    ),
    Panel("Making a file system", "95 of 100 are faster", "s", ((quantile(MKFS_SECONDS, "fs_type"), "{{fs_type}}"),)),
    Panel("Host commands", "95 of 100 are faster", "s", ((quantile(COMMAND_SECONDS, "command"), "{{command}}"),)),
    Panel(
        "Disks left unformatted",
        "because they could hold data, by reason",
        "short",
        ((count(FORMAT_REFUSALS, "reason, pod"), "{{reason}} {{pod}}"),),
    ),
    Panel(
        "File systems repaired",
        "before they were mounted",
        "short",
        ((count(FSCK_REPAIRS, "fs_type, pod"), "{{fs_type}} {{pod}}"),),
    ),
    Panel(
        "Sidecars' calls that failed",
        "as the sidecars saw them, by sidecar method and code",
        "reqps",
        ((SIDECAR_FAILURES, "{{method_name}} {{grpc_status_code}}"),),
    ),
)


def dashboard(panels: Iterable[Panel]) -> dict[str, Any]:
    """Give the dashboard as Grafana imports it."""
    return {
        "uid": "thecloud-csi",
        "title": "The Cloud CSI",
        "tags": ["storage", "csi"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_graph(index, panel) for index, panel in enumerate(panels)],
    }


def _graph(index: int, panel: Panel) -> dict[str, Any]:
    per_row = COLUMNS // PANEL_WIDTH
    place = {"x": index % per_row * PANEL_WIDTH, "y": index // per_row * PANEL_HEIGHT}
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.doc,
        "datasource": DATASOURCE,
        "gridPos": {**place, "w": PANEL_WIDTH, "h": PANEL_HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expr, "legendFormat": legend}
            for place, (expr, legend) in enumerate(panel.queries)
        ],
    }


def text() -> str:
    """Give the file's content."""
    return json.dumps(dashboard(PANELS), indent=1) + "\n"


def main() -> int:
    """Write or compare the file; gives the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true")
    if not arguments.parse_args().check:
        DASHBOARD.write_text(text())
    elif not DASHBOARD.exists() or DASHBOARD.read_text() != text():
        print(f"not as generated: {DASHBOARD.name}; run make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
