"""Users, tenants and API keys: who may call.

Belongs here: accounts, keys (only their hashes are kept), memberships, permissions. Does not: request headers.
"""

import asyncio
import hashlib
import math
import re
import secrets
import sqlite3
import string
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from devcloud.cloud import Actor, Cloud
from devcloud.errors import ConflictError, DeniedError, InvalidError, MissingError, UnauthorizedError
from devcloud.rows import API_KEYS, MEMBERS, TENANTS, USERS, ApiKey, Member, Tenant, User, new_id, now

KEY_PREFIX = "thecloud_"
_KEY_PATTERN = re.compile(rf"{KEY_PREFIX}[0-9a-f]{{32}}")
_MIN_ENTROPY_BITS = 50
_REPEATS = 2
_LOCKED_AFTER = 5
_LOCKED_FOR_S = 900.0
_SCRYPT_COST = 1 << 14

_FULL_ROLES = frozenset({"admin", "owner", "developer"})
_READS = frozenset({"instance:read", "vpc:read", "volume:read", "snapshot:read"})


@dataclass(frozen=True, slots=True)
class Account:
    """A key's owner, the tenant that it acts in, and its role there."""

    user_id: str
    tenant_id: str
    """Empty: none."""
    role: str | None
    """None: no member."""


def new_key() -> str:
    """Give a fresh API key."""
    return KEY_PREFIX + secrets.token_hex(16)


def is_key(text: str) -> bool:
    """Tell whether a text has the form of an API key."""
    return _KEY_PATTERN.fullmatch(text) is not None


def hash_key(key: str) -> str:
    """Give what is stored of a key; keys are random, so a plain hash is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def allows(role: str, permission: str) -> bool:
    """Tell whether a membership role grants a permission (platform contract 1.11)."""
    return not permission or role in _FULL_ROLES or (role == "viewer" and permission in _READS)


def add_key(db: sqlite3.Connection, actor: Actor, name: str) -> tuple[ApiKey, str]:
    """Make a key for a user; the key itself exists in the second value only."""
    key = new_key()
    row = ApiKey(
        id=new_id(),
        user_id=actor.user_id,
        tenant_id=actor.tenant_id,
        default_tenant_id=actor.tenant_id,
        name=name,
        key_hash=hash_key(key),
    )
    return API_KEYS.insert(db, row), key


def add_user(db: sqlite3.Connection, email: str, name: str, password_hash: str) -> User:
    """Make a user with a personal tenant that it owns."""
    user = User(id=new_id(), email=email, name=name, password_hash=password_hash)
    USERS.insert(db, user)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    tenant = add_tenant(db, user.id, name=name, slug=f"personal-{slug}-{user.id[:8]}")
    return USERS.update(db, msgspec.structs.replace(user, default_tenant_id=tenant.id))


def add_tenant(db: sqlite3.Connection, user_id: str, *, name: str, slug: str) -> Tenant:
    """Make a tenant with its owner as first member."""
    tenant = TENANTS.insert(db, Tenant(id=new_id(), name=name, slug=slug, owner_id=user_id))
    MEMBERS.insert(db, Member(id=new_id(), tenant_id=tenant.id, user_id=user_id, role="owner"))
    return tenant


class Accounts:
    """Registering, logging in and looking up keys."""

    def __init__(self, cloud: Cloud, clock: Callable[[], float] = time.monotonic) -> None:
        self._cloud = cloud
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}

    async def find(self, key: str, tenant_id: str | None = None) -> Account:
        """Give the owner of a key and its place in a tenant (the key's own by default); raises UnauthorizedError."""
        hashed = hash_key(key)

        def work(db: sqlite3.Connection) -> Account:
            row = API_KEYS.one(db, "key_hash = ?", hashed)
            if row is None:
                raise UnauthorizedError("invalid API key")
            wanted = tenant_id or row.default_tenant_id or ""
            member = MEMBERS.one(db, "user_id = ? AND tenant_id = ?", row.user_id, wanted)
            return Account(row.user_id, wanted, None if member is None else member.role)

        return await self._cloud.store.read(work)

    async def register(self, email: str, name: str, password: str) -> User:
        """Make a user; raises InvalidError for a weak password, ConflictError for a known address."""
        if estimate_entropy_bits(password) < _MIN_ENTROPY_BITS:
            raise InvalidError("password is too weak: use more and more different characters")
        hashed = await asyncio.to_thread(hash_password, password)
        try:
            return await self._cloud.store.write(lambda db: add_user(db, email, name, hashed))
        except sqlite3.IntegrityError as error:
            raise ConflictError("user with this email already exists") from error

    async def log_in(self, email: str, password: str) -> tuple[User, str]:
        """Give the user and a new key; raises UnauthorizedError, also while the address is locked."""
        failures, last = self._failures.get(email, (0, 0.0))
        if failures >= _LOCKED_AFTER and self._clock() - last < _LOCKED_FOR_S:
            raise UnauthorizedError("account is locked: too many failed attempts")
        user = await self._cloud.store.read(lambda db: USERS.one(db, "email = ?", email))
        if user is None or not await asyncio.to_thread(check_password, password, user.password_hash):
            failures = 0 if self._clock() - last >= _LOCKED_FOR_S else failures
            self._failures[email] = (failures + 1, self._clock())
            raise UnauthorizedError("invalid credentials")
        self._failures.pop(email, None)
        actor = Actor(user.id, user.default_tenant_id or "")
        _, key = await self._cloud.store.write(lambda db: add_key(db, actor, "Default Key"))
        return user, key


async def rotate(cloud: Cloud, actor: Actor, key_id: str) -> tuple[ApiKey, str]:
    """Replace a key by a new one of the same name; raises MissingError."""

    def work(db: sqlite3.Connection) -> tuple[ApiKey, str]:
        old = API_KEYS.get(db, key_id)
        if old is None or not _may_manage(db, actor, old):
            raise MissingError("api_key", key_id)
        API_KEYS.delete(db, key_id)
        return add_key(db, Actor(old.user_id, old.default_tenant_id or ""), old.name)

    return await cloud.store.write(work)


async def revoke(cloud: Cloud, actor: Actor, key_id: str) -> None:
    """Remove a key; raises MissingError."""

    def work(db: sqlite3.Connection) -> None:
        row = API_KEYS.get(db, key_id)
        if row is None or not _may_manage(db, actor, row):
            raise MissingError("api_key", key_id)
        API_KEYS.delete(db, key_id)

    await cloud.store.write(work)


async def add_member(cloud: Cloud, actor: Actor, tenant_id: str, email: str, role: str) -> None:
    """Let another user into a tenant; raises MissingError, ConflictError, DeniedError."""

    def work(db: sqlite3.Connection) -> None:
        if MEMBERS.one(db, "user_id = ? AND tenant_id = ?", actor.user_id, tenant_id) is None:
            raise DeniedError("user is not a member of this tenant")
        user = USERS.one(db, "email = ?", email)
        if user is None:
            raise MissingError("user", email)
        try:
            MEMBERS.insert(db, Member(id=new_id(), tenant_id=tenant_id, user_id=user.id, role=role))
        except sqlite3.IntegrityError as error:
            raise ConflictError("user is already a member of this tenant") from error

    await cloud.store.write(work)


async def switch_tenant(cloud: Cloud, actor: Actor, tenant_id: str) -> None:
    """Change the user's default tenant; existing keys keep theirs. Raises DeniedError."""

    def work(db: sqlite3.Connection) -> None:
        user = USERS.get(db, actor.user_id)
        member = MEMBERS.one(db, "user_id = ? AND tenant_id = ?", actor.user_id, tenant_id)
        if user is None or member is None:
            raise DeniedError("user is not a member of this tenant")
        USERS.update(db, msgspec.structs.replace(user, default_tenant_id=tenant_id, updated_at=now()))

    await cloud.store.write(work)


def hash_password(password: str) -> str:
    """Give a salted hash; takes tens of milliseconds on purpose."""
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=_SCRYPT_COST, r=8, p=1)
    return f"{salt.hex()}:{digest.hex()}"


def check_password(password: str, stored: str) -> bool:
    """Tell whether a password fits a stored hash; an account without a password never fits."""
    salt, _, digest = stored.partition(":")
    if not digest:
        return False
    tried = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=_SCRYPT_COST, r=8, p=1)
    return secrets.compare_digest(tried.hex(), digest)


def estimate_entropy_bits(password: str) -> float:
    """Estimate how hard a password is to guess from the kinds of characters in it; repeats count little."""
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation)
    pool = sum(len(kind) for kind in kinds if set(kind) & set(password))
    pool += 100 if any(not char.isascii() or char == " " for char in password) else 0
    length = sum(
        password[max(0, index - _REPEATS) : index].count(char) < _REPEATS for index, char in enumerate(password)
    )
    return length * math.log2(pool) if pool else 0.0


def _may_manage(db: sqlite3.Connection, actor: Actor, key: ApiKey) -> bool:
    """Tell whose keys a caller manages: with all permissions those of every member of its tenant, else its own."""
    if key.user_id == actor.user_id:
        return True
    member = MEMBERS.one(db, "user_id = ? AND tenant_id = ?", key.user_id, actor.tenant_id)
    return member is not None and allows(actor.role, "identity:delete")
