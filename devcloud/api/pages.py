"""The description of the API, for machines and as one page for people without anything from elsewhere."""

from html import escape
from importlib.metadata import PackageNotFoundError, version

from starlette.responses import HTMLResponse, Response

from devcloud import openapi
from devcloud.api.call import Access, Call, Route
from devcloud.api.envelope import render

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #8884}"
    "code{font-size:.95em}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}"
)


def find_version() -> str:
    """Give the version of the installed distribution."""
    try:
        return version("thecloud-kubernetes")
    except PackageNotFoundError:
        return "0"


async def get_openapi(call: Call, _: None) -> Response:
    """GET /openapi.json."""
    return render(200, openapi.describe(call.served, version=find_version(), strict=call.cloud.is_strict))


async def get_docs(call: Call, _: None) -> Response:
    """GET /docs."""
    rows = "".join(_row(route, strict=call.cloud.is_strict) for route in call.served)
    tier = call.cloud.settings.tier.value
    return HTMLResponse(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>The Cloud, {tier} tier</title><style>{_STYLE}</style>"
        f"<h1>The Cloud, {tier} tier</h1><p>Send <code>X-API-Key</code>. Answers are "
        "<code>{&quot;data&quot;: …, &quot;meta&quot;: …}</code>; shapes are in "
        "<a href=openapi.json>openapi.json</a>.</p>"
        f"<table><tr><th>Route<th>Does<th>Request<th>Query<th>Permission<th>Feature</tr>{rows}</table></html>"
    )


def _row(route: Route, *, strict: bool) -> str:
    body = route.body if strict else route.extended_body or route.body
    query = route.query if strict else (*route.query, *route.tier_query)
    permission = route.permission or ("" if route.access is Access.OPEN else "any key")
    cells = (
        f"<code>{escape(route.name)}</code>",
        escape(route.doc),
        escape(_fields(body)),
        escape(", ".join(query)),
        escape(permission),
        escape(route.feature),
    )
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells) + "</tr>"


def _fields(body: type | None) -> str:
    return "" if body is None else ", ".join(getattr(body, "__struct_fields__", ()))
