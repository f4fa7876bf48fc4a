"""Operations with their steps, and events."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from kaas.api.call import Audited, Call, Conditional, Reader, Updater
from kaas.api.clusters import Ref
from kaas.api.envelope import Envelope, documented
from kaas.api.paging import MAX_PAGE, Marker, PageLimit, page
from kaas.api.progress import Ledger, estimate
from kaas.api.views import (
    EventView,
    OperationView,
    PlanView,
    event_view,
    kept_volumes,
    operation_view,
    plan_view,
    step_view,
)
from kaas.domain.errors import Code, RequestError
from kaas.domain.plans import Plan
from kaas.domain.states import FINAL, OperationState

router = APIRouter(tags=["operations"], route_class=Audited)
reading = APIRouter(tags=["operations"])
OperationId = Annotated[str, Path(description="Id of an operation", max_length=255)]
ClusterFilter = Annotated[str, Query(description="Id or name of a cluster; default: all", max_length=255)]
After = Annotated[str, Query(description="Only events after the one of this id", pattern=r"^[0-9]{0,18}$")]
MAX_EVENTS = 1000
Limit = Annotated[int | None, Query(ge=1, le=MAX_EVENTS)]


@reading.get("/operations", **documented(200, list[OperationView], Code.NOT_FOUND))
async def list_operations(
    call: Reader, cluster: ClusterFilter = "", limit: PageLimit = MAX_PAGE, marker: Marker = ""
) -> Response:
    """Give operations, newest first."""
    found = await call.requests.operations(call.scope, cluster, marker=marker, limit=limit + 1)
    shown, headers = page(found, limit, lambda operation: operation.id)
    return call.reply([operation_view(operation) for operation in shown], headers=headers)


@reading.get("/operations/{operation_id}", **documented(200, OperationView, Code.NOT_FOUND))
async def get_operation(call: Reader, operation_id: OperationId) -> Response:
    """Give an operation with its steps, how far it is, and how long it still takes."""
    return call.reply(await _whole(call, await call.requests.operation(call.scope, operation_id)))


@router.post(
    "/operations/{operation_id}/cancel",
    **documented(202, OperationView, Code.NOT_FOUND, Code.WRONG_STATE, plan=Envelope[PlanView]),
)
async def cancel_operation(call: Updater, conditions: Conditional, operation_id: OperationId) -> Response:
    """Ask an operation to end at its next step boundary; what it made stays until the cluster is deleted."""
    if conditions.dry_run:
        operation, _ = await call.requests.operation(call.scope, operation_id)
        if operation.state in FINAL:
            raise RequestError(Code.WRONG_STATE, f"operation {operation.id} has ended: {operation.state.value}")
        usage = call.context.rules.usage((await call.requests.get(call.scope, operation.cluster_id)).cluster.spec)
        note = f"the {operation.kind.value} ends at its next step boundary; what it made stays"
        return call.reply(plan_view(Plan(operation.kind, (), (), (), usage, usage, (note,))))
    return call.reply(operation_view(await call.requests.cancel(call.changing(), operation_id)), 202)


@reading.get("/events", tags=["events"], **documented(200, list[EventView]))
async def list_events(call: Reader, after: After = "", limit: Limit = None) -> Response:
    """Give the events of all clusters of the tenant, oldest first."""
    return await _events(call, "", after, limit)


@reading.get("/clusters/{ref}/events", tags=["events"], **documented(200, list[EventView], Code.NOT_FOUND))
async def list_cluster_events(call: Reader, ref: Ref, after: After = "", limit: Limit = None) -> Response:
    """Give the events of a cluster, oldest first."""
    return await _events(call, ref, after, limit)


async def _whole(call: Call, ledger: Ledger) -> OperationView:
    operation, steps = ledger
    timeline = None
    if operation.state is not OperationState.SUCCEEDED:
        timeline = await call.context.history.timeline(call.scope, operation)
    found = estimate(ledger, timeline, datetime.now(UTC))
    more: dict[str, Any] = {} if found.eta_s is None else {"eta_s": found.eta_s}
    if kept := kept_volumes(steps):
        more["kept_volumes"] = kept
    return operation_view(operation, progress_percent=found.percent, steps=[step_view(step) for step in steps], **more)


async def _events(call: Call, ref: str, after: str, limit: int | None) -> Response:
    most = limit or call.context.settings.default_events
    events = await call.requests.events(call.scope, ref, after_id=after, limit=most)
    return call.reply([event_view(event) for event in events])
