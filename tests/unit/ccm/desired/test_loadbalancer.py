from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccm.annotations.row import IpMode, Policy
from ccm.desired.loadbalancer import default_name
from ccm.desired.wanted import Cluster, observed_hash
from ccm.kube.model import AffinityConfig, ClientIpConfig, Service
from ccm.model import Algorithm, HealthCheck, Protocol, Shape, Sticky, StickyMode, Target
from ccm.names import CLUSTER_TAG, SERVICE_TAG, SERVICE_UID_TAG
from ccm.notices import Reason
from ccm.ports import BalancerOffer
from tests.unit.ccm.desired.asked import IDS, KUBE_PROXY, listener, refused, told
from tests.unit.ccm.desired.made import CLUSTER, EVERYTHING, UID, outcome, port, service, wanted


def test_a_plain_service_wants_a_tcp_listener_for_each_port():
    found = wanted(service(port(443), port(80), port(53, protocol="UDP")), targets=(Target("b"), Target("a")))
    assert found.service_uid == found.group.name == UID
    assert found.tags == {CLUSTER_TAG: "blue", SERVICE_UID_TAG: UID, SERVICE_TAG: "shop/web"}
    assert found.group.targets == (Target("a"), Target("b"))
    assert [(one.name, one.protocol, one.port, one.target_port) for one in found.group.listeners] == [
        ("udp-53", Protocol.UDP, 53, 30053),
        ("tcp-80", Protocol.TCP, 80, 30080),
        ("tcp-443", Protocol.TCP, 443, 30443),
    ]
    assert (found.size, found.shape, found.policy) == ("small", Shape(), Policy.DELETE)
    assert found.is_own
    assert found.ip_mode is IpMode.VIP
    assert outcome(service()).notices == ()


def test_names_of_two_services_never_meet():
    assert default_name("blue", UID) == f"k8s-blue-{UID}"
    assert len(default_name("c" * 300, UID)) == 128
    assert default_name("c" * 300, UID).endswith(UID)
    assert wanted(service(own={"name": "shop"})).name == "shop"


def test_the_key_lasts_while_the_shape_does():
    key = wanted(service()).idempotency_key
    assert len(key) <= 64
    assert wanted(service(port(81), own={"size": "large"}), targets=()).idempotency_key == key
    others = [
        service(own={"internal": "true"}),
        service(load_balancer_ip="192.0.2.1"),
        service(ip_families=("IPv4", "IPv6")),
        service(uid="another"),
    ]
    keys = {wanted(one).idempotency_key for one in others}
    keys.add(wanted(service(), cluster=Cluster(id="green")).idempotency_key)
    assert len(keys | {key}) == 6


@pytest.mark.parametrize(
    ("own", "app", "protocol"),
    [
        ({}, "", "tcp"),
        ({}, "http", "http"),
        ({}, "HTTP", "http"),
        ({}, "https", "tcp"),
        ({}, "kubernetes.io/ws", "tcp"),
        ({"tls-cert": "shop"}, "https", "https"),
        ({"tls-cert": "shop"}, "tls", "tls"),
        ({"tls-cert": "shop"}, "", "tcp"),
        ({"protocol": "http"}, "", "http"),
        ({"protocol": "tcp"}, "http", "tcp"),
        ({"protocol": "https", "tls-cert": "shop"}, "", "https"),
        ({"protocol": "http", "port.80.protocol": "tcp"}, "", "tcp"),
        ({"port.80.tls-cert": "shop"}, "", "tls"),
        ({"port.80.tls-cert": "shop"}, "http", "https"),
        ({"port.80.tls-cert": "shop", "port.80.protocol": "tcp"}, "", "tcp"),
        ({"tls-passthrough": "true", "protocol": "https"}, "", "tcp"),
        ({"tls-passthrough": "true", "tls-cert": "shop"}, "https", "tcp"),
        ({"tls-passthrough": "true"}, "http", "http"),
    ],
)
def test_what_a_port_speaks(own: Mapping[str, str], app: str, protocol: str):
    found = listener(service(port(app_protocol=app), own=own), certificates=IDS)
    assert found.protocol.value == protocol
    assert found.certificate_ids == (("c1",) if protocol in {"https", "tls"} else ())


def test_tcp_and_udp_share_a_number_and_annotations_are_about_tcp():
    own = {"port.53.protocol": "tls", "tls-cert": "secret:shop-tls,shop", "port.53.proxy-protocol": "v2"}
    of = service(port(53), port(53, protocol="UDP"), own=own)
    assert listener(of, 53, certificates=IDS).certificate_ids == ("c2", "c1")
    assert listener(of, 53, certificates=IDS).proxy_protocol == "v2"
    udp = listener(of, 53, "udp", certificates=IDS)
    assert (udp.protocol, udp.proxy_protocol, udp.certificate_ids) == (Protocol.UDP, "", ())


@pytest.mark.parametrize(
    ("own", "spec", "check"),
    [
        ({}, {}, KUBE_PROXY),
        ({}, {"external_traffic_policy": "Cluster", "health_check_node_port": 30999}, KUBE_PROXY),
        ({}, {"external_traffic_policy": "Local", "health_check_node_port": 30999}, replace(KUBE_PROXY, port=30999)),
        (
            {"health-check.port": "node-port", "health-check.protocol": "tcp"},
            {},
            HealthCheck(protocol="tcp", port=30080),
        ),
        (
            {"health-check.port": "8080"},
            {"external_traffic_policy": "Local", "health_check_node_port": 30999},
            replace(KUBE_PROXY, port=8080),
        ),
        ({"health-check.interval": "2"}, {}, replace(KUBE_PROXY, interval_s=2, timeout_s=2)),
        (
            {
                "health-check.protocol": "https",
                "health-check.path": "/up",
                "health-check.host": "a.example",
                "health-check.codes": "200,301",
                "health-check.interval": "1m",
                "health-check.timeout": "20",
                "health-check.rise": "1",
                "health-check.fall": "9",
                "health-check.tls-verify": "true",
            },
            {},
            HealthCheck(
                protocol="https",
                port=10256,
                path="/up",
                host="a.example",
                codes="200,301",
                interval_s=60,
                timeout_s=20,
                rise=1,
                fall=9,
                verify_tls=True,
            ),
        ),
    ],
)
def test_health_checks(own: Mapping[str, str], spec: Mapping[str, Any], check: HealthCheck):
    assert listener(service(own=own, **spec)).health_check == check


def test_udp_is_checked_as_the_service_is():
    of = service(port(53, protocol="UDP"), port(80))
    assert listener(of, 53, "udp").health_check == listener(of, 80).health_check == KUBE_PROXY
    at_node_port = service(port(53, protocol="UDP"), port(80), own={"health-check.port": "node-port"})
    assert listener(at_node_port, 53, "udp").health_check == KUBE_PROXY
    assert listener(at_node_port, 80).health_check == replace(KUBE_PROXY, port=30080)


def test_local_traffic_keeps_the_clients_address():
    spec: dict[str, Any] = {"external_traffic_policy": "Local", "health_check_node_port": 30999}
    assert listener(service(**spec)).transparent
    proxied = listener(service(own={"proxy-protocol": "v2"}, **spec), offer=replace(EVERYTHING, has_transparent=False))
    assert (proxied.transparent, proxied.proxy_protocol) == (False, "v2")
    assert not listener(service(external_traffic_policy="Cluster")).transparent


@pytest.mark.parametrize(
    ("own", "spec", "sticky"),
    [
        ({}, {}, Sticky()),
        ({}, {"session_affinity": "ClientIP"}, Sticky(mode=StickyMode.SOURCE_IP, ttl_s=10800)),
        (
            {},
            {
                "session_affinity": "ClientIP",
                "session_affinity_config": AffinityConfig(client_ip=ClientIpConfig(timeout_seconds=60)),
            },
            Sticky(mode=StickyMode.SOURCE_IP, ttl_s=60),
        ),
        ({"sticky": "none"}, {"session_affinity": "ClientIP"}, Sticky()),
        ({"sticky": "source-ip", "sticky-ttl": "5m"}, {}, Sticky(mode=StickyMode.SOURCE_IP, ttl_s=300)),
        ({"sticky": "cookie"}, {}, Sticky(mode=StickyMode.COOKIE, cookie_name="TCLB")),
        (
            {"sticky": "cookie", "sticky-cookie-name": "S", "sticky-ttl": "9"},
            {},
            Sticky(mode=StickyMode.COOKIE, cookie_name="S", ttl_s=9),
        ),
    ],
)
def test_what_keeps_a_client_with_its_target(own: Mapping[str, str], spec: Mapping[str, Any], sticky: Sticky):
    assert listener(service(own=dict(own) | {"protocol": "http"}, **spec)).sticky == sticky


@pytest.mark.parametrize(
    ("spec", "annotation", "allowed"),
    [
        ({}, "", ()),
        ({"load_balancer_source_ranges": ("192.0.2.0/24", "10.1.2.3/8")}, "", ("10.0.0.0/8", "192.0.2.0/24")),
        ({"load_balancer_source_ranges": ("10.0.0.0/8",)}, "192.0.2.0/24", ("10.0.0.0/8",)),
        ({}, " 192.0.2.0/24 , 10.0.0.0/8", ("10.0.0.0/8", "192.0.2.0/24")),
        ({"load_balancer_source_ranges": ("0.0.0.0/0",)}, "", ()),
        ({"load_balancer_source_ranges": ("::/0",)}, "", ("::/0",)),
        (
            {"load_balancer_source_ranges": ("0.0.0.0/0",), "ip_families": ("IPv4", "IPv6")},
            "",
            ("0.0.0.0/0",),
        ),
        ({"load_balancer_source_ranges": ("0.0.0.0/0", "::/0"), "ip_families": ("IPv4", "IPv6")}, "", ()),
    ],
)
def test_who_may_come(spec: Mapping[str, Any], annotation: str, allowed: tuple[str, ...]):
    written = {"service.beta.kubernetes.io/load-balancer-source-ranges": annotation}
    assert listener(service(meta={"annotations": written}, **spec)).allowed_sources == allowed


@pytest.mark.parametrize(
    ("spec", "offered", "families", "is_told"),
    [
        ({}, {"ipv4", "ipv6"}, ("ipv4",), False),
        ({}, {"ipv6"}, ("ipv6",), False),
        ({"ip_families": ("IPv6",)}, {"ipv4", "ipv6"}, ("ipv6",), False),
        ({"ip_families": ("IPv6", "IPv4")}, {"ipv4", "ipv6"}, ("ipv6", "ipv4"), False),
        ({"ip_families": ("IPv6", "IPv4"), "ip_family_policy": "PreferDualStack"}, {"ipv4"}, ("ipv4",), True),
    ],
)
def test_families(spec: Mapping[str, Any], offered: set[str], families: tuple[str, ...], is_told: bool):
    offer = replace(EVERYTHING, families=frozenset(offered))
    assert wanted(service(**spec), offer=offer).shape.families == families
    assert (Reason.FAMILY in told(service(**spec), offer=offer).values()) is is_told


def test_static_addresses_of_both_families():
    of = service(
        own={"static-address": "2001:db8::1,192.0.2.1"}, load_balancer_ip="192.0.2.1", ip_families=("IPv4", "IPv6")
    )
    assert wanted(of).shape.static_addresses == ("2001:db8::1", "192.0.2.1")
    assert wanted(service(load_balancer_ip="192.0.2.1")).shape.static_addresses == ("192.0.2.1",)


def test_a_redirect_speaks_http_and_leads_to_https():
    of = service(
        port(80), port(443), own={"port.80.redirect-http": "443", "port.443.protocol": "https", "tls-cert": "shop"}
    )
    assert listener(of, 80, certificates=IDS).protocol is Protocol.HTTP
    assert listener(of, 80, certificates=IDS).redirect_port == 443
    assert listener(of, 443, certificates=IDS).tls_policy == "intermediate"


def test_settings_of_one_port_win():
    of = service(
        port(80),
        port(81),
        own={
            "idle-timeout": "60",
            "port.81.idle-timeout": "7",
            "proxy-protocol": "v1",
            "port.81.proxy-protocol": "none",
            "max-connections": "9",
            "algorithm": "source",
        },
    )
    assert (listener(of, 80).idle_timeout_s, listener(of, 81).idle_timeout_s) == (60, 7)
    assert (listener(of, 80).proxy_protocol, listener(of, 81).proxy_protocol) == ("v1", "")
    assert (listener(of, 81).max_connections, listener(of, 81).algorithm) == (9, Algorithm.SOURCE)


@pytest.mark.parametrize(
    ("own", "mode"),
    [
        ({}, IpMode.VIP),
        ({"proxy-protocol": "v1"}, IpMode.PROXY),
        ({"protocol": "tls", "tls-cert": "shop"}, IpMode.PROXY),
        ({"protocol": "http"}, IpMode.VIP),
        ({"proxy-protocol": "v1", "ip-mode": "VIP"}, IpMode.VIP),
        ({"ip-mode": "Proxy"}, IpMode.PROXY),
    ],
)
def test_the_mode_of_the_address(own: Mapping[str, str], mode: IpMode):
    assert wanted(service(own=own), certificates=IDS).ip_mode is mode


@pytest.mark.parametrize(
    ("of", "idle"),
    [
        (service(own={"port.81.protocol": "http", "port.81.tls-cert": "x"}), {"port.81.protocol", "port.81.tls-cert"}),
        (service(own={"port.80.protocol": "http", "port.80.tls-cert": "shop"}), {"port.80.tls-cert"}),
        (service(own={"tls-cert": "shop", "tls-policy": "modern"}), {"tls-cert", "tls-policy"}),
        (service(own={"tls-passthrough": "true"}), {"tls-passthrough"}),
        (service(port(app_protocol="https"), own={"tls-passthrough": "true"}), set()),
        (service(own={"forwarded-for": "false"}), {"forwarded-for"}),
        (service(own={"sticky": "cookie"}), {"sticky"}),
        (service(own={"policy": "keep-address"}), {"policy"}),
        (service(own={"policy": "keep-address", "static-address": "192.0.2.1"}), set()),
        (
            service(port(protocol="UDP"), own={"protocol": "http", "proxy-protocol": "v1"}),
            {"protocol", "proxy-protocol"},
        ),
        (service(own={"protocol": "http", "forwarded-for": "false", "sticky": "cookie"}), set()),
        (service(own={"id": "x y"}), {"id"}),
    ],
)
def test_annotations_without_effect_on_this_service_are_told(of: Service, idle: set[str]):
    found = told(of, certificates=IDS)
    assert set(found) == idle
    assert set(found.values()) <= {Reason.WITHOUT_EFFECT}
    assert outcome(of, certificates=IDS).wanted is not None


def test_a_guest_wants_its_group_on_its_hosts_load_balancer():
    host = service(name="first", uid="host")
    assert wanted(service(), host=host).host_uid == "host"
    assert not wanted(service(), host=host).is_own
    assert wanted(service(), host=service()).is_own


_PORTS = [port(80), port(443, app_protocol="http"), port(53, protocol="UDP"), port(8080, name="x")]
_OWN = [("size", "large"), ("algorithm", "source"), ("deny-source-ranges", "10.0.0.0/8,192.0.2.0/24"), ("name", "n")]
_RANGES = ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24"]
_TARGETS = [Target(one) for one in "abcd"]


@settings(deadline=None)
@given(st.permutations(_PORTS), st.permutations(_OWN), st.permutations(_RANGES), st.permutations(_TARGETS))
def test_order_that_means_nothing_does_not_change_the_hash(
    ports: list[Any], own: list[tuple[str, str]], ranges: list[str], targets: list[Target]
):
    def digest(ports: list[Any], own: list[tuple[str, str]], ranges: list[str], targets: list[Target]) -> str:
        of = service(*ports, own=dict(own), load_balancer_source_ranges=tuple(ranges))
        return observed_hash(wanted(of, targets=tuple(targets)))

    assert digest(ports, own, ranges, targets) == digest(_PORTS, _OWN, _RANGES, _TARGETS)


def test_every_wish_is_in_the_hash():
    variants = [
        service(),
        service(port(81)),
        service(port(node_port=31111)),
        service(own={"size": "large"}),
        service(own={"hostname": "a.example"}),
        service(own={"ip-mode": "Proxy"}),
        service(own={"policy": "orphan"}),
        service(own={"recreate": "allow"}),
        service(own={"health-check.fall": "9"}),
        service(load_balancer_source_ranges=("10.0.0.0/8",)),
        service(uid="another"),
    ]
    found = {observed_hash(wanted(one)) for one in variants}
    found |= {observed_hash(wanted(service(), targets=(Target("b"),)))}
    assert len(found) == len(variants) + 1


def test_the_hash_is_the_same_in_every_process():
    assert observed_hash(wanted(service())) == "7ecf5381c92116a9ed35ec62174fade0b47ec6e9974d6e174a3edfad110e4185"


def test_an_offer_without_anything_is_no_error():
    nothing = BalancerOffer(protocols=frozenset(), families=frozenset())
    assert Reason.UNSUPPORTED in refused(service(), offer=nothing)
    assert outcome(service(), offer=nothing, cluster=CLUSTER).wanted is None
