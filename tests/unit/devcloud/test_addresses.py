"""Addresses of instances and the ranges behind them."""

import sqlite3
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from devcloud import addresses
from devcloud.errors import QuotaError
from devcloud.settings import Settings

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


def test_addresses_of_load_balancers_are_no_instance_s() -> None:
    network = IPv4Network("10.77.0.0/27")
    settings = Settings(data_dir=Path("/nowhere"), network=network)
    taken = [f"10.77.0.{number}" for number in range(5, 24)]

    assert str(settings.lb_range) == "10.77.0.24/29"
    with pytest.raises(QuotaError):
        addresses.next_address(table(*taken), network, settings.lb_range)


@pytest.mark.parametrize(
    ("network", "given", "expected"),
    [
        ("10.0.0.0/16", None, "10.0.255.0/24"),
        ("10.77.0.0/24", None, "10.77.0.192/26"),
        ("10.77.0.0/28", None, None),
        ("10.77.0.0/28", "203.0.113.0/24", "203.0.113.0/24"),
    ],
)
def test_range_of_load_balancers(network: str, given: str | None, expected: str | None) -> None:
    lb_addresses = None if given is None else IPv4Network(given)
    settings = Settings(data_dir=Path("/nowhere"), network=IPv4Network(network), lb_addresses=lb_addresses)

    assert settings.lb_range == (None if expected is None else IPv4Network(expected))
