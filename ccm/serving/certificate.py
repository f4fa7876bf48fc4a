"""The certificate that HTTPS is served with, and the authorities whose client certificates are taken.

Both may change while the program runs: `refresh` looks, and new connections get what is there then.
"""

import contextlib
import datetime as dt
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = dt.timedelta(days=365)
RENEWED_BEFORE_END = dt.timedelta(days=30)
MAX_FILE_BYTES = 1024 * 1024


class CertificateError(Exception):
    """A certificate, key or list of authorities cannot be used; the text names the file and holds no key."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the server's certificate and key are, PEM."""

    certificate: Path
    key: Path

    def read(self) -> bytes:
        """Give both. Raises CertificateError."""
        return _read(self.certificate) + b"\n" + _read(self.key)


class ServingCertificate:
    """Gives new connections the newest certificate and the newest authorities."""

    def __init__(self, files: CertificateFiles | None, *, address: str) -> None:
        """Load the certificate from its files, or make one for this host and `address` that signs itself.

        Raises CertificateError.
        """
        self._files = files
        self._address = address
        self._made_until = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._authorities = ""
        self._pem = files.read() if files else self._make()
        self._current = _context(self._pem, "")
        self.context = _context(self._pem, "")
        """For the listening socket."""
        self.context.sni_callback = self._choose

    def refresh(self) -> bool:
        """Look whether the files have changed, or our own certificate ends soon; gives whether there is another one.

        Raises CertificateError, and goes on with the one before, when what is there now cannot be used.
        """
        if self._files is not None:
            pem = self._files.read()
        else:
            is_good = dt.datetime.now(dt.UTC) < self._made_until - RENEWED_BEFORE_END
            pem = self._pem if is_good else self._make()
        return self._use(pem, self._authorities)

    def trust(self, authorities: str) -> bool:
        """Take client certificates of these authorities, PEM; none when empty. Gives whether they are others.

        Raises CertificateError, and goes on with those before, when they cannot be used.
        """
        return self._use(self._pem, authorities)

    def _use(self, pem: bytes, authorities: str) -> bool:
        if (pem, authorities) == (self._pem, self._authorities):
            return False
        self._current = _context(pem, authorities)
        self._pem, self._authorities = pem, authorities
        # A connection takes this from the socket's context, and all else from the one that is chosen.
        self.context.verify_mode = self._current.verify_mode
        return True

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        del name, context
        connection.context = self._current

    def _make(self) -> bytes:
        self._made_until = dt.datetime.now(dt.UTC) + LIFE
        return _self_signed(self._address, until=self._made_until)


def _context(pem: bytes, authorities: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A session that is taken up again would outlive the authorities that let its client in.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    try:
        with _in_memory(pem) as path:
            context.load_cert_chain(path)
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(
            "the server's certificate and key cannot be used; --tls-cert-file and --tls-private-key-file must be PEM, "
            f"belong together and need no password: {_reason(error)}"
        ) from None
    if authorities:
        try:
            context.load_verify_locations(cadata=authorities)
        except (ssl.SSLError, ValueError) as error:
            raise CertificateError(
                f"the authorities of client certificates are no PEM certificates: {error}"
            ) from error
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Give a path whose content is on no disk; the standard library loads certificates from paths alone."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror or error}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "reason", "") or str(error)


def _self_signed(address: str, *, until: dt.datetime) -> bytes:
    host = socket.gethostname()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64] or "localhost")])
    addresses = {ipaddress.ip_address(one) for one in ("127.0.0.1", "::1", address)}
    names = [x509.DNSName(name) for name in dict.fromkeys((host, "localhost")) if name.isascii() and name]
    usable = [x509.IPAddress(one) for one in sorted(addresses, key=str) if not one.is_unspecified]
    certificate = (
        x509.CertificateBuilder(issuer_name=subject, subject_name=subject, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of clients may be behind.
        .not_valid_before(until - LIFE - dt.timedelta(hours=1))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([*names, *usable]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
