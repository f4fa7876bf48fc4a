"""VPCs, elastic IPs, certificates and what instances tell of networks, in the extended tier."""

from pathlib import Path
from typing import Any

import pytest

from devcloud import x509
from tests.support.certificates import MISSING_OPENSSL, make_certificate
from tests.unit.devcloud.conftest import Site


async def test_instances_lie_in_the_default_vpc(extended: Site) -> None:
    (vpc,) = await extended.data("GET", "/vpcs")
    launched = await extended.data("POST", "/instances", json={"name": "i", "image": "x"})

    assert vpc["name"] == "default"
    assert launched["vpc_id"] == vpc["id"] == (await extended.data("GET", "/instances/node-a"))["vpc_id"]


async def test_vpcs_are_made_renamed_and_deleted_when_empty(extended: Site) -> None:
    made = await extended.data("POST", "/vpcs", json={"name": "v", "cidr_block": "10.9.0.0/16"})
    renamed = await extended.data("PATCH", f"/vpcs/{made['id']}", json={"name": "w"})
    taken = await extended.error(409, "POST", "/vpcs", json={"name": "w"})
    await extended.error(400, "POST", "/vpcs", json={"name": "x", "cidr_block": "10.9.0.1/16"})
    instance = await extended.data("POST", "/instances", json={"name": "i", "image": "x", "vpc_id": made["id"]})
    error = await extended.error(409, "DELETE", "/vpcs/w")

    assert (renamed["name"], taken["details"]["reason"]) == ("w", "name_taken")
    assert error["details"]["reason"] == "in_use"
    await extended.data("DELETE", f"/instances/{instance['id']}")
    await extended.data("DELETE", "/vpcs/w")
    await extended.error(404, "GET", "/vpcs/w")


async def test_elastic_ip_is_the_instance_s_public_address(extended: Site) -> None:
    made = await extended.data("POST", "/elastic-ips", json={"tags": {"k": "v"}})
    path = f"/elastic-ips/{made['id']}"
    body = {"instance_id": extended.node_a}
    await extended.data("POST", f"{path}/associate", json=body)
    await extended.data("POST", f"{path}/associate", json=body)
    second = await extended.data("POST", "/elastic-ips")
    error = await extended.error(409, "POST", f"/elastic-ips/{second['id']}/associate", json=body)

    assert (await extended.data("GET", "/instances/node-a"))["public_ip"] == made["public_ip"]
    assert {row["name"]: row.get("public_ip", "") for row in await extended.data("GET", "/instances")} == {
        "node-a": made["public_ip"],
        "node-b": "",
    }
    assert error["details"]["id"] == made["id"]
    assert [row["id"] for row in await extended.data("GET", "/elastic-ips?tag=k:v")] == [made["id"]]
    await extended.data("DELETE", "/instances/node-a")
    assert (await extended.data("GET", path))["status"] == "allocated"
    await extended.error(412, "DELETE", f"{path}?tag=k:w")
    await extended.data("DELETE", f"{path}?tag=k:v")


async def test_elastic_ip_is_allocated_once_for_a_key(extended: Site) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await extended.data("POST", "/elastic-ips", headers=headers)
    again = await extended.data("POST", "/elastic-ips", headers=headers)
    error = await extended.error(409, "POST", "/elastic-ips", json={"name": "n"}, headers=headers)

    assert first["id"] == again["id"]
    assert error["details"]["reason"] == "key_reused"
    await extended.error(400, "POST", "/elastic-ips", json={"family": "ipv6"})


async def test_region_is_told(extended: Site) -> None:
    assert (await extended.data("GET", "/instances/node-a"))["region"] == "region-1"
    assert await extended.data("GET", "/zones") == [{"name": "zone-1", "region": "region-1"}]


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, str]:
    if MISSING_OPENSSL:
        pytest.skip(MISSING_OPENSSL)
    make_certificate(tmp_path, "/CN=shop", "-addext", "subjectAltName=DNS:shop.example,DNS:*.shop.example,IP:192.0.2.1")
    certificate, key = (tmp_path / "ca.crt").read_text(), (tmp_path / "key").read_text()
    return {"certificate_pem": certificate, "private_key_pem": key}


async def test_certificate_is_kept_without_showing_its_key(extended: Site, pair: dict[str, str]) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"name": "shop", "tags": {"k": "v"}, **pair}
    made = await extended.data("POST", "/certificates", json=body, headers=headers)
    again = await extended.data("POST", "/certificates", json=body, headers=headers)
    path = f"/certificates/{made['id']}"
    found = await extended.call("GET", path)

    assert made["id"] == again["id"]
    assert (made["dns_names"], len(made["fingerprint_sha256"])) == (["shop.example", "*.shop.example"], 64)
    assert made["not_after"].endswith("Z")
    assert "PRIVATE" not in found.text
    assert [row["id"] for row in await extended.data("GET", "/certificates?tag=k:v&name=shop")] == [made["id"]]
    assert (await extended.error(409, "POST", "/certificates", json=body))["details"]["reason"] == "name_taken"
    await extended.error(412, "DELETE", f"{path}?tag=k:w")
    await extended.data("DELETE", path)
    await extended.error(404, "GET", path)


async def test_certificate_of_a_listener_stays(extended: Site, pair: dict[str, str]) -> None:
    made = await extended.data("POST", "/certificates", json={"name": "shop", **pair})
    listener: dict[str, Any] = {"name": "l", "protocol": "https", "port": 443, "target_port": 1}
    listener["certificate_ids"] = [made["id"]]
    body = {"name": "web", "groups": [{"name": "g", "listeners": [listener]}]}
    balancer = await extended.data("POST", "/lb", json=body)

    error = await extended.error(409, "DELETE", f"/certificates/{made['id']}")
    assert error["details"]["reason"] == "in_use"
    await extended.data("DELETE", f"/lb/{balancer['id']}")
    await extended.data("DELETE", f"/certificates/{made['id']}")


async def test_what_is_no_pair_is_refused_without_a_word_of_it(
    extended: Site, pair: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    make_certificate(tmp_path / "other", "/CN=other")
    other = (tmp_path / "other/key").read_text()
    wrong = (
        {**pair, "private_key_pem": other},
        {**pair, "private_key_pem": "secret-secret"},
        {**pair, "certificate_pem": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"},
        {**pair, "certificate_pem": "nothing"},
    )
    for body in wrong:
        error = await extended.error(400, "POST", "/certificates", json={"name": "shop", **body})
        assert "secret-secret" not in error["message"]


def test_certificate_that_is_cut_off_is_unusable(pair: dict[str, str]) -> None:
    lines = pair["certificate_pem"].strip().splitlines()

    with pytest.raises(x509.UnusableError, match="cannot be read"):
        x509.look_at("\n".join([*lines[:3], lines[-1]]), pair["private_key_pem"])
