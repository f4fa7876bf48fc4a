"""Who may call, over a real connection with certificates on both sides."""

import datetime as dt
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ccm.autoscaler.app import bridge
from ccm.autoscaler.certificates import CertificateError, CertificateFiles, Certificates
from ccm.pb import externalgrpc_pb2 as pb
from ccm.pb.externalgrpc_pb2_grpc import CloudProviderStub
from tests.unit.ccm.autoscaler.fakes import FakeMachines, MemoryStore
from tests.unit.ccm.autoscaler.served import LIMIT_S, settings

NAME = "autoscaler.test"


class Authority:
    """Signs certificates."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = _pem(self._build(self._name, self._key, ca=True))

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """Give a key and a certificate for a name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        raw = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return raw, _pem(self._build(subject, key, san=name))

    def _build(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool = False, san: str = ""
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if san:
            usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(san)]), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def write(folder: Path, authority: Authority, *, callers: Authority | None = None) -> CertificateFiles:
    key, certificate = authority.issue(NAME)
    files = CertificateFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
    files.certificate.write_bytes(certificate)
    files.key.write_bytes(key)
    files.authority.write_bytes((callers or authority).pem)
    return files


def channel(port: int, trusted: Authority, caller: tuple[bytes, bytes] | None) -> grpc.aio.Channel:
    key, certificate = caller or (None, None)
    credentials = grpc.ssl_channel_credentials(trusted.pem, key, certificate)
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)


async def ask(port: int, trusted: Authority, caller: tuple[bytes, bytes] | None) -> grpc.StatusCode:
    async with channel(port, trusted, caller) as connection:
        try:
            await CloudProviderStub(connection).Refresh(pb.RefreshRequest(), timeout=LIMIT_S)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def spoil(files: CertificateFiles, which: str, content: bytes | None) -> Path:
    path: Path = getattr(files, which)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    return path


async def test_only_callers_with_a_certificate_of_the_authority_are_answered(tmp_path: Path) -> None:
    ours, theirs = Authority("ours"), Authority("theirs")
    secured = settings(tmp_path, listen="127.0.0.1:0", tls=write(tmp_path, ours), allow_plaintext=False)
    async with bridge(secured, machines=FakeMachines(), store=MemoryStore()) as serving:
        assert await ask(serving.port, ours, ours.issue("cluster-autoscaler")) is grpc.StatusCode.OK
        assert await ask(serving.port, ours, theirs.issue("cluster-autoscaler")) is grpc.StatusCode.UNAVAILABLE
        assert await ask(serving.port, ours, None) is grpc.StatusCode.UNAVAILABLE
        async with grpc.aio.insecure_channel(f"127.0.0.1:{serving.port}") as plain:
            with pytest.raises(grpc.aio.AioRpcError):
                await CloudProviderStub(plain).Refresh(pb.RefreshRequest(), timeout=LIMIT_S)


async def test_callers_can_be_restricted_by_name(tmp_path: Path) -> None:
    ours = Authority("ours")
    names = frozenset({"cluster-autoscaler"})
    tls = write(tmp_path, ours)
    secured = settings(tmp_path, listen="127.0.0.1:0", tls=tls, allow_plaintext=False, client_names=names)
    async with bridge(secured, machines=FakeMachines(), store=MemoryStore()) as serving:
        assert await ask(serving.port, ours, ours.issue("cluster-autoscaler")) is grpc.StatusCode.OK
        assert await ask(serving.port, ours, ours.issue("somebody")) is grpc.StatusCode.PERMISSION_DENIED


async def test_rotated_files_are_served_to_new_connections(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    secured = settings(tmp_path, listen="127.0.0.1:0", tls=write(tmp_path, old), allow_plaintext=False)
    async with bridge(secured, machines=FakeMachines(), store=MemoryStore()) as serving:
        assert serving.certificates is not None
        assert await ask(serving.port, old, old.issue("caller")) is grpc.StatusCode.OK
        write(tmp_path, new)
        await serving.certificates.look()
        assert await ask(serving.port, new, new.issue("caller")) is grpc.StatusCode.OK
        assert await ask(serving.port, new, old.issue("caller")) is grpc.StatusCode.UNAVAILABLE


async def test_half_a_rotation_keeps_what_was_served(tmp_path: Path) -> None:
    old = Authority("old")
    files = write(tmp_path, old)
    secured = settings(tmp_path, listen="127.0.0.1:0", tls=files, allow_plaintext=False)
    async with bridge(secured, machines=FakeMachines(), store=MemoryStore()) as serving:
        assert serving.certificates is not None
        files.key.write_bytes(old.issue(NAME)[0])
        await serving.certificates.look()
        assert await ask(serving.port, old, old.issue("caller")) is grpc.StatusCode.OK


@pytest.mark.parametrize("broken", ["certificate", "key", "authority"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
async def test_unusable_files_are_named(tmp_path: Path, broken: str, content: bytes | None) -> None:
    files = write(tmp_path, Authority("ours"))
    path = spoil(files, broken, content)
    with pytest.raises(CertificateError, match=path.name if content is None else "TLS files"):
        await Certificates(files).credentials()
