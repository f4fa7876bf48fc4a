"""Encryption at rest: AES-256-GCM under a data key of its own for each ciphertext, wrapped by a key provider.

A ciphertext is: magic and version, key id and wrapped data key (each with its length before it), nonce, sealed bytes.
The context is authenticated with the content, so that a ciphertext moved to another row does not open. A new
key-encryption key needs only the header written anew (`rewrap`), never the content.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kaas.crypto.keys import DATA_KEY_BYTES, KeyProvider, MissingKeyError, Wrapped
from kaas.domain.errors import Code, KaasError

_MAGIC = b"kaas\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_MAX_KEY_ID_BYTES = 255


class Envelope:
    """`kaas.domain.ports.Sealed` with a key provider; `older` ones still open what they sealed."""

    def __init__(self, provider: KeyProvider, *, older: Sequence[KeyProvider] = ()) -> None:
        self._provider = provider
        self._all = (provider, *older)

    async def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt under a new data key."""
        data_key = secrets.token_bytes(DATA_KEY_BYTES)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(data_key).encrypt(nonce, plaintext, _associated(context))
        return _packed(_Parts(await self._provider.wrap(data_key), nonce, sealed))

    async def open(self, ciphertext: bytes, *, context: str) -> bytes:
        """Decrypt. Raises KaasError: BUG when it is not of this context or was changed, MissingKeyError."""
        parts = _unpacked(ciphertext)
        data_key = await self._holder(parts.wrapped.key_id).unwrap(parts.wrapped)
        return _opened(parts, data_key, context)

    async def rewrap(self, ciphertext: bytes, *, context: str) -> bytes:
        """Give the same content under the newest key; the very same bytes when it is so already.

        It is opened on the way, so that what is written back is known to be readable. Raises as `open` does.
        """
        parts = _unpacked(ciphertext)
        holder = self._holder(parts.wrapped.key_id)
        data_key = await holder.unwrap(parts.wrapped)
        _opened(parts, data_key, context)
        if holder is self._provider:
            wrapped = await holder.rewrap(parts.wrapped)
        else:
            wrapped = await self._provider.wrap(data_key)
        return ciphertext if wrapped == parts.wrapped else _packed(_Parts(wrapped, parts.nonce, parts.sealed))

    def _holder(self, key_id: str) -> KeyProvider:
        for provider in self._all:
            if provider.knows(key_id):
                return provider
        raise MissingKeyError(
            key_id,
            f"a stored secret is sealed with key {key_id!r}, which no key provider of the settings has; "
            "name the key ring or Vault key that it was sealed with",
        )


def key_id_of(ciphertext: bytes) -> str:
    """Tell which key a ciphertext is sealed with, for listings. Raises KaasError (BUG) when it is none."""
    return _unpacked(ciphertext).wrapped.key_id


@dataclass(frozen=True, slots=True)
class _Parts:
    wrapped: Wrapped
    nonce: bytes
    sealed: bytes


def _associated(context: str) -> bytes:
    if not context:
        raise KaasError(Code.BUG, "a secret needs a context that it belongs to")
    return _MAGIC + context.encode()


def _opened(parts: _Parts, data_key: bytes, context: str) -> bytes:
    try:
        return AESGCM(data_key).decrypt(parts.nonce, parts.sealed, _associated(context))
    except (InvalidTag, ValueError):
        raise KaasError(
            Code.BUG, f"the secret stored as {context!r} does not open: it was changed, or it belongs elsewhere"
        ) from None


def _packed(parts: _Parts) -> bytes:
    key_id = parts.wrapped.key_id.encode()
    if not 0 < len(key_id) <= _MAX_KEY_ID_BYTES:
        raise KaasError(Code.INVALID, f"the name of key {parts.wrapped.key_id!r} is too long")
    blob = parts.wrapped.blob
    header = len(key_id).to_bytes(1) + key_id + len(blob).to_bytes(2) + blob
    return _MAGIC + header + parts.nonce + parts.sealed


def _unpacked(ciphertext: bytes) -> _Parts:
    if not ciphertext.startswith(_MAGIC):
        raise KaasError(Code.BUG, "a stored secret is not one that this version has sealed")
    key_id, rest = _taken(ciphertext[len(_MAGIC) :], length_bytes=1)
    blob, rest = _taken(rest, length_bytes=2)
    if len(rest) < _NONCE_BYTES + _TAG_BYTES:
        raise _cut_short()
    try:
        name = key_id.decode()
    except UnicodeDecodeError:
        raise _cut_short() from None
    return _Parts(Wrapped(name, blob), rest[:_NONCE_BYTES], rest[_NONCE_BYTES:])


def _taken(data: bytes, *, length_bytes: int) -> tuple[bytes, bytes]:
    end = length_bytes + int.from_bytes(data[:length_bytes])
    if len(data) < end or end == length_bytes:
        raise _cut_short()
    return data[length_bytes:end], data[end:]


def _cut_short() -> KaasError:
    return KaasError(Code.BUG, "a stored secret is damaged: its header does not make sense")
