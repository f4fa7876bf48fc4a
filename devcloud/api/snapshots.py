"""Snapshot and group routes: translate and nothing else."""

from devcloud import groups, snapshots
from devcloud.api import answers, requests, views
from devcloud.api.call import Call, Reply
from devcloud.volumes import Filter


async def create(call: Call, body: requests.CreateSnapshot) -> Reply:
    """POST /snapshots."""
    new = snapshots.NewSnapshot(body.volume_id, body.description)
    if isinstance(body, requests.CreateSnapshotExtended):
        new = snapshots.NewSnapshot(body.volume_id, body.description, body.name, body.tags, call.idem_key)
    made = await snapshots.create(call.cloud, call.actor, new)
    return Reply(views.view_snapshot(call.cloud, made, is_new=True), 201)


async def list_all(call: Call, _: None) -> Reply:
    """GET /snapshots."""
    wanted = Filter()
    if not call.cloud.is_strict:
        wanted = Filter(name=call.query.get("name", ""), tags=call.tags, volume_id=call.query.get("volume_id", ""))
    found = await snapshots.list_all(call.cloud, call.scope, wanted)
    return Reply([views.view_snapshot(call.cloud, row) for row in found])


async def get(call: Call, _: None) -> Reply:
    """GET /snapshots/{id}."""
    return Reply(views.view_snapshot(call.cloud, await snapshots.get(call.cloud, call.scope, call.ref)))


async def delete(call: Call, _: None) -> Reply:
    """DELETE /snapshots/{id}."""
    await snapshots.delete(call.cloud, call.actor, call.ref, call.guard)
    return Reply(answers.Message("snapshot deleted"))


async def restore(call: Call, body: requests.RestoreSnapshot) -> Reply:
    """POST /snapshots/{id}/restore."""
    made = await snapshots.restore(call.cloud, call.actor, call.ref, body.new_volume_name)
    return Reply(await views.view_volume(call.cloud, made), 201)


async def create_group(call: Call, body: requests.CreateGroup) -> Reply:
    """POST /snapshot-groups."""
    new = groups.NewGroup(body.name, tuple(body.volume_ids), body.tags, call.idem_key)
    return Reply(views.view_group(await groups.create(call.cloud, call.actor, new)), 201)


async def list_groups(call: Call, _: None) -> Reply:
    """GET /snapshot-groups."""
    wanted = Filter(name=call.query.get("name", ""), tags=call.tags)
    return Reply([views.view_group(group) for group in await groups.list_all(call.cloud, call.scope, wanted)])


async def get_group(call: Call, _: None) -> Reply:
    """GET /snapshot-groups/{id}."""
    return Reply(views.view_group(await groups.get(call.cloud, call.scope, call.ref)))


async def delete_group(call: Call, _: None) -> Reply:
    """DELETE /snapshot-groups/{id}."""
    await groups.delete(call.cloud, call.actor, call.ref, call.guard)
    return Reply(answers.Message("snapshot group deleted"))
