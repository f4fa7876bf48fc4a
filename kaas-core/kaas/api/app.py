"""The API as an application: routers on ports, with nothing that outlives it."""

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from kaas.api import clusters, credentials, errors, later, operations, pages
from kaas.api.call import Context
from kaas.api.edge import Edge
from kaas.api.metrics import Metrics
from kaas.api.ports import Access, Authenticator, Networks, Ready
from kaas.api.progress import History
from kaas.api.settings import ApiSettings
from kaas.domain.requests import Rules
from kaas.domain.store import Requests

TITLE = "The Cloud: Kubernetes"
VERSION = "1"
DESCRIPTION = """Kubernetes clusters on The Cloud. Every answer comes after the commit of what it tells; a request that
is refused changed nothing, and says all that is wrong with it."""
TAGS = [
    {"name": "clusters", "description": "Clusters and their node groups"},
    {"name": "access", "description": "Ways into a cluster"},
    {"name": "operations", "description": "What is done to clusters, step by step"},
    {"name": "events", "description": "What happened to clusters"},
    {"name": "not offered yet", "description": "Routes of the platform that come next; they answer 501"},
    {"name": "service", "description": "Health and metrics of the service itself"},
]


async def always_ready() -> str:
    """Say that nothing keeps the service from its work."""
    return ""


def create_app(
    *,
    requests: Requests,
    authenticator: Authenticator,
    access: Access,
    rules: Rules,
    networks: Networks | None = None,
    settings: ApiSettings | None = None,
    ready: Ready = always_ready,
    registry: CollectorRegistry | None = None,
) -> FastAPI:
    """Make the application. Without `networks`, VPCs are not looked up when a cluster is asked for.

    `registry` holds the metrics that `/metrics` shows; the API adds its own to it.
    """
    settings = settings or ApiSettings()
    metrics = Metrics(registry or CollectorRegistry())
    # No pages that would load their scripts from elsewhere; a body without a content type is JSON, as the platform
    # takes it.
    app = FastAPI(
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
    )
    app.state.context = Context(
        requests=requests,
        authenticator=authenticator,
        access=access,
        networks=networks,
        rules=rules,
        settings=settings,
        history=History(requests),
        ready=ready,
        render_metrics=metrics.render,
    )
    app.add_middleware(Edge, max_body_bytes=settings.max_body_bytes, observe=metrics.observe)
    errors.register(app)
    for module in (clusters, operations):
        app.include_router(module.reading)
        app.include_router(module.router)
    for router in (credentials.router, later.router, pages.router):
        app.include_router(router)
    return app
