"""OpenAPI 3.1 of the admin API, made from the declared routes, and a page that shows it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from aiohttp import web

from syncd.http.endpoint import Endpoint
from syncd.http.gate import BASE
from syncd.http.problem import CONTENT_TYPE
from syncd.http.rendering import page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.http.routes import Route
    from syncd.http.services import Services

_PROBLEM: JsonObject = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
        "correlationId": {"type": "string"},
    },
}
_INTEGERS = frozenset({"limit"})


def describe(routes: Sequence[Route], version: str) -> JsonObject:
    paths: dict[str, JsonObject] = {}
    schemas: JsonObject = {"Problem": _PROBLEM}
    for route in routes:
        paths.setdefault(BASE + route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "syncd",
            "version": version,
            "description": "The admin API. Errors are application/problem+json; lists page with limit and cursor.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Problem": {
                    "description": "What was wrong, and with which field",
                    "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(route: Route, schemas: JsonObject) -> JsonObject:
    names = re.findall(r"\{(\w+)\}", route.path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    parameters += [
        {"name": name, "in": "query", "schema": {"type": "integer" if name in _INTEGERS else "string"}}
        for name in route.query
    ]
    success: JsonObject = {"description": route.answers}
    if route.stream is not None:
        success["content"] = {"text/event-stream": {}}
    elif route.status != 204:
        success["content"] = {"application/json": {"schema": {"type": "object"}}}
    operation: JsonObject = {
        "operationId": (route.handler or route.stream).__qualname__ + _words(route.path),  # type: ignore[union-attr] # one is set
        "summary": route.summary,
        "tags": [route.path.split("/")[1]],
        "x-role": route.role,
        "responses": {str(route.status): success, "default": {"$ref": "#/components/responses/Problem"}},
    }
    if parameters:
        operation["parameters"] = parameters
    if route.model is not None:
        schema = route.model.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[route.model.__name__] = schema
        operation["requestBody"] = {
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{route.model.__name__}"}}}
        }
    return operation


def _words(path: str) -> str:
    return "".join(part.strip("{}").title() for part in path.split("/") if part)


def endpoints(routes: Sequence[Route], version: str) -> tuple[Endpoint, ...]:
    """The description and its page need no token: they say nothing about this deployment."""
    text = json.dumps(describe(routes, version), indent=1).encode()
    rows = [
        {
            "method": route.method,
            "path": route.path,
            "role": route.role,
            "summary": route.summary,
            "query": ", ".join(route.query),
            "body": _example(route),
            "answers": f"{route.status}: {route.answers}",
        }
        for route in routes
    ]

    async def description(request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.Response:
        return web.Response(body=text, content_type="application/json", headers={"Cache-Control": "no-cache"})

    async def docs(request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.Response:
        return page("docs.html", routes=rows, version=version)

    return (
        Endpoint("GET", f"{BASE}/openapi.json", description),
        Endpoint("GET", f"{BASE}/docs", docs),
    )


def _example(route: Route) -> str:
    """The fields of the body in words: `name (needed)`."""
    if route.model is None:
        return ""
    names = [
        f"{field.alias or name}{' (needed)' if field.is_required() else ''}"
        for name, field in route.model.model_fields.items()
    ]
    return ", ".join(names) or "any keys of the configuration"
