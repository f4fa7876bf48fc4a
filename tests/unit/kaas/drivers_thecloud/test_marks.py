"""The marks: the same as those of the programs that write them, and nobody else's."""

import pytest

from ccm.cloud.strict_names import Names
from ccm.names import CLUSTER_TAG as CCM_TAG
from controller.names import CLUSTER_TAG as CSI_TAG
from controller.names import Ownership
from kaas.domain import names
from kaas.drivers.thecloud import marks
from tests.unit.kaas.drivers_thecloud.conftest import CLUSTER, OTHER


def test_they_are_those_that_the_programs_in_the_cluster_write() -> None:
    assert (marks.CSI_TAG, marks.CCM_TAG) == (CSI_TAG, CCM_TAG)
    assert marks.volume_prefix("csi", CLUSTER) == Ownership(CLUSTER, "csi").own_prefix
    assert marks.is_port_balancer_of(Names(CLUSTER).name_of("0d6f-1", 443), CLUSTER)


@pytest.mark.parametrize("name", [f"{OTHER}.uid.80", f"{CLUSTER}.uid", f"x{CLUSTER}.uid.80", f"{CLUSTER}.a.b.80", ""])
def test_a_load_balancer_with_another_name_is_not_the_cluster_s(name: str) -> None:
    assert not marks.is_port_balancer_of(name, CLUSTER)


@pytest.mark.parametrize("cluster", ["dev", "a", "a-b-c", "d" * 40])
def test_names_with_the_cluster_s_id_are_the_cluster_s(cluster: str) -> None:
    for name in (names.key_pair(cluster, CLUSTER), names.credential(cluster, CLUSTER)):
        assert marks.is_name_of(name, CLUSTER)
        assert not marks.is_name_of(name, OTHER)
        assert not marks.is_name_of(name, "")


@pytest.mark.parametrize(
    "name", ["", "k8s-dev", "k8s--5d3a6c1e", "dev-5d3a6c1e", "k8s-Dev-5d3a6c1e", "k8s-dev-5d3a6c1e-api"]
)
def test_other_names_are_not(name: str) -> None:
    assert not marks.is_name_of(name, CLUSTER)


def test_a_description_names_its_cluster_or_none() -> None:
    assert marks.cluster_of_description(marks.description_of(CLUSTER)) == CLUSTER
    for text in ("", CLUSTER, f" {marks.description_of(CLUSTER)}"):
        assert marks.cluster_of_description(text) == ""
