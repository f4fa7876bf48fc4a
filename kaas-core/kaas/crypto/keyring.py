"""Key-encryption keys in a file: numbered by their ids, the last one seals, all of them open.

The file is JSON, belongs to whoever runs the service, and may be read by nobody else. There is no default key: without
a file nothing is sealed.
"""

import asyncio
import base64
import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kaas.crypto.files import write_private
from kaas.crypto.keys import DATA_KEY_BYTES, MissingKeyError, Wrapped
from kaas.domain.errors import Code, KaasError

_PREFIX = "ring:"
_NONCE_BYTES = 12
_FORMAT = 1
_MAX_FILE_BYTES = 1 << 20
_FOREIGN_MODE = 0o077

_Mark = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Ring:
    keys: Mapping[str, bytes] = field(repr=False)
    newest: str


class KeyRing:
    """`kaas.crypto.keys.KeyProvider` with the keys of a file, read again when the file changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark: _Mark | None = None
        self._ring = _Ring({}, "")

    async def load(self) -> str:
        """Read the file now and give the id of its newest key, so that a start fails early. Raises KaasError."""
        return (await self._current()).newest

    async def key_ids(self) -> tuple[str, ...]:
        """Give the ids of all keys as they are in what is sealed with them, the newest last."""
        return tuple(_PREFIX + name for name in (await self._current()).keys)

    def knows(self, key_id: str) -> bool:
        """Tell whether a key id is one of a key ring."""
        return key_id.startswith(_PREFIX)

    async def wrap(self, data_key: bytes) -> Wrapped:
        """Encrypt a data key under the newest key."""
        ring = await self._current()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        key_id = _PREFIX + ring.newest
        return Wrapped(key_id, nonce + AESGCM(ring.keys[ring.newest]).encrypt(nonce, data_key, key_id.encode()))

    async def unwrap(self, wrapped: Wrapped) -> bytes:
        """Decrypt a data key. Raises MissingKeyError when the ring has no such key."""
        ring = await self._current()
        key = ring.keys.get(wrapped.key_id.removeprefix(_PREFIX))
        if key is None or not self.knows(wrapped.key_id):
            raise MissingKeyError(
                wrapped.key_id,
                f"a stored secret is sealed with key {wrapped.key_id!r}, which {self._path} does not have; "
                "put the key ring back that it was sealed with",
            )
        nonce, blob = wrapped.blob[:_NONCE_BYTES], wrapped.blob[_NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, blob, wrapped.key_id.encode())
        except (InvalidTag, ValueError):
            raise KaasError(
                Code.BUG, f"a stored secret does not open with key {wrapped.key_id!r}: it was changed"
            ) from None

    async def rewrap(self, wrapped: Wrapped) -> Wrapped:
        """Encrypt the same data key under the newest key, unless it is so already."""
        if wrapped.key_id == _PREFIX + (await self._current()).newest:
            return wrapped
        return await self.wrap(await self.unwrap(wrapped))

    async def _current(self) -> _Ring:
        self._mark, self._ring = await asyncio.to_thread(self._look)
        return self._ring

    def _look(self) -> tuple[_Mark, _Ring]:
        descriptor = _opened(self._path)
        with os.fdopen(descriptor, "rb") as file:
            stat = os.fstat(descriptor)
            _check_guarded(self._path, stat)
            mark = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if mark == self._mark:
                return mark, self._ring
            return mark, _parsed(self._path, file.read(_MAX_FILE_BYTES))


def new_keyring(path: Path) -> str:
    """Make a key ring with one key and give its id; `kaas keyring new`. Raises KaasError when the file is there."""
    return _write(path, {}, replace=False)


def add_key(path: Path) -> str:
    """Add a key that seals from now on, and give its id; what older ones sealed still opens. Raises KaasError."""
    with os.fdopen(_opened(path), "rb") as file:
        _check_guarded(path, os.fstat(file.fileno()))
        ring = _parsed(path, file.read(_MAX_FILE_BYTES))
    return _write(path, ring.keys, replace=True)


def _write(path: Path, keys: Mapping[str, bytes], *, replace: bool) -> str:
    key_id = f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(4)}"
    everything = {**keys, key_id: secrets.token_bytes(DATA_KEY_BYTES)}
    document = {
        "version": _FORMAT,
        "keys": [{"id": name, "key": base64.b64encode(key).decode()} for name, key in everything.items()],
    }
    try:
        write_private(path, (json.dumps(document, indent=2) + "\n").encode(), replace=replace)
    except FileExistsError:
        raise KaasError(
            Code.INVALID, f"{path} exists and is left as it is; a further key is added with `kaas keyring add`"
        ) from None
    except OSError as error:
        raise KaasError(Code.INVALID, f"the key ring {path} cannot be written: {error.strerror or error}") from error
    return key_id


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KaasError(
            Code.INVALID, f"there is no key ring at {path}; `kaas keyring new` makes one (there is no default key)"
        ) from None
    except OSError as error:
        raise KaasError(Code.INVALID, f"the key ring {path} cannot be read: {error.strerror or error}") from error


def _check_guarded(path: Path, stat: os.stat_result) -> None:
    if stat.st_mode & _FOREIGN_MODE:
        raise KaasError(
            Code.INVALID,
            f"the key ring {path} may be read by others (mode {stat.st_mode & 0o777:03o}); `chmod 600` it, and "
            "add a new key if others may have read it",
        )
    if stat.st_uid not in (0, os.geteuid()):
        raise KaasError(Code.INVALID, f"the key ring {path} belongs to another user (uid {stat.st_uid})")


def _parsed(path: Path, content: bytes) -> _Ring:
    entries: list[tuple[str, bytes]] = []
    # Any of these would quote keys, so none of them becomes the cause of what is raised.
    with contextlib.suppress(ValueError, KeyError, TypeError):
        document = json.loads(content)
        if document["version"] == _FORMAT:
            entries = [(str(entry["id"]), base64.b64decode(entry["key"], validate=True)) for entry in document["keys"]]
    keys = dict(entries)
    if not entries or len(keys) != len(entries):
        raise KaasError(
            Code.INVALID, f"{path} is not a key ring as `kaas keyring new` makes it: keys, each with an id of its own"
        )
    if any(len(key) != DATA_KEY_BYTES for key in keys.values()):
        raise KaasError(Code.INVALID, f"the key ring {path} has a key that is not {DATA_KEY_BYTES} bytes long")
    return _Ring(keys, entries[-1][0])
