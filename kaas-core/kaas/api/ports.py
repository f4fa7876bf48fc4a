"""What the API needs beside the tables. Whoever implements a port keeps what its docstrings promise."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from kaas.domain.model import Scope, Snapshot

Ready = Callable[[], Awaitable[str]]
"""Says what keeps the service from its work, in words that everybody may read; empty when nothing does."""


class Authenticator(Protocol):
    """From an API key to who asks."""

    async def authenticate(self, key: str, *, tenant_id: str) -> Scope:
        """Give the caller's scope in a tenant; in their default one with an empty `tenant_id`.

        Raises RequestError: UNAUTHENTICATED for a key that is certainly none, FORBIDDEN for a tenant that is not
        theirs, INVALID when there is no tenant to work in, PLATFORM_UNAVAILABLE when nobody can tell right now.
        """
        ...


@dataclass(frozen=True, slots=True)
class IssuedKubeconfig:
    """A kubeconfig, and what is kept of it."""

    text: str = field(repr=False)
    """YAML."""
    serial: str
    not_after: datetime


class Access(Protocol):
    """Ways into a cluster that was made."""

    async def kubeconfig(self, scope: Scope, snapshot: Snapshot, role: str, ttl_s: float) -> IssuedKubeconfig:
        """Issue access with one of the roles of `kaas.domain.policy`. Raises RequestError; nothing is stored here."""
        ...

    async def ssh_key(self, scope: Scope, snapshot: Snapshot) -> str:
        """Give the private key that the machines trust, in OpenSSH's format. Raises RequestError (NOT_FOUND)."""
        ...


class Networks(Protocol):
    """The platform's VPCs, as the caller's tenant has them."""

    async def range_of(self, scope: Scope, vpc_id: str) -> str:
        """Give the range of a VPC, or an empty text where it has none.

        Raises RequestError: NOT_FOUND, for a VPC of another tenant too; PLATFORM_UNAVAILABLE.
        """
        ...
