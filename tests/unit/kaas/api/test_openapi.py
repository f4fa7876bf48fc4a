"""The document is made of the application; every route says how it fails, and answers in the shape that it says."""

from typing import Any

import pytest

from kaas.api.app import create_app
from kaas.domain.requests import Rules
from tests.unit.kaas.api.rig import CATALOGUE, DEFAULTS, Rig, documented_routes

OPEN = ("/health/live", "/health/ready", "/metrics")
NOTHING: Any = None
DOCUMENT = create_app(
    requests=NOTHING, authenticator=NOTHING, access=NOTHING, rules=Rules(CATALOGUE, DEFAULTS)
).openapi()
KNOWN = [route for route in documented_routes() if route[1] not in OPEN]


def operation(method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][method.lower()]
    return found


@pytest.mark.parametrize(("method", "path"), KNOWN)
def test_each_route_documents_its_errors(method: str, path: str) -> None:
    seen = operation(method, path)
    assert {"400", "401", "403", "503", "default"} <= set(seen["responses"])
    if "{" in path:
        assert "404" in seen["responses"]
    for status, response in seen["responses"].items():
        if status == "default" or status >= "400":
            assert response["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorEnvelope")
    assert "422" not in seen["responses"]
    assert seen["summary"]
    assert seen["description"]
    assert len(seen["tags"]) >= 1
    assert [list(scheme) for scheme in seen["security"]] == [["APIKeyHeader"]]


@pytest.mark.parametrize(("method", "path"), KNOWN)
def test_each_change_takes_the_conditions(method: str, path: str) -> None:
    names = {parameter["name"] for parameter in operation(method, path).get("parameters", [])}
    if method != "GET" and operation(method, path)["tags"] != ["not offered yet"]:
        assert {"If-Match", "Idempotency-Key", "dry_run"} <= names
        assert "200" in operation(method, path)["responses"]
    assert "X-Tenant-ID" in names


def test_all_tags_are_described() -> None:
    described = {tag["name"] for tag in DOCUMENT["tags"]}
    used = {tag for method, path in documented_routes() for tag in operation(method, path)["tags"]}
    assert used == described


def test_bodies_take_no_unknown_fields() -> None:
    bodies = {name: schema for name, schema in DOCUMENT["components"]["schemas"].items() if name.endswith("Body")}
    bodies.pop("ErrorBody")
    assert len(bodies) > 5
    assert all(schema["additionalProperties"] is False for schema in bodies.values())


async def test_it_is_served(rig: Rig) -> None:
    assert (await rig.http.get("/openapi.json")).json()["paths"].keys() == DOCUMENT["paths"].keys()


def required(schema: dict[str, Any]) -> dict[str, Any]:
    """Give the schema of `data` of an envelope."""
    named = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    data: dict[str, Any] = named["properties"]["data"]
    inner = data.get("items", data)
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][inner["$ref"].rpartition("/")[2]]
    return found


@pytest.mark.parametrize(
    "path",
    ["/clusters", "/clusters/{ref}", "/clusters/{ref}/nodes", "/clusters/{ref}/health", "/operations", "/events"],
)
async def test_answers_have_the_fields_that_are_documented(shared: Rig, path: str) -> None:
    answer = (await shared.ask("GET", path.replace("{ref}", "blue-dev"))).json()["data"]
    schema = required(operation("GET", path)["responses"]["200"]["content"]["application/json"]["schema"])
    for seen in answer if isinstance(answer, list) else [answer]:
        assert set(schema["required"]) <= set(seen) <= set(schema["properties"])
