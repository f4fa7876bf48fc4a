from collections.abc import Callable
from typing import Any

import pytest

from ccm.desired.services import changed, needs_balancer, needs_cleanup
from ccm.kube.model import AffinityConfig, ClientIpConfig, Service
from ccm.names import BALANCER_CLASS, FINALIZER
from tests.unit.ccm.desired.made import BEGIN, port, service

HELD = {"finalizers": ("other", FINALIZER)}
GOING = {"deletion_timestamp": BEGIN}


@pytest.mark.parametrize(
    ("found", "wants", "cleans"),
    [
        (service(), True, False),
        (service(load_balancer_class=BALANCER_CLASS), True, False),
        (service(load_balancer_class="example.org/lb"), False, False),
        (service(type="ClusterIP"), False, False),
        (service(type="NodePort"), False, False),
        (service(type="ExternalName"), False, False),
        (service(meta=HELD), True, False),
        (service(meta=HELD, type="ClusterIP"), False, True),
        (service(meta=HELD | GOING), False, True),
        (service(meta=HELD | GOING, type="ClusterIP"), False, True),
        (service(meta=HELD | GOING, load_balancer_class=BALANCER_CLASS), False, True),
        (service(meta=HELD | GOING, load_balancer_class="example.org/lb"), False, False),
        (service(meta=HELD, load_balancer_class="example.org/lb"), False, False),
        (service(meta=GOING), False, False),
        (service(meta=GOING | {"finalizers": ("other",)}), False, False),
        (service(meta={"finalizers": ("other",)}, type="ClusterIP"), False, False),
    ],
)
def test_who_needs_one_and_who_needs_it_gone(found: Service, wants: bool, cleans: bool):
    assert needs_balancer(found, BALANCER_CLASS) is wants
    assert needs_cleanup(found, BALANCER_CLASS) is cleans


def affinity(seconds: int) -> AffinityConfig:
    return AffinityConfig(client_ip=ClientIpConfig(timeout_seconds=seconds))


CHANGES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {}, False),
    ({}, {"type": "ClusterIP"}, True),
    ({"type": "ClusterIP"}, {}, True),
    ({"type": "ClusterIP"}, {"type": "NodePort"}, False),
    ({}, {"load_balancer_class": BALANCER_CLASS}, False),
    ({}, {"load_balancer_source_ranges": ("10.0.0.0/8",)}, True),
    ({"session_affinity": "None"}, {"session_affinity": "ClientIP"}, True),
    ({"session_affinity_config": affinity(5)}, {"session_affinity_config": affinity(6)}, True),
    ({"session_affinity_config": affinity(5)}, {"session_affinity_config": affinity(5)}, False),
    ({}, {"load_balancer_ip": "192.0.2.1"}, True),
    ({}, {"external_traffic_policy": "Local"}, True),
    ({}, {"health_check_node_port": 30123}, True),
    ({"ip_families": ("IPv4",)}, {"ip_families": ("IPv4", "IPv6")}, True),
    ({}, {"ip_family_policy": "PreferDualStack"}, True),
    ({}, {"cluster_ip": "10.0.0.1"}, False),
    ({}, {"own": {"size": "large"}}, True),
    ({"own": {"size": "small"}}, {"own": {"size": "large"}}, True),
    ({"own": {"size": "small"}}, {}, True),
    ({}, {"own": {"id": "x", "address": "y", "observed-hash": "z", "degraded-reason": "w"}}, False),
    ({}, {"meta": {"annotations": {"example.org/any": "x"}}}, True),
    ({}, {"meta": {"labels": {"a": "b"}, "resource_version": "9", "finalizers": ("x",)}}, False),
    ({}, {"uid": "another"}, True),
    ({}, {"meta": GOING}, True),
]


@pytest.mark.parametrize(("old", "new", "matters"), CHANGES)
def test_which_changes_matter(old: dict[str, Any], new: dict[str, Any], matters: bool):
    assert changed(service(**old), service(**new), BALANCER_CLASS) is matters


@pytest.mark.parametrize(
    "change",
    [
        {"port": 81},
        {"name": "web"},
        {"protocol": "UDP"},
        {"app_protocol": "http"},
        {"node_port": 31999},
        {"target_port": 8080},
        {"target_port": "http"},
    ],
)
def test_every_field_of_a_port_matters(change: dict[str, Any]):
    assert changed(service(port()), service(port(**change)), BALANCER_CLASS)


def test_another_port_matters_and_their_order_does_not():
    several: Callable[..., Service] = service
    assert changed(several(port(80)), several(port(80), port(443)), BALANCER_CLASS)
    assert not changed(several(port(80), port(443)), several(port(443), port(80)), BALANCER_CLASS)
