"""Elastic-IP routes: translate and nothing else."""

from devcloud import elastic_ips
from devcloud.api import answers, network_views, requests
from devcloud.api.call import Call, Reply
from devcloud.api.instances import uuid_or_invalid
from devcloud.elastic_ips import NewAddress
from devcloud.errors import InvalidError
from devcloud.volumes import Filter


async def allocate(call: Call, body: requests.AllocateAddress | None) -> Reply:
    """POST /elastic-ips."""
    new = NewAddress()
    if body is not None:
        if body.family != "ipv4":
            raise InvalidError("family: this platform has ipv4 and nothing else")
        new = NewAddress(body.name, body.tags, call.idem_key)
    made = await elastic_ips.allocate(call.cloud, call.actor, new)
    return Reply(network_views.view_elastic_ip(call.cloud, made), 201)


async def list_all(call: Call, _: None) -> Reply:
    """GET /elastic-ips."""
    wanted = Filter()
    if not call.cloud.is_strict:
        wanted = Filter(name=call.query.get("name", ""), tags=call.tags)
    found = await elastic_ips.list_all(call.cloud, call.scope, wanted)
    return Reply([network_views.view_elastic_ip(call.cloud, row) for row in found])


async def get(call: Call, _: None) -> Reply:
    """GET /elastic-ips/{id}."""
    found = await elastic_ips.get(call.cloud, call.scope, call.ref)
    return Reply(network_views.view_elastic_ip(call.cloud, found))


async def release(call: Call, _: None) -> Reply:
    """DELETE /elastic-ips/{id}."""
    await elastic_ips.release(call.cloud, call.actor, call.ref, call.guard)
    return Reply(answers.Message("elastic IP released"))


async def associate(call: Call, body: requests.AssociateAddress) -> Reply:
    """POST /elastic-ips/{id}/associate."""
    instance_id = uuid_or_invalid(body.instance_id, "instance_id")
    changed = await elastic_ips.associate(call.cloud, call.actor, call.ref, instance_id)
    return Reply(network_views.view_elastic_ip(call.cloud, changed))


async def disassociate(call: Call, _: None) -> Reply:
    """POST /elastic-ips/{id}/disassociate."""
    changed = await elastic_ips.disassociate(call.cloud, call.actor, call.ref)
    return Reply(network_views.view_elastic_ip(call.cloud, changed))
