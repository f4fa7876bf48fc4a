"""Tokens: the one that a machine reports its boot with, and the one that a node joins with."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field

BOOT_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
JOIN_TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
"""As kubeadm wants it: a public id, a dot, the secret."""
_BOOT_TOKEN_BYTES = 32
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class BootToken:
    """A token of one node; only its hash is stored, so it is made anew when it was lost before its machine was made."""

    secret: str = field(repr=False)
    hash: str


def new_boot_token() -> BootToken:
    """Make a token of 256 random bits."""
    secret = secrets.token_urlsafe(_BOOT_TOKEN_BYTES)
    return BootToken(secret, boot_token_hash(secret))


def boot_token_hash(secret: str) -> str:
    """Give what is stored of a token: SHA-256 in hexadecimal digits; a token is too random to need more."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_join_token() -> str:
    """Make a bootstrap token for kubeadm."""
    letters = [secrets.choice(_CHARACTERS) for _ in range(22)]
    return f"{''.join(letters[:6])}.{''.join(letters[6:])}"
