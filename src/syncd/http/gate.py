"""Between an address of the admin API and its handler: who asks, whether they may, and whether the request makes sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.http.endpoint import Endpoint
from syncd.http.reading import read_body
from syncd.http.routes import Ask, Route, parse_body, parse_query, respond

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from syncd.domain.principal import Principal
    from syncd.http.auth import Door
    from syncd.http.services import Services

BASE = "/api/v1"
SESSION_COOKIE = "syncd_session"


def who(door: Door, request: web.BaseRequest, services: Services) -> Principal:
    """The principal of the bearer token. A dashboard session is enough to look (live views cannot send a header), never to
    change anything: that is what makes forged requests from other sites harmless."""
    authorization = request.headers.get("Authorization")
    if authorization is None and request.method in ("GET", "HEAD"):
        principal = door.session(services.tokens, request.cookies.get(SESSION_COOKIE))
        if principal is not None:
            return principal
    return door.bearer(services.tokens, authorization, request.remote)


def endpoint(route: Route, door: Door) -> Endpoint:
    async def serve(request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.StreamResponse:
        principal = who(door, request, services)
        if route.role == "operate":
            principal.may_operate()
        query = parse_query(route, request.query)
        body = None
        if route.model is not None:
            limits = services.limits
            data = await read_body(request, limit=limits.api_bytes, timeout=limits.body_timeout)
            body = parse_body(route.model, data, request.content_type)
        ask = Ask(
            services=services,
            principal=principal,
            path=path,
            query=query,
            body=body,
            if_match=_etag(request.headers.get("If-Match")),
            request=request,
        )
        if route.stream is not None:
            return await route.stream(ask)
        assert route.handler is not None
        return respond(await route.handler(ask))

    return Endpoint(route.method, BASE + route.path, serve)


def _etag(header: str | None) -> str | None:
    """The opaque text between the quotes. `*` asks for nothing but existence, which every change checks anyway."""
    if header is None or header.strip() == "*":
        return None
    return header.strip().removeprefix("W/").strip('"')
