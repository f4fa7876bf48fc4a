"""The authorities of a cluster, as openssl and the real kubeadm see them."""

import asyncio
import hashlib
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kaas.crypto.certificates import issue_client, issue_server
from kaas.crypto.pki import PKI_FOLDER, Pki, control_plane_files, new_pki
from kaas.domain.errors import Code, KaasError
from tests.unit.kaas.bootstrap.real_kubeadm import kubeadm

CLUSTER_ID = "4f1c2d3e-5a6b-4c7d-8e9f-000000000001"


async def _run(*argv: object) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *map(str, argv), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def _write(pki: Pki, root: Path) -> Path:
    folder = root / "pki"
    for path, file in control_plane_files(pki).items():
        target = folder / path.removeprefix(f"{PKI_FOLDER}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(mode=file.mode)
        target.write_bytes(file.content)
    return folder


async def test_three_authorities_with_subjects_of_their_own_for_ten_years():
    pki = await new_pki(CLUSTER_ID)
    found = [pair.certificate for pair in (pki.cluster, pki.etcd, pki.front_proxy)]
    assert [one.subject.rfc4514_string() for one in found] == [
        "CN=kubernetes-ca-4f1c2d3e",
        "CN=etcd-ca-4f1c2d3e",
        "CN=front-proxy-ca-4f1c2d3e",
    ]
    for certificate in found:
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
        assert certificate.issuer == certificate.subject
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert basic.critical
        assert basic.value == x509.BasicConstraints(ca=True, path_length=0)
        assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert timedelta(days=3650) < life < timedelta(days=3654)
    assert len({one.serial_number for one in found}) == 3


async def test_files_are_where_kubeadm_looks_and_keys_are_for_root_only():
    files = control_plane_files(await new_pki(CLUSTER_ID))
    assert {path.removeprefix("/etc/kubernetes/pki/"): file.mode for path, file in files.items()} == {
        "ca.crt": 0o644,
        "ca.key": 0o600,
        "etcd/ca.crt": 0o644,
        "etcd/ca.key": 0o600,
        "front-proxy-ca.crt": 0o644,
        "front-proxy-ca.key": 0o600,
        "sa.pub": 0o644,
        "sa.key": 0o600,
    }
    for path, file in files.items():
        assert (b"PRIVATE" in file.content) == path.endswith(".key")


async def test_the_service_account_keys_belong_together():
    pki = await new_pki(CLUSTER_ID)
    private = serialization.load_pem_private_key(pki.service_account_private_pem, password=None)
    assert private.public_key() == serialization.load_pem_public_key(pki.service_account_public_pem)


async def test_it_is_the_same_after_being_stored():
    pki = await new_pki(CLUSTER_ID)
    assert Pki.from_bytes(pki.to_bytes()) == pki


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"version": 2}', b'{"version": 1, "ca.crt": 5}', b"\xff"])
def test_something_else_that_was_stored_is_a_bug(content: bytes):
    with pytest.raises(KaasError, match="cannot be read") as caught:
        Pki.from_bytes(content)
    assert caught.value.code is Code.BUG
    assert caught.value.__cause__ is None


async def test_private_keys_are_in_no_repr():
    pki = await new_pki(CLUSTER_ID)
    text = repr(pki) + repr(control_plane_files(pki))
    assert "PRIVATE" not in text
    assert pki.cluster.key_pem.decode().splitlines()[1] not in text


async def test_the_hash_of_the_authority_is_what_openssl_computes(tmp_path: Path):
    pki = await new_pki(CLUSTER_ID)
    (tmp_path / "ca.crt").write_bytes(pki.cluster.cert_pem)
    await _run("openssl", "x509", "-in", tmp_path / "ca.crt", "-pubkey", "-noout", "-out", tmp_path / "pub.pem")
    code, said = await _run(
        "openssl", "pkey", "-pubin", "-in", tmp_path / "pub.pem", "-outform", "DER", "-out", tmp_path / "pub.der"
    )
    assert code == 0, said
    digest = hashlib.sha256((tmp_path / "pub.der").read_bytes()).hexdigest()
    assert pki.ca_cert_hash == f"sha256:{digest}"


async def test_openssl_accepts_what_an_authority_signs_and_only_for_its_purpose(tmp_path: Path):
    pki = await new_pki(CLUSTER_ID)
    folder = await _write(pki, tmp_path)
    client = issue_client(pki.cluster, "somebody", organizations=("a", "b"), lifetime=timedelta(hours=1))
    server = issue_server(pki.cluster, ("node.example", "10.0.0.1", "::1"), lifetime=timedelta(hours=1))
    (tmp_path / "client.crt").write_bytes(client.cert_pem)
    (tmp_path / "server.crt").write_bytes(server.cert_pem)
    verify = ("openssl", "verify", "-x509_strict", "-purpose")
    for purpose, name, ca, accepted in (
        ("sslclient", "client.crt", "ca.crt", True),
        ("sslserver", "client.crt", "ca.crt", False),
        ("sslserver", "server.crt", "ca.crt", True),
        ("sslclient", "server.crt", "ca.crt", False),
        ("sslclient", "client.crt", "etcd/ca.crt", False),
    ):
        code, said = await _run(*verify, purpose, "-CAfile", folder / ca, tmp_path / name)
        assert (code == 0) == accepted, said
    code, said = await _run("openssl", "x509", "-in", tmp_path / "client.crt", "-noout", "-subject", "-serial")
    assert "O = a, O = b, CN = somebody" in said
    assert client.serial.upper() in said


async def test_a_leaf_never_outlives_its_authority():
    pki = await new_pki(CLUSTER_ID)
    ends = pki.cluster.not_after
    leaf = issue_client(pki.cluster, "x", lifetime=timedelta(days=30), now=ends - timedelta(days=1))
    assert leaf.not_after == ends


async def test_certificates_count_from_before_now_since_new_machines_have_slow_clocks():
    pki = await new_pki(CLUSTER_ID)
    now = datetime.now(UTC)
    leaf = issue_client(pki.cluster, "x", lifetime=timedelta(hours=1), now=now)
    # The authority is as old as this test, and nothing counts from before its issuer does.
    assert leaf.certificate.not_valid_before_utc <= now - timedelta(minutes=4)


async def test_the_real_kubeadm_signs_everything_else_with_them(tmp_path: Path):
    program = kubeadm()
    pki = await new_pki(CLUSTER_ID)
    folder = await _write(pki, tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n"
        "localAPIEndpoint: {advertiseAddress: 10.0.0.1}\nnodeRegistration: {name: cp-0}\n---\n"
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.36.3\n"
        f"encryptionAlgorithm: ECDSA-P256\ncertificatesDir: {folder}\n"
    )
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, said = await _run(program, "init", "phase", "certs", "all", "--config", config)
    assert code == 0, said
    for path, content in before.items():
        assert path.read_bytes() == content, f"{path} was replaced"
    for leaf, ca in (
        ("apiserver.crt", "ca.crt"),
        ("apiserver-kubelet-client.crt", "ca.crt"),
        ("front-proxy-client.crt", "front-proxy-ca.crt"),
        ("etcd/server.crt", "etcd/ca.crt"),
        ("apiserver-etcd-client.crt", "etcd/ca.crt"),
    ):
        code, said = await _run("openssl", "verify", "-CAfile", folder / ca, folder / leaf)
        assert code == 0, said
    assert stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600
