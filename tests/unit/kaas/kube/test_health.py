"""A cluster's health and its sentence."""

from datetime import UTC, datetime

import pytest

from kaas.domain.model import Health
from kaas.domain.ports import KubeNode
from kaas.kube.health import assess, unusable

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def node(name, *, ready=True, message="", schedulable=True, initialised=True):
    return KubeNode(name, ready, "", schedulable, initialised, "v1.36.3", message)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([], "the API server is ready; there are no nodes"),
        ([node("a")], "the only node is ready"),
        ([node("a"), node("b")], "all 2 nodes are ready"),
        ([node("a"), node("b", ready=False, message="it is silent")], "1 of 2 nodes are ready; b: it is silent"),
        ([node("a", ready=False)], "0 of 1 nodes are ready; a: not ready"),
    ],
)
def test_sentence(nodes, expected):
    assert assess(nodes, "", checked_at=NOW).message == expected


def test_counts():
    nodes = [node("a"), node("b", ready=False)]
    assert assess(nodes, "", checked_at=NOW) == Health(
        True, 2, 1, "1 of 2 nodes are ready; b: not ready", checked_at=NOW
    )


def test_a_node_that_never_came_counts():
    found = assess([node("a")], "", expected=["a", "b"], checked_at=NOW)
    assert (found.nodes_total, found.nodes_ready) == (2, 1)
    assert found.message == "1 of 2 nodes are ready; b: it has no Node object"


def test_an_api_server_that_is_away_says_nothing_of_nodes():
    found = assess([], "GET /readyz: no connection", expected=["a"], checked_at=NOW)
    assert found == Health(message="the API server is not ready: GET /readyz: no connection", checked_at=NOW)


def test_not_all_of_many_are_named():
    found = assess([node(f"n{number}", ready=False) for number in range(8)], "", checked_at=NOW)
    assert found.message.endswith("n4: not ready; and 3 more")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (node("a"), ""),
        (node("a", ready=False, message="x"), "node a: x"),
        (node("a", initialised=False), "node a: the cloud controller manager has not initialised it yet"),
        (node("a", schedulable=False), "node a: it is cordoned"),
    ],
)
def test_unusable(given, expected):
    assert unusable(given) == expected
