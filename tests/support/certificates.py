"""Certificates for tests of TLS; the standard library can use them, but not make them."""

import shutil
import subprocess
from pathlib import Path

MISSING_OPENSSL = "" if shutil.which("openssl") else "openssl makes the test certificate"


def make_certificate(folder: Path, subject: str, *more: str) -> None:
    """Make a certificate that signs itself, as `ca.crt` and `key`."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(folder / "key"))
    argv = ["openssl", "req", "-x509", *key, "-out", str(folder / "ca.crt"), "-days", "1", "-subj", subject, *more]
    subprocess.run(argv, check=True, capture_output=True)


def make_loopback_certificate(folder: Path) -> None:
    """Make one that a server on 127.0.0.1 can show."""
    make_certificate(folder, "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1")
