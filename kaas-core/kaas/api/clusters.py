"""Clusters and their node groups: the platform's routes (platform contract 15.2)."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from kaas.api import changes
from kaas.api.bodies import ClusterBody, GroupBody, GroupUpdateBody, ScaleBody
from kaas.api.call import Audited, Conditional, Creator, Deleter, Reader, Updater, etag
from kaas.api.envelope import Envelope, documented
from kaas.api.paging import MAX_PAGE, Marker, PageLimit, page
from kaas.api.views import (
    ClusterView,
    GroupView,
    HealthView,
    NodeView,
    PlanView,
    cluster_view,
    group_view,
    health_view,
    node_view,
)
from kaas.domain.errors import Code
from kaas.domain.groups import find
from kaas.domain.store import Accepted

router = APIRouter(prefix="/clusters", tags=["clusters"], route_class=Audited)
reading = APIRouter(prefix="/clusters", tags=["clusters"])
Ref = Annotated[str, Path(description="Id or name of a cluster", max_length=255)]
GroupName = Annotated[str, Path(description="Name of a node group", max_length=255)]
_CHANGE = (Code.NOT_FOUND, Code.WRONG_STATE, Code.STALE, Code.KEY_REUSED, Code.QUOTA)
_CREATE = (Code.NOT_FOUND, Code.NAME_TAKEN, Code.KEY_REUSED, Code.QUOTA)
_PLAN = Envelope[PlanView]


@router.post("", **documented(202, ClusterView, *_CREATE, plan=_PLAN))
async def create_cluster(call: Creator, conditions: Conditional, body: ClusterBody) -> Response:
    """Make a cluster. The answer comes after the commit; the cluster is looked up right away."""
    asked = body.request()
    call.named["ref"] = asked.name
    vpc_range = ""
    rules, networks = call.context.rules, call.context.networks
    if networks is not None and rules.is_worth_a_look(asked):
        vpc_range = await networks.range_of(call.scope, rules.vpc_of(asked))
    change = rules.create(asked, vpc_range=vpc_range)
    return await changes.create(
        call, asked.name, change, conditions, lambda made: cluster_view(made.cluster, operation_id=made.operation.id)
    )


@reading.get("", **documented(200, list[ClusterView]))
async def list_clusters(call: Reader, limit: PageLimit = MAX_PAGE, marker: Marker = "") -> Response:
    """Give the clusters of the tenant, by name."""
    found = await call.requests.list(call.scope, marker=marker, limit=limit + 1)
    shown, headers = page(found, limit, lambda one: one.cluster.name)
    return call.reply([cluster_view(one.cluster, snapshot=one) for one in shown], headers=headers)


@reading.get("/{ref}", **documented(200, ClusterView, Code.NOT_FOUND))
async def get_cluster(call: Reader, ref: Ref) -> Response:
    """Give a cluster. Its ETag is for `If-Match` of later changes."""
    snapshot = await call.requests.get(call.scope, ref)
    view = cluster_view(snapshot.cluster, snapshot=snapshot)
    return call.reply(view, headers={"ETag": etag(snapshot.cluster.generation)})


@router.delete("/{ref}", **documented(202, None, *_CHANGE, plan=_PLAN))
async def delete_cluster(
    call: Deleter,
    conditions: Conditional,
    ref: Ref,
    volumes: Annotated[
        Literal["keep", "delete"], Query(description="What becomes of the volumes of claims, with all that is on them")
    ] = "keep",
) -> Response:
    """Delete a cluster, in every state."""
    decide = call.context.rules.delete(volumes=volumes == "delete")
    return await changes.change(call, ref, decide, conditions, status=202)


@router.put("/{ref}/scale", **documented(200, None, *_CHANGE, plan=_PLAN))
@router.post("/{ref}/scale", include_in_schema=False, **documented(200, None))
async def scale_cluster(call: Updater, conditions: Conditional, ref: Ref, body: ScaleBody) -> Response:
    """Let a cluster have so many workers in all; the group `default-pool` takes the difference."""
    return await changes.change(call, ref, call.context.rules.scale(body.workers), conditions, status=200)


@router.post("/{ref}/repair", **documented(202, None, *_CHANGE, plan=_PLAN))
async def repair_cluster(call: Updater, conditions: Conditional, ref: Ref) -> Response:
    """Bring a cluster back to what is wanted of it."""
    return await changes.change(call, ref, call.context.rules.repair(), conditions, status=202)


@reading.get("/{ref}/health", **documented(200, HealthView, Code.NOT_FOUND))
async def get_health(call: Reader, ref: Ref) -> Response:
    """Give what was last seen of a cluster."""
    return call.reply(health_view((await call.requests.get(call.scope, ref)).cluster))


@reading.get("/{ref}/nodes", **documented(200, list[NodeView], Code.NOT_FOUND))
async def list_nodes(call: Reader, ref: Ref) -> Response:
    """Give the machines of a cluster that are, become or were nodes, with the end of what their first boot wrote."""
    return call.reply([node_view(node) for node in (await call.requests.get(call.scope, ref)).nodes])


@router.post("/{ref}/nodegroups", **documented(201, GroupView, *_CHANGE, Code.NAME_TAKEN, plan=_PLAN))
async def create_node_group(call: Updater, conditions: Conditional, ref: Ref, body: GroupBody) -> Response:
    """Add a node group."""
    call.named["name"] = body.name
    decide = call.context.rules.create_group(body.request())
    return await changes.change(call, ref, decide, conditions, status=201, view=_group(body.name))


@router.put("/{ref}/nodegroups/{name}", **documented(200, GroupView, *_CHANGE, plan=_PLAN))
async def update_node_group(
    call: Updater, conditions: Conditional, ref: Ref, name: GroupName, body: GroupUpdateBody
) -> Response:
    """Give a node group other sizes."""
    decide = call.context.rules.update_group(name, body.request())
    return await changes.change(call, ref, decide, conditions, status=200, view=_group(name))


@router.delete("/{ref}/nodegroups/{name}", **documented(202, None, *_CHANGE, plan=_PLAN))
async def delete_node_group(call: Deleter, conditions: Conditional, ref: Ref, name: GroupName) -> Response:
    """Delete a node group with its machines."""
    return await changes.change(call, ref, call.context.rules.delete_group(name), conditions, status=202)


def _group(name: str) -> changes.View:
    def view(accepted: Accepted) -> GroupView:
        return group_view(accepted.cluster, find(accepted.cluster.spec, name))

    return view
