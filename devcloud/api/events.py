"""Event routes: the list of both tiers and the stream of the extended one."""

from collections.abc import AsyncIterator

import msgspec
from starlette.responses import StreamingResponse

from devcloud import events
from devcloud.api import views
from devcloud.api.call import Call, Reply
from devcloud.errors import InvalidError

_DEFAULT_LIMIT = 50
_BATCH = 500
_KEEP_ALIVE_S = 15.0


async def list_actions(call: Call, _: None) -> Reply:
    """GET /events: `limit` that is no number means the default (platform contract 1.7)."""
    text = call.query.get("limit", "")
    limit = int(text) if text.isascii() and text.isdigit() else _DEFAULT_LIMIT
    found = await call.cloud.store.read(
        lambda db: events.list_actions(db, call.actor.tenant_id, min(limit, events.KEPT)), copy=call.scope.copy
    )
    return Reply([views.view_event(event) for event in found])


async def stream(call: Call, _: None) -> StreamingResponse:
    """GET /events/stream."""
    text = call.query.get("since") or call.headers.get("last-event-id")
    if text is not None and not (text.isascii() and text.isdigit()):
        raise InvalidError("since is no event id")
    oldest, newest = await call.cloud.store.read(events.bounds)
    since = newest if text is None else int(text)
    is_known = text is None or oldest - 1 <= since <= newest
    return StreamingResponse(
        _follow(call, since if is_known else newest, is_known=is_known),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Request-ID": call.request_id},
    )


async def _follow(call: Call, since: int, *, is_known: bool) -> AsyncIterator[bytes]:
    """Give what happened after `since` and then everything that happens, until the platform stops."""
    yield b": stream of events\n\n"
    if not is_known:
        # Events between the client's last one and the oldest kept are lost: it has to list again.
        yield f"id: {since}\nevent: stream.reset\ndata: {{}}\n\n".encode()
    while not call.cloud.hub.is_closed:
        waiter = call.cloud.hub.subscribe()
        batch = await _read_after(call, since)
        for event in batch:
            since = event.seq
            yield _frame(event)
        if not batch and not await waiter.wait(_KEEP_ALIVE_S):
            yield b": still here\n\n"


async def _read_after(call: Call, since: int) -> list[events.Event]:
    return await call.cloud.store.read(lambda db: events.read_after(db, call.actor.tenant_id, since, _BATCH))


def _frame(event: events.Event) -> bytes:
    data = {
        "resource_id": event.resource_id,
        "resource_type": event.resource_type,
        "created_at": event.created_at,
        **event.metadata,
    }
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.kind.encode(), msgspec.json.encode(data))
