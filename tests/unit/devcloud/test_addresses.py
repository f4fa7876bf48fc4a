"""Addresses of instances and the ranges behind them."""

import sqlite3
from ipaddress import IPv4Network

import pytest

from devcloud import addresses
from devcloud.errors import QuotaError

NETWORK = IPv4Network("10.77.0.0/29")


def table(*taken: str) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE instances (private_ip TEXT)")
    db.executemany("INSERT INTO instances VALUES (?)", [(address,) for address in taken])
    return db


def test_lowest_free_address_is_next() -> None:
    assert addresses.next_address(table(), NETWORK) == "10.77.0.5"
    assert addresses.next_address(table("10.77.0.5", ""), NETWORK) == "10.77.0.6"


def test_full_network_is_refused_by_name() -> None:
    with pytest.raises(QuotaError, match=r"10\.77\.0\.0/29"):
        addresses.next_address(table("10.77.0.5", "10.77.0.6"), NETWORK)


def test_gateway_is_the_first_address() -> None:
    assert addresses.gateway_of(NETWORK) == "10.77.0.1"


def test_pod_range_follows_from_the_address() -> None:
    network, pods = IPv4Network("10.77.0.0/24"), IPv4Network("192.168.0.0/16")

    assert addresses.pod_range("10.77.0.21", network, pods) == "192.168.21.0/24"
    assert addresses.pod_range("10.77.0.21", network, None) == ""


@pytest.mark.parametrize(
    ("network", "pods", "expected"),
    [
        ("10.77.0.0/24", "192.168.0.0/16", True),
        ("10.77.0.0/24", "192.168.0.0/17", False),
        ("10.77.0.0/24", "10.0.0.0/8", False),
        ("10.77.0.0/29", "192.168.0.0/21", True),
    ],
)
def test_pods_need_a_range_per_address(network: str, pods: str, expected: bool) -> None:
    assert addresses.fits(IPv4Network(network), IPv4Network(pods)) is expected
