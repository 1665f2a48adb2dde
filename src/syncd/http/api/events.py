"""/api/v1/events: what happens, as server-sent events, for live views.

A view is a convenience: nothing depends on it, a slow reader loses the oldest events, and a drain ends all streams at once.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aiohttp import web

from syncd.domain.errors import Overloaded
from syncd.http.routes import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.http.routes import Ask

#: A comment line is sent after so much silence, so that proxies keep the connection and a lost client is noticed. Seconds.
HEARTBEAT = 15.0
#: Streams at once; each holds a connection and a buffer.
STREAMS = 100


class EventStreams:
    """All streams of one server; `end` closes them, and those that come later, so that a drain need not wait."""

    def __init__(self) -> None:
        self._ending = asyncio.Event()
        self._open = 0

    def end(self) -> None:
        self._ending.set()

    async def serve(self, ask: Ask) -> web.StreamResponse:
        if self._open >= STREAMS:
            raise Overloaded(f"{STREAMS} streams of events are open; close one", retry_after=HEARTBEAT)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        self._open += 1
        try:
            with ask.services.events.subscribe() as feed:
                await response.prepare(ask.request)
                await response.write(b": connected\n\n")
                await self._forward(feed.__aiter__().__anext__, ask.principal, response)
        except ConnectionError:
            return response  # whoever watched has left
        finally:
            self._open -= 1
        return response

    async def _forward(self, following: Following, principal: Principal, response: web.StreamResponse) -> None:
        ending = asyncio.create_task(self._ending.wait(), name="events: wait for the drain")
        upcoming = asyncio.create_task(_one(following), name="events: wait for the next")
        try:
            while not self._ending.is_set():
                await asyncio.wait({ending, upcoming}, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
                if not upcoming.done():
                    await response.write(b": still here\n\n")
                    continue
                event = upcoming.result()
                if event is None:
                    return
                if principal.sees(event.get("tenantId")):
                    await response.write(_wire(event))
                upcoming = asyncio.create_task(_one(following), name="events: wait for the next")
        finally:
            ending.cancel()
            upcoming.cancel()
            await asyncio.gather(ending, upcoming, return_exceptions=True)

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                method="GET",
                path="/events",
                role="read",
                stream=self.serve,
                summary="Follow what happens, as server-sent events",
                answers="a stream that lasts until either side ends it",
            ),
        )


async def _one(following: Following) -> JsonObject | None:
    """The next event; None where the feed is over."""
    try:
        return await following()
    except StopAsyncIteration:
        return None


def _wire(event: JsonObject) -> bytes:
    name = str(event.get("kind", "message")).replace("\n", " ").replace("\r", " ")
    return f"event: {name}\ndata: {json.dumps(event, default=str)}\n\n".encode()


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Following = Callable[[], Awaitable[JsonObject]]
