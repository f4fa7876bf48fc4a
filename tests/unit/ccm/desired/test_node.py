from typing import Any

import pytest

from ccm.desired.node import (
    AddressError,
    desired_addresses,
    desired_labels,
    missing_labels,
    reconcile_old_labels,
    same_addresses,
)
from ccm.kube.model import NodeAddress
from ccm.model import Instance, InstanceState
from ccm.names import (
    OLD_REGION_LABEL,
    OLD_TYPE_LABEL,
    OLD_ZONE_LABEL,
    PROVIDED_IP_ANNOTATION,
    REGION_LABEL,
    TYPE_LABEL,
    ZONE_LABEL,
)
from ccm.notices import Reason
from tests.unit.ccm.desired.made import instance_id, node

V4, V4B, V6, PUB4, PUB6 = "10.0.0.5", "10.0.0.6", "fd00::5", "203.0.113.5", "2001:db8::5"
IN, EX, HOST = "InternalIP", "ExternalIP", "Hostname"


def instance(
    private: tuple[str, ...] = (V4,), public: tuple[str, ...] = (), hostname: str = "", **more: Any
) -> Instance:
    return Instance(
        id=instance_id(1),
        name="web",
        state=InstanceState.RUNNING,
        private_addresses=private,
        public_addresses=public,
        hostname=hostname,
        **more,
    )


@pytest.mark.parametrize(
    ("found", "provided", "before", "expected"),
    [
        (instance(), "", (), [(IN, V4)]),
        (instance((V4 + "/32",)), "", (), [(IN, V4)]),
        (instance((), (PUB4,)), "", (), [(EX, PUB4)]),
        (instance((V4,), (PUB4,), "h1"), "", ((HOST, "old"),), [(IN, V4), (EX, PUB4), (HOST, "h1")]),
        (instance(), "", ((IN, "10.9.9.9"), (HOST, "kept")), [(IN, V4), (HOST, "kept")]),
        (instance((V4, V6)), "", (), [(IN, V4), (IN, V6)]),
        (instance((V6, V4)), "", (), [(IN, V6), (IN, V4)]),
        (instance((V4, V6, V4B)), "", (), [(IN, V4), (IN, V4B), (IN, V6)]),
        (instance((V4,), (PUB6, PUB4)), "", (), [(IN, V4), (EX, PUB4), (EX, PUB6)]),
        (instance((V4, V4B), (PUB4,)), V4B, (), [(IN, V4B), (EX, PUB4)]),
        (instance((V4, V6), (PUB4, PUB6)), V6, (), [(IN, V6), (EX, PUB6), (EX, PUB4)]),
        (instance((V4, V4B), (PUB4,)), PUB4, (), [(EX, PUB4), (IN, V4), (IN, V4B)]),
        (instance((V4, V6, V4B)), f"{V6},{V4B}", (), [(IN, V6), (IN, V4B)]),
        (instance((V4,), (PUB6,)), f"{V4},{PUB6}", (), [(IN, V4), (EX, PUB6)]),
        (instance((V4, V6)), "FD00:0::5", (), [(IN, V6)]),
        (instance((V4, V6)), "::", (), [(IN, V6), (IN, V4)]),
        (instance((V6, V4)), "0.0.0.0", (), [(IN, V4), (IN, V6)]),
        (instance((V4, V4, "junk", "")), "", (), [(IN, V4)]),
        (instance(()), "", ((IN, V4), (HOST, "h")), []),
        (instance((), hostname="h"), V4, (), []),
    ],
)
def test_addresses_and_their_order(
    found: Instance, provided: str, before: tuple[tuple[str, str], ...], expected: list[tuple[str, str]]
):
    annotations = {PROVIDED_IP_ANNOTATION: provided} if provided else None
    addresses = desired_addresses(found, node(addresses=before, annotations=annotations))
    assert [(one.type, one.address) for one in addresses] == expected


@pytest.mark.parametrize(
    "provided",
    [
        "10.0.0.9",
        f"{V4},2001:db8::9",
        f"{V4},{V4B}",
        f"{V4}, {V6}",
        f"{V4},{V6},{PUB4}",
        f"{V4},",
        "web",
        f"{V4}/32",
        " ",
    ],
)
def test_an_address_that_does_not_fit_is_an_error(provided: str):
    with pytest.raises(AddressError) as caught:
        desired_addresses(instance((V4, V4B, V6)), node("n7", annotations={PROVIDED_IP_ANNOTATION: provided}))
    assert "n7" in str(caught.value)


def test_order_is_part_of_a_list_of_addresses():
    one, two = NodeAddress(type=IN, address=V4), NodeAddress(type=IN, address=V6)
    assert same_addresses([one, two], (one, two))
    assert not same_addresses([one, two], [two, one])
    assert not same_addresses([one], [one, two])
    assert not same_addresses([one], [NodeAddress(type=EX, address=V4)])


def test_zone_region_and_type_stand_under_both_keys():
    found = desired_labels(instance(zone="nova:z1", region="eu", instance_type="standard-1"), node())
    assert found.labels == {
        ZONE_LABEL: "novax.3az1",
        OLD_ZONE_LABEL: "novax.3az1",
        REGION_LABEL: "eu",
        OLD_REGION_LABEL: "eu",
        TYPE_LABEL: "standard-1",
        OLD_TYPE_LABEL: "standard-1",
    }
    assert found.notices == ()


def test_what_the_platform_does_not_tell_is_no_label():
    assert desired_labels(instance(), node()).labels == {}


def test_a_zone_that_fits_no_label_is_told_and_left_out():
    found = desired_labels(instance(zone="z" * 64, region="eu"), node())
    assert set(found.labels) == {REGION_LABEL, OLD_REGION_LABEL}
    assert [one.reason for one in found.notices] == [Reason.INVALID_LABEL]
    assert ZONE_LABEL in found.notices[0].text


@pytest.mark.parametrize(
    ("key", "value", "is_taken", "is_told"),
    [
        ("team", "db", True, False),
        ("example.org/rack", "r1", True, False),
        ("kubernetes.io/role", "x", False, True),
        ("node.kubernetes.io/rack", "x", False, True),
        ("a.k8s.io/b", "x", False, True),
        ("mykubernetes.io/b", "x", True, False),
        ("not a key", "x", False, True),
        ("team", "not a value", False, True),
        ("mine", "other", False, False),
        ("same", "here", True, False),
    ],
)
def test_extra_labels_are_filtered(key: str, value: str, is_taken: bool, is_told: bool):
    found = desired_labels(instance(), node(labels={"mine": "users", "same": "here"}), {key: value})
    assert found.labels == ({key: value} if is_taken else {})
    assert bool(found.notices) is is_told


def test_only_labels_that_differ_are_missing():
    assert missing_labels({"a": "1", "b": "2", "c": "3"}, node(labels={"a": "1", "b": "x"})) == {"b": "2", "c": "3"}


@pytest.mark.parametrize(
    ("labels", "changes"),
    [
        ({}, {}),
        ({ZONE_LABEL: "z"}, {}),
        ({OLD_ZONE_LABEL: "z"}, {ZONE_LABEL: "z"}),
        ({OLD_ZONE_LABEL: "z", ZONE_LABEL: "y"}, {ZONE_LABEL: "z"}),
        ({OLD_ZONE_LABEL: "z", ZONE_LABEL: "z", OLD_REGION_LABEL: "r", REGION_LABEL: "r"}, {}),
        (
            {OLD_ZONE_LABEL: "z", OLD_REGION_LABEL: "r", OLD_TYPE_LABEL: "t", TYPE_LABEL: "t"},
            {ZONE_LABEL: "z", REGION_LABEL: "r"},
        ),
        ({OLD_TYPE_LABEL: ""}, {TYPE_LABEL: ""}),
    ],
)
def test_the_old_key_is_the_one_believed(labels: dict[str, str], changes: dict[str, str]):
    assert reconcile_old_labels(labels) == changes
