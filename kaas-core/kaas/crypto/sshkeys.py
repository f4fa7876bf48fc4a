"""The SSH key pair of a cluster: ed25519, in the formats of OpenSSH."""

import asyncio
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kaas.domain.errors import Code, KaasError


@dataclass(frozen=True, slots=True)
class SshKeyPair:
    """`public_key` is one line for authorized_keys; `private_key` is a file for `ssh -i`, and what is sealed."""

    public_key: str
    private_key: bytes = field(repr=False)


async def new_ssh_key_pair(comment: str) -> SshKeyPair:
    """Make a key pair; `comment` stands behind the public key and says whose it is. Raises KaasError (INVALID)."""
    if not comment.isprintable() or not comment.isascii():
        raise KaasError(Code.INVALID, "the comment of an SSH key is one line of ASCII characters")
    return await asyncio.to_thread(_new, comment)


def public_key_of(private_key: bytes, comment: str = "") -> str:
    """Give the public line of a private key, so that only the latter needs to be stored. Raises KaasError (BUG)."""
    try:
        key = serialization.load_ssh_private_key(private_key, password=None)
    except (ValueError, TypeError):
        raise KaasError(Code.BUG, "the stored SSH key of a cluster cannot be read") from None
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    return f"{line} {comment}".rstrip()


def _new(comment: str) -> SshKeyPair:
    private = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return SshKeyPair(public_key_of(private, comment), private)
