"""Who may read a page: the API server is asked who a token belongs to, and what that user may do.

Belongs here: the decision, and remembering it for a short time. Does not belong here: HTTP and TLS
(`ccm.serving.server`), and how the API server is asked (`ccm.serving.reviews`).
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from cryptography import x509
from cryptography.x509.oid import NameOID

AUTHENTICATED = "system:authenticated"
"""The group of everyone who is known. Reviews of tokens name it, certificates do not."""
MAX_REMEMBERED = 1024
MAX_QUESTIONS = 8
"""Questions under way at once: whoever sends made-up tokens must not press the API server."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ReviewError(Exception):
    """The API server could not be asked; nothing is known. The text holds no token."""


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, as the API server knows it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Reviews(Protocol):
    """What is asked of the API server. Raises ReviewError."""

    async def user_of(self, token: str, *, deadline: float) -> User | None:
        """Say whose token this is; None for nobody's."""
        ...

    async def may(self, user: User, verb: str, path: str, *, deadline: float) -> bool:
        """Say whether a user may do this to a path that is no resource."""
        ...

    async def client_authorities(self, *, deadline: float) -> str:
        """Give the PEM text of the authorities of client certificates; empty when there are none."""
        ...


class Verdict(Enum):
    """What becomes of a request; the value is the HTTP status."""

    ALLOWED = 200
    UNKNOWN_USER = 401
    FORBIDDEN = 403
    UNAVAILABLE = 503
    """The API server did not say in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """How long answers of the API server are remembered, in seconds."""

    token_s: float = 10.0
    allowed_s: float = 10.0
    denied_s: float = 10.0


class Access:
    """Decides about requests."""

    def __init__(
        self,
        reviews: Reviews,
        *,
        open_paths: Sequence[str],
        memory: Memory,
        clock: Callable[[], float],
    ) -> None:
        """`open_paths` may be read by everyone: a path, or `/x/*` for everything below /x."""
        self._reviews = reviews
        self._open_paths = tuple(open_paths)
        self._memory = memory
        self._users: _Remembered[bytes, User | None] = _Remembered(clock)
        self._rights: _Remembered[tuple[User, str, str], bool] = _Remembered(clock)
        self._questions = asyncio.Semaphore(MAX_QUESTIONS)

    async def verdict(
        self, *, method: str, path: str, token: str = "", certificate: bytes | None = None, deadline: float
    ) -> Verdict:
        """Decide about a request. `certificate` is a client's, in DER, that TLS has found to be valid."""
        if self._is_open(path):
            return Verdict.ALLOWED
        try:
            async with asyncio.timeout_at(deadline):
                user = await self._user(token, certificate, deadline=deadline)
                if user is None:
                    return Verdict.UNKNOWN_USER
                is_allowed = await self._may(user, method.lower(), path, deadline=deadline)
        except (ReviewError, TimeoutError):
            return Verdict.UNAVAILABLE
        return Verdict.ALLOWED if is_allowed else Verdict.FORBIDDEN

    def _is_open(self, path: str) -> bool:
        return any(
            path.startswith(pattern[:-1]) if pattern.endswith("/*") else path == pattern for pattern in self._open_paths
        )

    async def _user(self, token: str, certificate: bytes | None, *, deadline: float) -> User | None:
        if certificate is not None and (user := user_of_certificate(certificate)) is not None:
            return user
        if not token:
            return None
        # Not the token itself: what is remembered may end up in a dump of the process.
        key = hashlib.sha256(token.encode()).digest()
        if (known := self._users.get(key)) is not None:
            return known.value
        async with self._questions:
            user = await self._reviews.user_of(token, deadline=deadline)
        self._users.put(key, user, self._memory.token_s)
        return user

    async def _may(self, user: User, verb: str, path: str, *, deadline: float) -> bool:
        key = (user, verb, path)
        if (known := self._rights.get(key)) is not None:
            return known.value
        async with self._questions:
            is_allowed = await self._reviews.may(user, verb, path, deadline=deadline)
        self._rights.put(key, is_allowed, self._memory.allowed_s if is_allowed else self._memory.denied_s)
        return is_allowed


def user_of_certificate(certificate: bytes) -> User | None:
    """Read the user from a certificate's subject: the common name, and a group for each organisation.

    None when it names no user.
    """
    subject = x509.load_der_x509_certificate(certificate).subject
    names = [str(part.value) for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not names or not names[0]:
        return None
    groups = tuple(str(part.value) for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    return User(names[0], groups=(*groups, AUTHENTICATED))


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    value: Value
    until: float


class _Remembered(Generic[Key, Value]):
    """A bounded memory whose entries end."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()

    def get(self, key: Key) -> _Entry[Value] | None:
        """Give the entry, or None when there is none any more."""
        entry = self._entries.get(key)
        return entry if entry is not None and self._clock() < entry.until else None

    def put(self, key: Key, value: Value, lasts_s: float) -> None:
        """Remember; the oldest entry makes room."""
        self._entries.pop(key, None)
        while len(self._entries) >= MAX_REMEMBERED:
            self._entries.popitem(last=False)
        self._entries[key] = _Entry(value, self._clock() + lasts_s)
