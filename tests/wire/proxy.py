"""A proxy before a real server, so that faults can be injected between it and a client that speaks to no double."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession, DummyCookieJar, web
from yarl import URL

from tests.wire.faults import Faults, served

#: Of one connection, and not of the request.
_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "expect"}


class FaultyProxy:
    """Passes everything on to `target` (`http://host:port`) unless `faults` say otherwise. `url` has no slash at its end."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.url = ""
        self.faults = Faults()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FaultyProxy]:
        app = web.Application(middlewares=[self.faults.middleware()], client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._pass)
        async with (
            ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar()) as self._session,
            served(app) as self.url,
        ):
            yield self

    async def _pass(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with self._session.request(
            request.method,
            URL(self.target + request.raw_path, encoded=True),
            headers=headers,
            data=await request.read() or None,
            skip_auto_headers=("Accept-Encoding", "Content-Type", "User-Agent"),  # they would be signed
        ) as answer:
            body = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            if request.method != "HEAD":
                kept.pop("Content-Length", None)
            return web.Response(status=answer.status, headers=kept, body=body)
