"""Which instance a node is: by name and address together, never by a guess."""

from typing import Any

import msgspec
import pytest

from ccm.controllers.matching import Claims, Directory, Unmatched
from ccm.kube.model import Node
from ccm.model import Fleet, Instance
from ccm.names import PROVIDED_IP_ANNOTATION
from tests.unit.ccm.controllers.rig import iid, instance, ip_of, wire_node


def node(**changed: object) -> Node:
    wire = {"provider_id": "", **changed}
    return msgspec.convert(wire_node(1, **wire), Node)  # type: ignore[arg-type]


def directory(*instances: Instance) -> Directory:
    return Directory(Fleet(instances, 0.0, {one.id: one for one in instances}))


def match(found: Directory, wanted: Node, claims: Claims | None = None) -> str:
    return found.match(wanted, claims or Claims()).id


def refusal(found: Directory, wanted: Node, claims: Claims | None = None) -> tuple[str, str]:
    with pytest.raises(Unmatched) as caught:
        found.match(wanted, claims or Claims())
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize(
    "named",
    [
        {"hostname": "n1", "name": "other"},
        {"hostname": "", "name": "n1"},
        {"hostname": "N1", "name": "other"},
    ],
)
def test_host_name_or_name_with_an_address(named: dict[str, Any]) -> None:
    assert match(directory(instance(1, **named), instance(2)), node()) == iid(1)


def test_the_name_that_the_platform_gives_guests() -> None:
    found = directory(instance(1, hostname="", name="other"))
    assert match(found, node(name=f"thecloud-{iid(1)[:8]}")) == iid(1)


def test_the_kubelets_node_ip_is_evidence() -> None:
    wanted = node(addresses=[], annotations={PROVIDED_IP_ANNOTATION: ip_of(1)})
    assert match(directory(instance(1)), wanted) == iid(1)


def test_an_address_in_another_notation_is_the_same() -> None:
    found = directory(instance(1, private_addresses=("fd00::1",)))
    wanted = node(addresses=[{"type": "InternalIP", "address": "fd00:0:0:0:0:0:0:1"}])
    assert match(found, wanted) == iid(1)


def test_the_address_chooses_between_two_of_one_name() -> None:
    found = directory(instance(2, hostname="n1"), instance(1))
    assert match(found, node()) == iid(1)


def test_two_that_fit_are_named_and_none_is_chosen() -> None:
    twin = instance(2, hostname="n1", private_addresses=(ip_of(1),))
    reason, text = refusal(directory(instance(1), twin), node())
    assert reason == "InstanceAmbiguous"
    assert iid(1) in text
    assert iid(2) in text


def test_a_name_without_an_address_is_no_proof() -> None:
    reason, text = refusal(directory(instance(1)), node(addresses=[{"type": "Hostname", "address": "n1"}]))
    assert reason == "InstanceNotCertain"
    assert iid(1) in text
    assert "--node-ip" in text


def test_a_name_with_another_address_is_another_machine() -> None:
    reason, text = refusal(directory(instance(1, private_addresses=("10.9.9.9",))), node())
    assert reason == "InstanceNotCertain"
    assert "10.9.9.9" in text
    assert ip_of(1) in text


def test_an_address_without_the_name_is_another_machine() -> None:
    reason, _ = refusal(directory(instance(1, hostname="x", name="y")), node())
    assert reason == "InstanceNotFound"


def test_an_instance_that_another_node_has_is_not_given_twice() -> None:
    claims = Claims()
    claims.take(iid(1), "old-name")
    reason, text = refusal(directory(instance(1)), node(), claims)
    assert reason == "InstanceClaimed"
    assert "'old-name'" in text
    claims.take(iid(2), "old-name")
    claims.take(iid(1), "n1")
    assert match(directory(instance(1)), node(), claims) == iid(1)


def test_an_instance_is_free_once_all_that_had_it_are_gone() -> None:
    claims = Claims()
    claims.take(iid(1), "a")
    claims.take(iid(1), "b")
    claims.drop("a")
    assert claims.other(iid(1), "n1") == "b"
    claims.drop("b")
    claims.drop("never-seen")
    assert claims.other(iid(1), "n1") == ""
