"""Authorities and what they sign: X.509 with ECDSA P-256. Blocking; whoever serves calls it in a thread."""

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME = timedelta(days=3652)
_BACKDATED = timedelta(minutes=5)
"""Machines that booted just now may be behind in time."""
_MAX_COMMON_NAME = 64
_NO_USAGE = dict.fromkeys(
    (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    ),
    False,
)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its private key (PEM)."""

    cert_pem: bytes
    key_pem: bytes = field(repr=False)

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate, read."""
        return x509.load_pem_x509_certificate(self.cert_pem)

    @property
    def serial(self) -> str:
        """The serial number in hexadecimal digits, as openssl shows it."""
        return f"{self.certificate.serial_number:x}"

    @property
    def not_after(self) -> datetime:
        """The end of its time, UTC."""
        return self.certificate.not_valid_after_utc


def new_authority(common_name: str, *, now: datetime | None = None) -> KeyPair:
    """Make an authority that signs leaves only, for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    builder = _builder(name, name, key, _times(now, AUTHORITY_LIFETIME))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(
        x509.KeyUsage(**{**_NO_USAGE, "digital_signature": True, "key_cert_sign": True, "crl_sign": True}),
        critical=True,
    )
    return KeyPair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def issue_client(
    authority: KeyPair,
    common_name: str,
    *,
    organizations: Sequence[str] = (),
    lifetime: timedelta,
    now: datetime | None = None,
) -> KeyPair:
    """Sign a client certificate: to Kubernetes the common name is the user, and organizations are its groups."""
    return _leaf(
        authority,
        _name(common_name, organizations),
        ExtendedKeyUsageOID.CLIENT_AUTH,
        _times(now, lifetime),
        names=(),
    )


def issue_server(
    authority: KeyPair, names: Sequence[str], *, lifetime: timedelta, now: datetime | None = None
) -> KeyPair:
    """Sign a server certificate for host names and addresses; the first of them is its common name as well."""
    return _leaf(
        authority, _name(names[0][:_MAX_COMMON_NAME]), ExtendedKeyUsageOID.SERVER_AUTH, _times(now, lifetime), names
    )


def public_key_hash(cert_pem: bytes) -> str:
    """Give what kubeadm pins an authority by: `sha256:` and the digest of its public key (SPKI)."""
    return "sha256:" + hashlib.sha256(_spki(x509.load_pem_x509_certificate(cert_pem).public_key())).hexdigest()


def new_signing_keys() -> tuple[bytes, bytes]:
    """Make a key pair that signs tokens: the public part and the private part (PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return public, _key_pem(key)


def _leaf(
    authority: KeyPair,
    subject: x509.Name,
    usage: x509.ObjectIdentifier,
    times: tuple[datetime, datetime],
    names: Sequence[str],
) -> KeyPair:
    issuer = authority.certificate
    signer = serialization.load_pem_private_key(authority.key_pem, password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("an authority of ours has an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    # A leaf that outlives its issuer would only seem to be valid.
    times = (max(times[0], issuer.not_valid_before_utc), min(times[1], issuer.not_valid_after_utc))
    builder = _builder(subject, issuer.subject, key, times)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.KeyUsage(**{**_NO_USAGE, "digital_signature": True}), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
            issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        ),
        critical=False,
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return KeyPair(_pem(builder.sign(signer, hashes.SHA256())), _key_pem(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, times: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(times[0])
        .not_valid_after(times[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _times(now: datetime | None, lifetime: timedelta) -> tuple[datetime, datetime]:
    moment = (now or datetime.now(UTC)).replace(microsecond=0)
    return moment - _BACKDATED, moment + lifetime


def _name(common_name: str, organizations: Sequence[str] = ()) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _spki(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("an authority of ours has an elliptic curve key")
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # The form in which kubeadm writes such keys itself.
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
