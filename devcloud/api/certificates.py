"""Certificate routes: translate and nothing else."""

from devcloud import certificates
from devcloud.api import answers, network_views, requests
from devcloud.api.call import Call, Reply
from devcloud.certificates import NewCertificate
from devcloud.volumes import Filter


async def create(call: Call, body: requests.CreateCertificate) -> Reply:
    """POST /certificates."""
    new = NewCertificate(body.name, body.certificate_pem, body.private_key_pem, body.tags, call.idem_key)
    made = await certificates.create(call.cloud, call.actor, new)
    return Reply(network_views.view_certificate(made), 201)


async def list_all(call: Call, _: None) -> Reply:
    """GET /certificates."""
    wanted = Filter(name=call.query.get("name", ""), tags=call.tags)
    found = await certificates.list_all(call.cloud, call.scope, wanted)
    return Reply([network_views.view_certificate(row) for row in found])


async def get(call: Call, _: None) -> Reply:
    """GET /certificates/{id}."""
    return Reply(network_views.view_certificate(await certificates.get(call.cloud, call.scope, call.ref)))


async def delete(call: Call, _: None) -> Reply:
    """DELETE /certificates/{id}."""
    await certificates.delete(call.cloud, call.actor, call.ref, call.guard)
    return Reply(answers.Message("certificate deleted"))
