"""Volume routes: translate and nothing else."""

from devcloud import attachments, volumes
from devcloud.api import answers, requests, views
from devcloud.api.call import Call, Reply
from devcloud.errors import InvalidError
from devcloud.faults import Kind
from devcloud.volumes import Filter, NewVolume, parse_uuid


async def create(call: Call, body: requests.CreateVolume) -> Reply:
    """POST /volumes."""
    if "\0" in body.name:
        raise InvalidError("name contains a NUL character")
    new = NewVolume(name=body.name, size_gb=body.size_gb, idem_key=call.idem_key)
    if isinstance(body, requests.CreateVolumeExtended):
        if body.snapshot_id and body.source_volume_id:
            raise InvalidError("snapshot_id and source_volume_id exclude each other")
        new = NewVolume(
            name=body.name,
            size_gb=body.size_gb,
            tags=body.tags,
            performance_class=body.performance_class,
            zone=body.zone,
            snapshot_id=body.snapshot_id,
            source_volume_id=body.source_volume_id,
            idem_key=call.idem_key,
        )
    made = await volumes.create(call.cloud, call.actor, new)
    return Reply(await views.view_volume(call.cloud, made), 201)


async def list_all(call: Call, _: None) -> Reply:
    """GET /volumes."""
    wanted = Filter()
    if not call.cloud.is_strict:
        wanted = Filter(name=call.query.get("name", ""), tags=call.tags, instance_id=call.query.get("instance_id", ""))
    found = await volumes.list_all(call.cloud, call.scope, wanted)
    return Reply(await views.view_volumes(call.cloud, found))


async def get(call: Call, _: None) -> Reply:
    """GET /volumes/{ref}."""
    return Reply(await views.view_volume(call.cloud, await volumes.get(call.cloud, call.scope, call.ref)))


async def delete(call: Call, _: None) -> Reply:
    """DELETE /volumes/{ref}."""
    await _wedge_on_demand(call)
    await volumes.delete(call.cloud, call.actor, call.ref, call.guard)
    return Reply(answers.Message("volume deleted"))


async def attach(call: Call, body: requests.AttachVolume | requests.AttachVolumeExtended) -> Reply:
    """POST /volumes/{ref}/attach."""
    await _wedge_on_demand(call)
    wanted = attachments.Wanted(body.instance_id, mount_path=body.mount_path)
    if isinstance(body, requests.AttachVolumeExtended):
        wanted = attachments.Wanted(body.instance_id, body.read_only, body.mount_path, body.wait_s)
    race = call.fault(Kind.ATTACH_RACE)
    rival = None if race is None else attachments.Rival(race.instance_id)
    volume, path = await attachments.attach(call.cloud, call.actor, call.ref, wanted, rival)
    if call.cloud.is_strict:
        return Reply(answers.Attached("volume attached", views.NOOP_PATH))
    view = (await views.view_extended_volumes(call.cloud, [volume]))[0]
    return Reply(answers.Attached("volume attached", path, view))


async def detach(call: Call, body: requests.DetachVolume | None) -> Reply:
    """POST /volumes/{ref}/detach."""
    await _wedge_on_demand(call)
    if body is None:
        await attachments.detach(call.cloud, call.actor, call.ref, None, attachments.STRICT_BUSY_WAIT_S)
        return Reply(answers.Message("volume detached"))
    instance_id = parse_uuid(body.instance_id)
    if instance_id is None:
        raise InvalidError("invalid instance ID")
    await attachments.detach(call.cloud, call.actor, call.ref, instance_id, body.wait_s)
    return Reply(answers.Message("volume detached"))


async def _wedge_on_demand(call: Call) -> None:
    if call.fault(Kind.WEDGED_VOLUME) is not None:
        await attachments.wedge(call.cloud, call.actor, call.ref, wedged=True)


async def resize(call: Call, body: requests.ResizeVolume) -> Reply:
    """POST /volumes/{ref}/resize."""
    grown = await volumes.resize(call.cloud, call.actor, call.ref, body.size_gb)
    return Reply(await views.view_volume(call.cloud, grown))


async def modify(call: Call, body: requests.ModifyVolume) -> Reply:
    """PATCH /volumes/{ref}."""
    changed = await volumes.modify(
        call.cloud, call.actor, call.ref, performance_class=body.performance_class, tags=body.tags
    )
    return Reply(await views.view_volume(call.cloud, changed))
