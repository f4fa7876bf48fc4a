"""Load-balancer routes of both tiers: translate and nothing else."""

import re

from starlette.responses import Response

from devcloud import balancers, strict_balancers
from devcloud.api import answers, network_views, requests
from devcloud.api.call import Call, Reply
from devcloud.api.etags import with_etag
from devcloud.api.instances import uuid_or_invalid
from devcloud.balancers import NewBalancer
from devcloud.errors import InvalidError
from devcloud.network_rows import GROUP_NAME, StrictTarget
from devcloud.rows import new_id
from devcloud.strict_balancers import NewStrictBalancer
from devcloud.volumes import Filter


async def create(call: Call, body: requests.CreateBalancer | requests.CreateBalancerExtended) -> Reply:
    """POST /lb."""
    if isinstance(body, requests.CreateBalancer):
        strict = NewStrictBalancer(
            body.name,
            uuid_or_invalid(body.vpc_id, "vpc_id"),
            body.port,
            body.algorithm,
            call.headers.get("idempotency-key", ""),
        )
        made = await strict_balancers.create(call.cloud, call.actor, strict)
        return Reply(network_views.view_strict_balancer(made, is_new=True), 202)
    if body.port:
        raise InvalidError("port: a port belongs to a listener of a group here")
    new = NewBalancer(
        name=body.name,
        vpc_id=body.vpc_id,
        internal=body.internal,
        size=body.size,
        families=tuple(body.families),
        static_addresses=tuple(body.static_addresses),
        tags=body.tags,
        groups=tuple(body.groups),
        idem_key=call.idem_key,
    )
    made = await balancers.create(call.cloud, call.actor, new)
    return Reply(await network_views.view_balancer(call.cloud, call.scope, made), 202)


async def list_all(call: Call, _: None) -> Reply | Response:
    """GET /lb."""
    if call.cloud.is_strict:
        rows = await strict_balancers.list_all(call.cloud, call.scope)
        return Reply([network_views.view_strict_balancer(row) for row in rows])
    wanted = Filter(name=call.query.get("name", ""), tags=call.tags)
    found = await balancers.list_all(call.cloud, call.scope, wanted)
    return with_etag(call, await network_views.view_balancers(call.cloud, call.scope, found))


async def get(call: Call, _: None) -> Reply:
    """GET /lb/{ref}."""
    if call.cloud.is_strict:
        found = await strict_balancers.get(call.cloud, call.scope, call.ref)
        return Reply(network_views.view_strict_balancer(found))
    found = await balancers.get(call.cloud, call.scope, call.ref)
    return Reply(await network_views.view_balancer(call.cloud, call.scope, found))


async def delete(call: Call, _: None) -> Reply:
    """DELETE /lb/{ref}."""
    if call.cloud.is_strict:
        await strict_balancers.delete(call.cloud, call.actor, call.ref)
        return Reply(answers.Message("load balancer deletion initiated"))
    await balancers.delete(call.cloud, call.actor, call.ref, call.guard)
    return Reply(answers.Message("load balancer deleted"))


async def modify(call: Call, body: requests.ModifyBalancer) -> Reply:
    """PATCH /lb/{ref}."""
    changed = await balancers.modify(call.cloud, call.actor, call.ref, name=body.name, size=body.size, tags=body.tags)
    return Reply(await network_views.view_balancer(call.cloud, call.scope, changed))


async def put_group(call: Call, body: requests.PutGroup) -> Reply:
    """PUT /lb/{ref}/groups/{name}."""
    name = call.params["name"]
    if not re.fullmatch(GROUP_NAME, name):
        raise InvalidError("a group's name has 1 to 128 letters, digits, '.', '_' and '-'")
    changed = await balancers.put_group(
        call.cloud,
        call.actor,
        call.ref,
        name,
        listeners=body.listeners,
        targets=body.targets,
        version=body.version,
    )
    return Reply(await network_views.view_balancer(call.cloud, call.scope, changed))


async def delete_group(call: Call, _: None) -> Reply:
    """DELETE /lb/{ref}/groups/{name}."""
    changed = await balancers.delete_group(call.cloud, call.actor, call.ref, call.params["name"])
    return Reply(await network_views.view_balancer(call.cloud, call.scope, changed))


async def add_target(call: Call, body: requests.AddTarget) -> Reply:
    """POST /lb/{id}/targets."""
    target = StrictTarget(
        id=new_id(),
        lb_id="",
        instance_id=uuid_or_invalid(body.instance_id, "instance_id"),
        port=body.port,
        weight=body.weight,
    )
    await strict_balancers.add_target(call.cloud, call.actor, call.ref, target)
    return Reply(answers.Message("target added"), 201)


async def list_targets(call: Call, _: None) -> Reply:
    """GET /lb/{id}/targets."""
    found = await strict_balancers.list_targets(call.cloud, call.scope, call.ref)
    return Reply([network_views.view_strict_target(row) for row in found])


async def remove_target(call: Call, _: None) -> Reply:
    """DELETE /lb/{id}/targets/{instance_id}."""
    await strict_balancers.remove_target(call.cloud, call.actor, call.ref, call.params["instance_id"])
    return Reply(answers.Message("target removed"))
