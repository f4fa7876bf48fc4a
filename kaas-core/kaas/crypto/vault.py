"""Key-encryption keys in Vault: its transit engine wraps and unwraps data keys, and the key never leaves it."""

import asyncio
import base64
import binascii
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

from kaas.crypto.keys import MissingKeyError, Wrapped
from kaas.domain.errors import Code, KaasError, StepError

_PREFIX = "vault:"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MOUNT = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_MAX_TOKEN_BYTES = 4096
_TRIES = 4
_FIRST_PAUSE_S = 0.1
_FORBIDDEN = 403
_BAD_REQUEST = 400
_NOT_FOUND = 404
_OK = 200
_SERVER_ERRORS = range(500, 600)
_TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Transit:
    """Which key of which Vault."""

    address: str
    """Such as https://vault.example:8200."""
    key: str
    token_file: Path
    """Read for every request, since agents exchange the token while we run."""
    mount: str = "transit"
    namespace: str = ""
    timeout_s: float = 10.0
    """For one wrap or unwrap, with all its tries."""


class VaultKeys:
    """`kaas.crypto.keys.KeyProvider` on Vault's transit engine; the HTTP client brings the trust in its certificate.

    What Vault answers at a bad time (sealed, standby, throttled) is tried again within `timeout_s`.
    """

    def __init__(self, client: httpx.AsyncClient, transit: Transit) -> None:
        if not _NAME.fullmatch(transit.key) or not _MOUNT.fullmatch(transit.mount):
            raise KaasError(Code.INVALID, "the name of Vault's key or mount has characters that are not allowed")
        self._client = client
        self._transit = transit
        self._key_id = f"{_PREFIX}{transit.mount}/{transit.key}"

    def knows(self, key_id: str) -> bool:
        """Tell whether a key id names this very key; its versions are Vault's matter."""
        return key_id == self._key_id

    async def wrap(self, data_key: bytes) -> Wrapped:
        """Let Vault encrypt a data key under the newest version of the key."""
        data = await self._ask("encrypt", {"plaintext": base64.b64encode(data_key).decode()})
        return Wrapped(self._key_id, _text(data, "ciphertext").encode())

    async def unwrap(self, wrapped: Wrapped) -> bytes:
        """Let Vault decrypt a data key. Raises KaasError (BUG) when it is none of this key."""
        data = await self._ask("decrypt", {"ciphertext": self._blob(wrapped)})
        try:
            return base64.b64decode(_text(data, "plaintext"), validate=True)
        except binascii.Error:
            raise _strange() from None

    async def rewrap(self, wrapped: Wrapped) -> Wrapped:
        """Let Vault encrypt the same data key under the newest version; it does not come here meanwhile."""
        blob = self._blob(wrapped)
        version = _text(await self._ask("rewrap", {"ciphertext": blob}), "ciphertext")
        # Vault makes a new ciphertext even under the same version.
        return wrapped if _version(version) == _version(blob) else Wrapped(self._key_id, version.encode())

    def _blob(self, wrapped: Wrapped) -> str:
        if not self.knows(wrapped.key_id):
            raise MissingKeyError(
                wrapped.key_id, f"a stored secret is sealed with key {wrapped.key_id!r}, not {self._key_id!r}"
            )
        try:
            return wrapped.blob.decode("ascii")
        except UnicodeDecodeError:
            raise KaasError(Code.BUG, "a stored secret is damaged: its data key is not one of Vault's") from None

    async def _ask(self, verb: str, body: Mapping[str, str]) -> Mapping[str, object]:
        try:
            async with asyncio.timeout(self._transit.timeout_s):
                return await self._tried(verb, body)
        except TimeoutError:
            raise self._unavailable(verb, f"no answer within {self._transit.timeout_s:g} s") from None

    async def _tried(self, verb: str, body: Mapping[str, str]) -> Mapping[str, object]:
        token, seen, pause_s = await self._token(), "", _FIRST_PAUSE_S
        for left in reversed(range(_TRIES)):
            try:
                response = await self._send(verb, body, token)
            except httpx.HTTPError as error:
                seen = type(error).__name__
            else:
                if response.status_code == _OK:
                    return _data(response)
                seen = f"HTTP {response.status_code}"
                if response.status_code == _FORBIDDEN:
                    fresh = await self._token()
                    if fresh == token:
                        break
                    token = fresh
                    continue
                if response.status_code not in _SERVER_ERRORS and response.status_code != _TOO_MANY:
                    raise self._refused(verb, response.status_code)
            if left:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, guards nothing
                pause_s *= 2
        if seen == f"HTTP {_FORBIDDEN}":
            raise self._unavailable(verb, f"it refuses the token in {self._transit.token_file}")
        raise self._unavailable(verb, seen)

    async def _send(self, verb: str, body: Mapping[str, str], token: str) -> httpx.Response:
        transit = self._transit
        headers = {"X-Vault-Token": token, "X-Vault-Request": "true"}
        if transit.namespace:
            headers["X-Vault-Namespace"] = transit.namespace
        url = f"{transit.address.rstrip('/')}/v1/{transit.mount}/{verb}/{quote(transit.key, safe='')}"
        return await self._client.post(url, json=body, headers=headers, follow_redirects=False)

    async def _token(self) -> str:
        path = self._transit.token_file
        try:
            text = (await asyncio.to_thread(_read, path)).strip()
        except OSError as error:
            raise KaasError(
                Code.INVALID, f"Vault's token cannot be read from {path}: {error.strerror or error}"
            ) from error
        if not text or not text.isascii() or not text.isprintable():
            raise KaasError(Code.INVALID, f"{path} holds no token for Vault")
        return text

    def _refused(self, verb: str, status: int) -> KaasError:
        if verb != "encrypt" and status == _BAD_REQUEST:
            return KaasError(
                Code.BUG,
                f"Vault does not open a stored secret with {self._key_id!r}: it was changed, or its key is gone",
            )
        advice = "; is there such a key and mount?" if status in (_BAD_REQUEST, _NOT_FOUND) else ""
        return KaasError(Code.INVALID, f"Vault answers {verb} with {self._key_id!r} by HTTP {status}{advice}")

    def _unavailable(self, verb: str, seen: str) -> StepError:
        return StepError(
            Code.PLATFORM_UNAVAILABLE, f"Vault at {self._transit.address}, {verb} with {self._key_id!r}: {seen}"
        )


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_TOKEN_BYTES).decode("utf-8", "replace")


def _data(response: httpx.Response) -> Mapping[str, object]:
    try:
        data = response.json()["data"]
    except (ValueError, KeyError, TypeError):
        raise _strange() from None
    if not isinstance(data, dict):
        raise _strange()
    return data


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise _strange()
    return value


def _strange() -> StepError:
    return StepError(Code.PLATFORM_UNAVAILABLE, "what answers for Vault is not its transit engine")


def _version(ciphertext: str) -> str:
    """Give the version out of `vault:v3:…`."""
    return ciphertext.split(":", 2)[1] if ciphertext.count(":") > 1 else ""
