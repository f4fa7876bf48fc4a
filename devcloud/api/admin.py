"""Admin routes of devcloud itself, under `/_devcloud`: faults, sick volumes, dead instances, call counts.

They need an API key like everything else and are neither counted nor rate limited.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from devcloud import attachments, power, volumes
from devcloud.api import answers, views
from devcloud.api.call import Call, Reply
from devcloud.cloud import Scope
from devcloud.faults import ANY, Fault, Kind
from devcloud.rows import VOLUMES, Health, now

PREFIX = "/_devcloud"


class AddFault(msgspec.Struct, frozen=True):
    """Request to make calls go wrong; see `devcloud.faults.Fault`."""

    kind: Kind
    method: str = ANY
    route: str = ANY
    count: Annotated[int, Meta(ge=0)] | None = 1
    after: Annotated[int, Meta(ge=0)] = 0
    seconds: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    match: dict[str, str] = {}
    instance_id: str | None = None


class AddedFault(msgspec.Struct, frozen=True):
    """The number of a new fault."""

    id: int


class FaultView(msgspec.Struct, frozen=True):
    """A fault and how far it is."""

    id: int
    fault: Fault
    seen: int
    fired: int


class RouteCallsView(msgspec.Struct, frozen=True):
    """What one route saw."""

    count: int
    platform_s: float
    max_s: float
    closest_s: float | None


class Wedge(msgspec.Struct, frozen=True):
    """Request to wedge a volume, or to repair it."""

    wedged: bool = True


class SetHealth(msgspec.Struct, frozen=True):
    """Request to make a volume sick; an empty list heals it."""

    health: list[Health]


async def add_fault(call: Call, body: AddFault) -> Reply:
    """POST /_devcloud/faults."""
    number = call.cloud.faults.add(
        Fault(
            kind=body.kind,
            method=body.method,
            route=body.route,
            # A request without a count means one call; stale reads end by time, not by count.
            count=None if body.count == 0 else body.count,
            after=body.after,
            seconds=body.seconds,
            match=body.match,
            instance_id=body.instance_id,
        )
    )
    return Reply(AddedFault(number), 201)


async def list_faults(call: Call, _: None) -> Reply:
    """GET /_devcloud/faults."""
    return Reply([FaultView(item.number, item.fault, item.seen, item.fired) for item in call.cloud.faults.active])


async def clear_faults(call: Call, _: None) -> Reply:
    """DELETE /_devcloud/faults."""
    call.cloud.faults.clear()
    return Reply(status=204)


async def wedge(call: Call, body: Wedge) -> Reply:
    """POST /_devcloud/volumes/{ref}/wedge."""
    changed = await attachments.wedge(call.cloud, call.actor, call.ref, wedged=body.wedged)
    return Reply(await views.view_volume(call.cloud, changed))


async def set_health(call: Call, body: SetHealth) -> Reply:
    """POST /_devcloud/volumes/{ref}/health."""
    volume_id = await volumes.resolve_id(call.cloud, call.actor, call.ref)
    async with call.cloud.locks.hold(volumes.lock_of(volume_id)):
        volume = await volumes.get(call.cloud, Scope(call.actor), volume_id)
        sick = msgspec.structs.replace(volume, health=body.health, updated_at=now())
        await call.cloud.store.write(lambda db: VOLUMES.update(db, sick))
    return Reply(await views.view_volume(call.cloud, sick))


async def kill_instance(call: Call, _: None) -> Reply:
    """POST /_devcloud/instances/{ref}/kill."""
    await power.kill(call.cloud, call.actor, call.ref)
    return Reply(answers.Message("instance killed"))


async def list_calls(call: Call, _: None) -> Reply:
    """GET /_devcloud/calls."""
    return Reply(
        {
            route: RouteCallsView(seen.count, seen.platform_s, seen.max_s, seen.closest_s)
            for route, seen in call.cloud.calls.by_route.items()
        }
    )


async def reset_calls(call: Call, _: None) -> Reply:
    """DELETE /_devcloud/calls."""
    call.cloud.calls.reset()
    return Reply(status=204)
