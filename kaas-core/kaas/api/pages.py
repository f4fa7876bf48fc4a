"""What machines ask without a key: whether this process lives and can work, and its metrics."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from kaas.api.call import context_of
from kaas.api.envelope import Responses
from process.metrics import CONTENT_TYPE

router = APIRouter(tags=["service"])
_NOT_READY: Responses = {503: {"description": "It cannot do its work; the text says why"}}


@router.get("/health/live", response_class=PlainTextResponse)
async def live() -> PlainTextResponse:
    """Tell that the process answers."""
    return PlainTextResponse("ok\n")


@router.get("/health/ready", response_class=PlainTextResponse, responses=_NOT_READY)
async def ready(request: Request) -> PlainTextResponse:
    """Tell whether it can do its work."""
    problem = await context_of(request).ready()
    return PlainTextResponse(f"{problem}\n", 503) if problem else PlainTextResponse("ok\n")


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Give the process' metrics in Prometheus' text format."""
    return Response(context_of(request).render_metrics(), media_type=CONTENT_TYPE)
