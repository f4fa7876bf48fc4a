"""The one way that every change goes: decide, and either tell what it would do, or commit it and then answer."""

from collections.abc import Callable
from typing import Any

from fastapi.responses import Response

from kaas.api.call import Call, Conditions, etag
from kaas.api.views import plan_view
from kaas.domain.errors import Code, RequestError
from kaas.domain.plans import plan_change, plan_create
from kaas.domain.requests import Decide
from kaas.domain.store import Accepted, Change

OPERATION_ID = "X-Operation-ID"
REPLAYED = "Idempotency-Replayed"
View = Callable[[Accepted], Any]


async def create(call: Call, name: str, change: Change, conditions: Conditions, view: View) -> Response:
    """Make a cluster."""
    if conditions.dry_run:
        await _check_name_is_free(call, name)
        return call.reply(plan_view(plan_create(name, change)))
    accepted = await call.requests.create(
        call.changing(),
        name,
        change,
        idempotency_key=conditions.idempotency_key,
        request_hash=conditions.request_hash,
    )
    return call.reply(view(accepted), 202, headers_of(accepted))


async def change(
    call: Call, ref: str, decide: Decide, conditions: Conditions, *, status: int, view: View | None = None
) -> Response:
    """Change a cluster; without a `view` the answer has no payload."""
    if conditions.dry_run:
        return await _plan(call, ref, decide, conditions)
    accepted = await call.requests.change(
        call.changing(),
        ref,
        decide,
        if_match=conditions.if_match,
        idempotency_key=conditions.idempotency_key,
        request_hash=conditions.request_hash,
    )
    return _answer(call, accepted, status, view)


def headers_of(accepted: Accepted) -> dict[str, str]:
    """Give the headers that tell which operation a request became."""
    identity = accepted.operation.id
    headers = {
        OPERATION_ID: identity,
        "Location": f"/operations/{identity}",
        "ETag": etag(accepted.cluster.generation),
    }
    return {**headers, REPLAYED: "true"} if accepted.replayed else headers


def _answer(call: Call, accepted: Accepted, status: int, view: View | None) -> Response:
    headers = headers_of(accepted)
    return call.done(status, headers) if view is None else call.reply(view(accepted), status, headers)


async def _plan(call: Call, ref: str, decide: Decide, conditions: Conditions) -> Response:
    snapshot = await call.requests.get(call.scope, ref)
    generation = snapshot.cluster.generation
    if conditions.if_match is not None and conditions.if_match != generation:
        raise RequestError(
            Code.STALE,
            f"cluster {snapshot.cluster.name} has generation {generation} by now, not {conditions.if_match}; "
            "look at it again",
        )
    decided = decide(snapshot)
    before = call.context.rules.usage(snapshot.cluster.spec)
    return call.reply(plan_view(plan_change(snapshot, decided, before)), headers={"ETag": etag(generation)})


async def _check_name_is_free(call: Call, name: str) -> None:
    try:
        await call.requests.get(call.scope, name)
    except RequestError as error:
        if error.code is Code.NOT_FOUND:
            return
        raise
    raise RequestError(Code.NAME_TAKEN, f"there is a cluster {name} already; choose another name")
