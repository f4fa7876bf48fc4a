"""Access on demand: who it is for, for how long, and that it is never more than that."""

import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kaas.crypto.kubeconfig import GROUPS, Grant, conductor_access, issue_kubeconfig, user_name
from kaas.crypto.pki import Pki, new_pki
from kaas.domain.errors import Code, RequestError

USER = "0a1b2c3d-0000-4000-8000-000000000001"
ENDPOINT = "10.0.0.5:6443"


@pytest.fixture
async def pki() -> Pki:
    return await new_pki("4f1c2d3e-5a6b-4c7d-8e9f-000000000001")


def _grant(role: str = "member", **more) -> Grant:
    return Grant(cluster_name="dev", endpoint=ENDPOINT, user_id=USER, role=role, **more)


def _subject(pem: bytes) -> tuple[str, list[str]]:
    subject = x509.load_pem_x509_certificate(pem).subject
    (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value), [str(one.value) for one in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


@pytest.mark.parametrize(("role", "group"), [("admin", "kaas:admin"), ("member", "kaas:edit"), ("reader", "kaas:view")])
async def test_a_role_is_a_group_and_the_user_is_named(pki: Pki, role: str, group: str, tmp_path: Path):
    now = datetime.now(UTC).replace(microsecond=0)
    issued = await issue_kubeconfig(pki, _grant(role, lifetime=timedelta(hours=2)), now=now)
    config = yaml.safe_load(issued.text)
    assert config["current-context"] == config["contexts"][0]["name"]
    assert config["contexts"][0]["context"]["cluster"] == config["clusters"][0]["name"] == "dev"
    assert config["clusters"][0]["cluster"]["server"] == f"https://{ENDPOINT}"
    assert base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]) == pki.cluster.cert_pem
    user = config["users"][0]["user"]
    certificate_pem = base64.b64decode(user["client-certificate-data"])
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    assert _subject(certificate_pem) == (f"kaas:{USER}", [group])
    assert certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value == x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    assert issued.serial == f"{certificate.serial_number:x}"
    assert issued.not_after == certificate.not_valid_after_utc == now + timedelta(hours=2)
    certificate.verify_directly_issued_by(pki.cluster.certificate)
    # Certificate and key belong together, as TLS sees it.
    (tmp_path / "crt").write_bytes(certificate_pem)
    (tmp_path / "key").write_bytes(base64.b64decode(user["client-key-data"]))
    ssl.create_default_context().load_cert_chain(tmp_path / "crt", tmp_path / "key")


async def test_each_is_a_new_one_and_none_is_in_a_repr(pki: Pki):
    first, second = [await issue_kubeconfig(pki, _grant()) for _ in range(2)]
    assert first.serial != second.serial
    assert "key" not in repr(first)


MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("role", "lifetime", "long_lived", "allowed"),
    [
        ("reader", 10 * MINUTE, False, True),
        ("reader", 10 * MINUTE - timedelta(seconds=1), False, False),
        ("reader", 24 * HOUR, False, True),
        ("reader", 24 * HOUR + timedelta(seconds=1), False, False),
        ("member", 30 * DAY, True, False),
        ("admin", 30 * DAY, False, False),
        ("admin", 30 * DAY, True, True),
        ("admin", 365 * DAY, True, True),
        ("admin", 366 * DAY, True, False),
        ("admin", -HOUR, True, False),
    ],
)
async def test_how_long_it_may_live(pki: Pki, role: str, lifetime: timedelta, long_lived: bool, allowed: bool):
    grant = _grant(role, lifetime=lifetime, long_lived=long_lived)
    if allowed:
        issued = await issue_kubeconfig(pki, grant)
        assert abs(issued.not_after - (datetime.now(UTC) + lifetime)) < MINUTE
        return
    with pytest.raises(RequestError) as caught:
        await issue_kubeconfig(pki, grant)
    assert caught.value.code is Code.INVALID
    assert [problem.field for problem in caught.value.problems] == ["expires_in"]


@pytest.mark.parametrize("role", ["", "owner", "system:masters", "Admin"])
async def test_other_roles_are_refused(pki: Pki, role: str):
    with pytest.raises(RequestError) as caught:
        await issue_kubeconfig(pki, _grant(role))
    assert [problem.field for problem in caught.value.problems] == ["role"]


async def test_a_cluster_without_an_endpoint_is_not_ready_for_it(pki: Pki):
    with pytest.raises(RequestError) as caught:
        await issue_kubeconfig(pki, Grant(cluster_name="dev", endpoint="", user_id=USER, role="admin"))
    assert caught.value.code is Code.WRONG_STATE


async def test_conductors_have_a_short_certificate_of_kubeadms_group(pki: Pki):
    access = await conductor_access(pki, ENDPOINT)
    assert access.server == f"https://{ENDPOINT}"
    assert _subject(access.client_cert_pem) == ("kaas:conductor", ["kubeadm:cluster-admins"])
    ends = x509.load_pem_x509_certificate(access.client_cert_pem).not_valid_after_utc
    assert ends <= datetime.now(UTC) + HOUR
    assert "PRIVATE" not in repr(access)


async def test_nobody_is_ever_in_system_masters(pki: Pki):
    groups = {group for role in GROUPS for group in [GROUPS[role]]}
    issued = [await issue_kubeconfig(pki, _grant(role)) for role in GROUPS]
    for one in issued:
        user = yaml.safe_load(one.text)["users"][0]["user"]
        groups |= set(_subject(base64.b64decode(user["client-certificate-data"]))[1])
    groups |= set(_subject((await conductor_access(pki, ENDPOINT)).client_cert_pem)[1])
    assert groups == {"kaas:admin", "kaas:edit", "kaas:view", "kubeadm:cluster-admins"}


@pytest.mark.parametrize("user", ["", "x" * 60, "new\nline", "\u00fc" * 40])
async def test_ids_that_do_not_fit_into_a_certificate_become_digests(pki: Pki, user: str):
    name = user_name(user)
    assert name.startswith("kaas:sha256-")
    assert len(name) <= 64
    assert name != user_name(f"{user}x")
    issued = await issue_kubeconfig(pki, Grant(cluster_name="dev", endpoint=ENDPOINT, user_id=user, role="reader"))
    user_entry = yaml.safe_load(issued.text)["users"][0]["user"]
    assert _subject(base64.b64decode(user_entry["client-certificate-data"]))[0] == name


async def test_names_that_mean_something_in_yaml_stay_names(pki: Pki):
    grant = Grant(cluster_name="no: {x}\n- #", endpoint=ENDPOINT, user_id=USER, role="reader")
    config = yaml.safe_load((await issue_kubeconfig(pki, grant)).text)
    assert config["clusters"][0]["name"] == "no: {x}\n- #"
