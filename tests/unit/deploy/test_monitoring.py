"""Alerts and dashboard ask for metrics that exist, by labels and words that occur, and say what to do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from csi.metrics import TABLE
from process.metrics import Kind
from scripts.generate_dashboard import DASHBOARD, text
from tests.golden.render import CHART, DEPLOY
from tests.unit.deploy.manifests import NAMESPACE, Object, objects, repository
from thecloud import errors as platform_errors

SUFFIXES = {Kind.HISTOGRAM: ("_bucket", "_count", "_sum"), Kind.COUNTER: ("",), Kind.GAUGE: ("",)}
LABELS_OF = {metric.name + suffix: {*metric.labels, "le"} for metric in TABLE for suffix in SUFFIXES[metric.kind]}
ELSEWHERE = {
    "csi_sidecar_operations_seconds_count",
    "kube_volumeattachment_info",
    "kube_volumeattachment_status_attached",
    "kube_deployment_status_replicas_available",
    "kube_daemonset_status_number_unavailable",
}
"""Of the sidecars and of kube-state-metrics."""
OF_THE_SCRAPE = {"pod"}
NAME = re.compile(r"\b(?:thecloud|csi_sidecar|kube)_[a-z_]+\b")


def alerts() -> list[Object]:
    (group,) = objects("kustomize", "production")["PrometheusRule", NAMESPACE, "thecloud-csi"]["spec"]["groups"]
    return list(group["rules"])


def queries() -> Iterator[str]:
    yield from (alert["expr"] for alert in alerts())
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def matchers(query: str, label: str) -> Iterator[str]:
    """Give the words that a query compares a label with."""
    for words in re.findall(rf'\b{label}[=!]~?"([^"]*)"', query):
        yield from words.split("|")


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_every_metric_exists_with_the_labels_that_are_asked_for(query: str) -> None:
    names = set(NAME.findall(query))
    assert names
    assert names <= LABELS_OF.keys() | ELSEWHERE
    ours = names & LABELS_OF.keys()
    if ours:
        known = set.intersection(*(LABELS_OF[name] for name in ours)) | OF_THE_SCRAPE
        used = {label.strip() for words in re.findall(r"by \(([^)]*)\)", query) for label in words.split(",")}
        used |= {label for words in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)[=!]", words)}
        assert used <= known
    assert query.count("(") == query.count(")")


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_every_word_that_is_asked_for_can_occur(query: str) -> None:
    codes = {code.name for code in grpc.StatusCode}
    assert {word for word in matchers(query, "code") if word.isupper()} <= codes
    outcomes = {
        kind.outcome for kind in vars(platform_errors).values() if isinstance(getattr(kind, "outcome", None), str)
    }
    asked = {word for word in matchers(query, "outcome") if word[0].isalpha()}
    assert asked <= outcomes
    refusals = set(re.findall(r'"([a-z_]+)",\s*ErrorKind', repository(Path("node/filesystems.py")).read_text()))
    assert set(matchers(query, "reason")) <= refusals


def test_every_alert_says_what_to_do_and_where_to_read_on() -> None:
    page = repository(Path("docs/alerts.md")).read_text()
    headings = {line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")}
    assert headings == {alert["alert"] for alert in alerts()}
    for alert in alerts():
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"].keys() == {"summary", "description", "docs"}
        assert alert["annotations"]["docs"] == f"docs/alerts.md#{alert['alert'].lower()}"
        assert len(alert["annotations"]["description"]) > 80


def test_the_dashboard_is_as_generated_and_shows_every_metric() -> None:
    assert DASHBOARD.read_text() == text(), "run make docs"
    shown = " ".join(queries())
    assert [metric.name for metric in TABLE if metric.name not in shown] == []
    (data,) = objects("kustomize", "production")["ConfigMap", NAMESPACE, "thecloud-csi-dashboard"]["data"].values()
    assert json.loads(data) == json.loads(text())


def test_the_chart_has_the_same_files() -> None:
    for name in ("alerts.yaml", "dashboard.json"):
        assert (CHART / "files" / name).read_bytes() == (DEPLOY / "components/monitoring" / name).read_bytes()
