"""Callers from a file: who has which key, in which tenants, in which role. The keys themselves are not in it.

users:
  - id: ada
    key_sha256: 9f86d081…          # of the key; `hash_key` makes it
    tenants: {blue: admin, green: reader}
    default_tenant: blue           # may be left out when there is one tenant only
"""

import asyncio
import hashlib
import logging
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import msgspec

from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Scope
from kaas.domain.policy import Role

LOG = logging.getLogger("kaas.api.users")
_HASH = re.compile(r"[0-9a-f]{64}")
_RECHECK_S = 2.0
_MAX_BYTES = 1 << 20


class _User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    key_sha256: str
    tenants: dict[str, Role]
    default_tenant: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    users: list[_User]


@dataclass(frozen=True, slots=True)
class _Loaded:
    users: dict[str, _User]
    stamp: tuple[int, int, int]


def hash_key(key: str) -> str:
    """Give what stands in the file for a key. Keys are long and random, so that a plain digest is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


class StaticUsers:
    """`kaas.api.ports.Authenticator` from a file; a file that has changed is read again."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = monotonic) -> None:
        """Read the file; raises ValueError naming all that is wrong with it, and OSError."""
        self._path = path
        self._clock = clock
        self._loaded = _load(path)
        self._checked_at = clock()

    async def authenticate(self, key: str, *, tenant_id: str) -> Scope:
        """Give the caller's scope."""
        if self._clock() - self._checked_at >= _RECHECK_S:
            self._checked_at = self._clock()
            await asyncio.to_thread(self._reload)
        user = self._loaded.users.get(hash_key(key))
        if user is None:
            raise RequestError(Code.UNAUTHENTICATED, "invalid API key")
        tenant = tenant_id or user.default_tenant
        if not tenant:
            raise RequestError(Code.INVALID, "X-Tenant-ID header required or default tenant not set")
        if tenant not in user.tenants:
            raise RequestError(Code.FORBIDDEN, "user is not a member of this tenant")
        return Scope(tenant_id=tenant, user_id=user.id, role=user.tenants[tenant].value)

    def _reload(self) -> None:
        """Take a file that has changed; one that is wrong is not taken, since nobody could come in any more."""
        try:
            if _stamp(self._path) != self._loaded.stamp:
                self._loaded = _load(self._path)
                LOG.info("the users were read again", extra={"fields": {"users": len(self._loaded.users)}})
        except (OSError, ValueError) as error:
            LOG.error("the users stay as they were read before: %s", error)  # noqa: TRY400 - the text says it all


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _load(path: Path) -> _Loaded:
    stamp = _stamp(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ValueError(f"{path} can be read by others (mode {mode:04o}); chmod 0600 it")
    if stamp[1] > _MAX_BYTES:
        raise ValueError(f"{path} has more than {_MAX_BYTES} bytes")
    try:
        file = msgspec.yaml.decode(path.read_bytes(), type=_File)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    users: dict[str, _User] = {}
    problems: list[str] = []
    for user in file.users:
        problems += [f"user {user.id!r}: {problem}" for problem in _problems(user)]
        if user.key_sha256 in users:
            problems.append(f"users {users[user.key_sha256].id!r} and {user.id!r} have the same key")
        users[user.key_sha256] = user if user.default_tenant or len(user.tenants) != 1 else _with_tenant(user)
    if problems:
        raise ValueError(f"{path}: " + "; ".join(problems))
    return _Loaded(users, stamp)


def _problems(user: _User) -> list[str]:
    found = []
    if not user.id:
        found.append("an id is needed")
    if not _HASH.fullmatch(user.key_sha256):
        found.append("key_sha256 must be 64 lower-case hex digits")
    if not user.tenants or not all(user.tenants):
        found.append("tenants must name at least one, each with a role")
    if user.default_tenant and user.default_tenant not in user.tenants:
        found.append(f"default_tenant {user.default_tenant!r} is none of the tenants")
    return found


def _with_tenant(user: _User) -> _User:
    return msgspec.structs.replace(user, default_tenant=next(iter(user.tenants)))
