import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccm.desired.routes import Route, is_responsible, networks, plan_routes, pod_cidrs
from tests.unit.ccm.desired.made import instance_id, node

CLUSTER = networks(["10.244.0.0/16", "fd00::/48"])
A, B = "10.244.0.0/24", "10.244.1.0/24"


def to(destination: str, number: int, *, is_blackhole: bool = False) -> Route:
    return Route(destination, instance_id(number), is_blackhole)


N1, N2 = node("n1", 1, pod_cidrs=(A,)), node("n2", 2, pod_cidrs=(B,))


@pytest.mark.parametrize(
    ("destination", "ours"),
    [
        ("10.244.0.0/24", True),
        ("10.244.255.0/24", True),
        ("10.244.0.0/16", True),
        ("10.243.255.0/24", False),
        ("10.245.0.0/24", False),
        ("10.244.0.0/15", True),
        ("10.0.0.0/8", False),
        ("0.0.0.0/0", False),
        ("fd00::/64", True),
        ("fd01::/64", False),
        ("::/0", False),
        ("junk", False),
    ],
)
def test_what_we_may_delete(destination: str, ours: bool):
    assert is_responsible(destination, CLUSTER) is ours


@pytest.mark.parametrize(
    ("nodes", "routes", "add", "delete", "routed"),
    [
        ([], [], [], [], set()),
        ([N1, N2], [to(A, 1), to(B, 2)], [], [], {"n1", "n2"}),
        ([N1, N2], [to(A, 1)], [to(B, 2)], [], {"n1"}),
        ([N1], [to(A, 1), to(B, 2)], [], [to(B, 2)], {"n1"}),
        ([N1, N2], [to(A, 2), to(B, 1)], [to(A, 1), to(B, 2)], [to(A, 2), to(B, 1)], set()),
        ([N1], [to(A, 1, is_blackhole=True)], [to(A, 1)], [to(A, 1, is_blackhole=True)], set()),
        ([N1], [to(A, 1), to("192.168.0.0/24", 9)], [], [], {"n1"}),
        ([node("new", 3), node("aws", provider_id="aws:///x", pod_cidrs=(A,))], [], [], [], set()),
        ([node("n1", 1, pod_cidrs=(A, "fd00:0::/64"))], [to(A, 1)], [to("fd00::/64", 1)], [], set()),
        ([node("n1", 1, pod_cidrs=(A,), going=True)], [to(A, 1)], [], [], {"n1"}),
    ],
)
def test_which_routes_come_and_go(
    nodes: list[object], routes: list[Route], add: list[Route], delete: list[Route], routed: set[str]
):
    found = plan_routes(nodes, routes, CLUSTER)  # type: ignore[arg-type]
    assert (list(found.add), list(found.delete), set(found.routed)) == (add, delete, routed)
    assert found.is_empty is (not add and not delete)


_ROUTES = st.lists(st.builds(to, st.sampled_from([A, B, "192.168.0.0/24"]), st.integers(1, 3)), unique=True)


@settings(deadline=None)
@given(_ROUTES)
def test_a_plan_that_was_done_leaves_nothing_to_do(routes: list[Route]):
    found = plan_routes([N1, N2], routes, CLUSTER)
    after = (set(routes) - set(found.delete)) | set(found.add)
    again = plan_routes([N1, N2], after, CLUSTER)
    assert again.is_empty
    assert again.routed == {"n1", "n2"}
    assert {one for one in routes if one.destination.startswith("192")} <= after


def test_networks_of_pods_are_read_in_one_form():
    assert pod_cidrs(node(pod_cidrs=("10.244.0.9/24", "junk", "10.244.0.0/24"))) == ("10.244.0.0/24",)
    assert pod_cidrs(node()) == ()
