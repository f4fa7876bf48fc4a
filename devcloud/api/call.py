"""What a handler gets and gives, and what a route is."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response

from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import BodyError, InvalidError
from devcloud.faults import Fault, Kind
from devcloud.identity import Accounts

MAX_KEY_CHARACTERS = 64


class Access(Enum):
    """Which chain of checks a route has (platform contract 1.11)."""

    OPEN = "open"
    """None."""
    KEY = "key"
    """A valid key; the tenant comes from the key or a header and may be absent."""
    MEMBER = "member"
    """A valid key, a tenant, and a membership in it."""


class Nothing(Enum):
    """The payload of an answer that has none, where None would be `null`."""

    NOTHING = "nothing"


NOTHING = Nothing.NOTHING


@dataclass(frozen=True, slots=True)
class Reply:
    """A success: status and payload."""

    data: object = NOTHING
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked and decoded."""

    cloud: Cloud
    accounts: Accounts
    scope: Scope
    params: Mapping[str, str]
    query: QueryParams
    headers: Headers
    request_id: str
    fired: tuple[Fault, ...] = ()
    served: "tuple[Route, ...]" = ()
    """All routes of the tier."""

    @property
    def actor(self) -> Actor:
        """Who calls."""
        return self.scope.actor

    @property
    def ref(self) -> str:
        """The object that the path names."""
        return self.params.get("ref") or self.params["id"]

    @property
    def tags(self) -> tuple[str, ...]:
        """The `tag` query parameters."""
        return tuple(self.query.getlist("tag"))

    @property
    def guard(self) -> tuple[str, ...]:
        """The tags that a delete is guarded by; the strict tier has no guards."""
        return () if self.cloud.is_strict else self.tags

    @property
    def idem_key(self) -> str | None:
        """The idempotency key, where the tier has one; raises InvalidError for an empty or long one."""
        key = self.headers.get("idempotency-key")
        if key is None or self.cloud.is_strict:
            return None
        if not 0 < len(key) <= MAX_KEY_CHARACTERS:
            raise InvalidError(f"Idempotency-Key has {len(key)} characters; 1 to {MAX_KEY_CHARACTERS} are allowed")
        return key

    def fault(self, kind: Kind) -> Fault | None:
        """Give the fault of a kind that this call has to carry out itself."""
        return next((fault for fault in self.fired if fault.kind is kind), None)


Handler = Callable[[Call, Any], Awaitable[Reply | Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the API: what matches, what is checked, what does it, and how it is documented."""

    method: str
    path: str
    handler: Handler
    doc: str
    answer: Any = None
    """Type of the payload; None: no enveloped payload."""
    body: type | None = None
    """Type of the request body; None: not read."""
    extended_body: type | None = None
    """The body in the extended tier where it differs."""
    body_optional: bool = False
    """Whether a request without a body is one with an empty object."""
    body_error: type[InvalidError] = BodyError
    """What a body that does not fit is refused with."""
    access: Access = Access.MEMBER
    permission: str = ""
    feature: str = ""
    """Feature that adds this route; empty: both tiers have it."""
    status: int = 200
    query: tuple[str, ...] = ()
    """Names of query parameters."""
    tier_query: tuple[str, ...] = ()
    """Names of query parameters that only the extended tier reads."""
    extended_answer: Any = None
    """Type of the payload in the extended tier where it differs."""
    strict_only: bool = False
    """Whether the extensions put something else in the place of this route."""

    def is_served(self, *, strict: bool) -> bool:
        """Tell whether a tier has this route."""
        return not self.feature if strict else not self.strict_only

    @property
    def name(self) -> str:
        """Method and template, as counted and as faults name it."""
        return f"{self.method} {self.path}"
