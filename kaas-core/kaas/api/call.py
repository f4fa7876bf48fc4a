"""Who calls, and with what conditions: what every route starts from."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader

from kaas.api.envelope import Bare, Envelope, meta, render
from kaas.api.errors import code_of
from kaas.api.ports import Access, Authenticator, Networks, Ready
from kaas.api.progress import History
from kaas.api.settings import ApiSettings
from kaas.domain import policy
from kaas.domain.errors import Code, Problem, RequestError
from kaas.domain.model import Scope
from kaas.domain.policy import Action
from kaas.domain.requests import Rules
from kaas.domain.store import Requests
from process.request import request_id

LOG = logging.getLogger("kaas.api")
MAX_KEY_CHARACTERS = 255
ACCEPTED = "accepted"
_MAX_TARGET = 255
_KEY = APIKeyHeader(name="X-API-Key", description="An API key of the platform, or of this service", auto_error=False)


@dataclass(frozen=True, slots=True)
class Context:
    """What the routes work with; one for the life of an application."""

    requests: Requests
    authenticator: Authenticator
    access: Access
    networks: Networks | None
    rules: Rules
    settings: ApiSettings
    history: History
    ready: Ready
    render_metrics: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Call:
    """A request of a known caller who may do what it asks for."""

    context: Context
    scope: Scope
    client_ip: str
    action: str = ""
    path: Mapping[str, str] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    """What it is about where the path does not say so, for the audit."""
    noted: list[str] = field(default_factory=list)
    """Actions that were handed on, to be written down in the commit of the change itself."""

    @property
    def requests(self) -> Requests:
        """The tables."""
        return self.context.requests

    @property
    def target(self) -> str:
        """What it is about, for the audit."""
        parts = {**self.path, **self.named}
        return "/".join(parts[name] for name in ("ref", "operation_id", "name") if name in parts)[:_MAX_TARGET]

    def changing(self) -> Scope:
        """Give the scope for the one change of this request, which is written down in the same commit."""
        self.noted.append(self.action)
        return dataclasses.replace(self.scope, action=self.action, target=self.target)

    def reply(self, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        """Answer with a payload."""
        return render(status, Envelope[Any](data=data, meta=meta(self.scope.request_id)), headers)

    def done(self, status: int, headers: dict[str, str] | None = None) -> Response:
        """Answer without a payload."""
        return render(status, Bare(meta=meta(self.scope.request_id)), headers)


def context_of(request: Request) -> Context:
    """Give what the application was made with."""
    context = request.app.state.context
    if not isinstance(context, Context):
        raise TypeError("the application was not made by create_app")
    return context


def allowed(action: Action) -> Callable[..., Awaitable[Call]]:
    """Make the dependency of a route: the caller is known and may do it."""

    async def identify(
        request: Request,
        key: Annotated[str | None, Security(_KEY)] = None,
        tenant: Annotated[str, Header(alias="X-Tenant-ID", max_length=255, description="Default: the key's own")] = "",
    ) -> Call:
        context = context_of(request)
        if not key:
            raise RequestError(Code.UNAUTHENTICATED, "API key required: send it in the header X-API-Key")
        scope = await context.authenticator.authenticate(key, tenant_id=tenant)
        scope = dataclasses.replace(scope, request_id=request_id.get())
        call = Call(
            context,
            scope,
            request.client.host if request.client else "",
            action=getattr(request.scope.get("route"), "name", ""),
            path={name: str(value) for name, value in request.path_params.items()},
        )
        request.state.tenant = scope.tenant_id
        request.state.call = call
        policy.check(scope, action)
        return call

    return identify


# The scope is what OpenAPI shows as needed; `allowed` is what checks it.
Reader = Annotated[Call, Security(allowed(Action.READ), scopes=[Action.READ])]
Creator = Annotated[Call, Security(allowed(Action.CREATE), scopes=[Action.CREATE])]
Updater = Annotated[Call, Security(allowed(Action.UPDATE), scopes=[Action.UPDATE])]
Deleter = Annotated[Call, Security(allowed(Action.DELETE), scopes=[Action.DELETE])]
KubeconfigReader = Annotated[Call, Security(allowed(Action.KUBECONFIG), scopes=[Action.KUBECONFIG])]
SshKeyReader = Annotated[Call, Security(allowed(Action.SSH_KEY), scopes=[Action.SSH_KEY])]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which a change is made."""

    if_match: int | None
    """Generation that the caller has seen."""
    idempotency_key: str
    request_hash: str
    dry_run: bool


async def conditions(
    request: Request,
    if_match: Annotated[
        str, Header(alias="If-Match", max_length=64, description="ETag of the cluster that the caller has seen")
    ] = "",
    idempotency_key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="The same key with the same request is carried out once"),
    ] = None,
    dry_run: Annotated[
        Literal["plan"] | None, Query(description="`plan`: tell what would happen, and write nothing")
    ] = None,
) -> Conditions:
    """Read the conditions of a change."""
    key = idempotency_key or ""
    if idempotency_key is not None and not (0 < len(key) <= MAX_KEY_CHARACTERS and key.isascii() and key.isprintable()):
        text = f"1 to {MAX_KEY_CHARACTERS} printable ASCII characters are allowed"
        raise RequestError(Code.INVALID, f"Idempotency-Key: {text}", problems=(Problem("Idempotency-Key", text),))
    return Conditions(
        if_match=_generation(if_match),
        idempotency_key=key,
        request_hash=await _hash_of(request) if key else "",
        dry_run=dry_run is not None,
    )


Conditional = Annotated[Conditions, Depends(conditions)]


def etag(generation: int) -> str:
    """Write the tag of a cluster's generation."""
    return f'"{generation}"'


def _generation(text: str) -> int | None:
    word = text.strip().removeprefix("W/")
    if word in {"", "*"}:
        return None
    digits = word.removeprefix('"').removesuffix('"')
    if not (digits.isascii() and digits.isdigit() and len(digits) < len("9" * 10)):
        seen = f"{text[:40]!r} is no ETag of a cluster; it looks like {etag(3)}"
        raise RequestError(Code.INVALID, f"If-Match: {seen}", problems=(Problem("If-Match", seen),))
    return int(digits)


async def _hash_of(request: Request) -> str:
    """Give what two requests with one key must agree in: method, path, query and the meaning of the body."""
    body = await request.body()
    try:
        meaning = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")) if body else ""
    except ValueError:
        meaning = body.decode(errors="replace")
    whole = "\n".join((request.method, request.url.path, str(request.url.query), meaning))
    return hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()


class Audited(APIRoute):
    """A route whose every request by a known caller is written down, refused or not; a dry run is not.

    What changes something is written down in its own commit (`Call.changing`), and only the rest here.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's handler."""
        handle = super().get_route_handler()
        action = self.name

        async def audited(request: Request) -> Response:
            try:
                response = await handle(request)
            except (RequestError, RequestValidationError) as error:
                code = code_of(error)
                await _write(request, action, f"refused: {code.value if code else 'INTERNAL'}")
                raise
            call = getattr(request.state, "call", None)
            if not (isinstance(call, Call) and call.noted):
                await _write(request, action, ACCEPTED)
            return response

        return audited


async def _write(request: Request, action: str, outcome: str) -> None:
    call = getattr(request.state, "call", None)
    if isinstance(call, Call) and request.query_params.get("dry_run") != "plan":
        await call.requests.audit(call.scope, action, call.target, outcome)
