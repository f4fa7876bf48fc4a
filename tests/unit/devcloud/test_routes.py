"""The table of routes against its descriptions: OpenAPI, the page, the reference in docs."""

import re
from pathlib import Path

import pytest

from devcloud.api.admin import PREFIX
from devcloud.api.call import Route
from devcloud.api.capacity import FEATURES
from devcloud.api.routes import ROUTES
from tests.unit.devcloud.conftest import Site

DOCS = Path(__file__).parents[3] / "docs"
PAGES = [(DOCS / name).read_text() for name in ("platform-api.md", "platform-network.md")]
REFERENCE = "\n".join(PAGES)
EXTENSIONS = [route for route in ROUTES if route.feature or route.path.startswith(PREFIX)]


def test_routes_are_unique() -> None:
    names = [route.name for route in ROUTES]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("route", EXTENSIONS, ids=lambda route: route.name)
def test_reference_names_every_extension_route(route: Route) -> None:
    method, path = route.method, route.path

    assert re.search(rf"`{method} {re.escape(path)}[`?]", REFERENCE), f"no page of the reference names {method} {path}"


def test_reference_names_every_feature() -> None:
    discovery = [page.partition("| Feature | Adds |")[2].partition("\n## ")[0] for page in PAGES]
    described = {name for text in discovery for name in re.findall(r"^\| `([a-z.-]+)` \|", text, re.MULTILINE)}

    assert described == set(FEATURES)
    assert {route.feature for route in ROUTES if route.feature} <= described


async def test_openapi_describes_exactly_what_is_served(both: Site) -> None:
    document = (await both.call("GET", "/openapi.json", headers={"X-API-Key": ""})).json()
    described = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}

    assert document["openapi"] == "3.1.0"
    assert described == {route.name for route in ROUTES if route.is_served(strict=both.inside.cloud.is_strict)}
    for reference in re.findall(
        r'"\$ref":"#/components/schemas/(\w+)"', (await both.call("GET", "/openapi.json")).text
    ):
        assert reference in document["components"]["schemas"]


async def test_openapi_shows_the_bodies_of_the_tier(both: Site) -> None:
    document = (await both.call("GET", "/openapi.json")).json()
    body = document["paths"]["/volumes"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]

    assert (
        "tags" in document["components"]["schemas"][body.rpartition("/")[2]]["properties"]
    ) != both.inside.cloud.is_strict
    parameters = {item["name"] for item in document["paths"]["/volumes"]["get"]["parameters"]}
    assert parameters == (set() if both.inside.cloud.is_strict else {"name", "tag", "instance_id"})


async def test_page_lists_every_route_and_loads_nothing(both: Site) -> None:
    page = (await both.call("GET", "/docs", headers={"X-API-Key": ""})).text

    for route in ROUTES:
        assert (f"<code>{route.name}</code>" in page) == route.is_served(strict=both.inside.cloud.is_strict)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)


async def test_every_route_that_needs_a_key_refuses_without(both: Site) -> None:
    for route in ROUTES:
        if not route.is_served(strict=both.inside.cloud.is_strict):
            continue
        path = re.sub(r"{\w+}", "7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11", route.path)
        answer = await both.call(route.method, path, headers={"X-API-Key": ""}, content=b"")
        assert (answer.status_code == 401) == (route.access.value != "open"), route.name


async def test_capabilities_tell_the_tiers_apart(both: Site) -> None:
    answer = await both.call("GET", "/capabilities")

    if both.inside.cloud.is_strict:
        assert (answer.status_code, answer.text) == (404, "404 page not found")
    else:
        # Nothing carries traffic here, so nothing keeps a client's address.
        features = [feature for feature in FEATURES if feature != "lb.transparent"]
        assert answer.json()["data"] == {"tier": "extended", "features": features}


async def test_request_id_is_taken_or_made(both: Site) -> None:
    given = await both.call("GET", "/volumes", headers={"X-Request-ID": "mine"})
    made = await both.call("GET", "/nowhere")

    assert given.headers["x-request-id"] == given.json()["meta"]["request_id"] == "mine"
    assert re.fullmatch(r"[0-9a-f-]{36}", made.headers["x-request-id"])
    assert (await both.call("OPTIONS", "/volumes")).status_code == 204


async def test_extended_errors_say_which_field(extended: Site) -> None:
    error = await extended.error(400, "POST", "/volumes", json={"name": "vol-one", "size_gb": "1"})

    assert "$.size_gb" in error["message"]
    assert (await extended.error(400, "POST", "/volumes", content=b" " * (2 << 20)))["type"] == "INVALID_INPUT"


async def test_unexpected_failure_is_a_500_with_a_request_id(extended: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("devcloud.api.views.view_instance", fail)

    answer = await extended.call("GET", "/instances", headers={"X-Request-ID": "mine"})

    assert (answer.status_code, answer.json()["meta"]["request_id"]) == (500, "mine")
    assert "Zero" not in answer.text


async def test_extended_health_is_up(extended: Site) -> None:
    for path in ("/health", "/health/ready"):
        assert (await extended.call("GET", path)).json()["status"] == "UP"
    assert (await extended.call("GET", "/health/ovs")).json() == {"status": "degraded"}
