"""The far end of the cost trigger: a real HTTP server that answers as told and remembers what it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from syncd.domain.jsontypes import JsonObject

PATH = "/finops/api/sync/"
Answering = Callable[[], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class Seen:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class CostServer:
    """`answer` makes the answers to POST, `status` what the status route says."""

    answer: Answering
    status: JsonObject = field(default_factory=lambda: {"status": "ok", "message": "Webhook endpoint is operational"})
    seen: list[Seen] = field(default_factory=list)
    host: str = "127.0.0.1"
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}{PATH}"

    @property
    def posts(self) -> list[Seen]:
        return [one for one in self.seen if one.method == "POST"]

    @property
    def polls(self) -> int:
        return sum(1 for one in self.seen if one.method == "GET")

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.seen.append(Seen(request.method, request.path, dict(request.headers), await request.read()))
        if request.method == "POST" and request.path == PATH:
            return await self.answer()
        if request.method == "GET" and request.path == f"{PATH}status/":
            return web.json_response(self.status)
        return web.Response(status=404)


def always(status: int, body: JsonObject | str, **headers: str) -> Answering:
    async def answer() -> web.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, str):
            return web.Response(status=status, text=body, content_type="text/html", headers=sent)
        return web.json_response(body, status=status, headers=sent)

    return answer


def in_turn(*answers: Answering) -> Answering:
    """One after the other; the last one for ever."""
    left = list(answers)

    async def answer() -> web.Response:
        return await (left.pop(0) if len(left) > 1 else left[0])()

    return answer


def held(until: asyncio.Event, answer: Answering) -> Answering:
    """The import takes its time: nothing is answered before `until` is set."""

    async def later() -> web.Response:
        await until.wait()
        return await answer()

    return later


@asynccontextmanager
async def serving(answer: Answering, *, host: str = "127.0.0.1") -> AsyncIterator[CostServer]:
    server = CostServer(answer, host=host)
    runner = web.ServerRunner(web.Server(server.handle), shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)  # transports that were closed get their turn before the loop ends
