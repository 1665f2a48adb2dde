"""How a route of the admin API is declared: one value from which it is served, checked and documented.

A handler gets an `Ask` and answers with a `Reply`; it sees neither sockets nor status codes of errors.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from syncd.domain.errors import Conflict, Invalid, NotUnderstood
from syncd.domain.jsonbody import parse_object
from syncd.flows.operate.paging import Paging
from syncd.http.problem import HttpProblem
from syncd.ports.documents import PAGE_LIMIT

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.principal import Principal, Role
    from syncd.http.services import Services

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Reply:
    body: Json = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One authenticated, checked request."""

    services: Services
    principal: Principal
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: BaseModel | None
    if_match: str | None
    request: web.BaseRequest

    def paging(self) -> Paging:
        text = self.query.get("limit", "100")
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= PAGE_LIMIT):
            raise Invalid(f"limit must be 1 to {PAGE_LIMIT}", errors={"limit": f"a number from 1 to {PAGE_LIMIT}"})
        return Paging(limit=int(text), cursor=self.query.get("cursor") or None)

    def flag(self, name: str) -> bool:
        text = self.query.get(name, "false")
        if text not in ("true", "false"):
            raise Invalid(f"{name} must be true or false", errors={name: "true or false"})
        return text == "true"

    def model(self, kind: type[M]) -> M:
        assert isinstance(self.body, kind)
        return self.body


Handler = Callable[[Ask], Awaitable[Reply]]
StreamHandler = Callable[[Ask], Awaitable[web.StreamResponse]]
PAGE = ("limit", "cursor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`path` is relative to `/api/v1`; `{name}` stands for one segment."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    role: Role
    handler: Handler | None = None
    stream: StreamHandler | None = None
    """Instead of `handler`: prepares and writes its own response."""
    summary: str
    answers: str
    """What a success holds, in words; 2xx in `status`."""
    status: int = 200
    model: type[BaseModel] | None = None
    """The request body; None: there is none."""
    query: tuple[str, ...] = ()
    """Query parameters that it reads; any other is refused."""


def parse_body(model: type[BaseModel], data: bytes, content_type: str) -> BaseModel:
    """The body as the route's model. Raises Invalid with the path of every field that is wrong, never with its value."""
    if content_type not in ("application/json", "application/octet-stream") and not content_type.endswith("+json"):
        raise Invalid(f"the body must be application/json, not {content_type[:60]!r}")
    try:
        value = parse_object(data) if data.strip() else {}
    except NotUnderstood as error:
        raise Invalid(str(error)) from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong: dict[str, str] = {}
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            path = ".".join(str(part) for part in fault["loc"]) or "body"
            wrong.setdefault(path, _words(model, fault["type"], fault["loc"], fault["msg"]))
        first, text = next(iter(wrong.items()))
        raise Invalid(f"{first}: {text}", errors=wrong) from None


def _words(model: type[BaseModel], kind: str, path: tuple[int | str, ...], message: str) -> str:
    if kind == "missing":
        return "needed"
    if kind == "extra_forbidden":
        known = _names_at(model, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        return (
            f"not a known field; did you mean {near[0]}?" if near else f"not a known field; known: {', '.join(known)}"
        )
    return message.removeprefix("Value error, ")


def _names_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The field names of the model that `path` leads to; the outermost where it leads through something else."""
    current = model
    for part in path:
        inner = next((f.annotation for n, f in current.model_fields.items() if part in (n, f.alias)), None)
        candidates = [inner, *getattr(inner, "__args__", ())]
        models = [kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if models:
            current = models[0]
    return [f.alias or name for name, f in current.model_fields.items()]


def parse_query(route: Route, query: Mapping[str, str]) -> Mapping[str, str]:
    """Raises Invalid for a parameter that the route does not read: a filter that is silently ignored is a trap."""
    for name in query:
        if name not in route.query:
            near = difflib.get_close_matches(name, route.query, n=1)
            text = f"did you mean {near[0]}?" if near else f"known: {', '.join(route.query) or 'none'}"
            raise Invalid(f"there is no query parameter {name[:60]!r}; {text}", errors={name[:60]: text})
    return query


def respond(reply: Reply) -> web.Response:
    if reply.body is None and reply.status == 204:
        return web.Response(status=204)
    return web.Response(
        status=reply.status,
        body=json.dumps(reply.body, ensure_ascii=False, separators=(",", ":")).encode(),
        headers={"Cache-Control": "no-store", **reply.headers},
        content_type="application/json",
    )


def etag_header(document: JsonObject) -> dict[str, str]:
    return {"ETag": f'"{document["etag"]}"'} if "etag" in document else {}


async def changed(ask: Ask, changing: Awaitable[JsonObject]) -> Reply:
    """The changed document with its new ETag; 412 where the caller's If-Match was not the current one."""
    try:
        document = await changing
    except Conflict as error:
        if ask.if_match is None:
            raise
        raise HttpProblem(412, str(error)) from None
    return Reply(document, headers=etag_header(document))
