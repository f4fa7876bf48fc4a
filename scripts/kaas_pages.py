"""The reference pages of the cluster service: its errors from their table, its routes from its own OpenAPI."""

import ast
import inspect
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, cast

from fastapi import FastAPI

from kaas.api.app import TAGS, create_app
from kaas.api.envelope import SHAPES
from kaas.domain.errors import STEP_CODES, Code, Nature
from kaas.domain.policy import POLICY, Action, Role
from scripts.generated import GENERATED

_ERRORS = """Each has the same word everywhere: `code` in answers of the API, in operations, steps and events, and the
label `code` of metrics. Beside it is always a text: what failed, on which object, what was seen and what to do.
"""
_REQUESTS = """## Requests that are refused

Nothing was changed. `type` is the platform's own word for it; `problems` names everything that is wrong, by field.
After 503 the header `Retry-After` says when to ask again. Anything else is 500 `INTERNAL`, a fault of this service.
"""
_STEPS = """## Steps that fail

A step that is tried again waits up to a minute between two tries, longer where the platform asks for it, and ends with
`DEADLINE` when its own time is over. One that is not tried again makes its operation fail. Who can act on it is the
tenant's user, or the operator of this service and the platform.
"""
_API = """A key is sent as `X-API-Key`; `X-Tenant-ID` chooses among the tenants of its user. The role is the least that
is needed in the tenant. Every answer of a route with a role comes in the platform's envelope, `data` and `meta`, or
`error` and `meta`; [errors](kaas-errors.md) has their codes. Bodies and answers in full are in `/openapi.json` of a
running service.

- `If-Match` with the `ETag` of a cluster: only if nobody changed it since.
- `Idempotency-Key`: a request that is sent again is carried out once, and answered as before.
- `?dry_run=plan`: tells what would happen, and writes nothing.
"""


def errors_page() -> str:
    """Give the page of error codes."""
    meaning = _meanings()
    requests = [
        f"| `{code}` | {shape.status} | `{shape.type}` | {meaning[code.name]} |" for code, shape in SHAPES.items()
    ]
    steps = [
        f"| `{code}` | {'yes' if nature.retryable else 'no'} | {_who(nature)} | {meaning[code.name]} |"
        for code, nature in STEP_CODES.items()
    ]
    head = ["# Errors of the cluster service\n", GENERATED.format("`kaas/domain/errors.py` and `kaas/api/envelope.py`")]
    return "\n".join(
        [
            *head,
            _ERRORS,
            _REQUESTS,
            "| Code | HTTP | `type` | Means |",
            "|---|---|---|---|",
            *requests,
            "",
            _STEPS,
            "| Code | Tried again | Who can act | Means |",
            "|---|---|---|---|",
            *steps,
        ]
    )


def api_page() -> str:
    """Give the page of routes."""
    routes = [(path, method, route) for path, methods in _paths().items() for method, route in methods.items()]
    lines = ["# API of the cluster service\n", GENERATED.format("`kaas/api`"), _API]
    for tag in TAGS:
        # The last tag of a route is its own; those before it are its module's.
        rows = [_row(*one) for one in routes if one[2]["tags"][-1] == tag["name"]]
        if not rows:
            raise ValueError(f"no route has the tag {tag['name']!r}")
        title = tag["name"].capitalize()
        lines += [f"## {title}\n", f"{tag['description']}.\n"]
        lines += ["| Route | Role | Answers | Does |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _paths() -> Mapping[str, Mapping[str, Any]]:
    # What an application describes does not depend on what it works with, which none of its routes is asked for here.
    nothing = cast("Any", None)
    app: FastAPI = create_app(requests=nothing, authenticator=nothing, access=nothing, rules=nothing)
    found: Mapping[str, Mapping[str, Any]] = app.openapi()["paths"]
    return found


def _row(path: str, method: str, route: Mapping[str, Any]) -> str:
    more = [_option(one) for one in route.get("parameters", ()) if _is_own(one)]
    does = " ".join(str(route["description"]).split())
    options = f" Options: {'; '.join(more)}." if more else ""
    return f"| `{method.upper()} {path}` | {_role(route)} | {', '.join(_statuses(route))} | {does}{options} |"


def _option(parameter: Mapping[str, Any]) -> str:
    words = parameter["schema"].get("enum")
    choice = f" ({' or '.join(words)})" if words else ""
    return f"`{parameter['name']}`{choice}: {parameter['description']}"


def _is_own(parameter: Mapping[str, Any]) -> bool:
    """Whether a parameter is this route's; those that many have are described once."""
    return parameter["in"] == "query" and parameter["name"] != "dry_run" and "description" in parameter


def _role(route: Mapping[str, Any]) -> str:
    scopes = [scope for scheme in route.get("security", ()) for names in scheme.values() for scope in names]
    if not scopes:
        return "none, and no key"
    return next(role.value for role in Role if all(Action(scope) in POLICY[role] for scope in scopes))


def _statuses(route: Mapping[str, Any]) -> Iterator[str]:
    return (status for status in sorted(route["responses"]) if status.isdigit())


def _who(nature: Nature) -> str:
    return "user" if nature.user_can_act else "operator"


def _meanings() -> Mapping[str, str]:
    """Give the text behind each code; an enum's members carry none at run time, the source does."""
    body = cast("ast.ClassDef", ast.parse(inspect.getsource(Code)).body[0]).body
    found = {}
    for one, after in itertools.pairwise(body):
        if isinstance(one, ast.Assign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[cast("ast.Name", one.targets[0]).id] = " ".join(str(after.value.value).split())
    return found
