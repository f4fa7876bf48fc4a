from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaas.domain.networks import check_networks, nodes_that_fit, parse_range, room_problem, source_problem

PODS, SERVICES = "192.168.0.0/16", "10.96.0.0/12"
NETWORKS = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False), st.integers(0, 2**32 - 1), st.integers(1, 32)
)


def problems(pods: str = PODS, services: str = SERVICES, nodes: int = 3, **others: str) -> list[tuple[str, str]]:
    return [(one.field, one.message) for one in check_networks(pods, services, nodes=nodes, others=others)]


def test_the_defaults_are_fine() -> None:
    assert problems(vpc="10.0.0.0/16", node="10.77.0.0/24") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.256/24",
        "10.0.0/24",
        "10.0.0.0/255.0.0.0",
        "x/8",
        "010.0.0.0/8",
        "10.0.0.0/8\n",
        " 10.0.0.0/8",
        "10.0.0.0/8,11.0.0.0/8",
        "\uff11\uff10.0.0.0/8",
        "10.0.0.0/08",
        "a" * 5000,
    ],
)
def test_what_is_no_range_is_refused(text: str) -> None:
    [(field, message), *_] = problems(pods=text)
    assert field == "pod_cidr"
    assert "no range" in message or "is the range" in message
    assert len(message) < 200


@pytest.mark.parametrize("text", ["fd00::/48", "::/0", "fd00::1/64"])
def test_ipv6_is_refused_as_such(text: str) -> None:
    assert "IPv6" in problems(services=text)[0][1]
    assert "IPv6" in source_problem(text)


def test_a_range_with_host_bits_says_which_one_was_meant() -> None:
    assert problems(pods="192.168.1.1/16") == [
        ("pod_cidr", "'192.168.1.1/16' has bits set outside of its prefix; 192.168.0.0/16 is the range")
    ]


@pytest.mark.parametrize(("prefix", "nodes"), [(16, 256), (20, 16), (24, 1), (25, 0), (32, 0)])
def test_each_node_takes_a_24_of_the_pods(prefix: int, nodes: int) -> None:
    assert nodes_that_fit(IPv4Network(f"172.16.0.0/{prefix}", strict=False)) == nodes


def test_a_pod_range_has_to_hold_all_nodes_and_one_more() -> None:
    assert problems(pods="172.16.0.0/22", nodes=3) == []
    [(field, message)] = problems(pods="172.16.0.0/22", nodes=4)
    assert field == "pod_cidr"
    assert "room for 4 nodes" in message
    assert room_problem("172.16.0.0/22", 3) == ""


@pytest.mark.parametrize(
    ("services", "word"), [("10.0.0.0/11", "large"), ("10.0.0.0/29", "small"), ("10.0.0.0/32", "small")]
)
def test_a_service_range_of_a_wrong_size(services: str, word: str) -> None:
    assert f"too {word}" in problems(services=services)[0][1]


@pytest.mark.parametrize("services", ["10.16.0.0/12", "10.0.0.0/28"])
def test_the_ends_of_what_a_service_range_may_be(services: str) -> None:
    assert problems(services=services) == []


def test_a_pod_range_that_is_too_large() -> None:
    assert "too large" in problems(pods="64.0.0.0/7")[0][1]


@pytest.mark.parametrize(
    "pods", ["127.0.0.0/8", "224.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8", "0.0.0.0/0", "240.0.0.0/8"]
)
def test_ranges_that_no_pod_can_have(pods: str) -> None:
    assert "no pod" in problems(pods=pods)[0][1]


def test_ranges_that_overlap_each_other_or_what_is_around_them() -> None:
    assert problems(pods="10.96.0.0/16") == [("service_cidr", "10.96.0.0/12 overlaps the pods' range 10.96.0.0/16")]
    found = problems(vpc="192.168.128.0/20", node="10.100.0.0/24")
    assert found == [
        ("pod_cidr", "192.168.0.0/16 overlaps vpc, which is 192.168.128.0/20"),
        ("service_cidr", "10.96.0.0/12 overlaps node, which is 10.100.0.0/24"),
    ]
    assert problems(vpc="", node="") == []


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert {field for field, _ in problems(pods="nonsense", services="fd00::/8")} == {"pod_cidr", "service_cidr"}


@given(NETWORKS)
def test_a_range_reads_as_it_is_written(network: IPv4Network) -> None:
    assert parse_range(str(network)) == network


@given(NETWORKS, NETWORKS, NETWORKS, st.integers(1, 300))
def test_what_is_accepted_is_apart_and_large_enough(
    pods: IPv4Network, services: IPv4Network, vpc: IPv4Network, nodes: int
) -> None:
    if not check_networks(str(pods), str(services), nodes=nodes, others={"vpc": str(vpc)}):
        assert not any(one.overlaps(two) for one, two in ((pods, services), (pods, vpc), (services, vpc)))
        assert pods.num_addresses >= (nodes + 1) * 256


@given(st.text(), st.text())
def test_any_text_is_a_range_or_a_problem(pods: str, services: str) -> None:
    for problem in check_networks(pods, services, nodes=1, others={}):
        assert problem.field in {"pod_cidr", "service_cidr"}
        assert len(problem.message) < 600
