"""The description of the API for machines, made from the table of routes."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from devcloud.api.answers import VolumeView
from devcloud.api.call import Access, Route
from devcloud.api.envelope import ErrorEnvelope

_REF = "#/components/schemas/{name}"
_JSON = "application/json"


def describe(routes: Sequence[Route], *, version: str, strict: bool) -> dict[str, Any]:
    """Give an OpenAPI 3.1 document for the routes that a tier serves."""
    types: list[Any] = [ErrorEnvelope, VolumeView]
    for route in routes:
        wanted = (_body_of(route, strict=strict), _answer_of(route, strict=strict))
        types += [found for found in wanted if found is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = {id(wanted): schema for wanted, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of, strict=strict)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"The Cloud ({'strict' if strict else 'extended'} tier)", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
    }


def _body_of(route: Route, *, strict: bool) -> type | None:
    return route.body if strict else route.extended_body or route.body


def _answer_of(route: Route, *, strict: bool) -> Any:
    return route.answer if strict else route.extended_answer or route.answer


def _operation(route: Route, schema_of: dict[int, Any], *, strict: bool) -> dict[str, Any]:
    query = route.query if strict else (*route.query, *route.tier_query)
    operation: dict[str, Any] = {
        "summary": route.doc,
        "operationId": re.sub(r"\W+", "_", route.name).strip("_").lower(),
        "tags": [re.sub(r"\W", "", route.path.split("/")[1])],
        "parameters": [
            *(_parameter(name, "path") for name in re.findall(r"{(\w+)}", route.path)),
            *(_parameter(name, "query") for name in query),
        ],
        "responses": {
            str(route.status): _response(_answer_of(route, strict=strict), schema_of),
            "default": {
                "description": "Failure",
                "content": {_JSON: {"schema": {"$ref": _REF.format(name="ErrorEnvelope")}}},
            },
        },
    }
    if route.access is not Access.OPEN:
        operation["security"] = [{"key": []}]
    if route.feature:
        operation["x-feature"] = route.feature
    if route.permission:
        operation["x-permission"] = route.permission
    body = _body_of(route, strict=strict)
    if body is not None:
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": {_JSON: {"schema": schema_of[id(body)]}},
        }
    return operation


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}


def _response(answer: Any, schema_of: dict[int, Any]) -> dict[str, Any]:
    if answer is None:
        return {"description": "Success, without an enveloped payload"}
    envelope = {
        "type": "object",
        "properties": {
            "data": schema_of[id(answer)],
            "meta": {"type": "object", "properties": {"request_id": {"type": "string"}}},
        },
    }
    return {"description": "Success", "content": {_JSON: {"schema": envelope}}}
