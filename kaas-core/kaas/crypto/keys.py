"""Keys that wrap data keys: what the envelope asks of whoever holds them."""

from dataclasses import dataclass, field
from typing import Protocol

from kaas.domain.errors import Code, KaasError

DATA_KEY_BYTES = 32
"""AES-256."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A data key that only its key provider can open; `key_id` says which provider, and which key of it."""

    key_id: str
    blob: bytes = field(repr=False)


class MissingKeyError(KaasError):
    """A secret is sealed with a key that is not at hand; `key_id` is that key's."""

    def __init__(self, key_id: str, message: str) -> None:
        super().__init__(Code.KEY_MISSING, message)
        self.key_id = key_id


class KeyProvider(Protocol):
    """Holds key-encryption keys and never gives them away.

    Raises KaasError: MissingKeyError when it does not have the key, BUG when a wrapped key was changed,
    PLATFORM_UNAVAILABLE when whoever holds the keys does not answer, INVALID when the keys are not usable.
    """

    def knows(self, key_id: str) -> bool:
        """Tell whether such a key id is one of this provider's kind."""
        ...

    async def wrap(self, data_key: bytes) -> Wrapped:
        """Encrypt a data key under the newest key."""
        ...

    async def unwrap(self, wrapped: Wrapped) -> bytes:
        """Decrypt a data key."""
        ...

    async def rewrap(self, wrapped: Wrapped) -> Wrapped:
        """Encrypt the same data key under the newest key; the same value when it is so already."""
        ...
