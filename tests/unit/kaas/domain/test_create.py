import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaas.domain.catalogue import Catalogue
from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Access, Cni, Role
from kaas.domain.requests import Rules, name_problem
from kaas.domain.states import OperationKind
from kaas.domain.store import Amounts, NewNode
from kaas.domain.wanted import Defaults, GroupRequest
from tests.unit.kaas.domain.made import CATALOGUE, VPC, asked, named, rules


def refused(request: Any, *, vpc_range: str = "", **defaults: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        rules(**defaults).create(request, vpc_range=vpc_range)
    assert caught.value.code is Code.INVALID
    return caught.value


def test_what_the_documents_promise_when_nothing_is_said() -> None:
    change = rules().create(asked())
    spec = change.spec
    assert change.kind is OperationKind.CREATE
    assert (spec.version, spec.image, spec.cni) == ("v1.29.0", "kubernetes-v1.29.0", Cni.CALICO)
    assert (spec.pod_cidr, spec.service_cidr) == ("192.168.0.0/16", "10.96.0.0/12")
    assert [(group.name, group.size, group.min_size, group.max_size) for group in spec.groups] == [
        ("control-plane", 1, 1, 1),
        ("default-pool", 2, 1, 10),
    ]
    assert [node.role for node in change.add] == [Role.CONTROL_PLANE, Role.WORKER, Role.WORKER]
    assert change.usage == Amounts(clusters=1, nodes=3, vcpus=6, memory_mb=8192)
    assert spec.access == Access()
    assert change.deadline_s > 0


def test_ha_is_three_control_planes() -> None:
    change = rules().create(asked(ha=True, workers=1))
    assert change.spec.is_ha
    assert change.add.count(NewNode("control-plane", Role.CONTROL_PLANE)) == 3


def test_an_offline_default() -> None:
    offline = rules(version="v1.36.3", cni=Cni.FLANNEL, vpc_id="vpc-1")
    spec = offline.create(asked(vpc_id="")).spec
    assert (spec.version, spec.image, spec.cni, spec.vpc_id) == ("v1.36.3", "kubernetes-v1.36.3", Cni.FLANNEL, "vpc-1")


def test_more_workers_than_a_group_usually_has_raise_its_bound() -> None:
    assert rules().create(asked(workers=20)).spec.worker_groups[0].max_size == 20


@pytest.mark.parametrize("workers", [0, -1, -(10**9), 10**6, 10**9, 250])
def test_counts_that_cannot_be(workers: int) -> None:
    assert named(refused(asked(workers=workers))) == ["workers"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Dev",
        "1dev",
        "-dev",
        "dev-",
        "dev_1",
        "d" * 41,
        "dev\n",
        "dev cluster",
        "dev;reboot",
        "$(id)",
        "dev.x",
        "dév",
        VPC,
        "a" * 32,
    ],
)
def test_names_that_are_none(name: str) -> None:
    assert named(refused(asked(name=name))) == ["name"]


@pytest.mark.parametrize("name", ["a", "dev-cluster", "d" * 40, "a1", "a-1"])
def test_names_that_are(name: str) -> None:
    assert rules().create(asked(name=name)).add


@given(st.text(max_size=60))
def test_only_dns_labels_become_names(name: str) -> None:
    if name_problem(name) == "":
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", name, re.ASCII)


@given(st.integers(1, 38), st.integers(1, 20))
def test_names_of_nodes_stay_within_a_dns_label(length: int, group_length: int) -> None:
    request = asked(name="c-" + "x" * length, node_groups=(GroupRequest(name="g" * group_length),))
    if length + group_length + len("c---99999") <= 63:
        assert rules().create(request)
    else:
        assert named(refused(request)) == ["node_groups[0].name"]


@pytest.mark.parametrize("version", ["v1.99.0", "latest", "v1.29", "1.29.0.0", "v1.29.0;id", "v1.28.0"])
def test_versions_that_are_not_offered(version: str) -> None:
    assert named(refused(asked(version=version))) == ["version"]


def test_a_pod_network_that_the_image_does_not_hold() -> None:
    error = refused(asked(version="v1.36.3"))
    assert named(error) == ["cni"]
    assert "flannel" in error.message
    assert named(refused(asked(cni="weave"))) == ["cni"]


@pytest.mark.parametrize("vpc", ["vpc-1", "../admin", "6f0c9a52", "default"])
def test_a_vpc_is_named_by_its_id(vpc: str) -> None:
    assert named(refused(asked(vpc_id=vpc))) == ["vpc_id"]


def test_a_vpc_is_needed_where_there_is_no_default() -> None:
    assert named(refused(asked(vpc_id=""))) == ["vpc_id"]


def test_ranges_that_overlap_the_vpc_or_the_nodes() -> None:
    assert named(refused(asked(), vpc_range="10.96.0.0/16")) == ["service_cidr"]
    assert named(refused(asked(), node_network="192.168.7.0/24")) == ["pod_cidr"]
    assert named(refused(asked(pod_cidr="172.16.0.0/24"))) == ["pod_cidr"]
    assert named(refused(asked(pod_cidr="fd00::/48", service_cidr="fd01::/108"))) == ["pod_cidr", "service_cidr"]


def test_a_control_plane_that_kubeadm_would_refuse() -> None:
    assert named(refused(asked(control_plane_type="basic-2"))) == ["control_plane_type"]
    assert named(refused(asked(control_plane_type="huge", worker_type="tiny"))) == ["control_plane_type", "worker_type"]


def test_groups_beside_the_default_one() -> None:
    request = asked(node_groups=(GroupRequest(name="gpu", instance_type="standard-4", desired_size=0, min_size=0),))
    change = rules().create(request)
    assert [group.name for group in change.spec.worker_groups] == ["default-pool", "gpu"]
    assert change.usage.nodes == 3


def test_groups_that_cannot_be() -> None:
    groups = (
        GroupRequest(name="control-plane"),
        GroupRequest(name="default-pool"),
        GroupRequest(name="gpu", instance_type="none", min_size=-1, max_size=0, labels={"a b": ""}),
        GroupRequest(name="gpu", min_size=3, max_size=2),
        GroupRequest(name="cpu", min_size=1, max_size=2, desired_size=3),
    )
    assert named(refused(asked(node_groups=groups))) == [
        "node_groups[0].name",
        "node_groups[1].name",
        "node_groups[2].instance_type",
        "node_groups[2].labels['a b']",
        "node_groups[2].min_size",
        "node_groups[2].max_size",
        "node_groups[3].min_size",
        "node_groups[3].name",
        "node_groups[4].desired_size",
    ]


def test_too_many_groups() -> None:
    groups = tuple(GroupRequest(name=f"g{number}", desired_size=0, min_size=0) for number in range(16))
    assert named(refused(asked(node_groups=groups))) == ["node_groups"]
    assert rules().create(asked(node_groups=groups[:15])).spec.worker_groups


def test_who_may_reach_the_cluster() -> None:
    access = Access(api=("10.0.0.0/8", "nowhere", "::/0"), node_ports=("1.2.3.4/8",))
    assert named(refused(asked(access=access))) == ["access.api[1]", "access.api[2]", "access.node_ports[0]"]
    assert named(refused(asked(access=Access(api=())))) == ["access.api"]
    assert named(refused(asked(access=Access(api=("10.0.0.0/8",) * 33)))) == ["access.api"]
    assert rules().create(asked(access=Access(node_ports=()))).spec.access.node_ports == ()


def test_zones() -> None:
    assert rules().create(asked(zones=("zone-1", "zone-2"))).spec.zones == ("zone-1", "zone-2")
    assert named(refused(asked(zones=("zone 1",)))) == ["zones[0]"]
    assert named(refused(asked(zones=("a", "a")))) == ["zones"]


def test_everything_that_is_wrong_is_said_at_once_and_once_for_each_field() -> None:
    error = refused(asked(name="X", vpc_id="y", version="z", workers=0, pod_cidr="p", service_cidr="s", cni="c"))
    assert set(named(error)) == {"name", "vpc_id", "version", "workers", "pod_cidr", "service_cidr", "cni"}
    assert len(named(error)) == 7
    assert "(and 6 more)" in error.message


def test_defaults_that_are_not_offered_are_no_defaults() -> None:
    with pytest.raises(ValueError, match=r"version: v9.0.0 is not offered.*worker_type"):
        Rules(CATALOGUE, Defaults(version="v9.0.0", worker_type="none"))
    with pytest.raises(ValueError, match="version"):
        Rules(Catalogue((), ()), Defaults())


def test_usage_counts_what_is_offered_by_its_size() -> None:
    spec = rules().create(asked()).spec
    odd = replace(spec.groups[1], instance_type="gone")
    assert rules().usage(replace(spec, groups=(spec.groups[0], odd))) == Amounts(1, 3, 2, 4096)
