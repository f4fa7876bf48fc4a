"""Callers that the platform knows: their API keys are the platform's own.

What the platform says is remembered for a short while, since every request asks for it. A platform that does not answer
is no reason to call a key wrong.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Scope
from kaas.domain.policy import Role

REMEMBERED_S = 30.0
_MAX_REMEMBERED = 10_000
_ROLES = {
    "admin": Role.ADMIN,
    "owner": Role.ADMIN,
    "developer": Role.MEMBER,
    "member": Role.MEMBER,
    "viewer": Role.READER,
}
"""Roles of the platform (platform contract 1.11)."""


class KeyRefusedError(Exception):
    """The platform knows no such key, and said so more than once (its 401 may be a passing fault)."""


class PlatformSilentError(Exception):
    """The platform gave no answer from which anything follows."""


@dataclass(frozen=True, slots=True)
class PlatformUser:
    """What `GET /auth/me` and `GET /tenants` say of a key."""

    user_id: str
    role: str
    default_tenant_id: str
    tenants: Mapping[str, bool]
    """Ids of the caller's tenants; true where they are the owner."""


LookUp = Callable[[str], Awaitable[PlatformUser]]
"""Asks the platform who has a key. Raises KeyRefusedError, PlatformSilentError."""


class PlatformUsers:
    """`kaas.api.ports.Authenticator` on the platform's accounts."""

    def __init__(self, look_up: LookUp, *, clock: Callable[[], float] = monotonic) -> None:
        self._look_up = look_up
        self._clock = clock
        self._known: dict[str, tuple[float, PlatformUser]] = {}

    async def authenticate(self, key: str, *, tenant_id: str) -> Scope:
        """Give the caller's scope."""
        if tenant_id and not _is_id(tenant_id):
            raise RequestError(Code.INVALID, "invalid tenant ID header")
        user = await self._user(key)
        tenant = tenant_id or user.default_tenant_id
        if not tenant:
            raise RequestError(Code.INVALID, "X-Tenant-ID header required or default tenant not set")
        if tenant not in user.tenants:
            raise RequestError(Code.FORBIDDEN, "user is not a member of this tenant")
        role = Role.ADMIN if user.tenants[tenant] else _ROLES.get(user.role)
        return Scope(tenant_id=tenant, user_id=user.user_id, role=role.value if role else "")

    async def _user(self, key: str) -> PlatformUser:
        # The key itself is not kept in memory longer than its request.
        digest = hashlib.sha256(key.encode()).hexdigest()
        known = self._known.get(digest)
        if known is not None and self._clock() - known[0] < REMEMBERED_S:
            return known[1]
        try:
            user = await self._look_up(key)
        except KeyRefusedError as error:
            self._known.pop(digest, None)
            raise RequestError(Code.UNAUTHENTICATED, "invalid API key") from error
        except PlatformSilentError as error:
            raise RequestError(
                Code.PLATFORM_UNAVAILABLE, "the platform does not answer who has this API key; try again"
            ) from error
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        self._known[digest] = (self._clock(), user)
        return user


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
