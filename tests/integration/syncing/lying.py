"""A system that says what it likes, connected, and what becomes of a pull from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

from aiohttp import web

from syncd.domain.collections import CURSORS
from syncd.domain.jsontypes import JsonObject
from syncd.flows.parked import Filter
from tests.doubles.contract import START
from tests.integration.syncing.world import World

Answer = Callable[[web.Request], web.Response | Awaitable[web.Response]]


class Liar:
    """`serve` answers every request; `asked`: path and query of each."""

    def __init__(self, serve: Answer) -> None:
        self.serve = serve
        self.asked: list[str] = []
        self.url = ""
        self.date: float | None = START

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        answer = self.serve(request)
        return answer if isinstance(answer, web.Response) else await answer

    async def dated(self, request: web.Request, response: web.StreamResponse) -> None:
        """aiohttp writes our own clock's Date where there is none; this system's has its own time, or none."""
        if self.date is None:
            response.headers.popall("Date", None)
        else:
            response.headers["Date"] = formatdate(self.date, usegmt=True)


@asynccontextmanager
async def liar(world: World, serve: Answer, **described: Any) -> AsyncIterator[Liar]:
    """Connected as `crm`: things with id, at and name, listed by a cursor unless `described` otherwise."""
    found = Liar(serve)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    app.on_response_prepare.append(found.dated)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        kind: JsonObject = {
            "list": "/things",
            "items": "data",
            "updatedAt": "at",
            "since": "since",
            "paging": {"style": "cursor", "parameter": "after", "next": "next"},
            **described,
        }
        settings: JsonObject = {"baseUrl": found.url, "types": {"contact": kind}}
        await world._connect("crm", "rest", settings, {"contact": {"direction": "pull"}})
        yield found
    finally:
        await runner.cleanup()


def thing(number: Any, at: Any = "2023-11-14T22:00:00Z", **fields: Any) -> JsonObject:
    return {"id": number, "at": at, "name": f"Thing {number}", **fields}


def pages(*bodies: list[Any], **extra: Any) -> Answer:
    """Pages 0, 1, 2 ... by cursor."""

    def serve(request: web.Request) -> web.Response:
        number = int(request.query.get("after", "0"))
        following = str(number + 1) if number + 1 < len(bodies) else None
        return web.json_response({"data": bodies[number], "next": following, **extra})

    return serve


def always(body: bytes, status: int = 200, **headers: str) -> Answer:
    return lambda request: web.Response(
        body=body, status=status, headers={n.replace("_", "-"): v for n, v in headers.items()}
    )


async def cursor(world: World) -> JsonObject:
    found = await world.ports.documents.get(CURSORS, "crm", "contact")
    return {} if found is None else found.data


async def pulled(world: World, **fields: Any) -> tuple[JsonObject, JsonObject]:
    """(counts, result) of one pull. Whatever was fetched is in one of the other counts."""
    task = await world.task("crm", **fields)
    await world.plan.queue_due()
    await world.work()
    result = await world.result(task)
    counts = {name: count for name, count in result["counts"].items() if count}
    became = ("created", "updated", "unchanged", "deleted", "duplicates", "failed")
    assert sum(counts.get(name, 0) for name in became) == counts.get("fetched", 0), counts
    return counts, result


async def parked(world: World) -> list[JsonObject]:
    return [one.data for one in (await world.flows.parked.list(Filter())).items]


async def refused(world: World, **fields: Any) -> JsonObject:
    """The task's message as it was parked; the watermark did not move."""
    before = (await cursor(world)).get("watermark")
    await world.task("crm", **fields)
    await world.plan.queue_due()
    await world.work()
    [found] = await parked(world)
    assert (await cursor(world)).get("watermark") == before
    return found
