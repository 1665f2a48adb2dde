"""`GET /`: one page that shows how things are. Read-only; logged in with a token of the admin API."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from aiohttp import web

from syncd.domain.errors import Forbidden, SyncdError, Throttled, Unauthorized
from syncd.domain.times import iso
from syncd.flows.operate.paging import Paging
from syncd.http.auth import SESSION_LIFETIME
from syncd.http.endpoint import Endpoint
from syncd.http.gate import SESSION_COOKIE
from syncd.http.reading import read_body
from syncd.http.rendering import page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.http.auth import Door
    from syncd.http.services import Services

#: Runs shown. The API pages through the rest.
RUNS = 50
#: A token is at most this long; the form holds nothing else.
_FORM_BYTES = 8 * 1024


class Dashboard:
    def __init__(self, *, door: Door) -> None:
        self._door = door

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("GET", "/", self.show),
            Endpoint("GET", "/login", self.form),
            Endpoint("POST", "/login", self.log_in),
            Endpoint("POST", "/logout", self.log_out),
        )

    async def show(self, request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.Response:
        principal = self._door.session(services.tokens, request.cookies.get(SESSION_COOKIE))
        if principal is None:
            return web.Response(status=303, headers={"Location": "/login", "Cache-Control": "no-store"})
        operate = services.operate
        jobs, queues, runs = await asyncio.gather(
            _part(operate.jobs.list(principal)),
            _part(operate.queues.list(principal)),
            _part(_latest(services, principal)),
        )
        return page(
            "dashboard.html",
            health=services.control.health(),
            principal=principal,
            jobs=jobs,
            queues=queues,
            runs=runs,
            now=iso(services.clock.now()),
        )

    async def form(self, request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.Response:
        return page("login.html", problem="")

    async def log_in(self, request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.Response:
        body = await read_body(request, limit=_FORM_BYTES, timeout=services.limits.body_timeout)
        token = parse_qs(body.decode(errors="replace")).get("token", [""])[0]
        try:
            cookie = self._door.open_session(services.tokens, token, request.remote)
        except Unauthorized:
            return page("login.html", status=401, problem="This token is not known here.")
        except Throttled as error:
            wait = f"Too many failed log-ins from this address. Try again in {error.retry_after or 60:.0f} s."
            return page("login.html", status=429, problem=wait)
        response = web.Response(status=303, headers={"Location": "/", "Cache-Control": "no-store"})
        response.set_cookie(
            SESSION_COOKIE,
            cookie,
            max_age=int(SESSION_LIFETIME),
            path="/",
            httponly=True,
            samesite="Strict",
            secure=request.secure,
        )
        return response

    async def log_out(self, request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.Response:
        self._door.close_session(request.cookies.get(SESSION_COOKIE))
        response = web.Response(status=303, headers={"Location": "/login", "Cache-Control": "no-store"})
        response.del_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="Strict")
        return response


async def _latest(services: Services, principal: Principal) -> list[JsonObject]:
    return (await services.operate.executions.latest(principal, paging=Paging(limit=RUNS))).items


async def _part(asking: Awaitable[Sequence[JsonObject]]) -> JsonObject:
    """One part of the page: what it shows, or why it cannot. A part that fails must not take the page down: at three in the
    morning the other parts are what is looked for."""
    try:
        return {"items": await asking, "problem": ""}
    except Forbidden:
        return {"items": [], "problem": "This token is limited to tenants and does not see this."}
    except SyncdError as error:
        return {"items": [], "problem": f"Cannot be read now: {error}"}
