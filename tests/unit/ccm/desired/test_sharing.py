import itertools
from collections.abc import Mapping

import pytest

from ccm.annotations.parsing import parse
from ccm.desired.sharing import host_of
from ccm.kube.model import Service
from ccm.names import BALANCER_CLASS
from ccm.notices import Findings, Reason
from tests.unit.ccm.desired.made import BEGIN, service


def made(name: str, age: int, names: str, **more: object) -> Service:
    """A service `name`, made at second `age`, that names others of the namespace `shop` (letters)."""
    own = {"share-with": ",".join(f"shop/{one}" for one in names)} if names else {}
    extra: Mapping[str, str] = more.pop("own", {})  # type: ignore[assignment]
    return service(name=name, uid=f"uid-{name}", age=age, own={**own, **extra}, **more)  # type: ignore[arg-type]


def hosts(*several: Service) -> tuple[dict[str, str], dict[str, str]]:
    """The host of each service, and what each is told."""
    by_key = {one.key: one for one in several}
    found, told = {}, {}
    for one in several:
        findings = Findings()
        host = host_of(one, parse(one.annotations)[0], by_key.get, BALANCER_CLASS, findings)
        found[one.metadata.name] = host.metadata.name
        assert {notice.reason for notice in findings.notices} <= {Reason.NOT_SHARED}
        told[one.metadata.name] = " ".join(notice.text for notice in findings.notices)
    return found, told


def test_the_oldest_of_those_who_name_each_other_has_it():
    for several in itertools.permutations([made("a", 3, "bc"), made("b", 1, "ac"), made("c", 2, "ab")]):
        found, told = hosts(*several)
        assert found == {"a": "b", "b": "b", "c": "b"}
        assert not any(told.values())


def test_nobody_shares_alone():
    found, told = hosts(made("a", 1, ""), made("b", 2, "a"), made("c", 3, ""))
    assert found == {"a": "a", "b": "b", "c": "c"}
    assert "does not name shop/b" in told["b"]


@pytest.mark.parametrize(
    ("partner", "why"),
    [
        (made("z", 9, "b"), "no such service"),
        (made("a", 1, "b", type="ClusterIP"), "wants no load balancer"),
        (made("a", 1, "b", load_balancer_class="example.org/x"), "wants no load balancer"),
        (made("a", 1, "b", meta={"deletion_timestamp": BEGIN, "annotations": {}}), "wants no load balancer"),
        (made("a", 1, "b", own={"adopt-id": "x"}), "does not name"),
    ],
)
def test_a_partner_that_cannot_is_told(partner: Service, why: str):
    found, told = hosts(partner, made("b", 2, "a"))
    assert found["b"] == "b"
    assert why in told["b"]


def test_a_guest_takes_no_guests():
    found, told = hosts(made("a", 1, "b"), made("b", 2, "ac"), made("c", 3, "b"))
    assert found == {"a": "a", "b": "a", "c": "c"}
    assert "let all of them name each other" in told["c"]
    assert "let all of them name each other" in told["b"]
    assert not told["a"]


def test_guests_need_only_the_hosts_consent():
    found, told = hosts(made("a", 1, "bc"), made("b", 2, "a"), made("c", 3, "a"))
    assert found == {"a": "a", "b": "a", "c": "a"}
    assert not any(told.values())


def test_to_name_oneself_means_nothing():
    found, told = hosts(made("a", 1, "a"))
    assert found == {"a": "a"}
    assert not told["a"]


def test_of_the_same_age_the_uid_decides():
    found, _ = hosts(made("b", 1, "a"), made("a", 1, "b"))
    assert found == {"a": "a", "b": "a"}


def test_who_adopts_does_not_share():
    found, _ = hosts(made("a", 1, "b"), made("b", 2, "a", own={"adopt-id": "x"}))
    assert found == {"a": "a", "b": "b"}


def test_a_long_chain_is_no_problem():
    chain = [
        service(name=f"s{n}", uid=f"{n:05}", age=n, own={"share-with": f"shop/s{n - 1},shop/s{n + 1}"})
        for n in range(1, 3000)
    ]
    by_key = {one.key: one for one in chain}
    last = chain[-1]
    host = host_of(last, parse(last.annotations)[0], by_key.get, BALANCER_CLASS, Findings())
    assert host.metadata.name == last.metadata.name
