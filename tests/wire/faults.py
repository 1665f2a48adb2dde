"""Faults of an HTTP double, injected by the test: answers that are no success, connections that end, silence.

double.faults.answer(429, headers={"Retry-After": "3"})     the next request, once
double.faults.always(503)                                   until `clear`
double.faults.drop()                                        the connection is aborted before an answer
async with double.faults.silent() as asked: ...             nothing is answered; `asked` is set when a request waits
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    status: int = 0
    """0: the connection is aborted."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    method: str | None = None
    after: bool = False
    """The request is carried out first, and only its answer is lost."""


class Faults:
    """`latency`: seconds before each answer."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.log: list[str] = []
        self._next: deque[Fault] = deque()
        self._standing: Fault | None = None
        self._silence: asyncio.Event | None = None
        self._asked = asyncio.Event()
        self._awaited: list[tuple[str, asyncio.Event]] = []

    async def seen(self, request: str) -> None:
        """Until a request that begins so has come, from now on: `seen("GET /deletedsecrets/")`."""
        event = asyncio.Event()
        self._awaited.append((request, event))
        await event.wait()

    def answer(self, status: int, **more: Any) -> None:
        self._next.append(Fault(status=status, **more))

    def always(self, status: int, **more: Any) -> None:
        self._standing = Fault(status=status, **more)

    def drop(self, **more: Any) -> None:
        self._next.append(Fault(**more))

    def clear(self) -> None:
        self._next.clear()
        self._standing = None

    def release(self) -> None:
        """End the silence before its block does."""
        assert self._silence is not None
        self._silence.set()
        self._silence = None

    @asynccontextmanager
    async def silent(self) -> AsyncIterator[asyncio.Event]:
        self._silence, self._asked = asyncio.Event(), asyncio.Event()
        try:
            yield self._asked
        finally:
            if self._silence is not None:
                self.release()

    def _taken(self, request: web.Request) -> Fault | None:
        if self._next and self._next[0].method in (None, request.method):
            return self._next.popleft()
        standing = self._standing
        return standing if standing is not None and standing.method in (None, request.method) else None

    def _note(self, request: str) -> None:
        self.log.append(request)
        for awaited, event in self._awaited:
            if request.startswith(awaited):
                event.set()

    def middleware(self) -> Any:
        @web.middleware
        async def faulty(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._note(f"{request.method} {request.path}")
            if self._silence is not None:
                self._asked.set()
                await self._silence.wait()
            if self.latency:
                await asyncio.sleep(self.latency)  # the injected latency itself
            fault = self._taken(request)
            if fault is None:
                return await handler(request)
            if fault.after:
                await handler(request)
            if not fault.status:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            body = (
                fault.body if fault.body is not None else {"error": {"code": str(fault.status), "message": "injected"}}
            )
            return web.json_response(body, status=fault.status, headers=dict(fault.headers))

        return faulty


@asynccontextmanager
async def served(app: web.Application, *, port: int = 0, tls: Any = None) -> AsyncIterator[str]:
    """The address, without a slash at its end."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls, reuse_address=True).start()
        host, bound = runner.addresses[0][:2]
        yield f"{'https' if tls else 'http'}://{'localhost' if tls else host}:{bound}"
    finally:
        await runner.cleanup()
