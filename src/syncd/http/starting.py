"""The probes of a start that has to wait for something: alive, not ready, and for whom it waits. All else comes again later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from syncd.http import problem
from syncd.http.connection import Listener, ListenerLimits
from syncd.http.probes import liveness, readiness
from syncd.ports.control import Health


@asynccontextmanager
async def probes_while_starting(*, host: str, port: int, health: Callable[[], Health]) -> AsyncIterator[None]:
    """An address that cannot be had is no error here: the start itself tells, when it comes to that."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/healthz":
            return liveness(health())
        if request.path == "/readyz":
            return readiness(health())
        response = problem.respond(
            problem.document(503, "the start is not over; /readyz says why"), {"Retry-After": "5"}
        )
        response.force_close()
        return response

    listener = Listener(answer, limits=ListenerLimits(), full=lambda _: None)
    server: asyncio.Server | None = None
    with suppress(OSError):
        server = await asyncio.get_running_loop().create_server(listener, host, port, reuse_address=True)
    try:
        yield
    finally:
        if server is not None:
            server.close()
            await listener.shutdown(1.0)
