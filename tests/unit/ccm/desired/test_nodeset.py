import pytest

from ccm.desired.nodeset import NodeSet, excluded_because, is_eligible, skipped_because
from ccm.desired.selector import Selector, parse_selector
from ccm.kube.model import Condition, Meta, Node, NodeSpec, NodeStatus
from ccm.model import Target
from ccm.names import EXCLUDE_LABEL, GOING_TAINT, SHUTDOWN_TAINT, UNINITIALIZED_TAINT
from tests.unit.ccm.desired.made import instance_id, node


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (node(), ""),
        (node(labels={"pool": "a"}, taints=[UNINITIALIZED_TAINT]), ""),
        (node(taints=[SHUTDOWN_TAINT, "node.kubernetes.io/unschedulable"]), ""),
        (node(labels={EXCLUDE_LABEL: "false"}), ""),
        (node(labels={EXCLUDE_LABEL: "F"}), ""),
        (node(labels={EXCLUDE_LABEL: "0"}), ""),
        (node(labels={EXCLUDE_LABEL: "true"}), "label"),
        (node(labels={EXCLUDE_LABEL: ""}), "label"),
        (node(labels={EXCLUDE_LABEL: "no"}), "label"),
        (node(labels={EXCLUDE_LABEL: "fAlse"}), "label"),
        (node(taints=[GOING_TAINT]), "taint"),
        (node(going=True), "deleted"),
        (node(number=None), "no provider id"),
        (node(provider_id="aws:///x/i-1"), "not of this platform"),
        (node(provider_id="thecloud://web-1"), "not of this platform"),
    ],
)
def test_which_nodes_may_be_targets(found: Node, why: str):
    assert is_eligible(found) is (not why)
    assert why in excluded_because(found)


@pytest.mark.parametrize("ready", ["True", "False", "Unknown", ""])
def test_readiness_is_not_asked(ready: str):
    conditions = (Condition(type="Ready", status=ready),) if ready else None
    found = Node(
        metadata=Meta(name="n"),
        spec=NodeSpec(provider_id=f"thecloud://{instance_id(1)}", unschedulable=True),
        status=NodeStatus(conditions=conditions),
    )
    assert is_eligible(found)


def test_targets_have_a_fixed_order_and_each_instance_once():
    nodes = [
        node("c", 3),
        node("a", 1),
        node("b", 2),
        node("a-again", 1),
        node("x", None),
        node("going", 4, going=True),
    ]
    expected = tuple(Target(instance_id(number)) for number in (1, 2, 3))
    assert NodeSet(nodes).targets(Selector()) == expected
    assert NodeSet(reversed(nodes)).targets(Selector()) == expected
    assert NodeSet([]).targets(Selector()) == ()


def test_a_selector_narrows_them():
    nodes = NodeSet([node(f"n{number}", number, labels={"pool": "ab"[number % 2]}) for number in range(4)])
    assert nodes.targets(parse_selector("pool=a")) == (Target(instance_id(0)), Target(instance_id(2)))
    assert nodes.targets(parse_selector("pool notin (a,b)")) == ()
    assert len(nodes.targets(Selector())) == 4


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (node(), ""),
        (node(going=True), ""),
        (node(number=None), "no provider id"),
        (node(provider_id="aws:///i-1"), "aws:///i-1"),
        (node(number=None, going=True), ""),
        (node(number=None, labels={EXCLUDE_LABEL: ""}), ""),
        (node(number=None, taints=[GOING_TAINT]), ""),
    ],
)
def test_nodes_that_nobody_left_out_are_told(found: Node, why: str):
    assert bool(skipped_because(found)) is bool(why)
    assert why in skipped_because(found)
