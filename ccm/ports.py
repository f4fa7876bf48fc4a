"""What the controllers need from the platform, and how it says no.

Every method takes `deadline`, an absolute time of the running loop's clock, and returns or raises before it. Methods
raise `CloudError` and nothing else about the platform. No rules here, and no HTTP.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ccm.model import Balancer, Certificate, Fleet, Instance, Listener, NewBalancer, Target


class Cause(Enum):
    """Why the platform did not do it, as far as a controller may act on it."""

    MISSING = "missing"
    """An object is definitely not there; `resource` says which kind where the platform tells."""
    REFUSED = "refused"
    """The request is wrong; asking again changes nothing."""
    CONFLICT = "conflict"
    """The state forbids it; `reason` is the platform's word (docs/platform-network.md) where it gives one."""
    GUARD = "guard"
    """The object does not carry the demanded tag."""
    QUOTA = "quota"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    UNSUPPORTED = "unsupported"
    """The platform does not offer it."""
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    """It may or may not have happened, or nothing may be concluded from the answer."""


class CloudError(Exception):
    """The platform did not do what was asked, or did not say whether it did. Its text is for people."""

    def __init__(
        self,
        cause: Cause,
        message: str,
        *,
        reason: str = "",
        resource: str = "",
        details: Mapping[str, str] | None = None,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message
        self.reason = reason
        self.resource = resource
        self.details = details or {}
        self.retry_after_s = retry_after_s
        """How long the platform asks to wait; 0 when it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerOffer:
    """What load balancers of this platform can do. What a service wants beyond it is refused with an event."""

    protocols: frozenset[str]
    """Of `tcp`, `udp`, `http`, `https`, `tls`."""
    listeners_per_balancer: int = 0
    """0: no limit."""
    has_addresses: bool = True
    """Whether the platform tells at which address a load balancer answers."""
    has_health_checks: bool = True
    has_source_ranges: bool = True
    has_proxy_protocol: bool = True
    has_sticky: bool = True
    has_static_addresses: bool = True
    has_internal: bool = True
    has_sizes: bool = True
    has_certificates: bool = True
    has_transparent: bool = True
    has_shared: bool = True
    has_listener_options: bool = True
    """Whether a listener has an idle timeout, a limit of connections, `X-Forwarded-For`, and redirects."""
    families: frozenset[str] = frozenset({"ipv4"})


class CloudInstances(Protocol):
    """Instances of the platform."""

    async def fleet(self, *, max_age_s: float, deadline: float) -> Fleet:
        """List every instance as of at most `max_age_s` ago; 0 asks for a listing that begins now.

        Callers at one time share one request. An absence in it proves nothing by itself; see `look_up`.
        """
        ...

    async def look_up(self, instance_id: str, *, deadline: float) -> Instance | None:
        """Ask for one instance by its id; None only when the platform says definitely that it is not there."""
        ...


class CloudBalancers(Protocol):
    """Load balancers that carry this cluster's mark, and those that a service names by id."""

    async def offer(self, *, deadline: float) -> BalancerOffer:
        """Say what load balancers of this platform can do; asked once in a while and remembered."""
        ...

    async def mine(self, *, max_age_s: float, deadline: float) -> Sequence[Balancer]:
        """List those with this cluster's mark, as of at most `max_age_s` ago; a write makes what is older unusable."""
        ...

    async def get(self, balancer_id: str, *, deadline: float) -> Balancer | None:
        """Read one, whoever's it is; None only when it is definitely not there."""
        ...

    async def create(self, new: NewBalancer, *, deadline: float) -> Balancer:
        """Make one with its first group. Idempotent by key."""
        ...

    async def put_group(
        self,
        balancer_id: str,
        name: str,
        *,
        listeners: Sequence[Listener] | None = None,
        targets: Sequence[Target] | None = None,
        deadline: float,
    ) -> Balancer:
        """Replace a group's listeners, its targets, or both; None leaves a part as it is. Idempotent."""
        ...

    async def delete_group(self, balancer_id: str, name: str, *, deadline: float) -> None:
        """Take a group away; none is no error, nor is a load balancer that is gone."""
        ...

    async def modify(
        self,
        balancer_id: str,
        *,
        name: str = "",
        size: str = "",
        tags: Mapping[str, str] | None = None,
        deadline: float,
    ) -> Balancer:
        """Change name, size (empty: keep) and tags (merged, an empty value removes). Idempotent."""
        ...

    async def delete(self, balancer_id: str, *, guard: tuple[str, str] | None, deadline: float) -> None:
        """Delete one, with `guard` only if it carries that tag; one that is gone is no error.

        Where the platform forgets it later (strict tier), returns only once it is forgotten.
        """
        ...


class CloudCertificates(Protocol):
    """Certificates that load balancers end TLS with."""

    async def mine(self, *, max_age_s: float, deadline: float) -> Sequence[Certificate]:
        """List those with this cluster's mark."""
        ...

    async def find(self, name_or_id: str, *, deadline: float) -> Certificate | None:
        """Find one by its id or name, whoever made it."""
        ...

    async def create(
        self,
        name: str,
        *,
        certificate_pem: str,
        private_key_pem: str,
        tags: Mapping[str, str],
        idempotency_key: str,
        deadline: float,
    ) -> Certificate:
        """Hand a certificate with its key over. Idempotent by key."""
        ...

    async def delete(self, certificate_id: str, *, guard: tuple[str, str], deadline: float) -> None:
        """Delete one if it carries that tag; a missing one is no error. CONFLICT `in_use` while a listener has it."""
        ...


@dataclass(frozen=True, slots=True)
class Cloud:
    """All ports of the platform together."""

    instances: CloudInstances
    balancers: CloudBalancers
    certificates: CloudCertificates
