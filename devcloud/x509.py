"""What a platform has to know of a certificate, read from its DER form: until when, and for which names.

Belongs here: as much of ASN.1 as that takes, and the check that key and certificate fit. Does not: trust.
"""

import hashlib
import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

_OBJECT_ID = 0x06
_UTC_TIME = 0x17
_VERSION = 0xA0
_EXTENSIONS = 0xA3
_DNS_NAME = 0x82
_SUBJECT_ALT_NAME = bytes((0x55, 0x1D, 0x11))
_LONG_LENGTH = 0x80
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_VALIDITY_FIELD = 3
"""Place in the signed part, counted behind the version and from zero: serial, signature, issuer, validity."""


class UnusableError(Exception):
    """The texts are no certificate with its key; the message says which part is wrong and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a certificate says."""

    fingerprint_sha256: str
    not_after: str
    dns_names: tuple[str, ...]


def look_at(certificate_pem: str, private_key_pem: str) -> Seen:
    """Read a certificate (the first of a chain) and check that the key is its own; blocking. Raises UnusableError."""
    found = _PEM.search(certificate_pem)
    if found is None:
        raise UnusableError("certificate_pem holds no certificate in PEM form")
    try:
        der = ssl.PEM_cert_to_DER_cert(found[0])
        seen = _read(der)
    except (ValueError, IndexError, StopIteration) as error:
        raise UnusableError("certificate_pem: the certificate cannot be read") from error
    _check_pair(certificate_pem, private_key_pem)
    return seen


def _check_pair(certificate_pem: str, private_key_pem: str) -> None:
    """Let the TLS library load both, from memory: a key never lies in a file for this."""
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, f"{certificate_pem}\n{private_key_pem}\n".encode())
        # A key that needs a password would be asked for on the terminal otherwise.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(f"/proc/self/fd/{file}", password=lambda: "\0")
    except (ssl.SSLError, ValueError, OSError) as error:
        raise UnusableError(
            "certificate_pem and private_key_pem do not fit together: a chain in PEM form and the unencrypted key of "
            "its first certificate are needed"
        ) from error
    finally:
        os.close(file)


def _read(der: bytes) -> Seen:
    signed = next(_parts(next(_parts(der))[1]))[1]
    parts = list(_parts(signed))
    fields = parts[1:] if parts[0][0] == _VERSION else parts
    times = list(_parts(fields[_VALIDITY_FIELD][1]))
    names: list[str] = []
    for tag, body in fields:
        if tag == _EXTENSIONS:
            names = list(_dns_names(next(_parts(body))[1]))
    return Seen(hashlib.sha256(der).hexdigest(), _time(*times[1]), tuple(names))


def _dns_names(extensions: bytes) -> Iterator[str]:
    for _, extension in _parts(extensions):
        parts = list(_parts(extension))
        if parts[0] != (_OBJECT_ID, _SUBJECT_ALT_NAME):
            continue
        for tag, name in _parts(next(_parts(parts[-1][1]))[1]):
            if tag == _DNS_NAME:
                yield name.decode("ascii")


def _time(tag: int, body: bytes) -> str:
    pattern = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    moment = datetime.strptime(body.decode("ascii"), pattern).replace(tzinfo=UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Give tag and body of every element that stands one after the other; raises ValueError for what is cut off."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & _LONG_LENGTH:
            size = length - _LONG_LENGTH
            length, at = int.from_bytes(der[at : at + size]), at + size
        if at + length > len(der):
            raise ValueError("an element is cut off")
        yield tag, der[at : at + length]
        at += length
