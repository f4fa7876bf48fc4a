"""What is refused, and what follows the nodes all the same."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ccm.kube.model import Service
from ccm.model import Algorithm, Protocol, Target
from ccm.notices import Reason
from tests.unit.ccm.desired.asked import IDS, refused
from tests.unit.ccm.desired.made import EVERYTHING, STRICT, outcome, port, service, wanted


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        (service(port(protocol="SCTP")), Reason.UNSUPPORTED),
        (service(port(node_port=0)), Reason.INVALID_SERVICE),
        (service(port(), own={"port.80.protocol": "udp"}), Reason.INVALID_ANNOTATION),
        (service(port(protocol="UDP"), own={"port.80.protocol": "http"}), Reason.INVALID_ANNOTATION),
        (service(port(protocol="UDP"), own={"port.80.proxy-protocol": "v1"}), Reason.INVALID_ANNOTATION),
        (service(port(protocol="UDP"), own={"port.80.redirect-http": "443"}), Reason.INVALID_ANNOTATION),
        (service(own={"protocol": "https"}), Reason.INVALID_SERVICE),
        (service(own={"protocol": "tls", "tls-cert": "lost"}), Reason.CERTIFICATE),
        (service(own={"port.80.redirect-http": "443"}), Reason.INVALID_ANNOTATION),
        (service(own={"port.80.redirect-http": "80", "protocol": "tcp"}), Reason.INVALID_ANNOTATION),
        (service(own={"size": "huge"}), Reason.INVALID_ANNOTATION),
        (service(own={"interal": "true"}), Reason.INVALID_ANNOTATION),
        (service(own={"zone": "z1"}), Reason.INVALID_ANNOTATION),
        (service(own={"health-check.interval": "2", "health-check.timeout": "3"}), Reason.INVALID_ANNOTATION),
        (service(external_traffic_policy="Local"), Reason.INVALID_SERVICE),
        (service(load_balancer_source_ranges=("10.0.0.0/8", "junk")), Reason.INVALID_SERVICE),
        (service(load_balancer_source_ranges=("10.0.0.1",)), Reason.INVALID_SERVICE),
        (service(load_balancer_ip="junk"), Reason.INVALID_SERVICE),
        (service(load_balancer_ip="192.0.2.1", own={"static-address": "192.0.2.2"}), Reason.INVALID_SERVICE),
        (service(own={"static-address": "2001:db8::1"}), Reason.INVALID_SERVICE),
    ],
)
def test_what_cannot_be_is_refused_on_every_platform(of: Service, reason: Reason):
    assert set(refused(of, certificates=IDS)) == {reason}


@pytest.mark.parametrize(
    ("of", "lacking"),
    [
        (service(port(protocol="UDP")), {"protocols": frozenset({"tcp"})}),
        (service(), {"protocols": frozenset({"http"})}),
        (service(own={"protocol": "tls", "tls-cert": "shop"}), {"has_certificates": False}),
        (service(load_balancer_source_ranges=("10.0.0.0/8",)), {"has_source_ranges": False}),
        (service(own={"deny-source-ranges": "10.0.0.0/8"}), {"has_source_ranges": False}),
        (service(own={"proxy-protocol": "v1"}), {"has_proxy_protocol": False}),
        (service(session_affinity="ClientIP"), {"has_sticky": False}),
        (service(own={"sticky": "source-ip"}), {"has_sticky": False}),
        (service(load_balancer_ip="192.0.2.1"), {"has_static_addresses": False}),
        (service(own={"static-address": "192.0.2.1"}), {"has_static_addresses": False}),
        (service(own={"internal": "true"}), {"has_internal": False}),
        (service(own={"size": "small"}), {"has_sizes": False}),
        (service(own={"health-check.path": "/x"}), {"has_health_checks": False}),
        (service(external_traffic_policy="Local", health_check_node_port=30999), {"has_health_checks": False}),
        (service(external_traffic_policy="Local", health_check_node_port=30999), {"has_transparent": False}),
        (service(own={"share-with": "shop/b"}), {"has_shared": False}),
        (service(own={"adopt-id": "x"}), {"has_shared": False}),
        (service(own={"idle-timeout": "60"}), {"has_listener_options": False}),
        (service(own={"port.80.idle-timeout": "60"}), {"has_listener_options": False}),
        (service(own={"max-connections": "5"}), {"has_listener_options": False}),
        (service(own={"protocol": "http", "forwarded-for": "false"}), {"has_listener_options": False}),
        (
            service(
                port(80),
                port(443),
                own={
                    "port.80.protocol": "http",
                    "port.443.protocol": "https",
                    "port.443.tls-cert": "shop",
                    "port.80.redirect-http": "443",
                },
            ),
            {"has_listener_options": False},
        ),
        (service(port(80), port(81)), {"listeners_per_balancer": 1}),
        (service(ip_families=("IPv6",)), {"families": frozenset({"ipv4"})}),
        (
            service(ip_families=("IPv4", "IPv6"), ip_family_policy="RequireDualStack"),
            {"families": frozenset({"ipv4"})},
        ),
    ],
)
def test_what_this_platform_lacks_is_refused_and_nothing_else(of: Service, lacking: Mapping[str, Any]):
    assert outcome(of, certificates=IDS).wanted is not None
    assert set(refused(of, offer=replace(EVERYTHING, **lacking), certificates=IDS)) == {Reason.UNSUPPORTED}


@pytest.mark.parametrize(
    "of",
    [
        service(),
        service(port(protocol="UDP")),
        service(own={"protocol": "https", "tls-cert": "shop"}),
        *(
            service(own={"protocol": "http"} | own, **spec)
            for own, spec in (
                ({}, {"load_balancer_source_ranges": ("10.0.0.0/8",)}),
                ({"deny-source-ranges": "10.0.0.0/8"}, {}),
                ({}, {"external_traffic_policy": "Local", "health_check_node_port": 30999}),
                ({"proxy-protocol": "v1"}, {"external_traffic_policy": "Local", "health_check_node_port": 30999}),
                ({"proxy-protocol": "v2"}, {}),
                ({"static-address": "192.0.2.1"}, {}),
                ({}, {"load_balancer_ip": "192.0.2.1"}),
                ({"internal": "true"}, {}),
                ({}, {"session_affinity": "ClientIP"}),
                ({"sticky": "cookie"}, {}),
                ({"size": "small"}, {}),
                ({"idle-timeout": "60"}, {}),
                ({"port.80.idle-timeout": "60"}, {}),
                ({"max-connections": "5"}, {}),
                ({"forwarded-for": "false"}, {}),
                ({"port.80.redirect-http": "443"}, {}),
                ({"health-check.path": "/"}, {}),
                ({"share-with": "shop/b"}, {}),
                ({"adopt-id": "x"}, {}),
                ({}, {"ip_families": ("IPv6",)}),
            )
        ),
    ],
)
def test_a_strict_platform_refuses_all_that_it_cannot_do(of: Service):
    assert Reason.UNSUPPORTED in refused(of, offer=STRICT, certificates=IDS)


def test_a_strict_platform_serves_http():
    found = wanted(service(own={"protocol": "http", "algorithm": "least-conn"}), offer=STRICT)
    (one,) = found.group.listeners
    assert (one.protocol, one.algorithm, one.health_check) == (Protocol.HTTP, Algorithm.LEAST_CONN, None)
    assert found.size == ""
    (why,) = outcome(service(), offer=STRICT).refusals
    assert "protocol to http" in why.text


def test_refused_services_keep_following_the_nodes():
    found = outcome(service(own={"size": "huge"}), targets=(Target("b"), Target("a"), Target("b")))
    assert found.wanted is None
    assert found.targets == (Target("a"), Target("b"))


def test_a_selector_that_cannot_be_read_selects_nothing_new():
    assert outcome(service(own={"size": "huge", "node-selector": "pool=a"})).follows_nodes
    found = outcome(service(own={"node-selector": "pool in a"}))
    assert found.wanted is None
    assert not found.follows_nodes


def test_no_nodes_are_told_and_do_not_stop_anything():
    found = outcome(service(), targets=())
    assert found.wanted is not None
    assert [one.reason for one in found.notices] == [Reason.NO_NODES]
