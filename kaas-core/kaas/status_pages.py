"""Health and metrics of a process that serves no API."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kaas.api.ports import Ready
from process.metrics import CONTENT_TYPE


def status_app(ready: Ready, metrics: Callable[[], bytes]) -> Starlette:
    """Make the application, with the pages that the API has too."""

    async def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def is_ready(_: Request) -> Response:
        problem = await ready()
        return PlainTextResponse(f"{problem}\n", 503) if problem else PlainTextResponse("ok\n")

    async def figures(_: Request) -> Response:
        return Response(metrics(), media_type=CONTENT_TYPE)

    return Starlette(routes=[Route("/health/live", live), Route("/health/ready", is_ready), Route("/metrics", figures)])
