"""VPC routes: translate and nothing else."""

from devcloud import vpcs
from devcloud.api import answers, network_views, requests
from devcloud.api.call import Call, Reply


async def create(call: Call, body: requests.CreateVpc) -> Reply:
    """POST /vpcs; keys are honoured in both tiers (platform contract 1.8)."""
    key = call.headers.get("idempotency-key")
    made = await vpcs.create(call.cloud, call.actor, body.name, body.cidr_block, key)
    return Reply(network_views.view_vpc(made, is_new=True), 201)


async def list_all(call: Call, _: None) -> Reply:
    """GET /vpcs."""
    return Reply([network_views.view_vpc(row) for row in await vpcs.list_all(call.cloud, call.scope)])


async def get(call: Call, _: None) -> Reply:
    """GET /vpcs/{ref}."""
    return Reply(network_views.view_vpc(await vpcs.get(call.cloud, call.scope, call.ref)))


async def rename(call: Call, body: requests.RenameVpc) -> Reply:
    """PATCH /vpcs/{ref}."""
    return Reply(network_views.view_vpc(await vpcs.rename(call.cloud, call.actor, call.ref, body.name)))


async def delete(call: Call, _: None) -> Reply:
    """DELETE /vpcs/{ref}."""
    await vpcs.delete(call.cloud, call.actor, call.ref)
    return Reply(answers.Message("VPC deleted"))
