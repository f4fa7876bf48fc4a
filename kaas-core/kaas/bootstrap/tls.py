"""The certificate of the phone-home listener, and the authority that machines are given to check it with.

Both are ours: user data carries the authority, so it needs nobody else's trust. It stays the same for ten years, the
listener's own certificate is made anew before it ends and when the listener gets other names.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from kaas.crypto.certificates import KeyPair, issue_server, new_authority
from kaas.crypto.files import write_private
from kaas.domain.errors import Code, KaasError

_LIFETIME = timedelta(days=365)
_RENEWED_BEFORE = timedelta(days=120)
_FORMAT = 1
_FOLDER_MODE = 0o700
_FOREIGN_MODE = 0o077


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """An authority and what it signed for the listener. `to_bytes` is for sealing, where several processes share it."""

    authority: KeyPair
    server: KeyPair

    @property
    def ca_pem(self) -> str:
        """What machines check the listener with."""
        return self.authority.cert_pem.decode("ascii")

    def to_bytes(self) -> bytes:
        """Write it, private keys included."""
        pairs = {"authority": self.authority, "server": self.server}
        document = {
            name: {"cert": pair.cert_pem.decode(), "key": pair.key_pem.decode()} for name, pair in pairs.items()
        }
        return json.dumps({"version": _FORMAT, **document}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "ListenerTls":
        """Read what `to_bytes` wrote. Raises KaasError (BUG) when it is something else."""
        # Any of these would quote keys, so none of them becomes the cause of what is raised.
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            document = json.loads(content)
            if document["version"] == _FORMAT:
                return cls(_pair(document["authority"]), _pair(document["server"]))
        raise KaasError(Code.BUG, "the stored certificate of the phone-home listener cannot be read")

    def fits(self, names: Sequence[str], *, now: datetime | None = None) -> bool:
        """Tell whether the server's certificate has these names and enough time left."""
        certificate = self.server.certificate
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        there = {str(name.value) for name in alternatives}
        return set(names) <= there and self.server.not_after - (now or datetime.now(UTC)) > _RENEWED_BEFORE


def new_listener_tls(
    names: Sequence[str], *, authority: KeyPair | None = None, now: datetime | None = None
) -> ListenerTls:
    """Make a certificate for the names and addresses that machines reach the listener by. Blocking.

    With an authority that is there, machines that were told of it trust the new certificate as well.
    """
    if not names:
        raise KaasError(Code.INVALID, "the phone-home listener needs a name or an address that machines reach it by")
    signer = authority or new_authority("kaas-phone-home", now=now)
    return ListenerTls(signer, issue_server(signer, names, lifetime=_LIFETIME, now=now))


async def listener_tls(folder: Path, names: Sequence[str]) -> ListenerTls:
    """Give the certificate that a folder holds, made or made anew where needed. Raises KaasError (INVALID)."""
    return await asyncio.to_thread(_in_folder, folder, names)


def server_files(folder: Path) -> tuple[Path, Path]:
    """Tell where the server's certificate and its key are, for servers that want files."""
    return folder / "server.crt", folder / "server.key"


def _in_folder(folder: Path, names: Sequence[str]) -> ListenerTls:
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        if folder.stat().st_mode & _FOREIGN_MODE:
            raise KaasError(Code.INVALID, f"{folder} holds private keys and is open to others; `chmod 700` it")
        tls = _stored(folder / "listener.json", names)
        certificate, key = server_files(folder)
        write_private(key, tls.server.key_pem)
        write_private(certificate, tls.server.cert_pem)
    except OSError as error:
        raise KaasError(
            Code.INVALID, f"the certificate of the phone-home listener cannot be kept in {folder}: {error.strerror}"
        ) from error
    return tls


def _stored(path: Path, names: Sequence[str]) -> ListenerTls:
    if not path.exists():
        # Of several processes that start at once, the first one's authority is everybody's.
        with contextlib.suppress(FileExistsError):
            write_private(path, new_listener_tls(names).to_bytes(), replace=False)
    tls = ListenerTls.from_bytes(path.read_bytes())
    if not tls.fits(names):
        tls = new_listener_tls(names, authority=tls.authority)
        write_private(path, tls.to_bytes())
    return tls


def _pair(document: Mapping[str, str]) -> KeyPair:
    return KeyPair(document["cert"].encode("ascii"), document["key"].encode("ascii"))
