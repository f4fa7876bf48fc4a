"""Security-group routes: translate and nothing else."""

from devcloud import security_groups
from devcloud.api import answers, network_views, requests
from devcloud.api.call import Call, Reply
from devcloud.errors import BareBodyError, BareIdError
from devcloud.network_rows import SecurityRule
from devcloud.rows import new_id
from devcloud.volumes import parse_uuid


async def create(call: Call, body: requests.CreateSecurityGroup) -> Reply:
    """POST /security-groups."""
    made = await security_groups.create(
        call.cloud,
        call.actor,
        vpc_id=_uuid_of_body(body.vpc_id, "vpc_id"),
        name=body.name,
        description=body.description,
    )
    return Reply(network_views.view_security_group(call.cloud, made), 201)


async def list_all(call: Call, _: None) -> Reply:
    """GET /security-groups; both tiers need the VPC."""
    asked = call.query.get("vpc_id", "")
    if not asked:
        raise BareIdError("vpc_id is required")
    found = await security_groups.list_all(call.cloud, call.scope, _uuid(asked, "vpc_id"))
    return Reply([network_views.view_security_group(call.cloud, one, in_list=True) for one in found])


async def get(call: Call, _: None) -> Reply:
    """GET /security-groups/{ref}; a name needs its VPC, and what is no VPC has no names."""
    vpc_id = parse_uuid(call.query.get("vpc_id", ""))
    found = await security_groups.get(call.cloud, call.scope, call.ref, vpc_id)
    return Reply(network_views.view_security_group(call.cloud, found))


async def delete(call: Call, _: None) -> Reply:
    """DELETE /security-groups/{id}."""
    await security_groups.delete(call.cloud, call.actor, _uuid(call.ref, "id"))
    return Reply(status=204)


async def add_rule(call: Call, body: requests.AddRule | requests.AddRuleExtended) -> Reply:
    """POST /security-groups/{id}/rules."""
    group_id = _uuid(call.ref, "group_id")
    if isinstance(body, requests.AddRule) and body.id is not None:
        # Whatever is a uuid is replaced by a new one.
        _uuid_of_body(body.id, "id")
    rule = SecurityRule(
        id=new_id(),
        group_id=group_id,
        direction=body.direction,
        protocol=body.protocol,
        port_min=body.port_min,
        port_max=body.port_max,
        cidr=body.cidr,
        priority=body.priority,
    )
    return Reply(network_views.view_rule(await security_groups.add_rule(call.cloud, call.actor, rule)), 201)


async def remove_rule(call: Call, _: None) -> Reply:
    """DELETE /security-groups/rules/{id}."""
    await security_groups.remove_rule(call.cloud, call.actor, _uuid(call.ref, "rule_id"))
    return Reply(status=204)


async def attach(call: Call, body: requests.GroupOfInstance) -> Reply:
    """POST /security-groups/attach."""
    await security_groups.attach(call.cloud, call.actor, *_pair(body))
    return Reply(answers.Message("security group attached"))


async def detach(call: Call, body: requests.GroupOfInstance) -> Reply:
    """POST /security-groups/detach."""
    await security_groups.detach(call.cloud, call.actor, *_pair(body))
    return Reply(answers.Message("security group detached"))


def _pair(body: requests.GroupOfInstance) -> tuple[str, str]:
    return _uuid_of_body(body.group_id, "group_id"), _uuid_of_body(body.instance_id, "instance_id")


def _uuid(text: str, name: str) -> str:
    found = parse_uuid(text)
    if found is None:
        raise BareIdError(f"invalid {name}")
    return found


def _uuid_of_body(text: str, name: str) -> str:
    found = parse_uuid(text)
    if found is None:
        raise BareBodyError(f"{name}: {text[:64]!r} is no uuid")
    return found
