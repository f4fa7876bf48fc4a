"""Instance and instance type routes: translate and nothing else."""

import re

from starlette.responses import Response

from devcloud import instances, power
from devcloud.api import answers, network_views, requests, views
from devcloud.api.call import Call, Reply
from devcloud.api.envelope import plain
from devcloud.api.etags import with_etag
from devcloud.errors import BackendError, InvalidError, NotRunningError, PortFormatError, PortsError
from devcloud.faults import Kind
from devcloud.instance_types import INSTANCE_TYPES
from devcloud.instances import InstanceFilter, Launch
from devcloud.rows import RUNNING, STARTING, Instance, new_id
from devcloud.volumes import parse_uuid

_MAX_NAME_BYTES = 64
_MAX_IMAGE_CHARACTERS = 256
_NETWORK_MBPS = 1000
_MAX_PORTS = 10
_MAX_PORT = 65535
_NAME = re.compile(r"[\w-]+")


async def launch(call: Call, body: requests.LaunchInstance) -> Reply:
    """POST /instances."""
    name, image = body.name.strip(), body.image.strip()
    if not _NAME.fullmatch(name) or len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidError("invalid instance name: 1 to 64 bytes of letters, digits, '-' and '_'")
    if not image or len(image) > _MAX_IMAGE_CHARACTERS:
        raise InvalidError("invalid image name")
    _check_ports(body.ports)
    row = Instance(
        id=new_id(),
        user_id=call.actor.user_id,
        tenant_id=call.actor.tenant_id,
        name=name,
        image=image,
        status=STARTING,
        instance_type=body.instance_type or "basic-2",
        ports=body.ports,
        volume_binds=body.volume_binds,
        env=body.env,
        cmd=body.cmd,
        cpu_limit=body.cpu_limit,
        memory_limit=body.memory_limit,
        disk_limit=body.disk_limit,
        metadata=body.metadata,
        labels=body.labels,
        vpc_id=uuid_or_invalid(body.vpc_id, "vpc_id"),
        subnet_id=parse_uuid(body.subnet_id) or "",
        ssh_key_id=uuid_or_invalid(body.ssh_key_id, "ssh_key_id"),
        zone=getattr(body, "zone", ""),
        hostname=getattr(body, "hostname", ""),
    )
    wanted = Launch(row, [volume.volume_id for volume in body.volumes])
    made = await instances.launch(call.cloud, call.actor, wanted)
    return Reply(views.view_instance(call.cloud, made), 202)


async def list_all(call: Call, _: None) -> Reply | Response:
    """GET /instances."""
    wanted = InstanceFilter(tags=call.tags)
    if not call.cloud.is_strict:
        wanted = InstanceFilter(call.query.get("name", ""), call.query.get("hostname", ""), call.tags)
    found = await instances.list_all(call.cloud, call.scope, wanted)
    public = await network_views.public_addresses(call.cloud, call.scope, found)
    data = [views.view_instance(call.cloud, row, public.get(row.id, "")) for row in found]
    return Reply(data) if call.cloud.is_strict else with_etag(call, data)


async def get(call: Call, _: None) -> Reply:
    """GET /instances/{ref}."""
    found = await instances.get(call.cloud, call.scope, call.ref)
    public = await network_views.public_addresses(call.cloud, call.scope, [found])
    return Reply(views.view_instance(call.cloud, found, public.get(found.id, "")))


async def start(call: Call, _: None) -> Reply:
    """POST /instances/{ref}/start."""
    await power.start(call.cloud, call.actor, call.ref)
    return Reply(answers.Message("instance starting"))


async def stop(call: Call, body: requests.PowerDown | None) -> Reply:
    """POST /instances/{ref}/stop."""
    await power.stop(call.cloud, call.actor, call.ref, force=body is not None and body.force)
    return Reply(answers.Message("instance stopped"))


async def reboot(call: Call, body: requests.PowerDown) -> Reply:
    """POST /instances/{ref}/reboot."""
    await power.reboot(call.cloud, call.actor, call.ref, force=body.force)
    return Reply(answers.Message("instance rebooting"))


async def pause(call: Call, _: None) -> Reply:
    """POST /instances/{ref}/pause."""
    await power.pause(call.cloud, call.actor, call.ref)
    return Reply(answers.Message("instance paused"))


async def resume(call: Call, _: None) -> Reply:
    """POST /instances/{ref}/resume."""
    await power.resume(call.cloud, call.actor, call.ref)
    return Reply(answers.Message("instance resumed"))


async def logs(call: Call, _: None) -> Response:
    """GET /instances/{ref}/logs."""
    found = await instances.get(call.cloud, call.scope, call.ref, name_first=call.cloud.is_strict)
    if found.status == STARTING:
        raise NotRunningError(found.id, found.status)
    return plain(200, await call.cloud.machines.console(found.id))


async def stats(call: Call, _: None) -> Reply:
    """GET /instances/{ref}/stats."""
    found = await instances.get(call.cloud, call.scope, call.ref, name_first=call.cloud.is_strict)
    if found.status != RUNNING:
        raise NotRunningError(found.id, found.status)
    limit = INSTANCE_TYPES[found.instance_type].memory_mb << 20
    return Reply(answers.InstanceStats(memory_limit_bytes=limit))


async def console(call: Call, _: None) -> Reply:
    """GET /instances/{ref}/console."""
    found = await instances.get(call.cloud, call.scope, call.ref, name_first=call.cloud.is_strict)
    raise BackendError(f"instance {found.id} has no console on this back end")


async def resize(call: Call, body: requests.ResizeInstance) -> Reply:
    """POST /instances/{ref}/resize: the platform answers success and stores nothing (platform contract 4.5)."""
    found = await instances.get(call.cloud, call.scope, call.ref, name_first=call.cloud.is_strict)
    if body.instance_type not in INSTANCE_TYPES:
        raise InvalidError(f"invalid instance type: {body.instance_type}")
    return Reply(answers.ResizedInstance("instance resized", body.instance_type, found.status))


async def terminate(call: Call, _: None) -> Reply:
    """DELETE /instances/{ref}."""
    wedge = call.fault(Kind.WEDGED_VOLUME) is not None
    await instances.terminate(call.cloud, call.actor, call.ref, wedge=wedge)
    return Reply(answers.Message("instance terminated"))


async def update_metadata(call: Call, body: requests.UpdateMetadata) -> Reply:
    """PUT /instances/{id}/metadata."""
    await instances.label(call.cloud, call.actor, call.ref, metadata=body.metadata, labels=body.labels)
    return Reply(answers.Message("metadata updated"))


async def get_tags(call: Call, _: None) -> Reply:
    """GET /instances/{id}/tags."""
    if parse_uuid(call.ref) is None:
        raise InvalidError("invalid instance ID")
    return Reply((await instances.get(call.cloud, call.scope, call.ref)).labels)


async def update_tags(call: Call, body: requests.UpdateTags) -> Reply:
    """POST /instances/{id}/tags."""
    await instances.label(call.cloud, call.actor, call.ref, metadata={}, labels=body.tags)
    return Reply(answers.Message("tags updated"))


async def delete_tag(call: Call, _: None) -> Reply:
    """DELETE /instances/{id}/tags/{key}."""
    await instances.label(call.cloud, call.actor, call.ref, metadata={}, labels={call.params["key"]: ""})
    return Reply(answers.Message("tag removed"))


async def list_types(call: Call, _: None) -> Reply:
    """GET /instance-types."""
    del call
    return Reply(
        [
            answers.InstanceTypeView(
                id=item.id,
                name=item.id,
                vcpus=item.vcpus,
                memory_mb=item.memory_mb,
                disk_gb=item.disk_gb,
                network_mbps=_NETWORK_MBPS,
                price_per_hour=item.price_per_hour,
                category=item.id.partition("-")[0],
            )
            for item in INSTANCE_TYPES.values()
        ]
    )


def uuid_or_invalid(text: str, field: str) -> str:
    """Give the canonical uuid, or empty for empty; raises InvalidError for anything else."""
    if not text:
        return ""
    parsed = parse_uuid(text)
    if parsed is None:
        raise InvalidError(f"invalid {field}")
    return parsed


def _check_ports(text: str) -> None:
    """Check `host:container` pairs; raises PortsError, PortFormatError."""
    pairs = text.split(",") if text else []
    if len(pairs) > _MAX_PORTS:
        raise PortsError(f"{len(pairs)} port mappings; at most {_MAX_PORTS} are allowed")
    for pair in pairs:
        ports = re.fullmatch(r"\s*([0-9]{1,5}):([0-9]{1,5})\s*", pair, re.ASCII)
        if ports is None or max(int(ports[1]), int(ports[2])) > _MAX_PORT:
            raise PortFormatError(f"port mapping {pair[:40]!r} is not host:container with ports up to {_MAX_PORT}")
